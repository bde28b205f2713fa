#!/usr/bin/env bash
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
    "$TESTS_TOP/build/kaio-top" --report stats/* | jq -e '.requests.read == 1' >/dev/null || { echo "$1 was not caught"; exit 1; }
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
