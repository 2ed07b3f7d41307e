// @ts-check
// What polling brings and costs: the figures, the picture and the requests. The page tells the meter of each poll.

/**
 * With deleted_at, a task was deleted.
 * @typedef {{id: string, list_id: string, title: string, description: string, position: number,
 *   created_at: string, updated_at: string, deleted_at?: string}} Task
 * A poll of a user, and what it brought. With made, the instant of the oldest change that the user had waited for.
 * @typedef {{at: number, kind: "nothing" | "changes" | "first" | "failed", made?: number}} Mark
 * A change: when and what, and how long each user whom it has reached waited for it.
 * @typedef {{at: number, what: string, waits: number[]}} Change
 * @typedef {import("./poll.js").Poll} Poll
 */

// The data behind all that is shown. Instants and times are in milliseconds, the instants as from Date.now().
export const users = /** @type {Mark[][]} */ ([]);
export const changes = /** @type {Map<string, Change>} */ (new Map()); // by task and updated_at
const tasks = /** @type {Map<string, Task>} */ (new Map()); // by id, as the last change left them
export const idleTimes = /** @type {{from: number, to: number}[]} */ ([]); // the page was hidden or paused
export const counts = { nothing: 0, changes: 0, first: 0, failed: 0 };
const hasUntil = /** @type {number[]} */ ([]); // of each user: all that was changed until then has reached the user
let intervalMs = 0;

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
export const inSeconds = (/** @type {number} */ ms) => `${(ms / 1000).toFixed(1)} s`;
export const amount = (/** @type {number} */ n) => n.toLocaleString("en", { maximumFractionDigits: n < 1 ? 2 : 1 });
export const plural = (/** @type {number} */ n, /** @type {string} */ noun) =>
  `${amount(n)} ${noun}${n === 1 ? "" : "s"}`;
export const clock = (/** @type {number} */ at) => new Date(at).toLocaleTimeString("en-GB");

/** Says what happened to a task. Isolates its title: one that is written from right to left must not turn the rest. */
function what(/** @type {Task} */ { id, list_id, title, deleted_at }) {
  const characters = [...title.replace(/[\u202A-\u202E\u2066-\u2069]/g, "")]; // without those that turn text
  const quoted = characters.length > 40 ? `${characters.slice(0, 40).join("")}…` : characters.join("");
  const before = tasks.get(id);
  return `\u2068“${quoted}”\u2069 was ${deleted_at ? "deleted" : !before ? "added" : before.title !== title ? "renamed"
    : before.list_id !== list_id ? "moved" : "changed"}`;
}

// --- What the page tells -------------------------------------------------------------------------------

/** Says how many users there are and how often they poll. */
export function setUp(/** @type {number} */ userCount, /** @type {number} */ seconds) {
  users.length = hasUntil.length = Math.min(users.length, userCount);
  while (users.length < userCount) users.push([]);
  intervalMs = 1000 * seconds;
}

/**
 * How long ago a task was changed: NaN if that is still to come. This takes the clocks of browser and server to agree,
 * as on one machine they do. Changes of the same millisecond have stamps that are a little ahead of the clock.
 */
export function age(/** @type {Task} */ { updated_at }) {
  const ms = Date.now() - Date.parse(updated_at);
  return ms < -1000 ? NaN : Math.max(0, ms);
}

/** Remembers a change, from the response to the write that made it, or from the first poll that brought it. */
export function made(/** @type {Task} */ task) {
  const key = `${task.id} ${task.updated_at}`;
  const change = changes.get(key) ?? { at: Date.parse(task.updated_at), what: what(task), waits: [] };
  if (age(task) >= 0) changes.set(key, change);
  tasks.set(task.id, task);
  return change;
}

/** Whether a change has not reached a user yet. A user who has not loaded the board waits for no change. */
const isWaiting = (/** @type {number} */ user, /** @type {Change} */ change) => hasUntil[user] < change.at;

/** Counts a poll of a user. */
export function polled(/** @type {number} */ user, /** @type {Poll} */ poll) {
  const at = Date.now(), sent = at - (performance.now() - poll.startTime);
  const kind = poll.error ? "failed" : poll.restarted ? "nothing" : poll.source === "board" ? "first"
    : poll.rows.length === 0 ? "nothing" : "changes";
  counts[kind]++;
  if (user === 0) addRequest(poll, at);
  if (user === 0 && kind === "first") for (const task of poll.rows) tasks.set(task.id, task);

  const news = kind === "changes" ? poll.rows.filter((task) => age(task) >= 0).map(made) : [];
  const newest = news.reduce((latest, change) => Math.max(latest, change.at), 0);
  // Of a task that was changed twice, only the second change comes. The user has waited since the first.
  const waitedFor = [...changes.values()].filter((change) => change.at <= newest && isWaiting(user, change));
  for (const change of news) if (waitedFor.includes(change)) change.waits.push(Math.max(0, at - change.at));
  // What brought nothing is marked where it was sent. One that was under way at a change did not miss that change.
  users[user].push({ at: kind === "nothing" ? sent : at, kind,
    made: waitedFor.length > 0 ? Math.min(at, ...waitedFor.map((change) => change.at)) : undefined });
  // The response has what was committed before the request was sent. A change has its stamp a moment earlier than that.
  if (!poll.error && !poll.restarted)
    hasUntil[user] = Math.max(hasUntil[user] ?? 0, newest, sent - (kind === "first" ? 0 : 1000));
}

