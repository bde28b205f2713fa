#!/usr/bin/env bash
# Programs are caught whichever version of glibc's symbols they ask for.
set -eu
for version in GLIBC_2.34 GLIBC_2.2.5; do
    cat >program.c <<C
#include <aio.h>
__asm__(".symver aio_read, aio_read@$version");
__asm__(".symver aio_error, aio_error@$version");
int main(void) {
    static char buf[16];
    struct aiocb cb = {.aio_buf = buf, .aio_nbytes = 16, .aio_sigevent.sigev_notify = SIGEV_NONE};
    if (aio_read(&cb)) return 1;
    while (aio_error(&cb) == 115) continue;
    return aio_error(&cb);
}
C
    gcc -o program program.c
    nm -D program | grep -q "aio_read@$version" || { echo "not linked to $version"; exit 1; }
    KAIO_STATS=$PWD/report LD_PRELOAD=$KAIO_LIB ./program <"$0"
    grep -q ' 1 requests' report || { echo "$version was not caught"; cat report; exit 1; }
    rm report
done
