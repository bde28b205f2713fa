# usage: kaio ab [OPTION ...] [--] COMMAND [ARGUMENT ...]
#        kaio ab --load CMD [OPTION ...] [--] SERVER [ARGUMENT ...]
#
# Compares COMMAND with itself: on glibc's AIO and on libkaio. First a run of each side to warm up; then
# pairs of timed runs, the side that begins alternating; then a run of each side in which the library
# writes down what AIO did.
# Prints medians; of the ratios of the pairs the median and an interval in which it lies whatever their
# distribution (sign test: with six pairs and more 95 %, with five all of them, 94 %); a verdict, and
# whether the machine was busy otherwise. COMMAND reads /dev/null; its output is kept,
# and shown if it fails.
#
# With --load each run starts SERVER, waits until it is ready, runs the load, and ends SERVER. The time is
# that of the load; CPU time, memory, switches, threads and AIO are SERVER's and its children's, from its
# start to its end, also if it becomes a daemon.
#
#   -n PAIRS          timed runs of each side (default: 5)
#   --load CMD        a shell command that ends when the work is done
#   --ready CMD       a shell command that succeeds once SERVER is ready (default: once SERVER or a child
#                     of it has a socket that listens)
#   --wait SECONDS    how long SERVER may take until it is ready (default: 30)
#   --stop SIGNAL     what ends SERVER: QUIT, INT, a number, ... (default: TERM)
#   --grace SECONDS   how long SERVER may take to end; then SIGKILL ends what is left of it (default: 10)
#   --setup CMD       a shell command before every run, before SERVER starts: reset a directory
#   --prepare CMD     a shell command before what is timed: drop caches, reset a file; SERVER is ready then
#   --cleanup CMD     a shell command after every run, once SERVER has ended
#   --ignore-failure  a COMMAND or load that fails is compared all the same; how often is said
#   --same-output     what COMMAND or the load prints on standard output must be the same on both sides
#   --json FILE       all figures, and each run
#   --export-markdown FILE   the table for a README
#   --svg FILE        both distributions of completion latency, as a picture
#   --mode M, --depth N, ...   options of the library ('kaio run --help'), for its side
#
# Exit status: 0; 1 if COMMAND, SERVER or the load ends or (--same-output) prints otherwise with libkaio,
# which is a bug; that of COMMAND or the load if it fails without libkaio; 125 if kaio itself fails, or
# SERVER without libkaio; 126 and 127 as kaio run.

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154

pairs=5 prepare='' same='' json='' svg='' markdown='' load='' ready='' setup='' cleanup='' ignore='' server=''
wait=30 stop=TERM grace=10
# take_own OPTION VALUE: one of the above; 1 if it is none
take_own() {
    case $1 in
    -n) pairs=$2 ;;
    --load) load=$2 ;;
    --ready) ready=$2 server=$1 ;;
    --wait) wait=$2 server=$1 ;;
    --stop) stop=$2 server=$1 ;;
    --grace) grace=$2 server=$1 ;;
    --setup) setup=$2 ;;
    --prepare) prepare=$2 ;;
    --cleanup) cleanup=$2 ;;
    --json) json=$2 ;;
    --export-markdown) markdown=$2 ;;
    --svg) svg=$2 ;;
    *) return 1 ;;
    esac
}
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) help ab; exit 0 ;;
    --) shift; break ;;
    --same-output) same=1 ;;
    --ignore-failure) ignore=1 ;;
    -n?*) pairs=${1#-n} ;;
    -*)
        case $1 in
        --*=*) value=${1#*=} taken=1 ;;
        *) value=${2-} taken=2 ;;
        esac
        if take_own "${1%%=*}" "$value"; then
            [ $# -ge $taken ] && [ "$value" ] || fail 125 "$1 needs a value; 'kaio ab --help' shows it"
        else
            take_option "$@"
            [ "$taken" != 0 ] || fail 125 "$1 is not an option; 'kaio ab --help' lists them"
        fi
        shift $((taken - 1))
        ;;
    *) break ;;
    esac
    shift
done
check_options
case ${KAIO_STATS-0} in
0 | live) ;;
*) [ -d "$KAIO_STATS" ] || fail 125 "--stats (KAIO_STATS): kaio ab counts in a run of its own; leave it out" ;;
esac
case $pairs in
'' | *[!0-9]* | 0* | ????*) fail 125 "-n takes a number from 1 to 999, not '$pairs'" ;;
esac
if [ "$server" ] && [ -z "$load" ]; then fail 125 "$server is for a server; name what to do with it by --load CMD"; fi
[ $# -gt 0 ] || fail 125 "no command; 'kaio ab --help' shows how it is used"
case $1 in
*' '*) if [ $# = 1 ] && [ ! -e "$1" ]; then fail 127 "$1: no such file; a command line for the shell goes behind sh -c: kaio ab -- sh -c '...'"; fi ;;
esac
set_preload
find_program "$1"
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || fail 125 "$1 is missing; as root: apt-get install $2"
}
need jq jq
[ -z "$svg" ] || need gnuplot gnuplot-nox
for file in "$json" "$svg" "$markdown"; do
    if [ "$file" ] && ! (: >>"$file") 2>/dev/null; then fail 125 "$file cannot be written to"; fi
