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
  await released;
  if (source === "board" || rows.some((task) => !listElement(task.list_id))) await loadLists();
  const focused = /** @type {any} */ (document.activeElement);
  const list = focused.closest(".list");
  if (source === "poll") announce(rows.filter(meter.isNews));
  if (source === "board") {
    loads++;
    tasks.clear();
    byId("news").textContent = loads === 1 ? "No change has arrived yet."
      : "The server was started anew, so the board was loaded anew.";
  }
  for (const task of rows) {
    if (task.deleted_at) tasks.delete(task.id);
    else tasks.set(task.id, task);
  }
  for (const [id, card] of cards) {
    if (!tasks.has(id)) removeCard(id, card, source);
  }
  for (const task of rows) {
    if (!task.deleted_at) showTask(task, source === "poll" && meter.isNews(task));
  }
  for (const section of board.children) {
    const inList = [...tasks.values()].filter((task) => task.list_id === section.dataset.id);
    inList.sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
    place(section.querySelector("ol"), inList.map((task) => cards.get(task.id)));
  }
  settle();
  if (document.activeElement === focused) return; // if not, the element was moved or removed, which takes the focus
  const heir = !focused.isConnected ? list?.querySelector("h2")
    : focused.disabled ? focused.closest(".task")?.querySelector(".edit") : focused;
  heir?.focus({ preventScroll: true });
}

const listElement = (/** @type {string} */ id) =>
  [...board.children].find((section) => section.dataset.id === id);

/** Draws the board's lists, without tasks. */
async function loadLists() {
  const { data } = await request("GET", "/boards/board-1");
  byId("name").textContent = `: ${data.name}`;
  document.title = `Short polling: ${data.name}`;
  const sections = data.lists.map((/** @type {any} */ { id, name }) => {
    const section = listElement(id) ?? byId("list").content.cloneNode(true).firstElementChild;
    section.dataset.id = id;
    section.querySelector("h2").textContent = name;
    section.querySelector(".add input").ariaLabel = `New task in ${name}`;
    section.querySelector(".add button").ariaLabel = `Add to ${name}`;
    section.querySelector(".add").onsubmit = addTask;
    return section;
  });
  for (const section of [...board.children]) {
    if (!sections.includes(section)) section.remove();
  }
  place(board, sections);
}

