// The lesson's loop: ask, use the response, wait, ask again. Read it to see how polling works. In a page, use poll.js.
// ETag and 304 are left to the browser: at a 304, fetch returns the response that the browser has kept in its cache.
let since = "", serverStart = ""; // from the last response that was used
let lists = new Array(), tasks = new Map(); // the tasks by id, also those that were deleted

async function poll() {
  const response = await fetch("/boards/board-1/updates" + (since ? `?since=${encodeURIComponent(since)}` : ""));
  if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
  const { data, timestamp } = await response.json();
  const start = response.headers.get("X-Server-Start") ?? "";
  const otherData = start !== serverStart || timestamp < since; // after a restart, or when a backup was restored
  if (since && otherData) { since = ""; return poll(); }
  if (!since) lists = (await (await fetch("/boards/board-1")).json()).data.lists;
  if (!since) tasks.clear();
  for (const task of data) tasks.set(task.id, task);
  if (data.length > 0 || !since) draw();
  since = timestamp; serverStart = start; // only now: if an error came before, the same tasks come again
}

function draw() {
  const inOrder = [...tasks.values()].sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
  document.body.replaceChildren();
  for (const list of lists) {
    const ul = document.createElement("ul");
    for (const task of inOrder.filter((task) => task.list_id === list.id && !task.deleted_at)) {
      ul.appendChild(document.createElement("li")).textContent = task.title;
    }
    document.body.append(list.name, ul);
  }
}

while (true) {
  if (!document.hidden) await poll().catch(console.error);
  await new Promise((done) => setTimeout(done, 5000)); // only now, so polls cannot pile up while the server is slow
}
