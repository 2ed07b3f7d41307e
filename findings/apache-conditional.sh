#!/bin/sh
# Apache's cache has a fresh copy of a page. Browsers that know an older copy ask with the ETag of that one.
#
# Version: Apache 2.4.71 (Debian 12), mod_cache with mod_cache_disk, as it comes.
# Seen: two plain requests cost the server behind it one. Each request with If-None-Match: "older" costs it one more,
# though the copy is fresh for a minute, though plain requests before and after are answered from it, and though each
# of these responses is stored. So after each change of the page, every browser that polls it asks the server once.
# One expects: no request, as a fresh copy with another ETag is the response (RFC 9111, section 4.3.2).
# It fails if one of the counts changes.
set -eu
dir=$(mktemp -d)
pids=
trap 'kill $pids 2> kill.log || true; wait; rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
apt-get download -qq apache2-bin=2.4.71-1~deb12u1 libapr1 libaprutil1 2> apt.log || { cat apt.log; exit 1; }
for package in *.deb; do dpkg -x "$package" .; done
export LD_LIBRARY_PATH="$dir/usr/lib/$(uname -m)-linux-gnu"

cat > server.js << 'SERVER'
let requests = 0
const server = require('http').createServer((request, response) => {
  if (request.url === '/count') return response.end(`${requests} at the server\n`)
  requests++
  response.writeHead(200, { ETag: '"newest"', 'Cache-Control': 'max-age=60' }).end('page')
}).listen(0, '127.0.0.1', () => console.log(server.address().port))
SERVER
mkfifo port
node server.js > port & pids=$!
read -r server < port
cache=$((server % 10000 + 20000)) # below the ports that a system gives out by itself
for module in mpm_event authz_core cache cache_disk proxy proxy_http; do
  echo "LoadModule ${module}_module usr/lib/apache2/modules/mod_$module.so"
done > httpd.conf
printf '%s\n' 'ServerName localhost' 'PidFile pid' 'ErrorLog errors' 'User www-data' 'Group www-data' 'CacheRoot cache' \
  'CacheEnable disk /page' "Listen 127.0.0.1:$cache" "ProxyPass / http://127.0.0.1:$server/" >> httpd.conf
mkdir -m 777 cache
usr/sbin/apache2 -d "$dir" -f httpd.conf -D FOREGROUND > out 2>&1 & pids="$pids $!"
ask() { curl -s -o body -w '%{http_code} ' --retry 50 --retry-connrefused "$@" "http://127.0.0.1:$cache/page"; }
count() { curl -sS "http://127.0.0.1:$server/count"; }
{ ask; ask; count; for i in 1 2 3; do ask -H 'If-None-Match: "older"'; done; count; ask; count; } | tee seen
printf '200 200 1 at the server\n200 200 200 4 at the server\n200 4 at the server\n' | diff - seen