done
scratch=$(mktemp -d) || fail 125 "no scratch directory; set TMPDIR to a directory that can be written to"
running=''
trap '[ -z "$running" ] || (tidy); rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# For the library's figures; a server of root's may be another user by then.
mkdir "$scratch/glibc" "$scratch/libkaio"
if [ "$(id -u)" = 0 ]; then chmod 711 "$scratch" && chmod 1733 "$scratch/glibc" "$scratch/libkaio"; fi

progress() { # TEXT: a line that the next one replaces
    if [ -t 2 ]; then printf '\r%-78.78s\r' "$1" >&2; fi
}
finished() { # TEXT: a line that stays
    if [ -t 2 ]; then printf '\r%78s\r' '' >&2; fi
    printf '%s\n' "$(printable "$1")" >&2
}
field() { # NAME: of the last run
    sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" "$scratch/result"
}
outcome() { # [server_]: of the last run, in words
    if [ "$(field "${1-}signal")" != 0 ]; then echo "signal $(field "${1-}signal")"; else echo "exit status $(field "${1-}status")"; fi
}
printed() { # the last lines that the last run printed
    for file in output errors; do tail -n 20 "$scratch/$file"; done | indented
    if [ -s "$scratch/server" ]; then
        echo "the server printed:" >&2
        tail -n 20 "$scratch/server" | indented
    fi
}
indented() {
    sed -n '/./s/^/    /p' >&2
}
bug() { # SENTENCE
    printf '*** kaio: %s\n*** This is a bug in libkaio; please report it with the command and this output.\n' "$1" >&2
}

# shell OPTION COMMAND: an option's command
shell() {
    if [ -z "$2" ] || sh -c "$2" >"$scratch/output" 2>"$scratch/errors" </dev/null; then return; fi
    finished "kaio: the command of $1 fails; it printed:"
    printed
    exit 125
}
tidy() {
    running=''
    shell --cleanup "$cleanup"
}

# measure ARGUMENT...: kaio-measure, between the commands of --setup and --cleanup
measure() {
    running=1
    shell --setup "$setup"
    if [ "$load" ]; then
        set -- -l "$load" -w "$wait" -s "$stop" -g "$grace" -o "$scratch/server" ${ready:+-r "$ready"} ${prepare:+-p "$prepare"} "$@"
    else
        shell --prepare "$prepare"
    fi
    "$tools/kaio-measure" "$@" >"$scratch/output" 2>"$scratch/errors" </dev/null || {
        cat "$scratch/errors" >&2
        exit 125
    }
    if [ -z "$cleanup" ]; then running=''; return; fi
    for file in output errors; do mv "$scratch/$file" "$scratch/$file.kept"; done
    tidy
    for file in output errors; do mv "$scratch/$file.kept" "$scratch/$file"; done
}

# The server itself. What ends it otherwise than the other side's is seen in how it ends.
check_server() {
    problem=$(sed -n 's/.*"problem":"\([^"]*\)".*/\1/p' "$scratch/result")
    if [ "$problem" ] && [ -z "$loaded" ]; then
        finished "kaio: $problem; it printed:"
        printed
        exit 125
    fi
    end=$(outcome server_)
    if [ -z "$loaded" ]; then echo "$end" >>"$scratch/ends"; fi
    if [ -z "$problem" ] && ! grep -qxF "$end" "$scratch/ends"; then problem="the server ends with $end"; fi
    if [ "$problem" ]; then
        bug "$loaded $problem; without it not. It printed:"
        printed
        exit 1
    fi
    if [ "$(field killed)" != 0 ] && [ -z "${said-}" ]; then
        said=1
        finished "kaio: $(field killed) of the server's processes had not ended $grace s after the signal $stop (--grace), so SIGKILL ended them; further ones are not mentioned"
    fi
}

check_outcome() {
    if [ "$ignore" ] || [ "$(outcome)" = "exit status 0" ]; then return; fi
    if [ "$loaded" ]; then
        bug "$loaded the $what ends with $(outcome), without it with exit status 0; it printed:"
        printed
        exit 1
    fi
    finished "kaio: the $what fails without libkaio ($(outcome)), so there is nothing to compare (--ignore-failure does); it printed:"
    printed
    [ "$(field signal)" = 0 ] || exit $((128 + $(field signal)))
    exit "$(field status)"
}

