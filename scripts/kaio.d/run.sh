# usage: kaio [run] [OPTION ...] [--] COMMAND [ARGUMENT ...]
#
# Runs COMMAND with libkaio in front of glibc's AIO, and becomes it: LD_PRELOAD=libkaio.so COMMAND
# with the mistakes caught. What LD_PRELOAD holds already stays. With --stats or --stats=FILE it waits for
# COMMAND and reports, on standard error or to FILE, what all of its processes did, however they ended:
# as text the sum, as JSON (FILE.json) a line for each.
#
# Exit status: COMMAND's; 125 if kaio itself fails, 126 if COMMAND cannot be run with libkaio
# (static, setuid, another architecture or libc, not executable), 127 if it is not found.
#
# Options of the library; each is also an environment variable:

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154
# shellcheck source=scripts/kaio.d/options.sh
. "$commands/options.sh"
# shellcheck source=scripts/kaio.d/program.sh
. "$commands/program.sh"

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        help run
        exec "$tools/kaio-check" --options
        ;;
    --) shift; break ;;
    -*)
        take_option "$@"
        [ $taken != 0 ] || fail 125 "$1 is not an option; 'kaio run --help' lists them"
        shift $taken
        ;;
    *) break ;;
    esac
done
check_options
[ $# -gt 0 ] || fail 125 "no command; 'kaio --help' shows how it is used"
set_preload
find_program "$1"
case ${KAIO_STATS-0} in
0 | live) ;;
*) [ -d "$KAIO_STATS" ] || exec "$tools/kaio-stats" "$KAIO_STATS" "$preload" "$@" ;;
esac
export LD_PRELOAD="$preload"
exec "$@"
