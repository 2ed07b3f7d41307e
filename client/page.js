// @ts-check
// The page: the board with its writes, and the knobs. How polling works is in poll.js.
import { startPolling } from "./poll.js";
import * as meter from "./meter.js";

/** @typedef {import("./poll.js").Task} Task */
/** @typedef {import("./poll.js").Source} Source */
/** @typedef {import("./poll.js").Poll} Poll */

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const board = byId("board");

// --- The board ---------------------------------------------------------------------------------------------

const tasks = /** @type {Map<string, Task>} */ (new Map());
const cards = /** @type {Map<string, any>} */ (new Map()); // the elements of the tasks
let loads = 0; // how often the whole board came

/** Updates the view: with all tasks of the board, or with those that changed. */
async function show(/** @type {Task[]} */ rows, /** @type {Source} */ source) {
  if (source === "board") loads++; // first, because write, which looks at it, must not apply an older response
  if (source === "board" || rows.some((task) => !listElement(task.list_id))) await loadLists();
  const focused = /** @type {any} */ (document.activeElement);
  const list = focused.closest(".list");
  if (source === "poll") announce(rows.filter(meter.isNews));
  if (source === "board") tasks.clear();
  if (source === "board" && loads > 1)
    byId("news").textContent = "The server was started anew, so the board was loaded anew.";
  rememberPlaces();
  const live = rows.filter((task) => !task.deleted_at);
  for (const { id } of rows) tasks.delete(id);
  for (const task of live) tasks.set(task.id, task);
  for (const [id, card] of cards) {
    if (!tasks.has(id)) removeCard(id, card, source);
  }
  live.forEach(showTask);
  for (const section of board.children) {
    const inList = [...tasks.values()].filter((task) => task.list_id === section.dataset.id);
    inList.sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
    place(section.querySelector("ol"), inList.map((task) => cards.get(task.id)));
  }
  if (source === "poll") rows.filter(meter.isNews).forEach((task) => cards.get(task.id)?.animate([lit, lit], 3000));
  if (document.activeElement === focused) return; // if not, the element was moved or removed, which takes the focus
  const heir = !focused.isConnected ? list?.querySelector("h2")
    : focused.disabled ? focused.closest(".task")?.querySelector(".edit") : focused;
  heir?.focus({ preventScroll: true });
}

const listElement = (/** @type {string} */ id) => [...board.children].find((section) => section.dataset.id === id);

/** Draws the board's lists, without tasks. */
async function loadLists() {
  const { name, lists } = await request("GET", "/boards/board-1");
  byId("name").textContent = `: ${name}`;
  document.title = `Short polling: ${name}`;
  const sections = lists.map((/** @type {any} */ { id, name }) => {
    const section = listElement(id) ?? byId("list").content.cloneNode(true).firstElementChild;
    section.dataset.id = id;
    section.querySelector("h2").textContent = name;
    section.querySelector(".add input").ariaLabel = `New task in ${name}`;
    section.querySelector(".add button").ariaLabel = `Add to ${name}`;
    section.querySelector(".add").onsubmit = addTask;
    return section;
  });
  [...board.children].filter((section) => !sections.includes(section)).forEach((section) => section.remove());
  place(board, sections);
}

