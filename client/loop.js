// The usual example's loop, repaired: ask, use the response, wait, ask again. Read it. In a page, use poll.js.
const board = new URL("../boards/board-1", location.href); // without a password, which fetch("../boards") would refuse
const get = (/** @type {any} */ url) => fetch(url, { signal: AbortSignal.timeout(20_000) }); // a server may hang
let since = "", serverStart = "", lists = new Array(), tasks = new Map(); // the tasks by id, also deleted ones
async function poll() {
  const response = await get(`${board}/updates` + (since ? `?since=${encodeURIComponent(since)}` : ""));
  if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
  const { data, timestamp } = await response.json(); // ETag and 304 are left to the browser: it keeps the response
  const start = response.headers.get("X-Server-Start") ?? "";
  if (since && (start !== serverStart || timestamp < since)) { // a restart, or a restored backup
    since = "";
    return; // the server may have other tasks, so the next poll asks for all of them
  }
  if (!since) lists = (await (await get(board)).json()).data.lists;
  if (!since) tasks.clear();
  for (const task of data) tasks.set(task.id, task);
  if (data.length > 0 || !since) draw();
  serverStart = start;
  since = timestamp; // only now: if an error came before, the same tasks come again
}

function draw() {
  const inOrder = [...tasks.values()].sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
  document.body.replaceChildren();
  for (const list of lists) {
    const shown = inOrder.filter((task) => task.list_id === list.id && !task.deleted_at);
    document.body.append(list.name, document.createElement("ul"));
    for (const task of shown) document.body.lastChild?.appendChild(document.createElement("li")).append(task.title);
  }
}

while (true) {
  if (!document.hidden) await poll().catch(console.error);
  await new Promise((done) => setTimeout(done, 5000)); // only now, so polls cannot pile up while the server is slow
}
