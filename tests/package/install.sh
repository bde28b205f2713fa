#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make install, and what it installs: the command works from anywhere, also where the tree was moved to;
# manual and completion say what the command can do; make uninstall leaves nothing but what was there before.
set -eu
fail() { echo "$1"; exit 1; }
root=$PWD/root
make_() { make -s -C "$TESTS_TOP" "$1" DESTDIR="$root" PREFIX=/opt/kaio LIBDIR=/opt/kaio/lib/x86 >log 2>&1 || fail "make $1: $(cat log)"; }
mkdir -p root/opt/kaio/bin root/opt/kaio/share/man/man1 # empty, but somebody else's
find root | sort >before
make_ install
mv root moved
kaio=$PWD/moved/opt/kaio/bin/kaio
library=$PWD/moved/opt/kaio/lib/x86/libkaio.so
cd /
# shellcheck disable=SC2016 # expanded by the command
[ "$("$kaio" sh -c 'echo "$LD_PRELOAD"')" = "$library" ] || fail "the library: $("$kaio" env | grep LD_PRELOAD)"
[ "$(KAIO_LOG=1 "$kaio" true 2>&1 | grep -c 'active: mode auto')" = 1 ] || fail "not active"
# shellcheck disable=SC2016
[ "$("$kaio" record -o "$OLDPWD/log" sh -c 'echo "$LD_PRELOAD"')" = "${library%.so}-record.so:$library" ] || fail "record"
ln -sf "$kaio" "$OLDPWD/link"
"$OLDPWD/link" --version | grep -q '^libkaio [0-9]' || fail "--version through a link"
"$kaio" check sh | grep -q '^ok .*a dynamic program' || fail "check"
"$kaio" ab -n 1 true 2>/dev/null | grep -q '^wall time' || fail "ab"
cd "$OLDPWD"

# the manual, without a warning, has every option that the help has
for page in moved/opt/kaio/share/man/man?/*; do
    [ -z "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)" ] || fail "man: $page"
    mandoc -T lint -W warning "$page" || fail "mandoc: $page"
done
for command in run ab check top record; do
    "$kaio" $command --help >help
    grep -q "^usage: kaio .*" help || fail "kaio $command --help"
    grep -Eo '^ +--?[a-z][a-z-]*' help | while read -r option; do
        sed 's/\\-/-/g' moved/opt/kaio/share/man/man1/kaio.1 | grep -Eq -- "^\.(B|BI) (\"?)$option( |\\\\|\$)" ||
            fail "kaio(1) has no $option"
    done
done
"$kaio" run --help | grep -o 'KAIO_[A-Z]*' | while read -r variable; do
    grep -q "^.BR $variable" moved/opt/kaio/share/man/man7/libkaio.7 || fail "libkaio(7) has no $variable"
done

# completion: words before the cursor, and what must be offered
# shellcheck disable=SC1091
. moved/opt/kaio/share/bash-completion/completions/kaio
completes() { # WANTED WORD...
    local wanted=$1
    shift
    COMP_WORDS=("$kaio" "$@") COMP_CWORD=$#
    _kaio
    [[ " ${COMPREPLY[*]} " == *" $wanted "* ]] || fail "completion of '$*': ${COMPREPLY[*]:0:20}"
}
completes ab a
completes --workers --
completes worker --mode ''
completes fd --order = f
completes --prepare ab --
completes off ab -n 3 --mode o
completes help check he
completes true ab -n 3 tru
completes QUIT ab --stop Q
completes true ab --load tru
completes true ab --load ./client --grace 3 -- tru

mv moved root
make_ uninstall
find root | sort | diff before - || fail "uninstall leaves something, or takes what was there before"
rm -r root
make_ install
make_ uninstall
[ ! -e root ] || fail "uninstall leaves $(find root)"
