#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs are caught whichever version of glibc's symbols they ask for: today's, those of 2.2.5, and
# those of before 2.34, which are looked for in librt.so.1.
set -eu
cat >program.c <<'C'
#include <aio.h>
#include <signal.h>
#ifdef VERSION
__asm__(".symver aio_read, aio_read@" VERSION);
__asm__(".symver aio_error, aio_error@" VERSION);
#endif
int main(void) {
    static char buf[16];
    struct aiocb cb = {.aio_buf = buf, .aio_nbytes = 16, .aio_sigevent.sigev_notify = SIGEV_NONE};
    if (aio_read(&cb)) return 1;
    while (aio_error(&cb) == 115) continue;
    return aio_error(&cb);
}
C
# glibc has two lio_listio(), of 2.2.5 and 2.4; ours is the second under either name: the signals of
# item and list both come.
cat >list.c <<'C'
#include <aio.h>
#include <signal.h>
#include <time.h>
#ifdef VERSION
__asm__(".symver lio_listio, lio_listio@" VERSION);
#endif
int main(void) {
    static char buf[16];
    struct aiocb cb = {.aio_buf = buf, .aio_nbytes = 16, .aio_lio_opcode = LIO_READ}, *list[] = {&cb};
    struct sigevent sigev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct timespec limit = {5, 0};
    sigset_t item, all;
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    sigemptyset(&item);
    sigaddset(&item, SIGUSR1);
    sigemptyset(&all);
    sigaddset(&all, SIGUSR1);
    sigaddset(&all, SIGUSR2);
    sigprocmask(SIG_BLOCK, &all, 0);
    if (lio_listio(LIO_NOWAIT, list, 1, &sigev)) return 1;
    if (sigtimedwait(&item, 0, &limit) != SIGUSR1) return 2;
    if (sigtimedwait(&all, 0, &limit) != SIGUSR2) return 3;
    return 0;
}
C

