// The loop for use. Its server responds with {"data":[rows],"timestamp":"…"}. A request without since gets
// all rows. One with since, an earlier timestamp, gets those that changed after it. A row has an id, and a
// deleted one also deleted_at. A timestamp is text that grows. After one before since (a restored backup)
// or another X-Server-Start (a restart), all rows are loaded again. Without that header, rows that are gone
// then stay in view. ETag changes with each change: 304 says "nothing new". Without ETag, an empty list
// says so. X-Poll-Interval is in seconds; until it comes, 5.
/** @typedef {"board" | "poll"} Source a poll for all rows, or one for changes
 * @typedef {{url: string, startTime: number, source: Source, status: number, rows: any[], error?: Error,
 *   restarted: boolean}} Poll if restarted, the rows were not used, and all are loaded again */
/** @template [Row=any]
 * @param {string} url what to poll while the page is visible
 * @param {(rows: Row[], source: Source) => void | Promise<void>} onChange updates the view; a row may come twice
 * @param {(poll: Poll) => void} [onPoll] hears of each poll that has ended, also of one that failed */
export function startPolling(url, onChange, onPoll = ({ error }) => error && console.error(error)) {
  const board = Object.assign(new URL(url, document.baseURI), { username: "", password: "" }); // fetch refuses these
  let cursor = { since: "", etag: "", start: "" }; // of the last response used; after a restart, the start that ended
  let advised = 5, chosen = 0, failures = 0, paused = false; // advised and chosen are in seconds
  let timer = 0, notBefore = 0, nextAt = 0, oldUntil = 0; // as performance.now(): no clock's jump matters
  let underWay = /** @type {Poll | null} */ (null), abort = new AbortController(), ended = Promise.resolve();

  async function poll() {
    const { signal } = abort = new AbortController();
    await ended; // polls run one after the other, and onChange may be at work
    if (signal.aborted) return;
    const { since } = cursor, target = new URL(board);
    if (since) target.searchParams.set("since", since);
    const own = underWay = /** @type {Poll} */ ({ url: target.href, startTime: performance.now(),
      source: since ? "poll" : "board", status: 0, rows: [], restarted: false });
    await (ended = ask(own, signal).catch((error) => void (own.error = error)));
    if (signal.aborted && underWay !== own) return; // another poll, a pause or a hidden page has ended it
    failures = own.error ? failures + 1 : 0;
    const seconds = chosen || advised, backOff = Math.max(seconds, Math.min(60, seconds * 2 ** failures));
    const waitMs = 1000 * (!own.restarted ? backOff : since ? 0 : 1) * (0.9 + 0.2 * Math.random());
    if (underWay === own) plan(waitMs); // else what comes next was decided while onChange was at work
    onPoll(own);
  }

  async function ask(/** @type {Poll} */ own, /** @type {AbortSignal} */ signal, { since, etag, start } = cursor) {
    const limit = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new DOMException("no byte came for 20 seconds", "TimeoutError")), 20_000);
    };
    const bytes = new WritableStream({ start: limit, write: () => void (underWay === own && limit()) });
    const response = await fetch(own.url, { cache: "no-store", headers: etag ? { "If-None-Match": etag } : {}, signal });
    own.status = response.status;
    response.clone().body?.pipeTo(bytes).catch(() => {});
    const text = await response.text();
    signal.throwIfAborted();

    const header = (/** @type {string} */ name) => response.headers.get(name) ?? "";
    advised = Math.max(1, Number(header("X-Poll-Interval")) || advised);
    const after = header("Retry-After"), date = Date.parse(header("Date")) || Date.now(); // both by the server's clock
    notBefore = performance.now() + (1000 * Number(after) || Date.parse(after) - date || 0) * (1 + 0.1 * Math.random());
    const unchanged = etag && (response.status === 304 || (response.ok && header("ETag") === etag));
    if (!response.ok && !unchanged) throw new Error(`the server responded with status ${response.status}`);
    const { data, timestamp } = unchanged ? { data: [], timestamp: since } : JSON.parse(text);
    if (typeof timestamp !== "string") throw new Error("the timestamp is no string");
    if (!Array.isArray(data) || data.some((row) => row?.id == null)) throw new Error("data is no list of rows with id");
    own.rows = data;

    const other = header("X-Server-Start") || start; // Squid and Traffic Server drop it from a 304
    own.restarted = since ? other !== start || timestamp < since : other === start && performance.now() < oldUntil;
    if (since) oldUntil = other === start ? 0 : performance.now() + 5000; // a cache may keep the old board for a while
    if (own.restarted) return void (cursor = { since: "", etag: "", start });
    abort = new AbortController(); // what is wanted from now on does not end this poll, but waits for it
    if (data.length > 0 || !since) await onChange(data, own.source); // if this fails, the cursor stays
    cursor = { since: timestamp, etag: since && timestamp === since ? header("ETag") || etag : "", start: other };
  }

  function plan(/** @type {number} */ waitMs, asked = false) {
    clearTimeout(timer);
    abort.abort();
    underWay = null;
    const now = performance.now();
    nextAt = asked ? now : Math.min(Math.max(now + waitMs, notBefore), now + 2 ** 31 - 1);
    if (asked || (!paused && !document.hidden)) timer = setTimeout(poll, nextAt - now);
  }
  const go = () => plan(0);
  function setPaused(/** @type {boolean} */ is, /** @type {number} */ waitMs) {
    paused = is;
    plan(waitMs);
    for (const name of ["online", "visibilitychange"]) self[is ? "removeEventListener" : "addEventListener"](name, go);
  }
  setPaused(false, 0);
  return {
    pollNow: () => plan(0, true), // once, also while paused, and before the time that Retry-After says
    pause: () => paused || setPaused(true, 0), // a poll that was wanted while paused goes on
    resume: (waitMs = 0) => setPaused(false, waitMs),
    every(/** @type {number} */ seconds, waitMs = 1000 * (seconds || advised)) { // 0 seconds: as the server advises
      chosen = seconds;
      if (!underWay) plan(waitMs);
    },
    state: () => ({ advised, nextAt, underWay }),
  };
}