/** Shades the time in which the page is hidden or paused. */
export function idle(/** @type {boolean} */ is) {
  const now = idleTimes.find(({ to }) => to === Infinity);
  if (is && !now) idleTimes.push({ from: Date.now(), to: Infinity });
  if (!is && now) now.to = Date.now();
}

// --- The figures and the requests ----------------------------------------------------------------------

/** Draws all again. */
export function show() {
  forget();
  showFigures();
  drawPicture();
}

/** How much time the picture shows: a few polls of each user. */
const span = () => Math.max(20_000, 4 * intervalMs);

/** How many users wait for a change. */
const waiting = (/** @type {Change} */ change) => [...users.keys()].filter((user) => isWaiting(user, change)).length;

/** The last change that has reached or will reach anybody. */
const lastChange = () => [...changes.values()].filter((change) => change.waits.length + waiting(change) > 0)
  .reduce((a, b) => a && a.at > b.at ? a : b, /** @type {Change | undefined} */ (undefined));

const mean = (/** @type {number[]} */ waits) => waits.reduce((a, b) => a + b, 0) / waits.length;

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
}

function showFigures() {
  const { nothing, changes } = counts;
  const asked = nothing + changes;
  const percent = changes === 0 ? 100 : Math.min(99, Math.round(100 * nothing / asked));
  put("share", asked === 0 ? "" : asked < 20 ? `${nothing} of ${asked}` : `${percent} %`);
  put("asked", asked === 0 ? "No user has polled for changes yet."
    : `${asked < 20 ? "" : `of ${amount(asked)} `}polls for changes brought nothing`);
  const last = lastChange();
  put("delay", last ? delays(last) : "–");
}

function delays(/** @type {Change} */ change) {
  const { waits } = change;
  const all = waits.length + waiting(change);
  const reached = all === waits.length ? "" : ` (${waits.length} of ${all} so far)`;
  return waits.length === 0 ? `–${reached}`
    : `${inSeconds(mean(waits))} on average, ${inSeconds(Math.max(...waits))} at most${reached}`;
}