/** Puts elements into a parent in this order, and moves none without need: a moved field loses the focus. */
function place(/** @type {Element} */ parent, /** @type {Element[]} */ elements) {
  let next = parent.firstElementChild;
  for (const element of elements) {
    while (next?.matches(".gone")) next = next.nextElementSibling;
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

/** Draws a task, or draws it anew. One that a poll brought is lit for a moment. */
function showTask(/** @type {Task} */ task, /** @type {boolean} */ lit) {
  const card = cards.get(task.id) ?? newCard(task.id);
  const section = /** @type {Element} */ (listElement(task.list_id));
  card.querySelector(".title").textContent = task.title;
  card.querySelector(".description").textContent = task.description;
  card.querySelector("input").ariaLabel = `New title of “${task.title}”`;
  label(card.querySelector(".edit"), `Rename “${task.title}”`);
  label(card.querySelector(".delete"), `Delete “${task.title}”`);
  for (const [side, list] of /** @type {const} */ ([
    ["left", section.previousElementSibling],
    ["right", section.nextElementSibling],
  ])) {
    const button = card.querySelector(`.${side}`);
    const name = list?.querySelector("h2")?.textContent;
    label(button, list ? `Move “${task.title}” to ${name}` : `There is no list to the ${side}`);
    button.disabled = !list;
  }
  const { form } = card.querySelector("input");
  const note = card.querySelector(".note");
  if (form.hidden || task.title === form.dataset.from) note.textContent = "";
  else say(note, "Another client renamed this task to ", task.title, ". Save replaces that title, Cancel keeps it.");
  if (lit) {
    card.classList.remove("lit");
    void card.offsetWidth; // or an animation that still runs would not start again
    card.classList.add("lit");
  }
}

function label(/** @type {HTMLElement} */ button, /** @type {string} */ text) {
  button.ariaLabel = text;
  button.title = text;
}

function newCard(/** @type {string} */ id) {
  const card = byId("task").content.cloneNode(true).firstElementChild;
  const form = card.querySelector("form");
  card.dataset.id = id;
  cards.set(id, card);
  form.onsubmit = (/** @type {Event} */ event) => saveCard(event, card);
  form.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    // An Escape that ends the composition of an input method is not for us.
    if (event.key === "Escape" && !event.isComposing) edit(card, false);
  };
  card.querySelector(".cancel").onclick = () => edit(card, false);
  card.querySelector(".edit").onclick = () => edit(card, true);
  card.querySelector(".left").onclick = () => move(card, "previousElementSibling");
  card.querySelector(".right").onclick = () => move(card, "nextElementSibling");
  card.querySelector(".delete").onclick = () => write(card, "DELETE", `/tasks/${encodeURIComponent(id)}`);
  return card;
}

/** Opens or closes the field for a new title. One that is open already keeps what was typed. */
function edit(/** @type {any} */ card, /** @type {boolean} */ open) {
  const { title } = card.querySelector("form");
  const { form } = title;
  if (card.matches(".gone")) {
    const list = card.closest(".list");
    causeIsGone(card);
    card.remove();
    list.querySelector("h2").focus();
    return;
  }
  if (open && form.hidden) {
    title.value = form.dataset.from = card.querySelector(".title").textContent;
    card.querySelector(".note").textContent = "";
  }
  const focusIsHere = card.contains(document.activeElement) || document.activeElement === document.body;
  form.hidden = !open;
  card.querySelector(".title").hidden = open;
  if (!open) causeIsGone(card);
  if (focusIsHere) (open ? title : card.querySelector(".edit")).focus();
}

/** Takes a task's card from the board. If another client deleted the task, a title being typed into it stays. */
function removeCard(/** @type {string} */ id, /** @type {any} */ card, /** @type {Source} */ source) {
  const { title } = card.querySelector("form");
  cards.delete(id);
  causeIsGone(card);
  if (title.form.hidden || title.value === title.form.dataset.from || source === "write") return card.remove();
  card.classList.add("gone");
  card.querySelector(".rename button").textContent = "Add as a new task";
  card.querySelector(".note").textContent = "This task was deleted. What you typed is still here.";
}

/** Names what came last. */
function announce(/** @type {Task[]} */ news) {
  const task = news.at(-1);
  if (!task) return;
  const later = `${(meter.age(task) / 1000).toFixed(1)} s after it was made`;
  const what = task.deleted_at ? "The deletion of " : tasks.has(task.id) ? "The change of " : "";
  if (news.length === 1) say(byId("news"), what, task.title, ` arrived ${later}.`);
  else say(byId("news"), `${news.length} changes arrived, the last of them to `, task.title, ` ${later}.`);
}

/** Writes a sentence with a title in it. A right-to-left title must not turn the sentence around, hence the bdi. */
function say(/** @type {Element} */ element, /** @type {string} */ before, /** @type {string} */ title, after = "") {
  const isolated = document.createElement("bdi");
  isolated.textContent = meter.quote(title);
  element.replaceChildren(before, isolated, after);
}

// A click must not hit another task than the one aimed at. While a pointer is pressed on the board, changes wait;
// and when cards have moved, their buttons take no click for half a second, the time of a double click.

let released = Promise.resolve();
board.addEventListener("pointerdown", () => {
  released = new Promise((done) => {
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => setTimeout(done), { once: true });
    setTimeout(done, 5000); // a pointer that is let go outside the window may never tell
  });
});

let settled = 0;
function settle() {
  clearTimeout(settled);
  board.classList.add("settling");
  settled = setTimeout(() => board.classList.remove("settling"), 500);
}

