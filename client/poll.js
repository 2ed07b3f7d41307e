// @ts-check
// The lesson's loop: ask, use the answer, wait, ask again; and what makes it safe.

/**
 * A task as the server sends it. One with deleted_at is gone.
 * @typedef {{id: string, list_id: string, title: string, description: string, position: number,
 *   created_at: string, updated_at: string, deleted_at?: string}} Task
 */

/**
 * Polls url until it is paused. Pause it while its page is hidden.
 * @param {string} url
 * @param {(tasks: Task[], source: "board" | "poll" | "write") => void | Promise<void>} onChange
 *   updates the view: with all tasks of the board, or with those that changed
 * @param {(poll: {changes: number, error?: Error, waitMs: number}) => void} [onPoll]
 *   hears of every poll when it is over, and how long it is to the next
 */
export function startPolling(url, onChange, onPoll = () => {}) {
  /** @type {string | null} */
  let since = null; // the cursor: the last timestamp whose rows were applied
  let advised = 5, chosen = 0; // seconds
  let failures = 0, notBefore = 0, running = false, paused = false, timer = 0;
  let queue = Promise.resolve(0);
  /** @type {Map<string, string>} */
  const seen = new Map(); // the updated_at of the copy at hand, by id

  /** Applies rows, those of a poll and of a write one after the other. Returns how many were news. */
  function apply(/** @type {Task[]} */ rows, /** @type {"board" | "poll" | "write"} */ source) {
    return queue = queue.catch(() => 0).then(() => applyNow(rows, source));
  }

  /** Applies the rows that are newer than the copy at hand, so that repeats do no harm. */
  async function applyNow(/** @type {Task[]} */ rows, /** @type {"board" | "poll" | "write"} */ source) {
    if (source === "board") seen.clear();
    const changed = rows.filter((task) => task.updated_at > (seen.get(task.id) ?? ""));
    if (changed.length > 0 || source === "board") await onChange(changed, source);
    for (const task of changed) seen.set(task.id, task.updated_at);
    return changed.length;
  }

  async function poll() {
    clearTimeout(timer);
    if (running || paused) return;
    running = true; // one at a time: the next is set when this one is over
    let changes = 0, error, retryAfter = 0, seconds = 0;
    try {
      const response = await fetch(since === null ? url : `${url}?since=${encodeURIComponent(since)}`,
        { signal: AbortSignal.timeout(30_000) }); // an answer that never comes is a failure too
      retryAfter = Number(response.headers.get("Retry-After")) || 0;
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      advised = Number(response.headers.get("X-Poll-Interval")) || advised;
      const { data, timestamp } = await response.json();
      if (since !== null && timestamp < since) {
        since = null; // the server came back from an older copy: load anew, at once
      } else {
        changes = await apply(data, since === null ? "board" : "poll");
        since = timestamp; // only now: had it failed, the same rows would come again
        seconds = chosen || advised;
      }
      failures = 0;
    } catch (e) {
      error = /** @type {Error} */ (e);
      const normal = chosen || advised;
      seconds = Math.max(normal, Math.min(60, normal * 2 ** ++failures)); // leave it time to recover
    }
    running = false;
    // Jitter, or all clients of a restarted server would come back in step.
    const waitMs = 1000 * Math.max(seconds * (0.9 + 0.2 * Math.random()), retryAfter * (1 + 0.1 * Math.random()));
    notBefore = retryAfter > 0 ? Date.now() + waitMs : 0;
    schedule(waitMs);
    onPoll({ changes, error, waitMs });
  }

  function schedule(/** @type {number} */ waitMs) {
    clearTimeout(timer);
    if (!running && !paused) timer = setTimeout(poll, Math.max(waitMs, notBefore - Date.now()));
  }

  schedule(0);
  return {
    apply, // for a write's answer, as "write"; it must not move the cursor
    advised: () => advised,
    pause() { paused = true; clearTimeout(timer); },
    resume() { if (paused) { paused = false; schedule(0); } },
    /** Polls every so many seconds from now on; 0 is what the server advises. */
    every(/** @type {number} */ seconds) { chosen = seconds; schedule(1000 * (chosen || advised) * Math.random()); },
  };
}
