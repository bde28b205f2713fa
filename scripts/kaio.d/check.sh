# usage: kaio check [COMMAND | PID | PATH ...]
#
# Will libkaio help? Prints a line for each finding: "ok", "warn" or "no", and what to do.
#   always    the kernel, whether io_setup is allowed, the requests that the host has left
#   COMMAND   a program, by name or path: can the library be put in front of it, does it or one of
#             its libraries use POSIX AIO?
#   PID       a process: is the library loaded and active?
#   PATH      a file, directory or device: which way each kind of access takes there. Nothing is
#             written to a file; a scratch file without a name is made beside it.
#
# Exit status: 0, or 1 if a finding was "no", 125 if kaio itself fails.

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154
# shellcheck source=scripts/kaio.d/program.sh
. "$commands/program.sh"

status=0
say() { # KIND SENTENCE
    if [ "$1" = no ]; then status=1; fi
    printf '%-6s%s\n' "$1" "$(printable "$2")"
}

# say_all: the findings on standard input, from kaio-check
say_all() {
    while IFS='	' read -r kind sentence; do say "$kind" "$sentence"; done
}

findings() { # ARGUMENT...: kaio-check's
    found=$("$tools/kaio-check" "$@")
    say_all <<TXT
$found
TXT
}

uses() { # FILE: which AIO calls it and its libraries want
    users=$(aio_users "$1")
    if [ "$users" ]; then
        while read -r file calls; do say ok "uses POSIX AIO: $file calls $calls"; done <<TXT
$users
TXT
        return
    fi
    native=$(libraries "$1" | sed -n 's/.*\/\(libaio\.so\|liburing\.so\).*/\1/p' | head -n 1)
    if [ "$native" ]; then
        say warn "no POSIX AIO: it uses $native, which is the kernel's AIO already; libkaio changes nothing"
    else
        say warn "no POSIX AIO in it or its libraries: libkaio changes nothing, unless it starts a program or loads a plug-in that has some"
    fi
}

check_program() { # FILE
    script=$(interpreter "$1")
    if [ "$script" ]; then
        say ok "$1: a script for $script, which is checked instead"
        [ -x "$script" ] || { say no "$script: cannot be run"; return; }
        set -- "$script"
    fi
    if why=$(reached "$1" 2>&1); then
        say ok "$1: a dynamic program of glibc, neither setuid nor with capabilities"
        if asan "$1"; then
            say ok "ASan's runtime refuses a plain LD_PRELOAD=libkaio.so: kaio tells it not to; by hand ASAN_OPTIONS=verify_asan_link_order=0"
        fi
        uses "$1"
    else
        say no "${why#kaio: }"
    fi
}

# value_in PID NAME: of a variable in the process's environment
value_in() {
    tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s/^$2=//p" | tail -n 1
}

check_process() { # PID
    name=$(cat "/proc/$1/comm" 2>/dev/null)
    if ! maps=$(cat "/proc/$1/maps" 2>/dev/null) || [ -z "$maps" ]; then
        say warn "process $1 ($name): may not be looked at; run kaio check as its user or as root"
        return
    fi
    loaded=$(printf '%s\n' "$maps" | LC_ALL=C sed -n 's/^[^/]*\(\/.*libkaio[^/]*\.so.*\)/\1/p')
    records=$(printf '%s\n' "$loaded" | LC_ALL=C grep '/libkaio-record\.so[^/]*$' | head -n 1)
    loaded=$(printf '%s\n' "$loaded" | LC_ALL=C grep -v '/libkaio-record\.so[^/]*$' | head -n 1)
    [ -z "$records" ] || say ok "process $1 ($name): libkaio-record is loaded: $records"
    if [ -z "$loaded" ]; then
        say no "process $1 ($name): libkaio is not loaded; it has to be started with it: kaio COMMAND"
        case $(value_in "$1" LD_PRELOAD) in
        *libkaio.so*) say no "its LD_PRELOAD names libkaio, but the file was not found or not accepted; LD_DEBUG=libs shows why" ;;
        *) if program=$(readlink "/proc/$1/exe"); then check_program "$program"; fi ;;
        esac
        return
    fi
    say ok "process $1 ($name): libkaio is loaded: $loaded"
    if [ "$(value_in "$1" KAIO_MODE)" = off ]; then
        say no "not active: it was started with KAIO_MODE=off"
    elif printf '%s\n' "$maps" | grep -q '/\[aio\]'; then
        say ok "active: it has a kernel context"
    else
        say ok "active, without a kernel context: fewer than 65 requests needed one so far, or io_setup was refused (KAIO_LOG=1 tells)"
    fi
}

is_there() { # ARGUMENT
    if [ -e "$1" ]; then return; fi
    case $1 in
    */* | '') return 1 ;;
    *[!0-9]*) ;;
    *) if [ -d "/proc/$1" ]; then return; fi ;;
    esac
    in_path "$1"
}

check_path() { # PATH
    filesystem=$(findmnt -no FSTYPE -T "$1" 2>/dev/null | tail -n 1)
    [ "$filesystem" ] || filesystem=$(stat -f -c %T "$1" 2>/dev/null)
    say ok "$1: filesystem ${filesystem:-unknown}"
    findings --path "$1"
}

case ${1-} in
-h | --help) help check; exit 0 ;;
--) shift ;;
-*) fail 125 "$1 is not an option; 'kaio check --help' shows how it is used" ;;
esac
# What is not there is said first; with nothing else to look at, that is all.
missing=0
for what in "$@"; do
    if is_there "$what"; then continue; fi
    missing=$((missing + 1))
    case $what in
    */*) findings --path "$what" ;; # says why
    *) say no "$what: neither a command, nor a process, nor a file" ;;
    esac
done
if [ $missing -gt 0 ] && [ $missing = $# ]; then exit $status; fi
findings --system
find_libraries
preload=$name
for what in "$@"; do
    is_there "$what" || continue
    echo
    case $what in
    *[!0-9]* | '') ;;
    *) if [ -d "/proc/$what" ]; then check_process "$what"; continue; fi ;;
    esac
    case $what in
    */*) if [ -f "$what" ] && [ -x "$what" ]; then check_program "$what"; else check_path "$what"; fi ;;
    *)
        if in_path "$what"; then check_program "$program"; else check_path "$what"; fi
        ;;
    esac
done
exit $status
