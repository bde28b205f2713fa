#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A GlusterFS brick whose health check writes a file by aio_write() and reads it back by aio_read(), while files
# go through it from a client: it finds nothing wrong, and what comes back is the same.
set -eu
command -v glusterfs glusterfsd >/dev/null || { echo "glusterfs-client is not installed"; exit 77; }
mkdir brick mounted
cat >brick.vol <<BRICK
volume posix
    type storage/posix
    option directory $PWD/brick
    option health-check-interval 1
end-volume
volume locks
    type features/locks
    subvolumes posix
end-volume
volume server
    type protocol/server
    option transport-type socket
    option transport.address-family unix
    option transport.socket.listen-path $PWD/socket
    option auth.addr.locks.allow *
    subvolumes locks
end-volume
BRICK
cat >client.vol <<CLIENT
volume client
    type protocol/client
    option transport-type socket
    option transport.address-family unix
    option remote-host localhost
    option transport.socket.connect-path $PWD/socket
    option remote-subvolume locks
end-volume
CLIENT
fail() { echo "$1"; tail -n 20 ./*.log; exit 1; }
brick='' client=''
stop() {
    ! mountpoint -q mounted || umount mounted || umount -l mounted
    [ -z "$client" ] || { kill "$client" && wait "$client"; } 2>/dev/null || true
    [ -z "$brick" ] || { kill "$brick" && wait "$brick"; } 2>/dev/null || true
    brick='' client=''
}
trap stop EXIT
until_true() { for _ in {1..100}; do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; fail "not within 10 s: $*"; }

head -c 3000000 /dev/urandom >file
mkdir stats
for library in "" "$KAIO_LIB"; do
    rm -rf brick/.glusterfs brick/* socket ./*.log
    LD_PRELOAD=$library KAIO_STATS=$PWD/stats glusterfsd -N -f brick.vol -l "$PWD/brick.log" &
    brick=$!
    until_true test -S socket
    glusterfs -N -f client.vol -l "$PWD/client.log" mounted &
    client=$!
    until_true mountpoint mounted
    for i in 1 2 3; do cp file mounted/file$i; done
    for i in 1 2 3; do cmp file mounted/file$i && cmp file brick/file$i; done
    until_true grep -q . brick/.glusterfs/health_check
    touch now
    until_true test brick/.glusterfs/health_check -nt now # so the first check has ended
    ! grep 'health-check failed' brick.log || fail "the health check fails"
    stop
done
"$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
jq -c .requests report.json
jq -e '.requests | .read > 0 and .write > 0' report.json >log || fail "not by AIO: $(cat report.json)"
