#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Whoever calls, and whenever: plug-ins, constructors, destructors, atexit handlers, C++, Python, the
# large-file names, beside other preloaded libraries, and with KAIO_MODE=off. Each program prints the
# same under glibc and under the shim, whether its requests are the first or not.
set -eu
failures=0
before='' after='' # other libraries to preload
fail() { echo "$1"; failures=$((failures + 1)); }

# on OUT LIBRARIES [VARIABLE=...]... COMMAND...: runs it with these preloaded, in an empty directory
on() {
    local out=$PWD/$1 libraries=$2
    shift 2
    rm -rf scratch
    mkdir scratch
    (cd scratch && timeout -k 5 20 env LD_PRELOAD="$libraries" "$@") >"$out" 2>&1 ||
        echo "status $?" >>"$out"
}

# alike WHAT: glibc.out, of a run that ended well, and shim.out
alike() {
    if [ ! -s glibc.out ] || grep '^status [0-9]' glibc.out; then fail "$1: fails under glibc"; fi
    diff glibc.out shim.out >difference || fail "$1: another output: $(head -n 10 difference)"
}

# same NAME [VARIABLE=...]... COMMAND...: alike on both sides, and the requests reach the library, whose first
# makes a page
same() {
    local name=$1 warm
    shift
    for warm in TEST_COLD=1 TEST_WARM=1; do
        rm -rf pages
        mkdir -m 1777 pages
        on glibc.out "$before:$after" "$warm" "$@"
        on shim.out "$before:$KAIO_LIB:$after" "$warm" KAIO_STATS="$PWD/pages" "$@"
        alike "$name, $warm"
        [ "$(ls pages)" ] || fail "$name, $warm: not by the library"
    done
}

here=$PWD
sources=$TESTS_TOP/tests/apps/callers
flags=(-O2 -g -Wall -Wextra -Werror -pthread)
for library in plugin early; do
    gcc "${flags[@]}" -std=gnu11 -shared -fPIC -o $library.so "$sources/$library.c"
done
for program in host program names; do
    gcc "${flags[@]}" -std=gnu11 -o $program "$sources/$program.c"
done
gcc "${flags[@]}" -std=gnu11 -DLOCAL=1048576 -o large-tls "$sources/program.c"
gcc "${flags[@]}" -std=gnu11 -o linked "$sources/program.c" -Wl,--no-as-needed "$here/early.so"
g++ "${flags[@]}" -o threads "$sources/threads.cc"
cp plugin.so another.so

same program "$here/program"
same "a megabyte of thread-local data" "$here/large-tls"
for mode in global local lazy; do
    same "plug-ins, $mode" TEST_DLOPEN=$mode "$here/host" "$here/plugin.so" "$here/another.so"
done
same "linked to a library with a constructor" "$here/linked"
same C++ "$here/threads"
same Python /usr/bin/python3 "$sources/ctypes_aio.py"
same "names and aio_init" "$here/names"

# LD_PRELOAD does not reach a plug-in that looks into its own libraries first; it has glibc's AIO
on glibc.out '' TEST_DLOPEN=deepbind "$here/host" "$here/plugin.so"
mkdir stats
on shim.out "$KAIO_LIB" TEST_DLOPEN=deepbind KAIO_STATS="$here/stats" "$here/host" "$here/plugin.so"
alike deepbind
[ -z "$(ls stats)" ] || fail "deepbind: not glibc's: $(ls stats)"

# nor one that asks a library by name: the handle's functions are that library's
cat >by_handle.py <<'PYTHON'
import ctypes, os, sys
class Aiocb(ctypes.Structure):
    _fields_ = [("fildes", ctypes.c_int), ("opcode", ctypes.c_int), ("prio", ctypes.c_int),
                ("buf", ctypes.c_void_p), ("nbytes", ctypes.c_size_t), ("rest", ctypes.c_char * 200)]
libc = ctypes.CDLL("libc.so.6")
data = ctypes.create_string_buffer(4)
cb = Aiocb(fildes=os.open(sys.argv[0], os.O_RDONLY), buf=ctypes.addressof(data), nbytes=4)
print(libc.aio_read(ctypes.byref(cb)))
while libc.aio_error(ctypes.byref(cb)) == 115: pass
print(libc.aio_return(ctypes.byref(cb)), data.raw)
PYTHON
on glibc.out '' python3 "$here/by_handle.py"
on shim.out "$KAIO_LIB" KAIO_STATS="$here/stats" python3 "$here/by_handle.py"
alike by_handle
[ -z "$(ls stats)" ] || fail "by handle: not glibc's: $(ls stats)"

libs=/usr/lib/x86_64-linux-gnu
for library in "$here/early.so" $libs/libeatmydata.so $libs/libjemalloc.so.2; do
    if [ ! -e "$library" ]; then
        echo "skipped, beside another library: no $library"
        continue
    fi
    for order in before after; do
        declare "$order=$library"
        same "$library $order ours" "$here/program"
        same "$library $order ours, C++" "$here/threads"
        before='' after=''
    done
done

# libeatmydata turns fsync() off: ours passes it on, and does not come back when it is not asked
count_syncs() { strace -f -o trace -e trace=fsync,fdatasync env LD_PRELOAD="$1" ./fsync && grep -c 'sync(' trace || true; }
cat >fsync.c <<'C'
#include <aio.h>
#include <unistd.h>
int main(void) {
    char c;
    struct aiocb cb = {.aio_buf = &c, .aio_nbytes = 1, .aio_sigevent.sigev_notify = SIGEV_NONE};
    if (aio_read(&cb)) return 1;
    while (aio_error(&cb) == 115) continue;
    return fsync(0) || fdatasync(0);
}
C
gcc "${flags[@]}" -o fsync fsync.c
eat=$libs/libeatmydata.so
if [ -e "$eat" ]; then
    [ "$(count_syncs "$KAIO_LIB" <fsync.c)" = 2 ] || fail "alone: not two syncs"
    [ "$(count_syncs "$KAIO_LIB:$eat" <fsync.c)" = 0 ] || fail "before libeatmydata: syncs"
    [ "$(count_syncs "$eat:$KAIO_LIB" <fsync.c)" = 0 ] || fail "after libeatmydata: syncs"
fi

# KAIO_MODE=off is glibc: the same output and none of our system calls
calls=io_setup,io_submit,io_getevents,io_cancel,eventfd2,epoll_create1
on glibc.out '' "$here/program"
on shim.out '' strace -f -o ../trace -e trace=$calls,pread64 \
    env LD_PRELOAD="$KAIO_LIB" KAIO_MODE=off "$here/program"
alike off
grep -q pread64 trace || fail "off: no reads by glibc"
if grep -E "${calls//,/|}" trace; then fail "off: calls of ours"; fi
for test in basic errors suspend; do
    for warm in TEST_COLD=1 TEST_WARM=1; do
        on glibc.out '' "$warm" TEST_SIDE=glibc "$TESTS_TOP/build/tests/api/$test"
        on shim.out "$KAIO_LIB" "$warm" TEST_SIDE=glibc KAIO_MODE=off \
            "$TESTS_TOP/build/tests/api/$test"
        alike "off, $test, $warm"
    done
done
[ $failures = 0 ]
