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
for command in run ab check scan top report record; do
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
completes version v
completes --workers --
completes worker --mode ''
completes fd --order = f
completes --prepare ab --
completes --report top --re
completes off ab -n 3 --mode o
completes help check he
completes true ab -n 3 tru
completes QUIT ab --stop Q
completes true ab --load tru
completes true ab --load ./client --grace 3 -- tru
completes $$ top $$
touch file.json
completes file.json ab --json = file
# each command's completion has each option of its help, in every shell
for command in run ab check scan top report record; do
    for option in $("$kaio" $command --help | grep -Eo '^ +--?[a-z][a-z-]*' | grep -v -- --mode); do
        completes "$option" $command "$option"
        grep -Eq -- "[' ]$option(=|\+|\[)" moved/opt/kaio/share/zsh/site-functions/_kaio || fail "zsh: no $option"
        grep -Eq -- " -[ls] ${option##*-} | -[ls] ${option#--} " moved/opt/kaio/share/fish/vendor_completions.d/kaio.fish || fail "fish: no $option"
    done
done
if command -v fish >/dev/null; then
    offers() { # WANTED LINE
        HOME=$PWD fish --no-config -c "source moved/opt/kaio/share/fish/vendor_completions.d/kaio.fish; complete -C '$2'" >out 2>&1
        cut -f 1 out | grep -qx -- "$1" || fail "fish: '$2': $(head -n 20 out)"
    }
    offers record 'kaio re'
    offers --prepare 'kaio ab --pr'
    offers --workers 'kaio --wo'
    offers worker 'kaio run --mode w'
    offers --once 'kaio top --on'
    offers $$ 'kaio check '
else
    echo "skipped, fish: not installed"
fi
if command -v zsh >/dev/null; then
    tmux=(tmux -f /dev/null -S "$PWD/socket")
    trap '"${tmux[@]}" kill-server 2>/dev/null' EXIT
    unset TMUX
    printf '%s\n' "fpath=($PWD/moved/opt/kaio/share/zsh/site-functions \$fpath)" 'autoload -U compinit' 'compinit -u -D' \
        'compdef _kaio kaio' 'PS1="> "' 'setopt list_ambiguous' >.zshrc
    "${tmux[@]}" new-session -d -x 100 -y 30 "env -i TERM=screen PATH=$PATH ZDOTDIR=$PWD zsh"
    shows() { # WHAT: on its screen, within ten seconds
        for _ in $(seq 200); do
            if "${tmux[@]}" capture-pane -p | grep -q -- "$1"; then return; fi
            sleep 0.05
        done
        fail "zsh: no '$1': $("${tmux[@]}" capture-pane -p)"
    }
    tab() { # WANTED LINE
        "${tmux[@]}" send-keys C-u "$2" Tab
        shows "$1"
    }
    shows '^>'
    tab '^> kaio ab --prepare' 'kaio ab --pr'
    tab '^> kaio run --mode worker' 'kaio run --mode w'
    tab '^> kaio --workers' 'kaio --wo'
    tab '^> kaio top --once' 'kaio top --on'
    tab '^> kaio record' 'kaio reco'
else
    echo "skipped, zsh: not installed"
fi

mv moved root
make_ uninstall
find root | sort | diff before - || fail "uninstall leaves something, or takes what was there before"
rm -r root
make_ install
make_ uninstall
[ ! -e root ] || fail "uninstall leaves $(find root)"
