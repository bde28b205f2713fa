#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# alone: it builds and measures, and takes a minute
# Each command of README, the other documents and the manual is run as it stands, on a copy of this machine that is
# thrown away: an overlay, with the library installed, and with ./app, a program that uses POSIX AIO. What is not on
# a machine of tests has a stand-in in documents.d.
#
#   ```sh      commands, run by bash -e in the checkout's copy. A line with "# fails" at its end has to fail
#   ```text    what the block before it prints: each of its longer words must be there
#   ```ini, yaml, ...   a file, whose path is in its first or second line: "# PATH"
#   .EX to .EE of the manual: commands
#   [text](file)   is there
set -eu
fail() { echo "$1"; exit 1; }
[ "$(id -u)" = 0 ] || { echo "not root: no overlay can be mounted"; exit 77; }
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || { echo "no overlayfs here"; exit 77; }
[ "${DOCUMENTS-}" ] || DOCUMENTS=1 exec unshare -m bash "$0" # the mounts end with it

# excluded DOCUMENT:COMMAND: why it is not run here
excluded() {
    case $1 in
    docs/cluster.md:*) echo "apps/mpi-hosts does, with nodes" ;;
    *:scripts/demo* | *:scripts/test*) echo "package/found does, with TEST_LONG" ;;
    *:"make check" | *:scripts/soak*) echo "it runs all tests, of which this is one" ;;
    *:"make analyze") echo "package/analyze does" ;;
    *:"tests/run package/style") echo "it is a test" ;;
    *:scripts/bench*) echo "it takes minutes; command/bench does, with --quick" ;;
    *"kaio ab --setup"*--load*) echo "command/kaio-ab-load does, with a server" ;;
    *"kaio top") echo "it is for a terminal; command/top has one" ;;
    *:bpftrace* | *:"perf "*) echo "it needs a kernel with uprobes; command/stats looks for the probes" ;;
    *) return 1 ;;
    esac
}

