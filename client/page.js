// @ts-check
// The view: the board, the meter, the knobs. How polling works is in poll.js.
import { startPolling } from "/client/poll.js";

/** @typedef {import("./poll.js").Task} Task */

const updatesURL = "/boards/board-1/updates";
const minutesShown = 2;

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const strip = byId("strip");

// --- The board ---------------------------------------------------------------

/** @type {Map<string, Task>} */
const tasks = new Map();
/** @type {Map<string, any>} the elements of the tasks shown */
const cards = new Map();
let loads = 0; // how often the whole board came

/** Draws the board's lists, without tasks. */
async function loadLists() {
  const { data } = await request("GET", "/boards/board-1");
  byId("name").textContent = data.name;
  document.title = `${data.name}: short polling`;
  byId("board").replaceChildren(...data.lists.map((/** @type {any} */ list) => {
    const section = listElement(list.id) ?? byId("list").content.cloneNode(true).firstElementChild;
    section.dataset.id = list.id;
    section.querySelector("h2").textContent = list.name;
    section.querySelector(".add input").ariaLabel = `New task in ${list.name}`;
    section.querySelector(".add button").ariaLabel = `Add to ${list.name}`;
    section.querySelector(".add").onsubmit = addTask;
    return section;
  }));
}

/** Updates the view: with all tasks of the board, or with those that changed. */
async function show(/** @type {Task[]} */ rows, /** @type {"board" | "poll" | "write"} */ source) {
  const arrived = rows.filter((task) => !task.deleted_at || tasks.has(task.id));
  if (source === "board" || rows.some((task) => !listElement(task.list_id))) await loadLists();
  if (source === "board") {
    loads++;
    tasks.clear();
  }
  /** @type {any} */
  const focused = document.activeElement;
  for (const task of rows) {
    if (task.deleted_at) tasks.delete(task.id);
    else tasks.set(task.id, task);
  }
  for (const [id, card] of cards) {
    if (tasks.has(id)) continue;
    card.remove();
    cards.delete(id);
  }
  for (const task of rows) {
    if (!task.deleted_at) showTask(task, source === "poll");
  }
  arrange();
  // Moving an element takes the focus from it.
  if (document.activeElement !== focused) (focused.disabled ? focused.closest(".task").querySelector(".edit") : focused).focus();
  if (source === "poll" && arrived.length > 0) showDelay(arrived);
}

const listElement = (/** @type {string} */ id) =>
  [...byId("board").children].find((section) => section.dataset.id === id);

/** Draws a task, or draws it anew. One that a poll brought is lit for a moment. */
function showTask(/** @type {Task} */ task, /** @type {boolean} */ lit) {
  const card = cards.get(task.id) ?? newCard(task.id);
  const section = listElement(task.list_id);
  const [left, right] = [section.previousElementSibling, section.nextElementSibling];
  card.querySelector(".title").textContent = task.title;
  card.querySelector(".description").textContent = task.description;
  for (const [button, what, list] of [["left", "Move to", left], ["right", "Move to", right], ["edit", "Rename"], ["delete", "Delete"]]) {
    const element = card.querySelector(`.${button}`);
    const listName = list?.querySelector("h2").textContent;
    element.ariaLabel = listName ? `Move “${task.title}” to ${listName}` : `${what} “${task.title}”`;
    element.title = element.ariaLabel;
    if (what === "Move to") element.disabled = !list;
  }
  card.querySelector("input").ariaLabel = `New title of “${task.title}”`;
  if (lit) {
    card.classList.remove("lit");
    void card.offsetWidth; // or an animation that still runs would not start again
    card.classList.add("lit");
  }
}

/** Puts each card into its list, by position, then id. */
function arrange() {
  for (const section of byId("board").children) {
    const list = section.querySelector("ol");
    let next = list.firstElementChild;
    for (const { id } of [...tasks.values()].filter((task) => task.list_id === section.dataset.id)
      .sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1))) {
      if (cards.get(id) === next) next = next.nextElementSibling;
      else list.insertBefore(cards.get(id), next);
    }
  }
}

