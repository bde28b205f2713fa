# SPDX-License-Identifier: MIT
# prelude.sh KAIO COMMANDS TOOLS ARGUMENT...: kaio ab (kaio.c starts it), and what ab.sh asks kaio.
# ab.sh finds $commands (this directory), $tools (compiled helpers) and the functions here.
# shellcheck shell=sh
set -u

kaio=$1 commands=$2 tools=$3
shift 3

# printable TEXT: for a terminal; names and paths may hold anything
printable() {
    "$kaio" --internal printable "$1"
}

fail() { # STATUS SENTENCE
    printf 'kaio: %s\n' "$(printable "$2")" >&2
    exit "$1"
}

# help FILE: the comment at its head
help() {
    sed -n '/^#/!q; s/^# \{0,1\}//p' "$commands/$1.sh"
}

# asked QUESTION...: what kaio answers for eval, or it has said why not
asked() {
    answer=$("$kaio" --internal "$@") || exit
    eval "$answer"
}

# take_option ARGUMENT...: if the first word is a flag of the library, exports its variable. $taken:
# how many words it took, 0 if it is none.
take_option() {
    asked option "$@"
}

# check_options: every variable of the library, whether it came as a flag or from outside
check_options() {
    asked check
}

# set_preload: $preload is LD_PRELOAD for most programs
set_preload() {
    asked preload
}

# find_program NAME: $program is the file that will run, $preload LD_PRELOAD for it
find_program() {
    asked program "$1"
}

# interpreter FILE: of a script
interpreter() {
    head -c 256 "$1" 2>/dev/null | tr '\0' ' ' | sed -n '1s/^#! *\([^ ]*\).*/\1/p'
}

# uses_aio FILE: does it, or a library of it?
uses_aio() {
    "$kaio" --internal uses "$1"
}

# shellcheck source=scripts/kaio.d/ab.sh
. "$commands/ab.sh"
