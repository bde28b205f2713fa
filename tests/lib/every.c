/* SPDX-License-Identifier: MIT */
/* One request of each kind that reaches the kernel, and a list of 64; for kernel.sh. No shim, no
 * test.h: what strace sees is what is counted. Argument: a file of at least 1 MiB. */
#define _GNU_SOURCE
#include "plain.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void finish(struct aiocb *cb) {
    if (ended(cb)) exit(2);
}

int main(int argc, char *argv[]) {
    int ends[2], fd = argc > 1 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
    char *buf = aligned_alloc(4096, 64 * 4096);
    if (fd < 0 || pipe(ends) || !buf) return 1;
    for (int i = 0; i < 80; i++) { /* beyond the first few */
        struct aiocb cb = request(fd, buf, 4096, 0);
        if (aio_read(&cb)) return 1;
        finish(&cb);
    }
    struct aiocb cb = request(fd, buf, 4096, 4096);
    if (aio_write(&cb)) return 1;
    finish(&cb);
    if (aio_fsync(O_SYNC, &cb)) return 1;
    finish(&cb);
    if (aio_fsync(O_DSYNC, &cb)) return 1;
    finish(&cb);
    cb = request(ends[0], buf, 1, 0);
    if (aio_read(&cb)) return 1;
    const struct aiocb *waits[] = {&cb};
    const struct timespec soon = {0, 20000000};
    if (aio_suspend(waits, 1, &soon) == 0) return 1;
    if (write(ends[1], "x", 1) != 1) return 1;
    finish(&cb);
    static struct aiocb cbs[64];
    struct aiocb *list[64];
    for (int i = 0; i < 64; i++) {
        cbs[i] = request(fd, buf + i * 4096, 4096, i * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    return lio_listio(LIO_WAIT, list, 64, NULL) ? 3 : 0;
}