/** Changes a text only if it is another one: screen readers and layout notice each change. */
export function put(/** @type {string} */ id, /** @type {string} */ text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function addRequest(/** @type {Poll} */ { url, source, status, rows, restarted, error }, /** @type {number} */ at) {
  const brought = status === 0 ? "no response"
    : error ? `failed: ${error.message}`
    : restarted ? "thrown away: the server started again"
    : source === "board" ? `the whole board, ${plural(rows.length, "task")}`
    : status === 304 ? "nothing: the ETag is still the same"
    : rows.length === 0 ? "nothing" : plural(rows.length, "task");
  const { pathname, search } = new URL(url);
  const row = byId("requests").insertRow(0);
  for (const text of [clock(at), `GET ${pathname}${decodeURIComponent(search)}`, status || "none", brought]) {
    row.insertCell().textContent = text;
  }
  byId("requests").rows[6]?.remove();
}

// --- The picture: time runs to the right, with a row for each user -----------------------------------------

const top = 36, bottom = 18, left = 54, right = 12; // the margins of the rows, in pixels

function drawPicture() {
  const picture = byId("picture");
  const width = picture.clientWidth;
  const rowHeight = Math.min(20, 240 / users.length);
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
  const { color, backgroundColor } = getComputedStyle(picture);
  const sheet = { pen, width, height, rowHeight, now, color, backgroundColor,
    /** Where an instant is. One before the span is at its start. */
    x: (/** @type {number} */ at) => left + (width - left - right) * Math.max(0, 1 - (now - at) / span()),
    /** The middle of a user's row. */
    y: (/** @type {number} */ user) => top + rowHeight * (user + 0.5),
    /** Takes the colour of a mark from the legend, which from now on explains this mark. */
    use(/** @type {string} */ kind) {
      const sample = /** @type {any} */ (document.querySelector(`.legend .${kind}`));
      sample.parentElement.hidden = false;
      pen.fillStyle = pen.strokeStyle = getComputedStyle(sample).color;
    },
    /** Writes a text with its middle at x, or as near as there is room for all of it, narrower if need be. */
    write(/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y) {
      const textWidth = Math.min(pen.measureText(text).width, width - 4);
      pen.fillText(text, Math.max(2, Math.min(x - textWidth / 2, width - textWidth - 2)), y, textWidth);
    },
  };
  drawTime(sheet);
  drawWaits(sheet);
  drawPolls(sheet);
  drawChanges(sheet);
  const sentence = describe();
  if (picture.ariaLabel !== sentence) picture.ariaLabel = sentence;
  put("span", `The last ${Math.round(span() / 1000)} s, a row for each user:`);
}

/** Draws the axis, the rows' names, and the time in which the page was hidden or paused. */
function drawTime(/** @type {any} */ { pen, width, height, rowHeight, now, color, x, y, use, write }) {
  if (idleTimes.length > 0) use("idle");
  pen.globalAlpha = 0.15;
  for (const { from, to } of idleTimes) {
    pen.fillRect(x(from), top, x(Math.min(to, now)) - x(from), height - top - bottom);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = color;
  for (const user of users.keys()) {
    if (rowHeight > 12 || user === 0 || user === users.length - 1) pen.fillText(`user ${user + 1}`, 2, y(user));
  }
  const ticks = (width - left - right) / 70; // as many as have room for their text
  const step = [5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600].find((s) => span() <= 1000 * s * ticks) ?? 7200;
  for (let seconds = 0; 1000 * seconds < span(); seconds += step) {
    const tick = x(now - 1000 * seconds);
    pen.fillRect(tick, height - bottom, 1, 4);
    write(seconds === 0 ? "now" : `−${seconds} s`, tick, height - 6);
  }
}

/** Draws how long users waited for what a poll brought them, and how long they have waited for what none did yet. */
function drawWaits(/** @type {any} */ { pen, rowHeight, now, x, y, use }) {
  const waits = users.flatMap((marks, user) => [
    ...marks.filter(({ made }) => made).map(({ made, at }) => ({ user, from: made, to: at })),
    ...[...changes.values()].filter((change) => isWaiting(user, change)).map(({ at }) => ({ user, from: at, to: now })),
  ]);
  if (waits.length > 0) use("waited");
  const half = rowHeight / 2;
  for (const { user, from, to } of waits) pen.fillRect(x(from), y(user) - half / 2, x(to) - x(from), half);
}

/** Draws a mark for each poll. */
function drawPolls(/** @type {any} */ { pen, rowHeight, backgroundColor, x, y, use }) {
  const size = Math.max(2, Math.min(5, rowHeight / 2 - 1));
  for (const kind of ["nothing", "first", "failed", "changes"]) {
    const polls = users.flatMap((marks, user) =>
      marks.filter((mark) => mark.kind === kind).map(({ at }) => ({ user, at })));
    if (polls.length > 0) use(kind);
    if (kind === "changes") { // an outline, or the mark would not stand out from the bar that it ends
      pen.strokeStyle = backgroundColor;
      pen.lineWidth = 2.5;
    }
    for (const { user, at } of polls) {
      pen.beginPath();
      if (kind === "failed") pen.fillText("×", x(at) - 4, y(user));
      else if (kind === "first") pen.fillRect(x(at) - size, y(user) - size, 2 * size, 2 * size);
      else pen.arc(x(at), y(user), size, 0, 7);
      pen.stroke();
      if (kind !== "nothing") pen.fill();
    }
  }
}

/** Draws an upright line for each change, and says of the last one what it is and how long it took. */
function drawChanges(/** @type {any} */ { pen, width, height, x, use, write }) {
  const shown = [...changes.values()].filter(({ at }) => x(at) > left);
  if (shown.length > 0) use("made");
  for (const { at } of shown) pen.fillRect(x(at) - 1, top - 6, 2, height - top - bottom + 6);
  const last = lastChange();
  if (!last || !shown.includes(last)) return;
  const { at, what, waits } = last;
  const all = waits.length + waiting(last);
  write(what, x(at), 9);
  write(waits.length < all ? `reached ${waits.length} of ${plural(all, "user")} so far`
    : `reached ${plural(all, "user")} after ${inSeconds(mean(waits))} on average`, x(at), 22);
}

/** Says in a sentence what the picture shows. */
function describe() {
  const last = lastChange();
  const of = (/** @type {string} */ kind) => users.flat().filter((mark) => mark.kind === kind).length;
  return `The polls of ${plural(users.length, "user")} in the last ${Math.round(span() / 1000)} s: ` +
    `${of("nothing")} brought nothing, ${of("changes")} a change, ${of("first")} the whole board, ` +
    `${of("failed")} failed.${last ? ` The last change reached the users after ${delays(last)}.` : ""}`;
}