# blocks DOCUMENT: a file for each, LINE.LANGUAGE, in the working directory
blocks() {
    awk -v name="$1" '
        function begins(language) { out = sprintf("%05d.%s", NR, language); printf "" >out }
        name ~ /^man\// { gsub(/\\-/, "-"); gsub(/\\\(aq/, "\047"); gsub(/\\\(dq/, "\"") }
        name ~ /^man\// && /^\.EX/ { begins("sh"); next }
        out && (/^```$/ || /^\.EE/) { out = ""; next }
        /^```$/ { print name ":" NR ": a block without a language"; exit 1 }
        /^```/ { begins(substr($0, 4)); next }
        !out && blank && /^    [^ ]/ && name !~ /^man\// { print name ":" NR ": an indented block, which nothing runs"; exit 1 }
        { blank = /^$/ }
        out { print >out }' "$TESTS_TOP/$1"
}

# copy NAME [LOWER]: mounts in layers/NAME this machine, with what is in layers/LOWER.own in front of it
copy() {
    local here=$PWD/layers/$1
    mkdir -p "$here" "$here.own" "$here.work"
    mount -t overlay overlay -o "lowerdir=${2:+$PWD/layers/$2.own:}/,upperdir=$here.own,workdir=$here.work" "$here"
    for place in proc sys dev; do mount --rbind /$place "$here/$place"; done
    mount --bind /dev/null "$here/proc/sys/vm/drop_caches" # the machine's, and others measure
    mount --bind disk "$here/var/tmp"                      # what is read directly is on a disk
}

# within NAME COMMAND...: in that copy's checkout
within() {
    chroot "layers/$1" env -C "$TESTS_TOP" PATH="$TESTS_TOP/tests/package/documents.d:$PATH" HOME=/root "${@:2}" </dev/null
}

# script DOCUMENT FILE: what bash is to run; says what is left out
script() {
    local line='' part why
    while IFS= read -r part; do
        line+=$part
        [[ $part != *\\ ]] || { line+=$'\n'; continue; }
        read -r part <<<"${line%%  #*}"
        if why=$(excluded "$1:$part"); then
            echo "note: not run, $1: $part: $why" >&2
            echo "echo EXCLUDED"
        elif [[ $line == *"# fails" ]]; then printf 'if %s\nthen echo "did not fail"; exit 1; fi\n' "$line"
        else echo "$line"; fi
        line=
    done <"$2"
}

# lost DOCUMENT: the files that it refers to, and that are not there
lost() {
    local place file
    place=$(dirname "$TESTS_TOP/$1")
    grep -oE '\]\([^)#:]+' "$TESTS_TOP/$1" | cut -c 3- | while read -r file; do
        [ -e "$place/$file" ] || echo "$file"
    done
}

# missing TEXT OUTPUT: the words that were not printed. A verdict of kaio ab is that of the day.
missing() {
    grep -v '^libkaio: ' "$1" | grep -oE '[A-Za-z]{4,}' | sort -u | while read -r word; do
        grep -qF "$word" "$2" || echo "$word"
    done
}

# document NAME
document() {
    local layer=${1//\//.} block path
    copy "$layer" base
    for block in "blocks/$1"/*; do
        case $block in
        *.sh)
            script "$1" "$block" >"layers/$layer/block"
            within "$layer" bash -e -o pipefail /block >out 2>&1 || fail "$1, line $(basename "$block" .sh): $(tail -n 20 out)"
            ;;
        *.text)
            grep -q EXCLUDED out || [ -z "$(missing "$block" out)" ] ||
                fail "$1, line $(basename "$block" .text): not printed: $(missing "$block" out | tr '\n' ' '): $(tail -n 20 out)"
            ;;
        *)
            path=$(sed -n '1,2s/^# \([^ ]*\)$/\1/p' "$block")
            [ "$path" ] || fail "$1, line ${block##*/}: no path in its first lines"
            # shellcheck disable=SC2016 # expanded inside
            within "$layer" bash -c 'mkdir -p "$(dirname "$0")"; echo "$1" >"$0"' "$path" "$(cat "$block")"
            ;;
        esac
    done
    umount -R -l "layers/$layer"
}

cat >app.c <<'C'
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
/* 100 direct reads: more than a process may make before it gets a context. */
int main(void) {
    char name[] = "/var/tmp/app.XXXXXX", *buf = aligned_alloc(4096, 4096);
    int fd = mkostemp(name, O_DIRECT);
    struct aiocb cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = 4096};
    const struct aiocb *list[] = {&cb};
    if (fd < 0 || aio_write(&cb)) return 1;
    for (int i = 0; i < 100; i++) {
        while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
        if (aio_return(&cb) != 4096 || aio_read(&cb)) return 2;
    }
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_return(&cb) != 4096;
}
C
gcc -O2 -Wall -Wextra -Werror -o app app.c
mkdir layers disk
mount -t tmpfs none layers

# What all copies have. The checkout is not that of the machine: other tests make packages there meanwhile.
copy base
tar -C "$TESTS_TOP" --exclude ./build/deb --exclude ./build/rpm --exclude ./build/analyze --exclude ./build/?san -cf tree.tar .
rm -rf "layers/base$TESTS_TOP"
mkdir -p "layers/base$TESTS_TOP"
tar -C "layers/base$TESTS_TOP" -xf tree.tar
cp app "layers/base$TESTS_TOP"
printf '#!/bin/sh\nexec sleep 5\n' >"layers/base$TESTS_TOP/server"
chmod +x "layers/base$TESTS_TOP/server"
printf '[x]\nfilename=/var/tmp/job\nsize=1m\nrw=randread\nioengine=posixaio\n' >"layers/base$TESTS_TOP/job.fio"
printf '[Service]\nExecStart=%s/app\n' "$TESTS_TOP" >layers/base/etc/systemd/system/app.service
printf 'APT::Get::Assume-Yes "true";\nAPT::Get::Upgrade "false";\n' >layers/base/etc/apt/apt.conf.d/99documents
mkdir -p layers/base/srv/data
within base bash -ec 'dpkg -P kaio libkaio; make -s install' >log 2>&1 || fail "cannot be installed: $(tail log)"
umount -R -l layers/base

documents=$(cd "$TESTS_TOP" && printf '%s\n' ./*.md docs/*.md tests/*.md shim/*.md man/* | sed 's|^\./||' | grep -vxE 'docs/(usage|deploy)\.md') # these have tests of their own
for name in ${DOCUMENT:-$documents}; do
    [ -z "$(lost "$name")" ] || fail "$name refers to what is not there: $(lost "$name")"
    mkdir -p "blocks/$name"
    (cd "blocks/$name" && blocks "$name") || exit 1
    [ -z "$(ls "blocks/$name")" ] || document "$name"
done