check_output() { # COMMAND...
    [ -e "$scratch/expected" ] || cp "$scratch/output" "$scratch/expected"
    ! cmp -s "$scratch/expected" "$scratch/output" || return 0
    if [ "$loaded" ]; then # does it always print the same without the library?
        mv "$scratch/output" "$scratch/other"
        measure "$scratch/again" "$@"
        if cmp -s "$scratch/expected" "$scratch/output"; then
            bug "$loaded the $what prints something else than without it (<: without, >: with):"
            diff -a "$scratch/expected" "$scratch/other" | head -n 20 >&2
            exit 1
        fi
    fi
    fail 125 "the $what's output changes without libkaio, too, so --same-output can tell nothing: leave it out"
}

# run SIDE HOW PAIR COMMAND...: once. HOW: warm-up; timed; report, where the library
# counts, on the side of glibc too (KAIO_MODE=off), where it only watches.
run() {
    side=$1 how=$2 pair=$3 report='' off='' loaded=''
    shift 3
    if [ "$side" = libkaio ]; then loaded="with libkaio"; fi
    if [ "$how" = report ]; then
        report=$scratch/$side/
        if [ "$side" = glibc ]; then off=off loaded="with libkaio loaded (KAIO_MODE=off)"; fi
    fi
    measure ${loaded:+-e "LD_PRELOAD=$preload"} ${report:+-e "KAIO_STATS=$report"} \
        ${off:+-e "KAIO_MODE=off"} "$scratch/result" "$@"
    if [ "$load" ]; then check_server; fi
    check_outcome
    if [ "$same" ]; then check_output "$@"; fi
    sed "s/^{/{\"side\":\"$side\",\"how\":\"$how\",\"pair\":$pair,/" "$scratch/result" >>"$scratch/runs"
}

started=$(interpreter "$program")
if ! uses_aio "${started:-$program}"; then
    finished "kaio: warning: neither ${started:-$program} nor its libraries use POSIX AIO; libkaio changes nothing, unless they start or load something that does"
fi
now_ms() {
    date +%s%3N
}
# left: how long the rest takes, by what the runs have taken so far
left() {
    left_s=$((($(now_ms) - began_ms) * (2 * pairs + 4 - done) / done / 1000 + 1))
    if [ $left_s -lt 120 ]; then echo "about $left_s s left"; else echo "about $(((left_s + 30) / 60)) min left"; fi
}

what=${load:+load} done=0 began_ms=$(now_ms)
what=${what:-command}
for side in glibc libkaio; do
    progress "warm-up, $side"
    run "$side" warm-up 0 "$@"
    done=$((done + 1))
done
finished "warm-up done, $(left)"
sides="glibc libkaio" pair=1
while [ "$pair" -le "$pairs" ]; do
    times=''
    for side in $sides; do
        progress "pair $pair of $pairs, $side, $(left)"
        run "$side" timed "$pair" "$@"
        done=$((done + 1))
        wall=$(field wall_s)
        times="${times:+$times, }$side ${wall%???} s" # six digits: three are enough
    done
    finished "pair $pair of $pairs: $times"
    sides="${sides#* } ${sides% *}"
    pair=$((pair + 1))
done
for side in glibc libkaio; do
    progress "what AIO does, $side, $(left)"
    run "$side" report 0 "$@"
    done=$((done + 1))
    # what is no page, or none, counts as none
    "$kaio" top --json --report "$scratch/$side"/* >"$scratch/$side.reports" 2>/dev/null
done
progress ''

jq -n --slurpfile runs "$scratch/runs" --slurpfile glibc "$scratch/glibc.reports" \
    --slurpfile libkaio "$scratch/libkaio.reports" --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" \
    --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson pairs "$pairs" --arg load "$load" -L "$commands" -f "$commands/ab.jq" \
    --args -- "$@" >"$scratch/figures" || fail 125 "the figures cannot be put together; please report it"
jq -r -L "$commands" -f "$commands/ab-table.jq" "$scratch/figures"
if [ "$json" ]; then cat "$scratch/figures" >"$json" || fail 125 "$json cannot be written"; fi
if [ "$markdown" ]; then
    jq -r --arg markdown yes -L "$commands" -f "$commands/ab-table.jq" "$scratch/figures" >"$markdown" ||
        fail 125 "$markdown cannot be written"
fi
if [ "$svg" ]; then
    if jq -r -f "$commands/ab-plot.jq" "$scratch/figures" >"$scratch/plot" && [ -s "$scratch/plot" ]; then
        WHAT=$(printable "$*" | cut -c -110) gnuplot -e "data='$scratch/plot'" "$commands/ab.gp" >"$scratch/svg" &&
            sed 's|<title>Gnuplot</title>|<title>Completion latency with glibc and with libkaio</title>|' "$scratch/svg" >"$svg" ||
            fail 125 "gnuplot could not draw $svg"
    else
        fail 125 "no latencies to draw: the library wrote no report, or there was no request"
    fi
fi
