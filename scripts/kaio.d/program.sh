# program.sh - read by run, ab and check: the program that is meant, and what it has to do with AIO.
# shellcheck shell=sh disable=SC2034,SC2154

# SPDX-License-Identifier: MIT
# find_program NAME: $program is the file that will run: a path as it is, a name by PATH (never a
# shell built-in). Fails if it cannot be run with the library.
find_program() {
    case $1 in
    */*) program=$1 ;;
    *) in_path "$1" || fail 127 "$1: not found in PATH" ;;
    esac
    [ -e "$program" ] || fail 127 "$program: no such file"
    if [ -d "$program" ]; then fail 126 "$program: is a directory"; fi
    [ -x "$program" ] || fail 126 "$program: is not executable"
    reached "$program" || exit
}

# reached FILE: does LD_PRELOAD=$preload reach it? If not, says why. Where another ld.so is to look than that of our
# own tools, it is asked: another class, another glibc.
reached() {
    # shellcheck disable=SC2086 # several words
    loader=$("$tools/kaio-check" --reach "$1" $libraries) || return
    case $loader in
    '') return 0 ;;
    *ld-musl*) reached_musl "$1"; return ;;
    esac
    listed=$(LD_PRELOAD=$preload "$loader" --list "$1" 2>&1)
    case $listed in
    *"not found (required by "*libkaio*) why="its glibc is older than 2.17, which libkaio needs" ;;
    *"/libkaio.so (0x"*) return 0 ;;
    *) why="its ld.so ($loader) does not load $preload; install its library where \$LIB leads to there (kaio(1), 32-BIT PROGRAMS)" ;;
    esac
    printf 'kaio: %s\n' "$(printable "$1: $why")" >&2
    return 126
}

# reached_musl FILE: by the library for musl's programs, which $preload then is
reached_musl() {
    musl=${library%.so}-musl.so
    [ -r "$musl" ] || musl=$tools/musl/libkaio-musl.so
    preload=$musl${LD_PRELOAD:+:$LD_PRELOAD}
    why=
    [ "${KAIO_RECORD-0}" = 0 ] || why="is built for musl, and what such programs ask for cannot be recorded"
    [ -r "$musl" ] || why="is built for musl, and libkaio-musl.so is not there; build it with 'make musl', install it with 'make install-musl'"
    [ "$why" ] || return 0
    printf 'kaio: %s\n' "$(printable "$1: $why")" >&2
    return 126
}

in_path() { # NAME: $program is where it is
    rest=$PATH:
    while [ -n "$rest" ]; do
        program=${rest%%:*}
        program=${program:-.}/$1
        rest=${rest#*:}
        if [ -f "$program" ] && [ -x "$program" ]; then return; fi
    done
    return 1
}

# find_libraries: $libraries are the files, that of the own class first, and $name is what LD_PRELOAD is to call them.
# For a program of another class ld.so would complain of a file. So if there are libraries where $LIB in a path leads
# to, they are named by that: ld.so puts in lib/x86_64-linux-gnu or lib/i386-linux-gnu, lib64 or lib.
find_libraries() {
    libraries=$library name=$library
    case $library in
    */lib/*-linux-*/libkaio.so) prefix=${library%/lib/*/*} ;;
    */lib*/libkaio.so) prefix=${library%/*/*} ;;
    *) return ;;
    esac
    for file in "$prefix"/lib*/libkaio.so "$prefix"/lib/*-linux-*/libkaio.so; do
        if [ -r "$file" ] && [ "$(readlink -f "$file")" != "$library" ]; then libraries="$libraries $file"; fi
    done
    if [ "$libraries" = "$library" ]; then return; fi
    name=$prefix/\$LIB/libkaio.so
    if LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=$name "$tools/kaio-check" 2>&1 | grep -qF "$name => $library ("; then return; fi
    libraries=$library name=$library # not installed where $LIB leads to
}

# set_preload: $preload is LD_PRELOAD with the library in front of what is there, and with KAIO_RECORD
# the recorder in front of all.
# ASan's runtime refuses to be loaded behind any other library, lest that takes its malloc() away. Ours
# does not; of what else is in LD_PRELOAD it shall judge by itself, unless it is there, too. Always set:
# a program may start one that has it.
set_preload() {
    case $library in
    *[[:space:]:]*) fail 125 "LD_PRELOAD cannot hold a path with a space or a colon: $library" ;;
    esac
    find_libraries
    preload=$name${LD_PRELOAD:+:$LD_PRELOAD}
    if [ "${KAIO_RECORD-0}" != 0 ]; then preload=${name%.so}-record.so:$preload; fi
    case ${LD_PRELOAD-} in
    '' | *asan*) export ASAN_OPTIONS="verify_asan_link_order=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}" ;;
    esac
}

# asan FILE: is the runtime of ASan among the libraries that it wants? (A runtime inside it bears ours.)
asan() {
    libraries "$1" | grep -q '/lib[^/]*asan[^/]*\.so'
}

# libraries FILE: the paths of what ld.so would load with it, but for libc itself
libraries() {
    LD_PRELOAD='' ldd "$1" 2>/dev/null | sed -n 's/^.* => \(\/.*\) (0x.*$/\1/p' | grep -v '/libc\.so\.6$'
}

# interpreter FILE: of a script
interpreter() {
    head -c 256 "$1" 2>/dev/null | tr '\0' ' ' | sed -n '1s/^#! *\([^ ]*\).*/\1/p'
}

# aio_users FILE: the program and those of its libraries that use POSIX AIO: FILE CALL..., a line each
aio_users() {
    # paths have no spaces here: ldd(1) could not tell either
    # shellcheck disable=SC2046
    "$tools/kaio-check" --imports "$1" $(libraries "$1")
}
