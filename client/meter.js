// @ts-check
// What polling brings and costs: the figures, the picture and the requests. The page tells the meter of each poll.

/**
 * What a poll brought one user. With made, the instant of the oldest change that the poll brought.
 * @typedef {{at: number, kind: "nothing" | "changes" | "first" | "failed", made?: number}} Mark
 * A change by another client: when it was made, and how long each user whom it has reached waited for it.
 * @typedef {{at: number, what: string, waits: number[]}} Change
 * A request of the first user. The browser tells later how many bytes the response had, and whether it was a 304.
 * @typedef {{at: number, url: string, startTime: number, status: number, bytes?: number, brought: string}} Request
 * @typedef {import("./poll.js").Poll} Poll
 * @typedef {import("./poll.js").Task} Task
 */

// The data behind all that is shown. Instants and times are in milliseconds, the instants as from Date.now().
export const users = /** @type {Mark[][]} */ ([[]]);
export const changes = /** @type {Map<string, Change>} */ (new Map()); // by task and updated_at
export const requests = /** @type {Request[]} */ ([]); // the newest first
export const idleTimes = /** @type {{from: number, to: number}[]} */ ([]); // the page was hidden or paused
export const counts = { nothing: 0, changes: 0, first: 0, failed: 0, bytes: 0 };

const requestsShown = 6;
const shortestSpan = 60_000, intervalsShown = 4;
let intervalMs = 0;

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const inSeconds = (/** @type {number} */ ms) => `${(ms / 1000).toFixed(1)} s`;
const amount = (/** @type {number} */ n) => n.toLocaleString("en", { maximumFractionDigits: 1 });
export const plural = (/** @type {number} */ n, /** @type {string} */ noun) =>
  `${amount(n)} ${noun}${n === 1 ? "" : "s"}`;
export const clock = (/** @type {number} */ at) => new Date(at).toLocaleTimeString("en-GB");

// --- What the page tells -------------------------------------------------------------------------------

/** Says how many users there are and how often they poll. */
export function setUp(/** @type {number} */ userCount, /** @type {number} */ seconds) {
  users.length = Math.min(users.length, userCount);
  while (users.length < userCount) users.push([]);
  intervalMs = 1000 * seconds;
}

const own = /** @type {Map<string, string>} */ (new Map()); // the updated_at that this page's last write gave a task

/** Remembers what this page wrote: it is no news to any of its users. */
export function wrote(/** @type {Task} */ task) {
  own.set(task.id, task.updated_at);
}

export const isNews = (/** @type {Task} */ task) => own.get(task.id) !== task.updated_at;

/** How long ago a change was made. This takes the clocks of browser and server to agree, as on one machine they do. */
export const age = (/** @type {Task} */ task) => Math.max(0, Date.now() - Date.parse(task.updated_at));

/** Counts a poll of a user. */
export function polled(/** @type {number} */ user, /** @type {Poll} */ poll) {
  const at = Date.now();
  const news = poll.source === "poll" ? poll.tasks.filter(isNews) : [];
  const kind = poll.error ? "failed" : poll.source === "board" ? "first" : news.length > 0 ? "changes" : "nothing";
  counts[kind]++;
  const made = news.length > 0 ? at - Math.max(...news.map(age)) : undefined;
  users[user]?.push({ at, kind, made });
  for (const task of news) {
    const key = `${task.id} ${task.updated_at}`;
    const change = changes.get(key) ?? { at: Date.parse(task.updated_at), what: describeChange(task), waits: [] };
    change.waits.push(age(task));
    changes.set(key, change);
  }
  if (user === 0) {
    addRequest(poll, at, news.length);
    show();
  }
}

function describeChange(/** @type {Task} */ { title, created_at, updated_at, deleted_at }) {
  const isNew = Date.parse(updated_at) - Date.parse(created_at) < 100;
  return `${quote(title)} is ${deleted_at ? "deleted" : isNew ? "added" : "changed"}`;
}

/** Shades the time in which the page is hidden or paused. */
export function idle(/** @type {boolean} */ is) {
  const last = idleTimes.at(-1);
  const now = Date.now();
  const isNow = last?.to === Infinity;
  if (is && !isNow) idleTimes.push({ from: now, to: Infinity });
  if (!is && last && isNow) last.to = now;
}

export function reset() {
  for (const marks of users) marks.length = 0;
  changes.clear();
  idleTimes.splice(0, idleTimes.length - (idleTimes.at(-1)?.to === Infinity ? 1 : 0));
  Object.assign(counts, { nothing: 0, changes: 0, first: 0, failed: 0, bytes: 0 });
  show();
}

// --- The figures and the requests ----------------------------------------------------------------------

/** Draws all anew. Once a second is enough: 50 users can make a hundred polls in that time. */
export function show() {
  forget();
  showFigures();
  drawPicture();
}

const span = () => Math.max(shortestSpan, intervalsShown * intervalMs);
const lastChange = () => [...changes.values()].sort((a, b) => a.at - b.at).at(-1);