// --- Writes ------------------------------------------------------------------------------------------------

const busy = new Set(); // the cards and forms whose write is under way: a second click or Enter does nothing
const writes = /** @type {Set<Promise<Task>>} */ (new Set()); // the tasks that will be their responses

/** Sends a request and returns its JSON. Its errors say what the server says, or which status it responded with. */
async function request(/** @type {string} */ method, /** @type {string} */ url, body = /** @type {any} */ (undefined)) {
  const response = await fetch(url, {
    method,
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  });
  const json = await response.json().catch(() => ({})); // a proxy's error may be HTML
  const { status } = response;
  if (json.error) throw Object.assign(new Error(json.error), { status, refused: true });
  if (!json.data) throw Object.assign(new Error(`the server responded with status ${status}`), { status });
  return json;
}

/**
 * Writes a task, shows it as the response has it, and says whether that went well.
 * @param {Element} cause the card or form that it is about
 * @param {string} method
 * @param {string} url
 * @param {object} [body]
 */
async function write(cause, method, url, body) {
  if (busy.has(cause)) return false;
  busy.add(cause);
  complain("");
  const load = loads;
  const written = request(method, url, body).then(({ data }) => {
    meter.wrote(data);
    return data;
  });
  writes.add(written);
  try {
    const task = await written;
    // If this fails, the next poll shows it. If the board was loaded anew meanwhile, the response may be older.
    if (load === loads) await users[0].apply([task], "write").catch(reportError);
    return true;
  } catch (e) {
    const { message, status, refused } = /** @type {any} */ (e);
    complain(refused ? `Not saved: ${message}.`
      : `It is not known whether the change was saved: ${status ? message : "the server did not respond"}.`,
    status < 500 ? cause : null);
    return false;
  } finally {
    busy.delete(cause);
    writes.delete(written);
  }
}

/** Waits a moment for the responses to writes: a poll's response can bring what this page writes before they do. */
const ownWrites = () => Promise.race([Promise.allSettled(writes), new Promise((done) => setTimeout(done, 500))]);

/**
 * Writes what is typed into a form as a task's title. Says whether that went well and nothing was typed meanwhile.
 * @param {any} form
 * @param {Element} cause as in write
 * @param {string} method
 * @param {string} url
 * @param {object} [others] the task's other fields
 */
