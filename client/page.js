// @ts-check
// The page: the board with its writes, and the knobs. How polling works is in poll.js.
import { startPolling } from "./poll.js";
import * as meter from "./meter.js";

/** @typedef {import("./meter.js").Task} Task */

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const board = byId("board");

// --- The board ---------------------------------------------------------------------------------------------

const tasks = /** @type {Map<string, Task>} */ (new Map()); // those that were deleted, too
const cards = /** @type {Map<string, any>} */ (new Map()); // the elements of the tasks

/** Updates the view: with all tasks of the board, or with those that changed. */
async function show(/** @type {Task[]} */ rows, /** @type {import("./poll.js").Source} */ source) {
  if (source === "board" || rows.some((task) => !listElement(task.list_id))) await loadLists();
  if (source === "board") tasks.clear();
  for (const task of rows) tasks.set(task.id, task);
  redraw(() => {
    if (source === "poll") announce(rows);
    else if (lastGood > 0) byId("news").textContent = "The server started again, so the board was loaded again.";
    rows.forEach(showTask);
    for (const section of board.children) {
      const inList = [...tasks.values()].filter((task) => task.list_id === section.dataset.id && !task.deleted_at);
      inList.sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
      arrange(section.querySelector("ol"), inList.map((task) => cards.get(task.id)));
    }
  });
  if (source === "poll") for (const task of rows) cards.get(task.id)?.animate([lit, lit], 10_000);
}

// What a poll brings is lit for a moment. That ends in one step: 500 cards that fade busy the browser for seconds.
const lit = { background: "var(--lit)", outline: "2px solid var(--accent)", easing: "steps(1)" };

/** Says what a poll brought, and how long that took. */
function announce(/** @type {Task[]} */ rows) {
  const last = /** @type {Task} */ (rows.at(-1)), ms = meter.age(last), { what } = meter.made(last);
  byId("news").textContent = (rows.length > 1 ? `${meter.plural(rows.length, "change")} came at once. The last: ` : "") +
    what + (ms >= 0 ? `. You learned of it ${meter.inSeconds(ms)} later.` : ".");
}

const listElement = (/** @type {string} */ id) => [...board.children].find((section) => section.dataset.id === id);

/** Draws the board's lists, without tasks. */
async function loadLists() {
  const { name, lists } = await send("GET", "boards/board-1");
  byId("name").textContent = `: ${name}`;
  arrange(board, lists.map((/** @type {any} */ { id, name }) => {
    const section = listElement(id) ?? byId("list").content.cloneNode(true).firstElementChild;
    section.dataset.id = id;
    section.querySelector("h2").textContent = name;
    section.querySelector("input").ariaLabel = `New task in ${name}`;
    section.querySelector("form button").ariaLabel = `Add to ${name}`;
    section.querySelector("form").onsubmit = addTask;
    return section;
  }));
}

/** Gives a parent these children in this order. It moves none without need: who presses a moved button gets no click. */
function arrange(/** @type {Element} */ parent, /** @type {Element[]} */ children) {
  const stay = new Set(children);
  for (const child of [...parent.children]) if (!stay.has(child)) child.remove();
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
}

/** Draws. A card that this moves takes no click for half a second: it was aimed at what was there before. */
function redraw(/** @type {() => void} */ draw) {
  const place = (/** @type {Element} */ card) => JSON.stringify(card.getBoundingClientRect());
  const before = new Map([...cards.values()].map((card) => [card, place(card)]));
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  draw();
  if (document.activeElement !== focused) focused?.focus({ preventScroll: true }); // it was moved
  const moved = [...cards.values()].filter((card) => place(card) !== before.get(card));
  for (const card of moved) card.animate({ pointerEvents: ["none", "none"] }, 500);
}

function showTask(/** @type {Task} */ { id, list_id, title, description }) {
  const card = cards.get(id) ?? byId("task").content.cloneNode(true).firstElementChild;
  cards.set(id, card);
  card.dataset.id = id;
  card.ariaBusy = "false";
  card.querySelector(".title").textContent = title;
  card.querySelector(".description").textContent = description;
  const path = `tasks/${encodeURIComponent(id)}`, list = /** @type {any} */ (listElement(list_id));
  const remove = card.querySelector(".delete");
  remove.ariaLabel = remove.title = `Delete “${title}”`;
  remove.onclick = () => write(card, "DELETE", path);
  for (const [side, to] of [["left", list.previousElementSibling], ["right", list.nextElementSibling]]) {
    const button = card.querySelector(`.${side}`);
    button.ariaLabel = button.title = `Move “${title}” to ${to?.querySelector("h2").textContent}`;
    button.hidden = !to;
    button.onclick = () => write(card, "PATCH", path, { list_id: to.dataset.id });
  }
}

// --- Writes ------------------------------------------------------------------------------------------------

/** A URL below the page's, without a name and password, which fetch refuses. */
const here = (/** @type {string} */ to) => Object.assign(new URL(to, document.baseURI), { username: "", password: "" });

/** Sends a request and returns its data. Its errors say in a sentence what is known. */
async function send(/** @type {string} */ method, /** @type {string} */ path, body = /** @type {any} */ (undefined)) {
  const unknown = `${method === "GET" ? "" : "It is not known whether this was saved: "}the server`;
  const response = await fetch(here(path), { method, signal: AbortSignal.timeout(20_000),
    headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  }).catch(() => { throw new Error(`${unknown} did not respond.`); });
  const { data, error } = await response.json().catch(() => ({})); // a proxy's error may be HTML
  if (data) return data;
  throw new Error(error ? `Not saved: ${error}.` : `${unknown} responded with status ${response.status}.`);
}