/** Drops what the picture no longer shows, but for the last change. */
function forget() {
  const start = Date.now() - span();
  for (const marks of users) {
    const old = marks.findIndex((mark) => mark.at >= start);
    marks.splice(0, old < 0 ? marks.length : old);
  }
  const last = lastChange();
  for (const [key, change] of changes) {
    if (change !== last && (change.at < start || changes.size > 200)) changes.delete(key);
  }
  while (idleTimes.length > 0 && idleTimes[0].to < start) idleTimes.shift();
}

function showFigures() {
  const polls = counts.nothing + counts.changes + counts.first;
  const share = Math.round(100 * counts.nothing / polls);
  put("share", polls === 0 ? "–" : `${counts.nothing < polls ? Math.min(99, share) : 100} %`);
  put("polls", `${amount(polls)}: ${amount(counts.nothing)} brought nothing, ${amount(counts.changes)} a change, ` +
    `${amount(counts.first)} the whole board${counts.failed > 0 ? `; ${amount(counts.failed)} failed` : ""}`);
  put("bytes", `${amount(counts.bytes / 1000)} kB`);
  const last = lastChange();
  put("delay", last ? delays(last) : "–");
}

function delays(/** @type {Change} */ { waits }) {
  const mean = waits.reduce((a, b) => a + b) / waits.length;
  return `${inSeconds(mean)} on average, ${inSeconds(Math.max(...waits))} at most`;
}

