// @ts-check
// The lesson's loop: ask, use the response, wait, ask again; and what makes it safe. To use it in a page:
//   import { startPolling } from "/client/poll.js";
//   const poller = startPolling("/boards/board-1/updates", (tasks, source) => {
//     // If source is "board", show these tasks and no others. If not, each of them was added, changed or deleted.
//   });
//   document.addEventListener("visibilitychange", () => document.hidden ? poller.pause() : poller.resume());

/**
 * @typedef {{id: string, list_id: string, title: string, description: string, position: number,
 *   created_at: string, updated_at: string, deleted_at?: string}} Task a task; with deleted_at it was deleted
 * @typedef {"board" | "poll" | "write"} Source a poll for the whole board, one for changes, or the response to a write
 * @typedef {{url: string, startTime: number, source: Source, status: number, rows: number, tasks: Task[],
 *   error?: Error}} Poll the response had so many rows; tasks are those that were news
 */

/**
 * Polls url until it is paused. Pause it while its page is hidden.
 * @param {string} url
 * @param {(tasks: Task[], source: Source) => void | Promise<void>} onChange updates the view
 * @param {(poll: Poll) => void} [onPoll] hears of each poll that has ended, also of one that failed
 */
export function startPolling(url, onChange, onPoll = ({ error }) => error && console.error(error)) {
  let since = "", serverStart = ""; // the cursor: the last timestamp applied, and the run of the server it is for
  let advised = 5, chosen = 0; // seconds
  let failures = 0, notBefore = 0, nextAt = 0, timer = 0, paused = true;
  let underWay = /** @type {Poll | null} */ (null), abort = new AbortController();
  let queue = Promise.resolve(/** @type {Task[]} */ ([]));
  const seen = /** @type {Map<string, string>} */ (new Map()); // the updated_at of the copy at hand, by id

  /** Applies rows, those of polls and of writes one after the other. Returns the rows that were news. */
  function apply(/** @type {Task[]} */ rows, /** @type {Source} */ source) {
    return queue = queue.catch(() => []).then(async () => {
      if (source === "board") seen.clear();
      const tasks = rows.filter((task) => task.updated_at > (seen.get(task.id) ?? "")); // so repeats do no harm
      if (tasks.length > 0 || source === "board") await onChange(tasks, source);
      for (const task of tasks) seen.set(task.id, task.updated_at);
      return tasks;
    });
  }

  async function poll() {
    const target = new URL(url, location.href);
    if (since) target.searchParams.set("since", since);
    const result = underWay = /** @type {Poll} */ ({ url: target.href, startTime: performance.now(),
      source: since ? "poll" : "board", status: 0, rows: 0, tasks: [] });
    const { signal } = abort = new AbortController();
    let seconds = 0; // to the next poll
    try {
      const response = await fetch(target, { signal: AbortSignal.any([signal, AbortSignal.timeout(20_000)]) });
      result.status = response.status;
      advised = Math.max(1, Number(response.headers.get("X-Poll-Interval")) || advised);
      const after = response.headers.get("Retry-After") ?? ""; // seconds, or a date
      notBefore = after ? (Date.now() + 1000 * Number(after) || Date.parse(after) || 0) + 1000 * Math.random() : 0;
      if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
      const { data, timestamp } = await response.json();
      if (!Array.isArray(data) || typeof timestamp !== "string") throw new Error("the response is not a board's");
      const start = response.headers.get("X-Server-Start") ?? "";
      result.rows = data.length;
      if (since && start !== serverStart) {
        since = ""; // the server was started anew and may have other data: load the whole board, at once
      } else {
        result.tasks = await apply(data, result.source);
        since = timestamp; // only now: if onChange failed, the same rows must come again
        seconds = chosen || advised;
      }
      serverStart = start;
      failures = 0;
    } catch (e) {
      underWay = null;
      if (signal.aborted) return schedule(nextAt - Date.now()); // paused, so this was no failure
      result.error = /** @type {Error} */ (e);
      seconds = Math.max(chosen || advised, Math.min(60, (chosen || advised) * 2 ** ++failures)); // let it recover
    }
    underWay = null;
    schedule(1000 * seconds * (0.9 + 0.2 * Math.random())); // with jitter, or clients would stay in step
    onPoll(result);
  }

  function schedule(/** @type {number} */ waitMs) {
    clearTimeout(timer);
    const latest = Date.now() + 3_600_000; // setTimeout fires at once if it is given 2**31 milliseconds or more
    nextAt = Math.min(Math.max(Date.now() + waitMs, notBefore), latest);
    if (!underWay && !paused) timer = setTimeout(poll, nextAt - Date.now());
  }

  const pollNow = () => schedule(0);
  const poller = {
    apply, // for the response to a write, as "write"; it never moves the cursor
    pollNow,
    pause() {
      paused = true;
      clearTimeout(timer);
      abort.abort(); // a poll that hangs must not hold up the first one after resume
      removeEventListener("online", pollNow);
    },
    resume(waitMs = 0) {
      paused = false;
      schedule(waitMs);
      addEventListener("online", pollNow);
    },
    every(/** @type {number} */ seconds, /** @type {number} */ waitMs) { // 0 seconds: as the server advises
      chosen = seconds;
      schedule(waitMs);
    },
    state: () => ({ advised, nextAt, underWay }),
  };
  poller.resume();
  return poller;
}