/** Makes a change that was asked for in an element, and polls. What the board has now comes by that poll alone. */
async function write(/** @type {any} */ element, /** @type {string} */ method, /** @type {string} */ path,
  body = /** @type {any} */ (undefined)) {
  element.ariaBusy = "true"; // a card stays so, and takes no click, until a poll has brought the change
  const error = await send(method, path, body).then(() => "", ({ message }) => message);
  element.ariaBusy = String(error === "");
  complain(element, error);
  users[0].pollNow();
  return error === "";
}

/** Says in an element why something was not saved. */
const complain = (/** @type {Element} */ element, /** @type {string} */ error) =>
  redraw(() => /** @type {Element} */ (element.querySelector(".problem")).textContent = error);

async function addTask(/** @type {any} */ event) {
  event.preventDefault();
  const form = event.target, { title } = form, list_id = form.closest(".list").dataset.id;
  if (title.readOnly) return;
  title.readOnly = true;
  if (await write(form, "POST", "tasks", { list_id, title: title.value.trim() })) title.value = "";
  form.ariaBusy = title.readOnly = false;
}

// Somebody is another client, who has one task and adds, renames, moves and deletes it in turn, in the last two lists:
// they are short, so the card is on the first screen.
let somebody = Promise.resolve(), steps = 0, theirTask = "";

async function changeSomething() {
  const [from, to] = [...board.children].map((section) => section.dataset.id).slice(-2);
  const path = `tasks/${theirTask}`;
  byId("news").textContent = "Somebody changes the board. Each user learns of it at the next poll.";
  try {
    const task = await [
      () => send("POST", "tasks", { list_id: from, title: "Somebody’s task" }),
      () => send("PATCH", path, { title: "Somebody’s task, renamed" }),
      () => send("PATCH", path, { list_id: to ?? from }),
      () => send("DELETE", path),
    ][steps++ % 4]();
    theirTask = task.id;
    meter.made(task); // the picture shows the change before a poll brings it
    meter.show();
    complain(byId("now"), "");
  } catch (e) {
    steps = 0; // it may be that another client has deleted the task
    complain(byId("now"), /** @type {Error} */ (e).message);
  }
}

// --- The users and the state of their polling --------------------------------------------------------------

const users = /** @type {ReturnType<typeof startPolling>[]} */ ([]); // the first one feeds the board
let paused = false, secondsTouched = false;
let last = /** @type {import("./poll.js").Poll | null} */ (null), lastGood = 0; // polls of the first user

function addUser(/** @type {number} */ number) {
  users.push(startPolling("boards/board-1/updates", number === 0 ? show : () => {}, (poll) => {
    meter.polled(number, poll);
    if (number > 0) return;
    last = poll;
    if (!poll.error) lastGood = Date.now();
    else if (poll.status === 200) console.error(poll.error);
    redraw(showState);
  }));
}

const seconds = () => Number(byId("seconds").value);

/** Says whether the page is up to date, when it polls next, what the knobs mean, and what the meter has. */
function showState() {
  const { advised, nextAt, underWay } = users[0].state(), now = performance.now();
  const inSeconds = (/** @type {number} */ ms) => `${Math.max(0, Math.round(ms / 1000))} s`;
  meter.put("status", paused ? "Paused: no automatic polls." : !last ? "Loading the board …" : !last.error ? ""
    : last.status === 0 && last.error.name !== "TimeoutError" ? "The server can’t be reached."
    : `The last poll failed: ${last.error.message}.`);
  meter.put("times", (lastGood ? `Your last ${last?.error ? "good " : ""}poll ${meter.clock(lastGood)}, ` : "") +
    (paused ? "next when you resume." : underWay ? `waiting for a response for ${inSeconds(now - underWay.startTime)}.`
    : `next in ${inSeconds(nextAt - now)}.`));
  byId("seconds").max = Math.max(60, advised);
  if (!secondsTouched) byId("seconds").value = advised;
  meter.put("seconds-shown", `${seconds()} s`);
  meter.put("users-shown", byId("users").value);
  meter.put("rate", `${meter.plural(paused ? 0 : 60 * byId("users").value / seconds(), "request")} a minute`);
  meter.put("wait", paused ? "until you resume"
    : `${meter.amount(seconds() / 2)} s on average, ${meter.amount(1.1 * seconds())} s at most`);
  meter.put("pause", paused ? "Resume all" : "Pause all");
  meter.setUp(users.length, seconds());
  meter.show();
}

/** Has as many users poll as the knobs say, and as often, spread over the interval. A paused page does not poll. */
function apply(pause = paused) {
  const wanted = Number(byId("users").value);
  for (const user of users.splice(wanted)) user.pause();
  while (users.length < wanted) addUser(users.length);
  users.forEach((user, number) => {
    const waitMs = 1000 * seconds() * number / wanted;
    if (pause) user.pause();
    else if (paused) user.resume(waitMs);
    user.every(secondsTouched ? seconds() : 0, waitMs);
  });
  paused = pause;
  meter.idle(paused || document.hidden);
  showState();
}

byId("seconds").oninput = () => secondsTouched = true;
byId("knobs").oninput = showState;
byId("knobs").onchange = () => apply(); // when a knob is at rest
byId("pause").onclick = () => apply(!paused);
byId("somebody").onclick = () => somebody = somebody.then(changeSomething);
byId("poll-now").onclick = () => users[0].pollNow();
addEventListener("visibilitychange", () => setTimeout(apply)); // after poll.js has heard of it
apply();
setInterval(() => redraw(showState), 1000);