/** Changes a text only if it is another one: screen readers and layout notice each change. */
export function put(/** @type {string} */ id, /** @type {string} */ text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function addRequest(/** @type {Poll} */ poll, /** @type {number} */ at, /** @type {number} */ news) {
  const { url, startTime, status, rows, error } = poll;
  const brought = status === 0 ? "no response"
    : error ? `failed: ${error.message}`
    : rows === 0 ? "nothing"
    : poll.source === "board" ? `the board, ${plural(rows, "task")}`
    : plural(rows, "task") + (news > 0 ? "" : ", no news here");
  requests.unshift({ at, url, startTime, status, brought });
  requests.splice(requestsShown);
  const { pathname, search } = new URL(url);
  const row = byId("requests").insertRow(0);
  for (const text of [clock(at), `GET ${pathname}${search}`, status || "none", "", brought]) {
    row.insertCell().textContent = text;
  }
  byId("requests").rows[requestsShown]?.remove();
  completeRequests();
}

const entries = /** @type {any[]} */ ([]); // what the browser reported of the last responses, of all users

new PerformanceObserver((list) => {
  const polls = list.getEntries().filter((entry) => new URL(entry.name).pathname.endsWith("/updates"));
  for (const entry of /** @type {PerformanceResourceTiming[]} */ (polls)) counts.bytes += entry.transferSize;
  entries.push(...polls);
  entries.splice(0, entries.length - 100);
  performance.clearResourceTimings();
  completeRequests();
}).observe({ type: "resource" });

/** Adds to the requests what the browser reports of them, before or after poll.js does. */
function completeRequests() {
  for (const [i, request] of requests.entries()) {
    // The same URL is asked for by many. The instants at which they did so tell them apart.
    const entry = entries.find(({ name, startTime }) =>
      name === request.url && Math.abs(startTime - request.startTime) < 10);
    if (!entry || request.bytes !== undefined) continue;
    request.bytes = entry.transferSize;
    const { cells } = byId("requests").rows[i];
    cells[3].textContent = amount(entry.transferSize);
    // fetch shows a 304 as the response that the browser has kept. Only Chromium tells, with "cache".
    if (entry.deliveryType !== "cache") continue;
    request.status = 304;
    cells[2].textContent = "304";
    // A 304 that brings tasks: the browser had the response from before a reload, or from another user of this page.
    if (request.brought === "nothing") continue;
    cells[4].textContent += users.length > 1 ? ", kept by the browser for another user" : ", kept by the browser";
  }
}

// --- The picture: time runs to the right, with a row for each user -----------------------------------------

const top = 20, bottom = 18, left = 54, right = 12; // the margins of the rows, in pixels

function drawPicture() {
  const picture = byId("picture");
  const width = picture.clientWidth;
  const rowHeight = Math.min(24, 220 / users.length);
  const height = top + rowHeight * users.length + bottom;
  picture.style.height = `${height}px`;
  picture.width = Math.round(width * devicePixelRatio);
  picture.height = Math.round(height * devicePixelRatio);
  const pen = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.lineWidth = 1.5;

  const now = Date.now();
  const sheet = { pen, width, height, rowHeight, now,
    /** Where an instant is. One before the span is at its start. */
    x: (/** @type {number} */ at) => left + (width - left - right) * Math.max(0, 1 - (now - at) / span()),
    /** The middle of a user's row. */
    y: (/** @type {number} */ user) => top + rowHeight * (user + 0.5),
    /** Takes a colour from the legend, so that the colours of both themes are in the style sheet alone. */
    colour(/** @type {string} */ selector) {
      const element = /** @type {Element} */ (document.querySelector(selector));
      pen.fillStyle = pen.strokeStyle = getComputedStyle(element).color;
    },
  };
  drawTime(sheet);
  drawPolls(sheet);
  drawChanges(sheet);
  const sentence = describe();
  if (picture.ariaLabel !== sentence) picture.ariaLabel = sentence;
  const played = users.length > 1 ? " (you are user 1, this page plays the others)" : "";
  put("span", `The last ${span() / 1000} s, with a row for each user${played}:`);
}

/** Draws the axis, the rows' names, and the time in which the page was hidden or paused. */
function drawTime(/** @type {any} */ { pen, height, rowHeight, now, x, y, colour }) {
  colour(".mark.idle");
  for (const { from, to } of idleTimes) {
    pen.fillRect(x(from), top, x(Math.min(to, now)) - x(from), height - top - bottom);
  }
  colour(".legend");
  for (const user of users.keys()) {
    if (rowHeight > 12 || user === 0 || user === users.length - 1) pen.fillText(`user ${user + 1}`, 2, y(user));
  }
  const step = [10, 20, 30, 60, 120, 300, 600, 1200, 3600].find((seconds) => span() <= 6000 * seconds) ?? 7200;
  for (let seconds = 0; 1000 * seconds < span(); seconds += step) {
    const tick = x(now - 1000 * seconds);
    pen.textAlign = seconds === 0 ? "right" : "center";
    pen.fillRect(tick, height - bottom, 1, 4);
    pen.fillText(seconds === 0 ? "now" : `−${seconds} s`, tick + (seconds === 0 ? right : 0), height - 6);
  }
}

/** Draws a mark for each poll, and how long the user had waited for what it brought. */
function drawPolls(/** @type {any} */ { pen, rowHeight, x, y, colour }) {
  colour(".mark.waited");
  for (const [user, marks] of users.entries()) {
    for (const { at, made } of marks) {
      if (made) pen.fillRect(x(made), y(user) - rowHeight / 2 + 0.5, x(at) - x(made), rowHeight - 1);
    }
  }
  const size = Math.max(2.5, Math.min(5, rowHeight / 2 - 1));
  const tick = Math.min(8, rowHeight - 1);
  const circle = (/** @type {number} */ x, /** @type {number} */ y) => {
    pen.beginPath();
    pen.arc(x, y, size, 0, 7);
  };
  const draw = {
    nothing: (/** @type {number} */ x, /** @type {number} */ y) => pen.fillRect(x - 1.5, y - tick / 2, 3, tick),
    first: (/** @type {number} */ x, /** @type {number} */ y) => {
      circle(x, y);
      pen.stroke();
    },
    failed: (/** @type {number} */ x, /** @type {number} */ y) => {
      pen.beginPath();
      pen.moveTo(x - size, y - size);
      pen.lineTo(x + size, y + size);
      pen.moveTo(x - size, y + size);
      pen.lineTo(x + size, y - size);
      pen.stroke();
    },
    changes: (/** @type {number} */ x, /** @type {number} */ y) => {
      circle(x, y);
      pen.fill();
    },
  };
  for (const kind of /** @type {Mark["kind"][]} */ (Object.keys(draw))) {
    colour(`.mark.${kind}`);
    for (const [user, marks] of users.entries()) {
      for (const mark of marks) {
        if (mark.kind === kind) draw[kind](x(mark.at), y(user));
      }
    }
  }
}

/** Draws an upright line for each change, and says what the last one is. */
function drawChanges(/** @type {any} */ { pen, width, height, x, colour }) {
  colour(".mark.made");
  for (const { at } of changes.values()) {
    if (x(at) > left) pen.fillRect(x(at) - 1, top - 6, 2, height - top - bottom + 6);
  }
  const last = lastChange();
  if (!last || x(last.at) === left) return;
  const before = x(last.at) > width / 2;
  pen.textAlign = before ? "right" : "left";
  const text = label(last, width);
  pen.fillText(before ? `${text} ▸` : `◂ ${text}`, x(last.at) + (before ? -3 : 3), 9);
}

function label(/** @type {Change} */ { what, waits }, /** @type {number} */ width) {
  const [least, most] = [Math.min(...waits), Math.max(...waits)].map((ms) => (ms / 1000).toFixed(1));
  const reached = waits.length === 1 ? `reached one user ${most} s later`
    : `reached ${waits.length} users ${least} to ${most} s later`;
  return width < 600 ? reached : `${what}; it ${reached}`;
}

/** Says in a sentence what the picture shows. */
function describe() {
  const last = lastChange();
  const all = users.flat();
  const of = (/** @type {string} */ kind) => all.filter((mark) => mark.kind === kind).length;
  return `The polls of ${plural(users.length, "user")} in the last ${span() / 1000} s: ` +
    `${of("nothing")} brought nothing, ${of("changes")} brought changes, ${of("first")} the whole board, ` +
    `${of("failed")} failed.` +
    (last ? ` The last change reached the users after ${delays(last)}.` : "");
}

/** A title in quotation marks, cut off if it is long. */
export const quote = (/** @type {string} */ title) =>
  title.length > 40 ? `“${title.slice(0, 40)}…”` : `“${title}”`;