# caught WHAT PROGRAM REFERENCE: it asks for just that, and its request is ours
caught() {
    nm -D "$2" | grep -q " $3\$" || { echo "$1: not linked to $3"; nm -D "$2"; exit 1; }
    rm -rf stats
    mkdir stats
    KAIO_STATS=$PWD/stats LD_PRELOAD=$KAIO_LIB "./$2" <"$0" || { echo "$1: status $?"; exit 1; }
    "$TESTS_TOP/build/kaio" top --json --report stats/* | jq -e '.requests.read == 1' >/dev/null || { echo "$1 was not caught"; exit 1; }
}

for version in GLIBC_2.34 GLIBC_2.2.5; do
    gcc "-DVERSION=\"$version\"" -o program program.c
    caught $version program "aio_read@$version"
done
for version in GLIBC_2.34 GLIBC_2.4 GLIBC_2.2.5; do
    gcc "-DVERSION=\"$version\"" -o list list.c
    caught "list, $version" list "lio_listio@$version"
done

# A librt.so.1 as of glibc 2.33, to link with; the one that is loaded is today's, which is empty.
mkdir old
cat >old/librt.c <<'C'
#define OLD(name) void name(void) {}
OLD(aio_read) OLD(aio_error) OLD(first_list) OLD(second_list)
__asm__(".symver first_list, lio_listio@GLIBC_2.2.5");
__asm__(".symver second_list, lio_listio@@GLIBC_2.4");
C
cat >old/librt.map <<'C'
GLIBC_2.2.5 { global: aio_read; aio_error; local: *; };
GLIBC_2.4 { global: lio_listio; } GLIBC_2.2.5;
C
gcc -shared -fPIC -Wl,-soname,librt.so.1 -Wl,--version-script,old/librt.map -o old/librt.so.1 old/librt.c
for source in program:aio_read@GLIBC_2.2.5 list:lio_listio@GLIBC_2.4; do
    gcc -o old-program "${source%%:*}.c" old/librt.so.1
    readelf -V old-program | grep -A 1 'File: librt.so.1' | grep -q "Name: ${source#*@}" ||
        { echo "not librt's ${source#*:}"; exit 1; }
    caught "librt's ${source#*:}" old-program "${source#*:}"
done

# With TEST_LONG and as root the same binary in Debian 11 (glibc 2.31), where AIO is in librt.so.1: programs that are
# linked with it, and one that loads a plug-in which is.
[ "${TEST_LONG-}" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null; then
    echo "skipped, Debian 11: not root, or no mmdebstrap"
    exit 0
fi
root=$PWD/root
mmdebstrap --variant=minbase --include=gcc,libc6-dev bullseye "$root" >log 2>&1 || {
    echo "skipped, Debian 11: no mirror: $(tail -n 1 log)"
    exit 0
}
mkdir "$root/kaio"
cp "$TESTS_TOP"/build/libkaio*.so "$root/kaio"
cat >"$root/kaio/use.c" <<'C'
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static volatile int signals;
static void count(int sig) { signals += sig == SIGUSR1; }
static int end(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_error(cb) || aio_return(cb) != 4096;
}
int use(void) { /* direct requests, each read back; every tenth write sends a signal */
    char *data = aligned_alloc(4096, 4096), *back = aligned_alloc(4096, 4096);
    int fd = open("data", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    signal(SIGUSR1, count);
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = {.aio_fildes = fd, .aio_buf = data, .aio_nbytes = 4096, .aio_offset = i * 4096};
        cb.aio_sigevent.sigev_notify = i % 10 ? SIGEV_NONE : SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = SIGUSR1;
        memset(data, i + 1, 4096);
        if (aio_write(&cb) || end(&cb)) return 1;
        cb.aio_buf = memset(back, 0, 4096);
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        if (aio_read(&cb) || end(&cb)) return 2;
        if (memcmp(data, back, 4096)) return 3;
    }
    for (int i = 0; signals < 10; i++) if (i < 5000) usleep(1000); else return 4;
    return close(fd);
}
#ifdef PROGRAM
int main(void) { return use(); }
#endif
C
cat >"$root/kaio/host.c" <<'C'
#include <dlfcn.h>
int main(void) {
    void *plugin = dlopen("./plugin.so", RTLD_NOW | RTLD_LOCAL);
    int (*use)(void) = plugin ? (int (*)(void))dlsym(plugin, "use") : 0;
    return use ? use() : 9;
}
C
# inside COMMAND: its mounts are its own
inside() {
    # shellcheck disable=SC2016 # for the shell in the namespace
    unshare -m bash -c 'mount --rbind /proc "$0/proc" && exec chroot "$0" /bin/sh -c "cd /kaio && $1"' "$root" "$1"
}
inside 'gcc -DPROGRAM -o program use.c -lrt && gcc -shared -fPIC -o plugin.so use.c -lrt && gcc -o host host.c -ldl'
for file in program plugin.so; do
    objdump -p "$root/kaio/$file" | grep -q 'NEEDED.*librt.so.1' || { echo "Debian 11: $file is not linked with librt"; exit 1; }
done
if objdump -p "$root/kaio/host" | grep -q 'NEEDED.*librt'; then echo "Debian 11: host is linked with librt"; exit 1; fi
for mode in auto worker off; do
    for command in ./program ./host /bin/true; do
        rm -rf "$root/kaio/stats"
        mkdir "$root/kaio/stats"
        inside "KAIO_MODE=$mode KAIO_STATS=stats KAIO_RECORD=record LD_PRELOAD=/kaio/libkaio-record.so:/kaio/libkaio.so exec $command" \
            >out 2>&1 || { echo "Debian 11, $mode: $command: status $?: $(cat out)"; exit 1; }
        [ ! -s out ] || { echo "Debian 11, $mode: $command: $(cat out)"; exit 1; }
        [ $command != /bin/true ] || continue
        "$TESTS_TOP/build/kaio" top --json --report "$root"/kaio/stats/* | jq -e --arg mode $mode \
            '.mode == $mode and .requests.read == 100 and .requests.write == 100' >report ||
            { echo "Debian 11, $mode: $command was not caught"; exit 1; }
        [ "$(grep -c ' write ' "$root/kaio/record")" = 100 ] || { echo "Debian 11, $mode: $command: not recorded"; exit 1; }
        rm "$root/kaio/record"
    done
done