async function saveTitle(form, cause, method, url, others) {
  const typed = form.title.value;
  // Space, and characters that are not seen, do not make a title.
  if (/^[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*$/u.test(typed)) {
    complain("Not saved: a title needs a character that can be seen.", cause);
    return false;
  }
  if (!await write(cause, method, url, { ...others, title: typed.trim() })) return false;
  form.dataset.from = typed.trim();
  form.querySelector(".note")?.replaceChildren();
  return form.title.value === typed;
}

async function addTask(/** @type {any} */ event) {
  event.preventDefault();
  const form = event.target;
  if (form.title.value === "") return; // for one, after Enter was pressed twice
  const list_id = form.closest(".list").dataset.id;
  if (await saveTitle(form, form, "POST", "/tasks", { list_id })) form.reset();
}

async function saveCard(/** @type {any} */ event, /** @type {any} */ card) {
  event.preventDefault();
  const form = event.target;
  const list_id = card.closest(".list").dataset.id;
  const unchanged = form.title.value === form.dataset.from;
  const saved = card.matches(".gone") ? await saveTitle(form, card, "POST", "/tasks", { list_id })
    : unchanged || await saveTitle(form, card, "PATCH", `/tasks/${encodeURIComponent(card.dataset.id)}`);
  if (saved) edit(card, false);
}

function move(/** @type {any} */ card, /** @type {"previousElementSibling" | "nextElementSibling"} */ direction) {
  const list_id = card.closest(".list")[direction].dataset.id;
  return write(card, "PATCH", `/tasks/${encodeURIComponent(card.dataset.id)}`, { list_id });
}

let cause = /** @type {Element | null} */ (null), complainedAt = 0;

/** Says what went wrong with a card or form. Without a cause, it was the server or the way to it. */
function complain(/** @type {string} */ text, /** @type {Element | null} */ of = null) {
  byId("problem").textContent = text;
  cause = of;
  complainedAt = Date.now();
}

function causeIsGone(/** @type {Element | null} */ of) {
  if (cause === of) complain("");
}

board.addEventListener("input", (/** @type {any} */ event) => causeIsGone(event.target.closest(".add, .task")));

// --- The users and the state of their polling --------------------------------------------------------------

const users = /** @type {ReturnType<typeof startPolling>[]} */ ([]); // the first one feeds the board
let paused = false, secondsTouched = false;
let failure = "", lastGood = 0; // why the last poll of the first user failed, and when one last went well
let hiddenAt = document.hidden ? Date.now() : 0, shownAt = 0, hiddenFor = 0;

function addUser() {
  const number = users.length;
  users.push(startPolling("/boards/board-1/updates", async (rows, source) => {
    if (source === "poll") await ownWrites();
    if (number === 0) await show(rows, source);
  }, (poll) => {
    meter.polled(number, poll);
    if (number > 0) return;
    failure = poll.error ? reason(poll) : "";
    if (!poll.error) lastGood = Date.now();
    if (!poll.error && Date.now() > complainedAt + 5000) causeIsGone(null);
    showKnobs();
    showState();
  }));
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
  const waiting = underWay ? Math.floor((performance.now() - underWay.startTime) / 1000) : 0;
  const seconds = Math.max(0, Math.ceil((nextAt - performance.now()) / 1000));
  const back = `This page was hidden for ${hiddenFor} s. A hidden page does not poll.`;
  meter.put("status", paused ? "Paused: no change arrives."
    : waiting > 0 ? "Waiting for a response …"
    : failure ? `${failure}.`
    : loads === 0 ? "Loading the board …"
    : Date.now() < shownAt + 15_000 ? back : "");
  meter.put("times", [
    lastGood && `Last good poll ${meter.clock(lastGood)}`,
    !paused && (waiting > 0 ? `waiting for ${waiting} s` : `next in ${seconds} s`),
  ].filter(Boolean).join(", "));
  byId("state").classList.toggle("bad", failure !== "" && !paused);
}

const seconds = () => Number(byId("seconds").value);

/** Spreads the users over the interval. */
const offset = (/** @type {number} */ user) => 1000 * seconds() * user / users.length;

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
  meter.put("pause", paused ? "Resume" : "Pause");
  byId("poll-now").disabled = paused;
  meter.setUp(users.length, seconds());
}

/** Has all users poll, spread over the interval; or none. A hidden page does not poll. */
function applyPause() {
  const stop = paused || document.hidden;
  users.forEach((user, number) => stop ? user.pause() : user.resume(offset(number)));
  meter.idle(stop);
  showKnobs();
  showState();
}

byId("seconds").addEventListener("input", () => {
  secondsTouched = true;
  showKnobs();
});
byId("seconds").addEventListener("change", () => {
  users.forEach((user, number) => user.every(seconds(), offset(number)));
  meter.show();
});
byId("users").addEventListener("input", showKnobs);
byId("users").addEventListener("change", () => {
  const wanted = Number(byId("users").value);
  for (const user of users.splice(wanted)) user.pause();
  while (users.length < wanted) addUser();
  if (secondsTouched) users.forEach((user, number) => user.every(seconds(), offset(number)));
  applyPause();
  meter.show();
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  applyPause();
});
byId("poll-now").addEventListener("click", () => users[0].pollNow());
byId("reset").addEventListener("click", meter.reset);
byId("knobs").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = Date.now();
  else if (hiddenAt) {
    shownAt = Date.now();
    hiddenFor = Math.round((shownAt - hiddenAt) / 1000);
  }
  applyPause();
});

addUser();
applyPause();
setInterval(() => {
  meter.show();
  showState();
}, 1000);
