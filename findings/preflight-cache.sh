#!/bin/sh
# How often does a browser send OPTIONS before a fetch from another origin that has a header of its own, when the
# response to OPTIONS says Access-Control-Max-Age: 7200?
#
# Guess: once for each URL, then never again for two hours. That is what Max-Age is for.
#
# Behaviour: with cache: "no-store" or "reload", before every single request, as if Max-Age was not there: fetch's
# cache mode also passes over the cache of preflights. The same with the default mode and a header If-None-Match,
# If-Modified-Since, … : it turns the default mode into no-store. So a poller that sends If-None-Match to another
# origin makes two requests for each poll, and no header of the server changes that.
#
# Seen with Chromium 156.0.8078.108 (Firefox 153.8 ESR, driven by puppeteer-core: the same, but once for "no-cache"):
#   X-Poll         default   6 requests, 1 preflights
#   X-Poll         no-cache  6 requests, 6 preflights
#   X-Poll         reload    6 requests, 6 preflights
#   X-Poll         no-store  6 requests, 6 preflights
#   If-None-Match  default   6 requests, 6 preflights
#   If-None-Match  no-store  6 requests, 6 preflights
#
# Usage: ./preflight-cache.sh. It needs Node 20 or newer and Chromium, and takes a few seconds. It fails when the
# first row has more than one preflight, or any other row less than six.
set -eu
exec node --input-type=module - <<'JS'
import { spawn } from "node:child_process";
import http from "node:http";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";

const seen = new Map(); // path: [requests, preflights]
const listen = (handler) => new Promise((done) => {
  const server = http.createServer(handler).listen(0, "localhost", () => done([server, `http://localhost:${server.address().port}`]));
});
const dir = mkdtempSync(`${tmpdir()}/preflight-`);
let finished;
const end = new Promise((done) => { finished = done; });
const [api, apiURL] = await listen((request, response) => {
  const row = seen.get(request.url) ?? [0, 0];
  row[request.method === "OPTIONS" ? 1 : 0]++;
  seen.set(request.url, row);
  response.writeHead(200, { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "X-Poll, If-None-Match",
    "Access-Control-Max-Age": "7200" });
  response.end("{}");
});
const page = `<!doctype html><script type=module>
for (const header of ["X-Poll", "If-None-Match"]) for (const cache of ["default", "no-cache", "reload", "no-store"]) {
  for (let i = 0; i < 6; i++) await (await fetch("${apiURL}/" + header + "/" + cache, { cache, headers: { [header]: '"1"' } })).text();
}
await fetch("/done", { method: "POST" });
</script>`;
const [site, siteURL] = await listen((request, response) => {
  if (request.url === "/done") finished();
  response.writeHead(200, { "Content-Type": "text/html" }).end(page);
});
const browser = spawn("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", `--user-data-dir=${dir}`,
  "--remote-debugging-port=0", siteURL], { stdio: "ignore" });
const late = setTimeout(finished, 60_000);
await end;
clearTimeout(late);
browser.kill();
await new Promise((done) => browser.on("exit", done));
for (const server of [api, site]) { server.closeAllConnections(); server.close(); }
rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
for (const [path, [requests, preflights]] of seen) {
  const [, header, cache] = path.split("/");
  console.log(`${header.padEnd(14)} ${cache.padEnd(9)} ${requests} requests, ${preflights} preflights`);
  if (preflights !== (path === "/X-Poll/default" ? 1 : 6)) process.exitCode = 1;
}
if (seen.size !== 8) process.exitCode = 1;
JS
