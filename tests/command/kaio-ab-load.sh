#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio ab --load: servers of several manners (serve.c) are started, found ready, put under a load and ended;
# what is measured is theirs, and nothing of them is left. What goes wrong is said. Also --setup, --cleanup,
# --ignore-failure, --export-markdown and the time left.
# alone: it measures
set -eu
kaio=$TESTS_TOP/scripts/kaio
serve=$TESTS_TOP/build/tests/command/serve
fail() { echo "$1"; cat out errors; exit 1; }
mkdir tmp
export TMPDIR=$PWD/tmp
head -c 4096 /dev/urandom >data

# ab STATUS ARGUMENT...: kaio ab must end so, and leave neither files nor processes
ab() {
    local status=0 wanted=$1
    shift
    timeout 60 "$kaio" ab "$@" >out 2>errors || status=$?
    [ $status = "$wanted" ] || fail "kaio ab $*: status $status, not $wanted"
    [ -z "$(ls tmp)" ] || fail "scratch files are left: $(ls tmp)"
    ! pgrep -f "$PWD/socket" >left || fail "left: $(ps -o pid,args -p "$(paste -sd, left)")"
}
# says PATTERN: on one of its outputs
says() { cat out errors | grep -Eq -- "$1" || fail "nowhere: $1"; }
# load STATUS ARGUMENT...: of a load of 100 connections, on the server with WORDs
load() {
    local status=$1
    shift
    ab "$status" -n 1 --load "$serve load $PWD/socket 100" "$@"
}
server=("$serve" "$PWD/socket" "$PWD/data")

# The time is the load's, the rest is the server's: its requests in each run, no second of the load's CPU time.
# shellcheck disable=SC2016 # expanded by the command
ab 0 -n 2 --json json --export-markdown markdown --stop sigquit \
    --load "$serve load $PWD/socket 300; sleep 0.2; timeout 0.2 sh -c 'while :; do :; done'; true" -- "${server[@]}" quits slow
jq -e --argjson slow "${TEST_SLOW:-1}" '[.runs[].wall_s] | all(. > 0.4 and . < 3 * $slow)' json >/dev/null || fail "not the load's time: $(jq -c '[.runs[].wall_s]' json)"
jq -e --argjson slow "${TEST_SLOW:-1}" '(.figures | map({key: .name, value: .}) | from_entries) as $f | $f.user_s.glibc.max + $f.system_s.glibc.max < 0.2 * $slow
    and $f.voluntary_switches.glibc.min >= 50 and $f.voluntary_switches.glibc.max < 3000
    and $f.threads.glibc.min == 1 and $f.threads.libkaio.max == 0
    and ([.runs[] | .server_status] | all(. == 7)) and ([.runs[] | .span_s - .wall_s] | all(. > 0.25))
    and ([.aio[].requests.read] == [300, 300]) and (.load | test("load"))' json >/dev/null || fail "figures: $(jq -c . json)"
says '^time of the load +[0-9.]+ m?s +[0-9.]+ m?s '
says '^server: voluntary switches +[0-9]'
says '^warm-up done, about [0-9]+ s left$'
! grep -q 'SIGKILL' errors || fail "it was killed"

# Markdown: rows of four, under a head each
awk -F '|' '/^\|/ && NF != 6 { exit 1 }' markdown || fail "columns: $(cat markdown)"
[ "$(grep -c '^| --- | ---: | ---: | :--- |$' markdown)" = 2 ] && grep -q '^| time of the load | [0-9.]* m*s | [0-9.]* m*s | [0-9.]* × ' markdown &&
    grep -q '^| p99 | ' markdown && grep -q '^libkaio: ' markdown && grep -qF "\`$serve " markdown || fail "Markdown: $(cat markdown)"

# a daemon, a worker that SIGTERM orphans, a socket of TCP
load 0 "${server[@]}" daemon
says '^server: voluntary switches +[1-9][0-9]+ '
load 0 "${server[@]}" workers
says '^server: voluntary switches +[1-9][0-9]+ '
cat >tcp.py <<'PY'
import socket, time
time.sleep(0.3)
listener = socket.create_server(("localhost", 0))
open("port", "w").write(str(listener.getsockname()[1]))
while True:
    listener.accept()[0].close()
PY
ab 0 -n 1 --cleanup 'rm port' --load "python3 -c 'import socket; socket.create_connection((\"localhost\", int(open(\"port\").read())))'" -- python3 "$PWD/tcp.py" "$PWD/socket"

# what does not end by the signal, after the grace, by SIGKILL: that only
sleep 60 &
beside=$!
for words in "workers stubborn" "stubborn daemon"; do
    # shellcheck disable=SC2086 # several
    load 0 --grace 0.2 "${server[@]}" $words
    says "kaio: [12] of the server's processes had not ended 0.2 s after the signal TERM \(--grace\), so SIGKILL ended them"
    [ "$(grep -c SIGKILL errors)" = 1 ] || fail "said more than once"
