# usage: kaio ab [OPTION ...] [--] COMMAND [ARGUMENT ...]
#
# Compares COMMAND with itself: on glibc's AIO and on libkaio. First a run of each side to warm up; then
# pairs of timed runs, the side that begins alternating; then a run of each side in which the library
# writes down what AIO did.
# Prints medians; of the ratios of the pairs the median and an interval in which it lies whatever their
# distribution (sign test: with six pairs and more 95 %, with five all of them, 94 %); a verdict, and
# whether the machine was busy otherwise. COMMAND reads /dev/null; its output is kept,
# and shown if it fails.
#
#   -n PAIRS          timed runs of each side (default: 5)
#   --prepare CMD     a shell command before every run: drop caches, reset a file
#   --same-output     what COMMAND prints on standard output must be the same on both sides
#   --json FILE       all figures, and each run
#   --svg FILE        both distributions of completion latency, as a picture
#   --mode M, --depth N, ...   options of the library ('kaio run --help'), for its side
#
# Exit status: 0; 1 if COMMAND ends or (--same-output) prints otherwise with libkaio, which is a bug;
# COMMAND's if it fails without libkaio; 125 if kaio itself fails, 126 and 127 as kaio run.

# shellcheck shell=sh disable=SC2154
# shellcheck source=scripts/kaio.d/options.sh
. "$commands/options.sh"
# shellcheck source=scripts/kaio.d/program.sh
. "$commands/program.sh"

pairs=5 prepare='' same='' json='' svg=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) help ab; exit 0 ;;
    --) shift; break ;;
    --same-output) same=1 ;;
    -n | --prepare | --json | --svg)
        [ $# -gt 1 ] || fail 125 "$1 needs a value; 'kaio ab --help' shows it"
        case $1 in
        -n) pairs=$2 ;;
        --prepare) prepare=$2 ;;
        --json) json=$2 ;;
        --svg) svg=$2 ;;
        esac
        shift
        ;;
    -n*) pairs=${1#-n} ;;
    --prepare=*) prepare=${1#*=} ;;
    --json=*) json=${1#*=} ;;
    --svg=*) svg=${1#*=} ;;
    -*)
        take_option "$@"
        [ "$taken" != 0 ] || fail 125 "$1 is not an option; 'kaio ab --help' lists them"
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
[ $# -gt 0 ] || fail 125 "no command; 'kaio ab --help' shows how it is used"
set_preload
find_program "$1"
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || fail 125 "$1 is missing; as root: apt-get install $2"
}
need jq jq
[ -z "$svg" ] || need gnuplot gnuplot-nox
for file in "$json" "$svg"; do
    if [ "$file" ] && ! (: >>"$file") 2>/dev/null; then fail 125 "$file cannot be written to"; fi
done
scratch=$(mktemp -d) || fail 125 "no scratch directory; set TMPDIR to a directory that can be written to"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$scratch/glibc" "$scratch/libkaio" # for the library's figures

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
outcome() { # of the last run, in words
    if [ "$(field signal)" != 0 ]; then echo "signal $(field signal)"; else echo "exit status $(field status)"; fi
}
printed() { # the last lines that the last run printed
    tail -n 20 "$scratch/output" "$scratch/errors" | sed -n '/^==>/!{/./s/^/    /p;}' >&2
}
bug() { # SENTENCE
    printf '*** kaio: %s\n*** This is a bug in libkaio; please report it with the command and this output.\n' "$1" >&2
}

# measure ARGUMENT...: kaio-measure, after --prepare's command
measure() {
    if [ "$prepare" ] && ! sh -c "$prepare" >"$scratch/output" 2>"$scratch/errors" </dev/null; then
        finished "kaio: the command of --prepare fails; it printed:"
        printed
        exit 125
    fi
    "$tools/kaio-measure" "$@" >"$scratch/output" 2>"$scratch/errors" </dev/null && return
    cat "$scratch/errors" >&2
    exit 125
}

check_outcome() {
    [ "$(outcome)" != "exit status 0" ] || return 0
    if [ "$loaded" ]; then
        bug "$loaded the command ends with $(outcome), without it with exit status 0; it printed:"
        printed
        exit 1
    fi
    finished "kaio: the command fails without libkaio ($(outcome)), so there is nothing to compare; it printed:"
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
            bug "$loaded the command prints something else than without it (<: without, >: with):"
            diff -a "$scratch/expected" "$scratch/other" | head -n 20 >&2
            exit 1
        fi
    fi
    fail 125 "the command's output changes without libkaio, too, so --same-output can tell nothing: leave it out"
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
    check_outcome
    if [ "$same" ]; then check_output "$@"; fi
    sed "s/^{/{\"side\":\"$side\",\"how\":\"$how\",\"pair\":$pair,/" "$scratch/result" >>"$scratch/runs"
}

started=$(interpreter "$program")
if [ -z "$(aio_users "${started:-$program}")" ]; then
    finished "kaio: warning: neither ${started:-$program} nor its libraries use POSIX AIO; libkaio changes nothing, unless they start or load something that does"
fi
for side in glibc libkaio; do
    progress "warm-up, $side"
    run "$side" warm-up 0 "$@"
done
sides="glibc libkaio" pair=1
while [ "$pair" -le "$pairs" ]; do
    times=''
    for side in $sides; do
        progress "pair $pair of $pairs, $side"
        run "$side" timed "$pair" "$@"
        wall=$(field wall_s)
        times="${times:+$times, }$side ${wall%???} s" # six digits: three are enough
    done
    finished "pair $pair of $pairs: $times"
    sides="${sides#* } ${sides% *}"
    pair=$((pair + 1))
done
for side in glibc libkaio; do
    progress "what AIO does, $side"
    run "$side" report 0 "$@"
    # what is no page, or none, counts as none
    "$tools/kaio-top" --report "$scratch/$side"/* >"$scratch/$side.reports" 2>/dev/null
done
progress ''

jq -n --slurpfile runs "$scratch/runs" --slurpfile glibc "$scratch/glibc.reports" \
    --slurpfile libkaio "$scratch/libkaio.reports" --arg kernel "$(uname -r)" --argjson cpus "$(nproc)" \
    --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson pairs "$pairs" -L "$commands" -f "$commands/ab.jq" \
    --args -- "$@" >"$scratch/figures" || fail 125 "the figures cannot be put together; please report it"
jq -r -L "$commands" -f "$commands/ab-table.jq" "$scratch/figures"
if [ "$json" ]; then cat "$scratch/figures" >"$json" || fail 125 "$json cannot be written"; fi
if [ "$svg" ]; then
    if jq -r -f "$commands/ab-plot.jq" "$scratch/figures" >"$scratch/plot" && [ -s "$scratch/plot" ]; then
        WHAT=$(printable "$*" | cut -c -110) gnuplot -e "data='$scratch/plot'" "$commands/ab.gp" >"$scratch/svg" &&
            sed 's|<title>Gnuplot</title>|<title>Completion latency with glibc and with libkaio</title>|' "$scratch/svg" >"$svg" ||
            fail 125 "gnuplot could not draw $svg"
    else
        fail 125 "no latencies to draw: the library wrote no report, or there was no request"
    fi
fi
