#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# An XRootD server with asynchronous I/O takes files from xrdcp and gives them back, alone and three at
# once; checksums agree. It learns of each request's end by a real-time signal that carries the request.
set -eu
for tool in xrootd xrdcp; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
# The server refuses root, and who it is then must reach its files: not in the test's own directory.
server=$(mktemp -d "${TMPDIR:-/var/tmp}/kaio-xrootd.XXXXXX")
process=
stop() { [ -z "$process" ] || { kill "$process" && wait "$process"; } 2>/dev/null || true; process=; }
trap 'stop; rm -rf "$server"' EXIT
fail() { echo "$1"; tail -n 20 "$server/log/test/log"; exit 1; }
user=()
[ "$(id -u)" != 0 ] || user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
cp "$KAIO_LIB" "$server/libkaio.so"
# "Debug": without it this version leaves asynchronous I/O off for files on disk, "force" or not.
# "nosf": not sendfile(), which would serve reads. The numbers are the defaults.
cat >"$server/config" <<CONFIG
all.export /data
oss.localroot $server/root
all.adminpath $server/admin
all.pidpath $server/admin
xrd.port any
xrootd.async Debug force nosf
xrootd.chksum max 2 adler32
CONFIG
mkdir "$server/root" "$server/root/data" "$server/admin" "$server/log"
chmod 755 "$server"
[ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$server"

# start [VARIABLE=VALUE...]: sets $url when it listens
start() {
    rm -rf "$server/log/test"
    (cd "$server/log" && exec "${user[@]}" env XDG_RUNTIME_DIR="$server/admin" "$@" \
        xrootd -c "$server/config" -l "$server/log/log" -n test) &
    process=$!
    for _ in {1..200}; do
        port=$(sed -n 's/.*:\([0-9]*\) initialization completed.*/\1/p' "$server/log/test/log" 2>/dev/null) || true
        [ -z "$port" ] || { url=root://localhost:$port//data; return; }
        kill -0 "$process" 2>/dev/null || break
        sleep 0.05
    done
    fail "the server does not start"
}

copy() { timeout 30 xrdcp --nopbar -f --cksum adler32:source "$@" 2>copy.err || { cat copy.err; fail "xrdcp $*"; }; }

for i in 1 2 3; do head -c "$((i * 12345678))" /dev/urandom >file$i; done
for library in "" "$server/libkaio.so"; do
    start LD_PRELOAD="$library" KAIO_STATS=live
    copy file1 "$url/file1"
    copy "$url/file1" back1
    cmp file1 back1
    for i in 1 2 3; do copy file$i "$url/file$i" & copies[i]=$!; done
    for i in 1 2 3; do wait "${copies[i]}"; done
    for i in 1 2 3; do copy "$url/file$i" back$i & copies[i]=$!; done
    for i in 1 2 3; do wait "${copies[i]}"; done
    for i in 1 2 3; do cmp file$i back$i && cmp file$i "$server/root/data/file$i"; done
    if [ "$library" ]; then
        XDG_RUNTIME_DIR=$server/admin "$TESTS_TOP/scripts/kaio" top --once --json "$process" >live.json
        jq -c '.[].requests' live.json
        # 64 KiB each
        jq -e '.[0].requests | .read > 1200 and .write > 1200' live.json >log || fail "not by AIO: $(cat live.json)"
    fi
    kill -0 "$process" || fail "the server has ended"
    stop
    rm -f back? "$server"/root/data/*
done
