#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio top in a real terminal (tmux): shows, resizes, stops and goes on, ends on q, ^C and SIGTERM, and
# leaves the terminal as it was; keys, -d and -n, the order, a total; nothing vanishes at 60 columns; --once --json for
# scripts; what dead processes left is removed, and who has the library and does not publish is listed.
set -eu
fail() { echo "$1"; exit 1; }
top=("$TESTS_TOP/build/kaio" top)
dd if=/dev/urandom of=data bs=1M count=1 status=none
mkdir run
export XDG_RUNTIME_DIR=$PWD/run
unset TMUX

"${top[@]}" --once >out && grep -q 'No process publishes' out || fail "nobody: $(cat out)"
[ "$("${top[@]}" --once --json)" = "[]" ] || fail "nobody, JSON"
status=0
"${top[@]}" 1 --once 2>errors || status=$?
[ $status = 125 ] && [ "$(wc -l <errors)" = 1 ] && grep -q KAIO_STATS=live errors || fail "a PID: $(cat errors)"
status=0
"${top[@]}" </dev/null 2>errors || status=$?
[ $status = 125 ] && grep -q 'no terminal' errors || fail "no terminal: $(cat errors)"

mkfifo lead
KAIO_STATS=live LD_PRELOAD=$KAIO_LIB "$TESTS_TOP/build/tests/command/watch" running data <lead &
pid=$!
exec 3>lead
tmux=(tmux -f /dev/null -S "$PWD/socket")
trap '"${tmux[@]}" kill-server 2>/dev/null; exec 3>&-' EXIT
# await WHAT COMMAND...: within ten seconds
await() {
    local what=$1
    shift
    for _ in $(seq 200); do
        if "$@"; then return; fi
        sleep 0.05
    done
    fail "$what: $("${tmux[@]}" capture-pane -p 2>&1)"
}
published() { [ -e "run/libkaio-$(id -u)-$pid" ]; }
await published published