/** Puts elements into a parent in this order, and moves none without need: a moved field loses the focus. */
function place(/** @type {Element} */ parent, /** @type {Element[]} */ elements) {
  const here = new Set(elements);
  let next = parent.firstElementChild;
  for (const element of elements) {
    while (next && !here.has(next)) next = next.nextElementSibling; // it goes elsewhere, or keeps what was typed
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

// What a poll brings is lit for a moment. That ends in one step: 500 cards that fade busy the browser for seconds.
const lit = { background: "var(--lit)", outline: "2px solid var(--accent)", easing: "steps(1)" };

/** Draws a task, or draws it anew. */
function showTask(/** @type {Task} */ task) {
  const card = cards.get(task.id) ?? newCard(task.id);
  const section = /** @type {any} */ (listElement(task.list_id));
  card.querySelector(".title").textContent = task.title;
  card.querySelector(".description").textContent = task.description;
  card.querySelector("input").ariaLabel = `New title of “${task.title}”`;
  label(card.querySelector(".edit"), `Rename “${task.title}”`);
  label(card.querySelector(".delete"), `Delete “${task.title}”`);
  for (const side of ["left", "right"]) {
    const list = side === "left" ? section.previousElementSibling : section.nextElementSibling;
    const button = card.querySelector(`.${side}`);
    const to = list?.querySelector("h2").textContent;
    label(button, list ? `Move “${task.title}” to ${to}` : `There is no list to the ${side}`);
    button.disabled = !list;
    button.onclick = () => write(card, "PATCH", taskURL(task.id), { list_id: list.dataset.id });
  }
  const { form } = card.querySelector("input");
  const note = card.querySelector(".note");
  if (form.hidden || inField(task.title) === form.dataset.from) note.textContent = "";
  else say(note, "Another client renamed this task to ", task.title, ". If you type a title, Save replaces theirs.");
}

/** As a field has a title. */
const inField = (/** @type {string} */ title) => title.replace(/[\r\n]/g, "");

const label = (/** @type {Element} */ button, /** @type {string} */ text) =>
  Object.assign(button, { ariaLabel: text, title: text });

function newCard(/** @type {string} */ id) {
  const card = byId("task").content.cloneNode(true).firstElementChild;
  const form = card.querySelector("form");
  card.dataset.id = id;
  cards.set(id, card);
  form.onsubmit = (/** @type {Event} */ event) => saveCard(event, card);
  form.onkeydown = (/** @type {KeyboardEvent} */ { key, isComposing }) => {
    if (key === "Escape" && !isComposing) edit(card, false); // and not to end the composition of an input method
  };
  card.querySelector(".cancel").onclick = () => edit(card, false);
  card.querySelector(".edit").onclick = () => edit(card, true);
  card.querySelector(".delete").onclick = () => write(card, "DELETE", taskURL(id));
  return card;
}

/** Opens or closes the field for a new title. One that is open already keeps what was typed. */
function edit(/** @type {any} */ card, /** @type {boolean} */ open) {
  const { title } = card.querySelector("form");
  const { form } = title;
  if (card.matches(".gone")) {
    card.closest(".list").querySelector("h2").focus();
    return card.remove();
  }
  if (open && form.hidden) {
    title.value = form.dataset.from = inField(/** @type {Task} */ (tasks.get(card.dataset.id)).title);
    card.querySelector(".note").textContent = "";
  }
  const focusIsHere = card.contains(document.activeElement) || document.activeElement === document.body;
  form.hidden = !open;
  card.querySelector(".title").hidden = open;
  if (focusIsHere) (open ? title : card.querySelector(".edit")).focus();
}

/** Takes a task's card from the board. If another client deleted the task, a title being typed into it stays. */
function removeCard(/** @type {string} */ id, /** @type {any} */ card, /** @type {Source} */ source) {
  const { title } = card.querySelector("form");
  cards.delete(id);
  if (title.form.hidden || title.value === title.form.dataset.from || source === "write") return card.remove();
  card.classList.add("gone");
  card.querySelector(".rename button").textContent = "Add as a new task";
  card.querySelector(".note").textContent = "This task was deleted. What you typed is still here.";
}

/** Names what came last. */
function announce(/** @type {Task[]} */ news) {
  const task = news.at(-1);
  if (!task) return;
  const ms = meter.age(task);
  const justThen = ms < 300 ? ": your poll came just then" : "";
  const later = ` reached you ${(ms / 1000).toFixed(1)} s after it was made${justThen}.`;
  const what = task.deleted_at ? "The deletion of " : tasks.has(task.id) ? "The change of " : "";
  if (news.length === 1) say(byId("news"), what, task.title, later);
  else say(byId("news"), `${news.length} changes have come. The last one is to `, task.title, ".");
}

/** Writes a sentence with a title in it. A right-to-left title must not turn the sentence around, hence the bdi. */
function say(/** @type {Element} */ element, /** @type {string} */ before, /** @type {string} */ title, after = "") {
  const isolated = Object.assign(document.createElement("bdi"), { translate: false, textContent: meter.quote(title) });
  element.replaceChildren(before, isolated, after);
}

// A click must not hit another task than the one aimed at, because the cards have just moved. So places has where the
// cards were before each change of the last half second, the time of a double click.
const places = /** @type {{card: Element, box: DOMRect}[][]} */ ([]);

function rememberPlaces() {
  places.push([...board.querySelectorAll(".task")].map((card) => ({ card, box: card.getBoundingClientRect() })));
  setTimeout(() => places.shift(), 500);
}

board.addEventListener("click", (/** @type {any} */ event) => {
  const { clientX: x, clientY: y } = event;
  const isHere = (/** @type {DOMRect} */ box) => box.left <= x && x < box.right && box.top <= y && y < box.bottom;
  const hit = event.target.closest(".task");
  const isOther = places.some((boxes) => boxes.find(({ box }) => isHere(box))?.card !== hit);
  if (hit && isOther && event.detail > 0) event.stopPropagation(); // a key, with detail 0, hits what has the focus
}, true);

// --- Writes ------------------------------------------------------------------------------------------------

const taskURL = (/** @type {string} */ id) => `/tasks/${encodeURIComponent(id)}`;

// The writes under way, by card: a second click or Enter does nothing.
const writes = /** @type {Map<Element | null, Promise<Task>>} */ (new Map());

/** Sends a request and returns its data. Its errors say what the server says, or which status it responded with. */
async function request(/** @type {string} */ method, /** @type {string} */ url, body = /** @type {any} */ (undefined)) {
  const response = await fetch(url, { method, signal: AbortSignal.timeout(20_000),
    headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
  const { data, error } = await response.json().catch(() => ({})); // a proxy's error may be HTML
  const { status } = response;
  if (data) return data;
  throw Object.assign(new Error(error ?? `the server responded with status ${status}`), { status, refused: error });
}

/** Writes a task, shows it as the response has it, and says whether that went well. */
async function write(/** @type {Element | null} */ card, /** @type {string} */ method, /** @type {string} */ url,
  body = /** @type {any} */ (undefined)) {
  if (writes.has(card)) return false;
  const load = loads;
  const written = request(method, url, body);
  writes.set(card, written);
  try {
    const task = await written;
    meter.wrote(task);
    // If this fails, the next poll shows it. If the board was loaded anew meanwhile, the response may be older.
    if (load === loads) await users[0].apply([task], "write").catch(reportError);
    return true;
  } catch (e) {
    complain(/** @type {Error} */ (e), body?.title);
    return false;
  } finally {
    writes.delete(card);
  }
}

let added = Promise.resolve(); // by the last form that was sent: tasks are added in the order in which they were typed

function addTask(/** @type {any} */ event) {
  event.preventDefault();
  const { title } = event.target;
  const typed = title.value;
  if (typed === "") return; // for one, after Enter was pressed twice
  title.value = ""; // for the next title
  const list_id = title.closest(".list").dataset.id;
  added = added.then(async () => {
    const saved = await write(null, "POST", "/tasks", { list_id, title: typed.trim() });
    if (saved) say(byId("news"), "You added ", typed, ".");
    else title.value ||= typed;
  });
}

async function saveCard(/** @type {any} */ event, /** @type {any} */ card) {
  event.preventDefault();
  const form = event.target;
  const typed = form.title.value, title = typed.trim();
  const list_id = card.closest(".list").dataset.id;
  const saved = card.matches(".gone") ? await write(card, "POST", "/tasks", { list_id, title })
    : typed === form.dataset.from || await write(card, "PATCH", taskURL(card.dataset.id), { title });
  if (!saved) return;
  if (form.title.value === typed) return edit(card, false);
  form.dataset.from = title; // and more was typed meanwhile
  form.querySelector(".note").replaceChildren();
}

/** Says why something was not saved. */
function complain(/** @type {any} */ { message, status, refused }, title = "") {
  const what = title ? meter.quote(title) : "the change";
  byId("problem").textContent = refused ? `Not saved: ${message}${title && ` (${what})`}.`
    : `It is not known whether ${what} was saved: ${status ? message : "the server did not respond"}.`;
}

// What was said stays until the next thing is done.
for (const type of ["click", "input"]) addEventListener(type, () => byId("problem").replaceChildren(), true);

// Somebody is another client, who has one task and adds, renames, moves and deletes it in turn.
let somebody = Promise.resolve(), steps = 0, theirTask = "";

async function changeSomething() {
  const [first, second] = [...board.children].map((section) => section.dataset.id);
  const url = taskURL(theirTask);
  byId("news").textContent = "Somebody changes the board. Each user learns of it at the next poll.";
  try {
    const task = await [
      () => request("POST", "/tasks", { list_id: first, title: "Somebody’s task" }),
      () => request("PATCH", url, { title: "Somebody’s task, renamed" }),
      () => request("PATCH", url, { list_id: second ?? first }),
      () => request("DELETE", url),
    ][steps % 4]();
    theirTask = task.id;
    steps++;
    meter.made(task);
    meter.show();
  } catch (e) {
    if (steps === 0 || /** @type {any} */ (e).status !== 404) return complain(/** @type {Error} */ (e));
    steps = 0; // another client has deleted the task
    return changeSomething();
  }
}

// --- The users and the state of their polling --------------------------------------------------------------

const users = /** @type {ReturnType<typeof startPolling>[]} */ ([]); // the first one feeds the board
let paused = false, secondsTouched = false;
let failure = "", lastGood = 0; // why the last poll of the first user failed, and when one last went well

function addUser() {
  const number = users.length;
  users.push(startPolling("/boards/board-1/updates", async (rows, source) => {
    if (number > 0) return;
    // A poll can bring what this page writes before the response to the write does.
    if (source === "poll") await Promise.allSettled(writes.values());
    await show(rows, source);
  }, (poll) => {
    meter.polled(number, poll);
    if (number > 0) return;
    failure = poll.error ? reason(poll) : "";
    if (!poll.error) lastGood = Date.now();
    showKnobs();
    showState();
  }));
  if (paused) users[number].pause();
}

function reason(/** @type {Poll} */ { error, status }) {
  if (error?.name === "TimeoutError") return "The server did not respond in time";
  if (status === 0) return "The server can't be reached";
  if (status === 200) console.error(error);
  return `The last poll failed: ${error?.message}`;
}

/** Says whether the page is up to date, and when it polls next. */
function showState() {
  const { nextAt, underWay } = users[0].state();
  const inSeconds = (/** @type {number} */ ms) => `${Math.max(0, Math.round(ms / 1000))} s`;
  const waiting = underWay ? performance.now() - underWay.startTime : 0;
  const { from, to } = meter.idleTimes.findLast((time) => time.to < Infinity) ?? { from: 0, to: 0 };
  meter.put("status", paused ? "Paused: no change arrives."
    : failure ? `${failure}.`
    : loads === 0 ? "Loading the board …"
    : Date.now() > to + 15_000 || to - from < 1000 ? ""
    : `No poll for ${inSeconds(to - from)}: this page was hidden or paused.`);
  meter.put("times", (lastGood ? `Last good poll ${meter.clock(lastGood)}, ` : "") + (paused ? "no next one"
    : waiting > 1000 ? `waiting for a response for ${inSeconds(waiting)}`
    : `next in ${inSeconds(nextAt - performance.now())}`));
  byId("state").classList.toggle("bad", failure !== "" && !paused);
}

const seconds = () => Number(byId("seconds").value);

/** Spreads the users over the interval. */
const offset = (/** @type {number} */ user) => 1000 * seconds() * user / users.length;
const spread = () => users.forEach((user, i) => user.every(secondsTouched ? seconds() : 0, offset(i)));

function showKnobs() {
  const { advised } = users[0].state();
  byId("seconds").max = Math.max(60, advised);
  if (!secondsTouched) byId("seconds").value = advised;
  const count = Number(byId("users").value);
  const perMinute = paused ? 0 : 60 * count / seconds();
  meter.put("seconds-shown", `${seconds()} s`);
  meter.put("users-shown", String(count));
  meter.put("rate", perMinute >= 1 || paused ? `${meter.plural(Math.round(perMinute), "request")} a minute`
    : `${meter.plural(Math.round(60 * perMinute), "request")} an hour`);
  // The jitter of 10 % makes the longest wait 10 % longer, and the average by less than 1 %.
  meter.put("wait", paused ? "until you resume"
    : `${meter.amount(seconds() / 2)} s on average, ${meter.amount(1.1 * seconds())} s at most`);
  meter.put("pause", paused ? "Resume" : "Pause");
  byId("poll-now").disabled = paused;
  meter.setUp(users.length, seconds());
}

/** Has all users poll, or none. A hidden page does not poll. */
function applyPause() {
  users.forEach((user, number) => paused ? user.pause() : user.resume(offset(number)));
  meter.idle(paused || document.hidden);
  showKnobs();
  showState();
}

/** Has as many users poll as often as the knobs say. */
function applyKnobs() {
  const wanted = Number(byId("users").value);
  for (const user of users.splice(wanted)) user.pause();
  while (users.length < wanted) addUser();
  showKnobs();
  spread();
  meter.show();
}

let knobsMoved = 0;
byId("knobs").addEventListener("input", (/** @type {Event} */ event) => {
  secondsTouched ||= event.target === byId("seconds");
  showKnobs();
  clearTimeout(knobsMoved);
  knobsMoved = setTimeout(applyKnobs, 300); // when the knob is at rest: an arrow key that is held moves it many times
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  applyPause();
});
byId("somebody").addEventListener("click", () => somebody = somebody.then(changeSomething));
byId("poll-now").addEventListener("click", () => users[0].pollNow());
byId("reset").addEventListener("click", meter.reset);
addEventListener("visibilitychange", applyPause);

applyKnobs();
applyPause();

// When the network is back, or the computer awakes, all users poll at once. A second later they are spread again.
const spreadSoon = () => setTimeout(spread, 1000);
addEventListener("online", spreadSoon);
let ticked = Date.now();
setInterval(() => {
  if (Date.now() > ticked + 5000) spreadSoon();
  ticked = Date.now();
  meter.show();
  showState();
}, 1000);