function newCard(/** @type {string} */ id) {
  const card = byId("task").content.cloneNode(true).firstElementChild;
  const [title, form] = [card.querySelector(".title"), card.querySelector("form")];
  card.dataset.id = id;
  cards.set(id, card);
  const edit = (/** @type {boolean} */ on) => {
    const elsewhere = !card.contains(document.activeElement) && document.activeElement !== document.body;
    title.hidden = on;
    form.hidden = !on;
    if (!elsewhere) card.querySelector(on ? "input" : ".edit").focus();
  };
  form.onsubmit = (/** @type {Event} */ event) =>
    submit(event, (title) => write("PATCH", id, { title }), () => edit(false));
  card.querySelector(".left").addEventListener("click", () => move(id, "previousElementSibling"));
  card.querySelector(".right").addEventListener("click", () => move(id, "nextElementSibling"));
  card.querySelector(".delete").addEventListener("click", () => deleteTask(id));
  card.querySelector(".edit").addEventListener("click", () => {
    if (form.hidden) form.title.value = title.textContent;
    edit(form.hidden);
  });
  form.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") edit(false);
  });
  return card;
}

// --- Writes --------------------------------------------------------------------

/** Sends a request and returns its JSON. It throws what the server says of an error. */
async function request(/** @type {string} */ method, /** @type {string} */ url, /** @type {any} */ body = undefined) {
  const response = await fetch(url, {
    method,
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  const json = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(json.error);
  return json;
}

/** Writes a task, shows the answer, and reports whether that went well. */
async function write(/** @type {string} */ method, /** @type {string} */ id, /** @type {any} */ body = undefined) {
  byId("problem").textContent = "";
  try {
    const { data } = await request(method, id ? `/tasks/${encodeURIComponent(id)}` : "/tasks", body);
    if (data) users[0].apply([data], "write").catch(() => {}); // then the next poll shows it
    return true;
  } catch (e) {
    const { name, message } = /** @type {Error} */ (e);
    byId("problem").textContent = name === "Error" ? `Not saved: ${message}.` : "No answer from the server: it may or may not be saved.";
    return false;
  }
}

/**
 * Saves the title of a form, once however often it is sent. What is typed in the meantime stays.
 * @param {any} event
 * @param {(title: string) => Promise<boolean>} save
 * @param {() => void} done
 */
async function submit(event, save, done) {
  event.preventDefault();
  const { title, lastElementChild: button } = event.target;
  const typed = title.value;
  button.disabled = true; // also stops the Enter key
  if (await save(typed.trim()) && title.value === typed) done();
  button.disabled = false;
  if (document.activeElement === document.body) title.focus(); // the button had it
}

function addTask(/** @type {any} */ event) {
  const form = event.target, list_id = form.closest("section").dataset.id;
  return submit(event, (title) => write("POST", "", { list_id, title }), () => form.reset());
}

function move(/** @type {string} */ id, /** @type {"previousElementSibling" | "nextElementSibling"} */ direction) {
  write("PATCH", id, { list_id: cards.get(id).closest("section")[direction].dataset.id });
}

async function deleteTask(/** @type {string} */ id) {
  const section = cards.get(id).closest("section");
  const task = /** @type {Task} */ (tasks.get(id));
  if (!await write("DELETE", id)) return;
  await show([{ ...task, deleted_at: "now" }], "write"); // at once; the next poll brings the real row
  if (document.activeElement === document.body) section.querySelector(".add input").focus();
}

// --- The meter -------------------------------------------------------------------

let [polls, nothing, bytes] = [0, 0, 0];
/** @type {{at: number, kind: "nothing" | "changes" | "failed"}[]} */
let marks = [];
let failure = "", retryAt = 0; // why the last poll failed, and when the next comes, as in Date.now()

/** Counts a poll of any user. One that brought only what this page had written itself is one for nothing. */
function count(/** @type {{changes: number, error?: Error}} */ { changes, error }) {
  marks.push({ at: Date.now(), kind: error ? "failed" : changes > 0 ? "changes" : "nothing" });
  if (!error) polls++;
  if (!error && changes === 0) nothing++;
  showFigures();
}

new PerformanceObserver((list) => {
  for (const entry of /** @type {PerformanceResourceTiming[]} */ (list.getEntries())) {
    if (new URL(entry.name).pathname === updatesURL) bytes += entry.transferSize;
  }
  performance.clearResourceTimings();
  showFigures();
}).observe({ type: "resource" });

/** Says how long a change was on its way. It takes the two clocks to agree, as on one machine they do. */
function showDelay(/** @type {Task[]} */ rows) {
  const changed = Math.max(...rows.map((task) => Date.parse(task.updated_at)));
  byId("delay").textContent = `${Math.max(0, (Date.now() - changed) / 1000).toFixed(1)} s`;
}

function showFigures() {
  byId("polls").textContent = polls.toLocaleString("en");
  byId("nothing").textContent = `${nothing.toLocaleString("en")}${polls ? ` (${Math.round(100 * nothing / polls)} %)` : ""}`;
  byId("bytes").textContent = `${(bytes / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} kB`;
}

/** Draws the strip. Once a second is enough: 50 users can bring a hundred polls and figures in that time. */
function drawStrip() {
  const span = minutesShown * 60_000, now = Date.now();
  marks = marks.filter((mark) => now - mark.at < span);
  const { clientWidth: width, clientHeight: height } = strip;
  strip.width = width * devicePixelRatio;
  strip.height = height * devicePixelRatio;
  const draw = strip.getContext("2d");
  draw.scale(devicePixelRatio, devicePixelRatio);
  const colour = (/** @type {string} */ selector) => getComputedStyle(/** @type {Element} */ (document.querySelector(selector)));
  const colours = {
    nothing: colour(".mark.nothing").backgroundColor,
    changes: colour(".mark.changes").backgroundColor,
    failed: colour(".mark.failed").color,
  };
  for (const { at, kind } of marks) {
    const x = width - 4 - (width - 8) * (now - at) / span;
    draw.fillStyle = draw.strokeStyle = colours[kind];
    if (kind === "nothing") draw.fillRect(x - 1, height - 9, 2, 9);
    if (kind === "changes") draw.fillRect(x - 2, 2, 4, height - 2);
    if (kind === "failed") {
      draw.lineWidth = 2;
      draw.beginPath();
      for (const slope of [-1, 1]) {
        draw.moveTo(x - 4, height / 2 - 4 * slope);
        draw.lineTo(x + 4, height / 2 + 4 * slope);
      }
      draw.stroke();
    }
  }
  const of = (/** @type {string} */ kind) => marks.filter((mark) => mark.kind === kind).length;
  strip.ariaLabel = `Polls of the last two minutes: ${of("nothing")} brought nothing, ${of("changes")} changes, ${of("failed")} failed`;
}

/** Says whether the page is up to date, and if not, when it tries again. */
function showStatus() {
  const text = paused ? "Paused: changes do not arrive."
    : failure ? `${failure};`
    : loads === 0 ? "Loading the board …"
    : loads === 1 ? "Polling."
    : "Polling. The server came back from an older copy of its data, so the board was loaded anew.";
  if (byId("status").textContent !== text) byId("status").textContent = text; // it is read aloud
  byId("countdown").textContent = failure && !paused ? `retrying in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s` : "";
  byId("state").classList.toggle("bad", failure !== "");
}

// --- The knobs ---------------------------------------------------------------------

let paused = false, secondsTouched = false;

/** @type {ReturnType<typeof startPolling>[]} the first one feeds the board, the others only ask */
const users = [];

function addUser() {
  const first = users.length === 0;
  const user = startPolling(updatesURL, first ? show : () => {}, (poll) => {
    count(poll);
    if (!first) return;
    failure = !poll.error ? "" : poll.error.name === "Error" ? poll.error.message : "the server can't be reached";
    retryAt = Date.now() + poll.waitMs;
    if (!secondsTouched) byId("seconds").value = user.advised();
    showKnobs();
    showStatus();
  });
  if (secondsTouched) user.every(Number(byId("seconds").value));
  users.push(user);
}

function showKnobs() {
  const [seconds, wanted] = [Number(byId("seconds").value), Number(byId("users").value)];
  byId("seconds-shown").textContent = `${seconds} s`;
  byId("users-shown").textContent = wanted;
  byId("rate").textContent = paused ? "0" : Math.round(60 * wanted / seconds).toLocaleString("en");
  byId("pause").textContent = paused ? "Resume" : "Pause";
}

/** Lets the users poll, or not. A hidden page does not. */
function applyPause() {
  for (const user of users) paused || document.hidden ? user.pause() : user.resume();
  showKnobs();
  showStatus();
}

byId("seconds").addEventListener("input", () => { secondsTouched = true; showKnobs(); });
byId("seconds").addEventListener("change", () => {
  for (const user of users) user.every(Number(byId("seconds").value));
});
byId("users").addEventListener("input", showKnobs);
byId("users").addEventListener("change", () => {
  const wanted = Number(byId("users").value);
  for (const user of users.splice(wanted)) user.pause();
  while (users.length < wanted) addUser();
  applyPause();
});
byId("pause").addEventListener("click", () => { paused = !paused; applyPause(); });
byId("reset").addEventListener("click", () => {
  [polls, nothing, bytes, marks] = [0, 0, 0, []];
  byId("delay").textContent = "–";
  showFigures();
  drawStrip();
});
byId("knobs").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
document.addEventListener("visibilitychange", applyPause);

addUser();
applyPause();
setInterval(() => { drawStrip(); showStatus(); }, 1000);