"${top[@]}" --once --json "$pid" >out
jq -e ".[0] | .pid == $pid and .command == \"watch\" and .mode == \"auto\" and .interval_s > 0.9
    and .requests_per_s.read > 50 and .requests_per_s.write == 0 and .in_flight <= 1
    and .latency_us.p50 > 0 and .latency_us.p50 <= .latency_us.p99
    and (.lanes | [.kernel, .worker, .caller | .read.per_s // 0] | add) > 50" out >/dev/null || fail "$(cat out)"
"${top[@]}" --once >out && grep -q "^ *$pid watch .* auto" out || fail "as text: $(cat out)"

LC_ALL=C.UTF-8 "${top[@]}" --once $pid >out
grep -Eq '^ +all +[0-9,]+ +[0-9.,]+ ([KM]iB|B) +[0-9.]+ (µs|ms) +[0-9.]+ (µs|ms)$' out || fail "units: $(cat out)"
! grep -q '^  total' out || fail "a total of one: $(cat out)"
[ "$("${top[@]}" -n 3 -d 0.2 --json "$pid" | jq -s 'length == 3 and all(.[][0].interval_s; . > 0.15 and . < 0.9)')" = true ] || fail "-n 3 -d 0.2"
for wrong in "-d 0" "-n 0" "-d x" "--sort name"; do
    # shellcheck disable=SC2086 # two words
    if "${top[@]}" $wrong --once 2>errors || [ $? != 125 ] || [ "$(wc -l <errors)" != 1 ]; then fail "$wrong: $(cat errors)"; fi
done
LD_PRELOAD=$KAIO_LIB sleep 100 &
idle=$!
KAIO_STATS=live LD_PRELOAD=$KAIO_LIB sleep 100 &
waits=$!
for process in $idle $waits; do await "the library in $process" grep -qs libkaio "/proc/$process/maps"; done
sleep 0.1 # past execve()
"${top[@]}" --once >out
grep -Eq "^ *$idle sleep +not live \(KAIO_STATS=live\)$" out && grep -Eq "^ *$waits sleep +live, no request yet$" out || fail "not live: $(cat out)"
kill $idle $waits

# a name: printable in the table and on the screen, UTF-8 in JSON
name=$(printf 'n\303\251"\033[7m\302\233\377')
cp "$TESTS_TOP/build/tests/command/watch" "$name"
mkfifo named
KAIO_STATS=live LD_PRELOAD=$KAIO_LIB "./$name" running data <named &
named=$!
exec 4>named
await "the page of a name" [ -e "run/libkaio-$(id -u)-$named" ]
LC_ALL=C.UTF-8 "${top[@]}" --once "$named" >out
LC_ALL=C.UTF-8 grep -q '^ *[0-9]* né"\\x1b\[7m\\xc2  *auto' out || fail "the name, as text: $(cat -v out)"
LC_ALL=C "${top[@]}" --once "$named" | grep -q '^ *[0-9]* n\\xc3\\xa9"\\x1b\[ *auto' || fail "the name, in ASCII"
"${top[@]}" --once --json "$named" | grep -qF "$(printf '"n\303\251\\"\\u001b[7m\\u009b\\ufffd"')" || fail "the name, in JSON"
# two: the order, and a total
[ "$("${top[@]}" --once --sort pid | grep -Ec "^ *($pid|$named) ")" = 2 ] || fail "two"
LC_ALL=C "${top[@]}" -d 0.5 --once --sort requests >out
awk '$1 == "all" && last != "total" { gsub(",", "", $2); if (n++ && $2 + 0 > before) exit 1; before = $2 + 0 } { last = $1 }' out || fail "the order: $(cat out)"
grep -Eq '^  total [2-9] processes' out || # root sees those of other tests, too
    fail "a total: $(cat out)"
[ "$(awk '{ print length }' out | sort -n | tail -n 1)" -le 60 ] || fail "more than 60 columns: $(cat out)"
exec 4>&-
wait $named

touch "run/libkaio-$(id -u)-$$"    # alive, but it is not this process's
touch "run/libkaio-$(id -u)-99999999" # more than pid_max
ln -s /etc/passwd "run/libkaio-$(id -u)-$PPID"
"${top[@]}" --once --json | jq -e --argjson pid "$pid" 'any(.pid == $pid) and all(.pid != 99999999 and .pid != '"$$"' and .pid != '"$PPID"')' \
    >/dev/null || fail "stale files are shown"
[ "$(ls run)" = "libkaio-$(id -u)-$pid" ] || fail "stale files stay: $(ls run)"

"${tmux[@]}" new-session -d -x 90 -y 20 "env -i TERM=screen PATH=$PATH XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR PS1='> ' bash --norc --noprofile"
keys() { "${tmux[@]}" send-keys "$@"; }
screen() { "${tmux[@]}" capture-pane -p; }
shows() { screen | grep -q -- "$1"; }
is() { [ "$("${tmux[@]}" display-message -p "$1")" = "$2" ]; }
fits() { [ "$(screen | head -n 1 | cut -c1-8)" = "kaio top" ] && [ "$(screen | wc -l)" = 4 ] && ! shows WORKERS && shows REQ; }
cat >session <<TXT # with the terminal's settings before and after; sh ends on ^C unless it has a trap
trap : INT
stty -g >before
sh -c 'echo \$\$ >pid; exec "\$0" "\$@"' ${top[*]} "\$@"
echo status \$?
stty -g >after
echo over
TXT
begin() { # WHAT [PID]
    keys "clear; sh session ${2-}" Enter
    await "$1: it shows" shows "^ *$pid watch"
    is '#{alternate_on} #{cursor_flag}' '1 0' || fail "$1: not on the other screen"
}
clean() { # WHAT STATUS
    await "$1: it ends" shows "^over"
    shows "^status $2" || fail "$1: $(screen)"
    cmp before after || fail "$1: the terminal has other settings"
    is '#{alternate_on} #{cursor_flag}' '0 1' || fail "$1: the screen, or the cursor"
}
await "a shell" shows '^>'
begin q
await "rates" shows 'declined\|kernel *read\|caller *read'
keys x # means nothing
keys h
await "h" shows 'sort by: p PID'
keys h r
await "r" shows 'by requests'
keys f
await "f" shows 'reads write syncs bytes'
keys f
await "f again" shows WORKERS
keys -
await "-" shows ' 0.5 s '
keys + p
await "+ p" shows ' 1 s  *by pid'
"${tmux[@]}" resize-window -x 60 -y 20
for what in 'h: help$' 'PID COMMAND .*MODE .*PENDING .*WORKERS$' 'LANE .*OPERATION .*REQUEST/S .*BYTES/S .*P50 .*P99$' 'all .* [mun]*s$'; do await "60 columns: $what" shows "$what"; done
"${tmux[@]}" resize-window -x 50 -y 4
await "smaller" fits
"${tmux[@]}" resize-window -x 90 -y 20
await "larger" shows WORKERS
keys q
clean q 0
begin ^C
keys C-c
clean ^C 130
begin SIGTERM
kill "$(cat pid)"
clean SIGTERM 143
keys "clear; stty -g >before; ${top[*]}" Enter
await "^Z: it shows" shows "^ *$pid watch"
keys C-z
await "it stops" is '#{alternate_on} #{cursor_flag}' '0 1'
keys "fg" Enter
await "it goes on" is '#{alternate_on} #{cursor_flag}' '1 0'
keys q
await "q behind fg" is '#{alternate_on} #{cursor_flag}' '0 1' # what is typed before it has ended, it discards
keys "clear; stty -g >after; echo status 0; echo over" Enter
clean fg 0

begin "one process" $pid
kill -9 $pid
wait $pid 2>/dev/null || true
clean "it ends with its process" 0
[ -z "$(ls run)" ] || fail "a killed process left: $(ls run)"
