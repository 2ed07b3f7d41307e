#!/bin/sh
# A server hangs. Behind a cache, who asks for a page that is marked must-revalidate may not get a stale copy.
#
# Version: Apache 2.4.71 (Debian 12), mod_cache with mod_cache_disk. CacheLock is off as it comes.
# Seen with CacheLock on: the request that renews the stale copy waits for the server, and all others get that copy at
# once, with status 200, for as long as the server hangs. With CacheLock off, all of them wait.
# One expects: with must-revalidate all wait, lock or not (RFC 9111, section 5.2.2.2).
# It fails if one of the responses changes.
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
const server = require('http').createServer((request, response) => { // answers once, then never again
  if (server.done) return
  server.done = true
  response.writeHead(200, { ETag: '"a"', 'Cache-Control': 'max-age=1, must-revalidate' }).end('page')
}).listen(0, '127.0.0.1', () => console.log(server.address().port))
SERVER
mkfifo port
try() { # CacheLock's value: what do three clients get, half a second apart, while a fourth one renews?
  node server.js > port & pids="$pids $!"
  read -r server < port
  port=$((server % 10000 + 20000)) # below the ports that a system gives out by itself
  for module in mpm_event authz_core cache cache_disk proxy proxy_http; do
    echo "LoadModule ${module}_module usr/lib/apache2/modules/mod_$module.so"
  done > "$1.conf"
  mkdir -m 777 "cache-$1"
  printf '%s\n' 'ServerName localhost' "PidFile $1.pid" 'ErrorLog errors' 'User www-data' 'Group www-data' \
    "CacheRoot cache-$1" 'CacheEnable disk /page' "CacheLock $1" "CacheLockPath $dir/cache-$1/lock" \
    "Listen 127.0.0.1:$port" "ProxyPass / http://127.0.0.1:$server/" >> "$1.conf"
  usr/sbin/apache2 -d "$dir" -f "$1.conf" -D FOREGROUND > out 2>&1 & pids="$pids $!"
  ask() { curl -s -o body -w '%{http_code} ' "$@" "http://127.0.0.1:$port/page" || true; }
  ask --retry 50 --retry-connrefused
  sleep 2.1 # the response is stale
  ask -m 9 > renewing & pids="$pids $!"
  for i in 1 2 3; do sleep 0.5; ask -m 0.5; done
  echo "with CacheLock $1"
}
{ try on; try off; } > seen
cat seen
printf '200 200 200 200 with CacheLock on\n200 000 000 000 with CacheLock off\n' | diff - seen
