// @ts-check
// Use this loop in your page. It does what loop.js does, and what a page needs beside that:
//   import { startPolling } from "/client/poll.js";
//   startPolling("/boards/board-1/updates", (rows, source) => {
//     // If source is "board", show these rows and no others. If not, each of them was added, changed or deleted.
//   });
// The contract with the server: a response is {"data":[rows],"timestamp":"…"}. A request without since gets all rows.
// One with since, the timestamp of an earlier response, gets the rows that changed after it.
// - A row has an id, and an updated_at that grows (as text) with every change of the row. A row that is not newer than
//   the copy at hand is ignored, so repeats do no harm. When a row is deleted, it is sent again, with deleted_at.
// - timestamp grows (as text). If it is before since, a backup was restored, and all rows are loaded anew.
// - X-Server-Start has a new value after each restart. The server may then have other data, so all rows are loaded
//   anew. Without this header, rows that the server no longer has stay in view (ghosts).
// - ETag has a new value after each change. It is sent back as If-None-Match, and 304 says that nothing changed.
//   Without it, an empty list says so. X-Poll-Interval is the interval in seconds. Without it, that is 5 seconds.
// These faults of loop.js are mended here. It waits as long as a server hangs, and as long as the browser's cache lets
// an equal poll of another window go first. It asks a failing server as often as ever, and in step with other clients.
// It cannot be paused. With writes added, it could show a row that is older than the one at hand.
/**
 * @typedef {{id: string, list_id: string, title: string, description: string, position: number,
 *   created_at: string, updated_at: string, deleted_at?: string}} Task a task; with deleted_at it was deleted
 * @typedef {"board" | "poll" | "write"} Source a poll for the whole board, one for changes, or the response to a write
 * @typedef {{url: string, startTime: number, source: Source, status: number, rows: number, tasks: Task[],
 *   restarted?: boolean, error?: Error}} Poll rows: how many came; tasks: the news; restarted: the rows were not used
 */
/**
 * @param {string} url what to poll while the page is visible
 * @param {(tasks: Task[], source: Source) => void | Promise<void>} onChange updates the view
 * @param {(poll: Poll) => void} [onPoll] hears of each poll that has ended, also of one that failed
 */
export function startPolling(url, onChange, onPoll = ({ error }) => error && console.error(error)) {
  const none = { since: "", etag: "", start: "" };
  let cursor = none; // the timestamp, the ETag and the server's start of the last response that was applied
  let advised = 5, chosen = 0, failures = 0, paused = false; // advised and chosen are in seconds
  let timer = 0, notBefore = 0, nextAt = 0; // as performance.now(), which does not jump when the clock is set
  let underWay = /** @type {Poll | null} */ (null), abort = new AbortController();
  let queue = Promise.resolve(/** @type {Task[]} */ ([]));
  const seen = /** @type {Map<string, string>} */ (new Map()); // the updated_at of the copy at hand, by id

  /** Applies rows, those of polls and of writes one after the other. Returns the rows that were news. */
  function apply(/** @type {Task[]} */ rows, /** @type {Source} */ source) {
    return queue = queue.catch(() => []).then(async () => {
      if (!rows.every((row) => row?.id && row.updated_at)) throw new Error("a row has no id or no updated_at");
      if (source === "board") seen.clear();
      if (source === "write" && underWay?.source === "board") schedule(0); // that board may be older, so ask anew
      const tasks = rows.filter((task) => task.updated_at > (seen.get(task.id) ?? ""));
      if (tasks.length > 0 || source === "board") await onChange(tasks, source);
      for (const task of tasks) seen.set(task.id, task.updated_at);
      return tasks;
    });
  }

  async function poll() {
    const sent = cursor, target = new URL(url, location.href);
    if (sent.since) target.searchParams.set("since", sent.since);
    const result = underWay = /** @type {Poll} */ ({ url: target.href, startTime: performance.now(),
      source: sent.since ? "poll" : "board", status: 0, rows: 0, tasks: [] });
    const { signal } = abort = new AbortController();
    timer = setTimeout(() => abort.abort(new DOMException("no response within 20 seconds", "TimeoutError")), 20_000);
    let received = false;
    try {
      const conditions = sent.etag ? { "If-None-Match": sent.etag } : undefined;
      const response = await fetch(target, { cache: "no-store", headers: conditions, signal });
      const header = (/** @type {string} */ name) => response.headers.get(name) ?? "";
      result.status = response.status;
      advised = Math.max(1, Number(header("X-Poll-Interval")) || advised);
      const date = Date.parse(header("Date")) || Date.now(); // by the server's clock, as a date in Retry-After is
      const retryMs = 1000 * Number(header("Retry-After")) || Date.parse(header("Retry-After")) - date;
      notBefore = retryMs > 0 ? performance.now() + retryMs + 1000 * Math.random() : 0;
      const unchanged = sent.etag && response.status === 304;
      if (!response.ok && !unchanged) throw new Error(`the server responded with status ${response.status}`);
      const { data, timestamp } = unchanged ? { data: [], timestamp: sent.since } : await response.json();
      if (!Array.isArray(data) || typeof timestamp !== "string") throw new Error("the response is not a board's");
      received = true;
      result.rows = data.length;
      const start = header("X-Server-Start") || sent.start; // Apache, as a proxy, removes it from a 304
      result.restarted = sent.since !== "" && (start !== sent.start || timestamp < sent.since);
      if (!result.restarted) result.tasks = await apply(data, result.source); // if this fails, the cursor stays
      cursor = result.restarted ? none : { since: timestamp, etag: header("ETag"), start };
    } catch (e) {
      if (underWay !== result && !received) return; // cancelled by a pause, a hidden page or a newer poll
      result.error = /** @type {Error} */ (e);
    }
    failures = result.error ? failures + 1 : 0;
    const seconds = chosen || advised; // a server that fails is asked less and less often, to let it recover
    const waitMs = result.restarted ? 0 : 1000 * Math.max(seconds, Math.min(60, seconds * 2 ** failures));
    if (underWay === result) schedule(waitMs * (0.9 + 0.2 * Math.random())); // so clients do not stay in step
    onPoll(result);
  }

  /** Cancels the poll that is planned or under way, and plans the next one, unless the page is paused or hidden. */
  function schedule(/** @type {number} */ waitMs) {
    clearTimeout(timer);
    abort.abort();
    underWay = null;
    const now = performance.now();
    nextAt = Math.min(Math.max(now + waitMs, notBefore), now + 2 ** 31 - 1); // for more, setTimeout fires at once
    if (!paused && !document.hidden) timer = setTimeout(poll, nextAt - now);
  }

  const pollNow = () => schedule(0);
  function setPaused(/** @type {boolean} */ is, /** @type {number} */ waitMs) {
    paused = is;
    schedule(waitMs);
    const change = is ? "removeEventListener" : "addEventListener";
    window[change]("online", pollNow);
    document[change]("visibilitychange", pollNow);
  }
  setPaused(false, 0);
  return {
    apply, pollNow, // apply(rows, "write") is for a write's response, unless a board came since the write was sent
    pause: () => setPaused(true, 0),
    resume: (waitMs = 0) => setPaused(false, waitMs),
    every(/** @type {number} */ seconds, waitMs = 1000 * (seconds || advised)) { // 0 seconds: as the server advises
      chosen = seconds;
      if (!underWay) schedule(waitMs);
    },
    state: () => ({ advised, nextAt, underWay }),
  };
}
