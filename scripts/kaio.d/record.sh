# usage: kaio record -o FILE [OPTION ...] [--] COMMAND [ARGUMENT ...]
#
# Runs COMMAND with libkaio and, in front of it, libkaio-record, which writes each request that COMMAND
# makes (time, file, operation, offset, length) to FILE, as a fio iolog of version 3. At the end it says
# on standard error what is in FILE, and the fio command that replays it: with --direct=1 if the files
# were open with O_DIRECT. Other engines and depths can be put in its place:
#
#     fio --name=replay --read_iolog=FILE --ioengine=libaio --iodepth=32
#     fio --name=replay --read_iolog=FILE --ioengine=io_uring --iodepth=128 --replay_no_stall=1
#
# fio writes where COMMAND wrote: replay on copies (--replay_redirect=COPY).
#
#   -o FILE           where to write; a file that is there is replaced. Other processes that COMMAND
#                     starts append to FILE.PID
#   --mode M, --depth N, ...   options of the library ('kaio run --help')
#
# Requests of pipes, sockets and terminals are left out, and files that are deleted or have spaces in
# their path; how many is said at exit. A file keeps the path that it had at its first request. A full
# disk ends the recording, not COMMAND.
#
# Exit status: as kaio run.

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154
# shellcheck source=scripts/kaio.d/options.sh
. "$commands/options.sh"

file=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) help record; exit 0 ;;
    -o)
        [ $# -gt 1 ] || fail 125 "-o needs a file"
        shift
        file=$1
        ;;
    -o?*) file=${1#-o} ;;
    --) shift; break ;;
    -*)
        take_option "$@"
        [ "$taken" != 0 ] || fail 125 "$1 is not an option; 'kaio record --help' lists them"
        shift $((taken - 1))
        ;;
    *) break ;;
    esac
    shift
done
[ -n "$file" ] || fail 125 "no file to write to; name one with -o FILE"
[ $# -gt 0 ] || fail 125 "no command; 'kaio record --help' shows how it is used"
case $file in
/*) ;;
*) file=$PWD/$file ;;
esac
directory=$(dirname "$file")
if [ ! -d "$directory" ] || [ ! -w "$directory" ]; then
    fail 125 "$directory cannot be written to; choose another place with -o"
fi
if [ -e "$file" ] || [ -L "$file" ]; then
    [ -f "$file" ] || fail 125 "$file is there and is not a file; choose another name with -o"
    rm -f "$file" || fail 125 "$file cannot be replaced; choose another name with -o"
fi
export KAIO_RECORD="$file"
exec "$tools/kaio-record" "$file" "$(readlink -f "$0")" run -- "$@"
