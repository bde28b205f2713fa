/* SPDX-License-Identifier: MIT */
/* plain.h - a request and its end, for programs that have a main() of their own, without test.h. */
#ifndef PLAIN_H
#define PLAIN_H

#include <aio.h>
#include <errno.h>
#include <stddef.h>

static inline struct aiocb request(int fd, void *buf, size_t n, off_t offset) {
    struct aiocb cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = n, .aio_offset = offset};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

/* Waits; answers aio_error(). */
static inline int ended(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_error(cb);
}

#endif
