#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The libraries and the tools are bound when they are loaded and read-only from then on, their stack is not executable,
# no segment is writable and executable, the loader chooses where they are, and their calls into libc are checked.
# malloc() is none of the libraries'. What a forked child finds wiped has pages of its own, whatever their size. A
# program with more rights than its user (AT_SECURE) does not listen to KAIO_*.
set -eu
for file in "$KAIO_LIB" "$TESTS_TOP"/build/{libkaio-record.so,kaio,kaio-measure,kaio-record}; do
    echo "$file" # seen if one fails
    readelf -lW "$file" >segments
    readelf -dW "$file" >dynamic
    readelf -W --dyn-syms "$file" >symbols
    grep -q 'Elf file type is DYN' segments
    grep -q GNU_RELRO segments
    grep -qE 'BIND_NOW|Flags:.*NOW' dynamic
    grep -q '_chk@' symbols
    grep -q '__stack_chk_fail' symbols
    awk '/GNU_STACK/ { print $7 }' segments | grep -qx RW
    if grep -q 'RWE' segments || grep -q TEXTREL dynamic; then exit 1; fi
    [[ $file == *.so ]] || continue
    if grep -E ' (malloc|calloc|realloc|reallocarray|free)@' symbols; then exit 1; fi # allocation.c
done
readelf -lW "$KAIO_LIB" >segments
number=$(awk '$2 == "kaio_wiped" && NF == 2 { print $1 + 0 }' segments) # in a segment by itself
awk -v n="${number:?kaio_wiped shares its pages}" '$1 == "LOAD" || $1 == "DYNAMIC" || $1 ~ /^(GNU_|NOTE|TLS)/ { if (at++ == n) print $1, $NF }' segments |
    grep -qx 'LOAD 0x10000'
for setting in KAIO_MODE=auto KAIO_MODE=worker KAIO_DEPTH=8 KAIO_ORDER=fd; do
    TEST_SIDE=shim timeout 60 env LD_PRELOAD="$KAIO_LIB" "$setting" \
        "$TESTS_TOP/build/tests/package/allocation" >log 2>&1 && grep -q '^done' log ||
        { echo "allocation, $setting:"; cat log; exit 1; }
done

timeout 60 env TEST_SIDE=shim LD_PRELOAD="$KAIO_LIB" "$TESTS_TOP/build/tests/package/keys" >log 2>&1 &&
    grep -q '^done' log || { echo "keys:"; cat log; exit 1; }

# Linked against the library and with a capability in the file, since LD_PRELOAD is not for such a
# program: only DT_RPATH, absolute, is.
[ "$(id -u)" = 0 ] || { echo "skipped AT_SECURE: not root"; exit 0; }
public=$(mktemp -d "${TMPDIR:-/var/tmp}/kaio-secure.XXXXXX") # the test's own directory is not
trap 'rm -rf "$public"' EXIT
cp "$KAIO_LIB" "$TESTS_TOP/build/libkaio-record.so" "$public"
cd "$public"
cat >secure.c <<'END'
#include <aio.h>
#include <stdio.h>
#include <sys/auxv.h>
int main(void) {
    struct aiocb cb = {.aio_fildes = -1};
    aio_error(&cb);
    printf("secure %lu\n", getauxval(AT_SECURE));
    return 0;
}
END
gcc -o secure secure.c libkaio-record.so libkaio.so -Wl,--no-as-needed,--disable-new-dtags,-rpath,"$public"
chmod 755 . secure libkaio.so libkaio-record.so
options="KAIO_LOG=1 KAIO_DEPTH=nonsense KAIO_STATS=1 KAIO_RECORD=1"
as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups env $options"
$as_nobody ./secure >plain 2>&1 || { echo "skipped AT_SECURE: nobody cannot run in $PWD"; exit 0; }
grep -q 'libkaio.*active' plain && grep -q KAIO_RECORD=1 plain # it does listen without
grep -q 'secure 0' plain
setcap cap_net_raw+ep secure 2>/dev/null || { echo "skipped AT_SECURE: no file capabilities"; exit 0; }
$as_nobody ./secure >secured 2>&1
grep -q 'secure 1' secured || { echo "skipped AT_SECURE: not granted on this file system"; exit 0; }
[ "$(cat secured)" = "secure 1" ] || { cat secured; exit 1; }