done
kill $beside || fail "another process was ended, too"

# --ready instead of a socket; it may take a moment, and must not take longer than --wait
load 0 --ready 'test -S socket' --setup 'rm -f socket' --prepare 'cp data prepared' "${server[@]}" slow
[ -e prepared ] || fail "--prepare"
load 125 --wait 0.5 --ready 'sleep 30' "${server[@]}"
says '^kaio: the server was not ready within 0.5 s; it printed:$'
load 125 --wait 0.5 "${server[@]}" silent
says '^kaio: the server was not ready within 0.5 s: it has no socket that listens; it printed:$'
says '^    starts$'
load 125 "${server[@]}" fails
says '^kaio: the server ended \(exit status 3\) before it was ready; it printed:$'
says '^    no such option$'
load 125 "${server[@]}" dies
says '^kaio: the server ended \(signal 11\) while the load ran; it printed:$'
load 125 --prepare 'echo no room; false' "${server[@]}"
says 'the command of --prepare fails; it printed:'
says '^    no room$'

# a load that fails
ab 3 --load 'echo what; exit 3' "${server[@]}"
says 'the load fails without libkaio \(exit status 3\), .*--ignore-failure'
says '^    what$'
says '^    starts$'
ab 0 -n 1 --ignore-failure --load 'exit 3' "${server[@]}"
says '^The load failed in 3 of 3 runs on glibc \(exit status 3\), in 3 of 3 with libkaio \(exit status 3\)\.$'
ab 0 -n 1 --ignore-failure -- sh -c 'echo x >>runs; [ $(wc -l <runs) != 2 ]' # the warm-up of libkaio
says '^The command failed in 0 of 3 runs on glibc, in 1 of 3 with libkaio \(exit status 1\)\.$'

# --setup, --prepare and --cleanup: their order, also after a failure
steps() {
    ab "$1" -n 1 --setup 'echo setup >>order' --prepare 'echo prepare >>order' --cleanup 'echo cleanup >>order' "${@:2}"
    paste -sd' ' order
    rm order
}
six=$(for _ in 1 2 3 4 5 6; do echo setup prepare run cleanup; done | paste -sd' ')
[ "$(steps 0 -- sh -c 'echo run >>order')" = "$six" ] || fail "order of a command"
[ "$(steps 0 --load 'echo run >>order' -- "${server[@]}")" = "$six" ] || fail "order of a load"
[ "$(steps 4 --load 'exit 4' -- "${server[@]}")" = "setup prepare cleanup" ] || fail "order of a load that fails"
for step in setup cleanup; do
    ab 125 --$step 'echo no room; false' true
    says "^kaio: the command of --$step fails; it printed:$"
    says '^    no room$'
done
# interrupted: the server ends, and --cleanup is run
rm -f cleaned
env --default-signal=INT timeout -s INT 2 "$kaio" ab --cleanup 'echo >cleaned' --load 'sleep 60' -- "${server[@]}" >out 2>errors && fail "not interrupted"
[ -e cleaned ] && [ -z "$(ls tmp)" ] && ! pgrep -f "$PWD/socket" >left || fail "interrupted: $(ls) $(cat left)"

# with the library only: a bug (stubs in its place)
mkdir -p copy/build
cp -r "$TESTS_TOP/scripts" copy/
cp "$TESTS_TOP"/build/{kaio,kaio-*,libkaio-record.so} copy/build/
printf '%s\n' '#include <unistd.h>' '__attribute__((constructor)) static void loaded(void) { _exit(9); }' >stub.c
gcc -shared -fPIC -o copy/build/libkaio.so stub.c
kaio=$PWD/copy/scripts/kaio
load 1 "${server[@]}"
says '^\*\*\* kaio: with libkaio the server ended \(exit status 9\) before it was ready; without it not'
printf '%s\n' '#include <sys/syscall.h>' '#include <unistd.h>' 'void _exit(int s) { for (;;) syscall(SYS_exit_group, s + 9); }' >stub.c
gcc -shared -fPIC -o copy/build/libkaio.so stub.c
load 1 "${server[@]}"
says '^\*\*\* kaio: with libkaio the server ends with exit status 9; without it not'
kaio=$TESTS_TOP/scripts/kaio

# refused
load 125 --stop NONE "${server[@]}"
says "^kaio: --stop takes a signal, not 'NONE'$"
load 125 --grace soon "${server[@]}"
says "^kaio: --grace takes seconds, not 'soon'$"
ab 125 --stop INT true
says -- '--stop is for a server'
ab 127 'sh -c true'
says "^kaio: sh -c true: no such file; a command line for the shell goes behind sh -c: kaio ab -- sh -c '...'"
