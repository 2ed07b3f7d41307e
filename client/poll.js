// @ts-check
// The loop for use: import { startPolling } from "/client/poll.js". Its contract with the server:
// - A response is {"data":[rows],"timestamp":"…"}. A request without since gets all rows. One with since, an earlier
//   timestamp, gets the rows that changed after it. Each row has an id. A deleted row comes with deleted_at.
// - timestamp is text that grows. If it is before since, a backup was restored, and all rows are loaded again.
// - X-Server-Start is another one after each restart. Then, too, all rows are loaded again, as there may be others.
//   Without this header, rows that the server no longer has stay in view.
// - ETag is another one after each change. It is sent back as If-None-Match, and 304 says that nothing changed.
//   Without it, an empty list says so. X-Poll-Interval is the interval in seconds. Without it, that is 5 seconds.
/**
 * @typedef {"board" | "poll"} Source a poll for all rows, or one for changes
 * @typedef {{url: string, startTime: number, source: Source, status: number, rows: any[], restarted: boolean,
 *   error?: Error}} Poll rows: what came; restarted: it was not used, and all rows are loaded again
 */
/**
 * @template [Row=any]
 * @param {string} url what to poll while the page is visible
 * @param {(rows: Row[], source: Source) => void | Promise<void>} onChange updates the view; a row may come twice
 * @param {(poll: Poll) => void} [onPoll] hears of each poll that has ended, also of one that failed
 */
export function startPolling(url, onChange, onPoll = ({ error }) => error && console.error(error)) {
  const board = Object.assign(new URL(url, document.baseURI), { username: "", password: "" }); // fetch refuses these
  let cursor = { since: "", etag: "", start: "" }; // timestamp, ETag and X-Server-Start of the last response used
  let advised = 5, chosen = 0, failures = 0, paused = false; // advised and chosen are in seconds
  let timer = 0, notBefore = 0, nextAt = 0; // as performance.now(), which does not jump when the clock is set
  let underWay = /** @type {Poll | null} */ (null), abort = new AbortController(), using = false;

  async function poll() {
    const { since } = cursor, target = new URL(board);
    if (since) target.searchParams.set("since", since);
    const result = underWay = /** @type {Poll} */ ({ url: target.href, startTime: performance.now(),
      source: since ? "poll" : "board", status: 0, rows: [], restarted: false });
    abort = new AbortController();
    nextAt = Infinity;
    result.error = await ask(result).catch((error) => error);
    if (underWay !== result) return; // another poll, a pause or a hidden page has ended this one

    using = false;
    failures = result.error ? failures + 1 : 0;
    const seconds = chosen || advised, backOff = Math.max(seconds, Math.min(60, seconds * 2 ** failures));
    const waitMs = 1000 * (!result.restarted ? backOff : since ? 0 : 1) * (0.9 + 0.2 * Math.random());
    plan(Math.min(waitMs, nextAt - performance.now()), nextAt === 0);
    onPoll(result);
  }

  async function ask(/** @type {Poll} */ result, { since, etag, start } = cursor, { signal } = abort) {
    limit(result);
    const headers = etag ? { "If-None-Match": etag } : undefined;
    const response = await fetch(result.url, { cache: "no-store", headers, signal });
    result.status = response.status;
    response.clone().body?.pipeTo(new WritableStream({ write: () => limit(result) })).catch(() => {});
    const text = await response.text();
    signal.throwIfAborted();

    const header = (/** @type {string} */ name) => response.headers.get(name) ?? "";
    advised = Math.max(1, Number(header("X-Poll-Interval")) || advised);
    const after = header("Retry-After"), date = Date.parse(header("Date")) || Date.now(); // both by the server's clock
    const retryMs = 1000 * Number(after) || Date.parse(after) - date || 0;
    notBefore = performance.now() + retryMs * (1 + 0.1 * Math.random());

    const unchanged = etag && (response.status === 304 || (response.ok && header("ETag") === etag));
    if (!response.ok && !unchanged) throw new Error(`the server responded with status ${response.status}`);
    const { data, timestamp } = unchanged ? { data: [], timestamp: since } : JSON.parse(text);
    if (typeof timestamp !== "string") throw new Error("the timestamp of the response is no string");
    if (!Array.isArray(data) || data.some((row) => row?.id == null)) throw new Error("data is no array of rows with ids");
    result.rows = data;

    const newStart = header("X-Server-Start") || start; // Squid and Traffic Server drop it from a 304
    // After a restart, all rows with the start that was left come out of a cache, and are asked for once more.
    result.restarted = since ? newStart !== start || timestamp < since : newStart !== "" && newStart === start;
    if (result.restarted) cursor = { since: "", etag: "", start: since && newStart !== start ? start : "" };
    if (result.restarted || unchanged) return;
    using = true;
    if (data.length > 0 || !since) await onChange(data, result.source); // if this fails, the cursor stays
    cursor = { since: timestamp, etag: timestamp === since ? header("ETag") : "", start: newStart };
  }

  /** Ends a poll when no byte of it has come for 20 seconds. */
  function limit(/** @type {Poll} */ poll) {
    if (underWay !== poll) return;
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new DOMException("no byte came for 20 seconds", "TimeoutError")), 20_000);
  }

  /** Plans the next poll in place of the one that is planned or under way. While onChange uses rows, it has to wait. */
  function plan(/** @type {number} */ waitMs, asked = false) {
    const now = performance.now();
    nextAt = asked ? 0 : Math.min(Math.max(now + waitMs, notBefore), now + 2 ** 31 - 1);
    if (using) return;
    clearTimeout(timer);
    abort.abort();
    underWay = null;
    if (asked || (!paused && !document.hidden)) timer = setTimeout(poll, nextAt - now);
  }

  const wake = () => plan(0);
  function setPaused(/** @type {boolean} */ is, /** @type {number} */ waitMs) {
    paused = is;
    plan(waitMs);
    for (const event of ["online", "visibilitychange"]) window[is ? "removeEventListener" : "addEventListener"](event, wake);
  }
  setPaused(false, 0);
  return {
    pollNow: () => plan(0, true), // once, also while paused, and before the time in Retry-After
    pause: () => setPaused(true, 0),
    resume: (waitMs = 0) => setPaused(false, waitMs),
    every(/** @type {number} */ seconds, waitMs = 1000 * (seconds || advised)) { // 0 seconds: as the server advises
      chosen = seconds;
      if (!underWay) plan(waitMs);
    },
    state: () => ({ advised, nextAt, underWay }),
  };
}
