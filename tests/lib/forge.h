/* SPDX-License-Identifier: MIT */
/* forge.h - a kernel AIO of the test's own, for forged.c: io_setup() is answered with a ring in the
 * test's memory, io_submit() with what the case (`now`) says; what was taken is carried out, at
 * once or when the case wants it, and its event put into the ring. Included after test.h.
 */
#ifndef FORGE_H
#define FORGE_H

#include "replace.h"

#include <libaio.h>
#include <sys/uio.h>

enum { RING = 256, MOST = 64, BLOCK = 4096, FEW = 64 };

static struct {
    unsigned id, nr;
    _Atomic unsigned head, tail;
    unsigned magic, compat_features, incompat_features, header_length;
    struct io_event events[RING];
} * ring;

/* The case. */
static struct {
    int n, at, error, left; /* of n, the one at this position gets the error, so often */
    bool in_event;
    int most;         /* taken by one io_submit() at most */
    long count;       /* of the event at that position, if there is no error */
    bool zeros;       /* reads that may not wait say 0, as if nothing were in memory */
    bool late;        /* events come when the case puts them */
    bool silent;      /* and wake nobody: who calls next finds them */
    long short_nr;    /* this call gives a count of at most */
    long short_count; /* so much, once */
} now;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct iocb *taken[RING];
static int ntaken;
static int direct, buffered, signo; /* even places are read, odd ones written */
static int blank[2];                /* direct and buffered: only written */
static char *buf;
static struct aiocb cbs[MOST];
static _Atomic int notified[MOST + 1];
static char label[200];
static int cases, failures;

static void wrong(const char *what, int i) {
    say("%s: %d: %s: %s, %zd", label, i, what, name(aio_error(&cbs[i])), cbs[i].__return_value);
    _exit(1);
}

/* The request's place in the case: that of its offset, or of its buffer. */
static int place(const struct iocb *iocb) {
    for (int i = 0; i < now.n; i++)
        if (iocb->aio_lio_opcode == IO_CMD_FSYNC || iocb->aio_lio_opcode == IO_CMD_FDSYNC || iocb->u.c.buf == cbs[i].aio_buf)
            return i;
    return -1;
}

static long carry_out(const struct iocb *iocb) {
    size_t n = iocb->u.c.nbytes;
    if (place(iocb) == now.at && now.count >= 0 && (size_t)now.count < n) n = (size_t)now.count;
    if (iocb->aio_lio_opcode == IO_CMD_PREAD && now.zeros && iocb->aio_rw_flags) return 0;
    if (iocb->aio_lio_opcode == IO_CMD_PREAD)
        return pread(iocb->aio_fildes, iocb->u.c.buf, n, iocb->u.c.offset);
    if (iocb->aio_lio_opcode == IO_CMD_PWRITE)
        return pwrite(iocb->aio_fildes, iocb->u.c.buf, n, iocb->u.c.offset);
    return 0;
}

static bool strikes(const struct iocb *iocb, bool in_event) {
    return now.left > 0 && in_event == now.in_event && place(iocb) == now.at;
}

/* Not yet to be seen. Answers the eventfd that is to be written, or -1. */
static int fill_event(unsigned at, struct iocb *iocb) {
    int fd = iocb->u.c.flags & 1 && !now.silent ? (int)iocb->u.c.resfd : -1;
    bool fails = strikes(iocb, true);
    now.left -= fails;
    long r = fails ? -now.error : carry_out(iocb);
    ring->events[at % RING] =
        (struct io_event){.data = iocb->data, .obj = iocb, .res = (unsigned long)r};
    return fd;
}

static void put_event(struct iocb *iocb) {
    uint64_t one = 1;
    int fd = fill_event(ring->tail, iocb);
    ring->tail = (ring->tail + 1) % RING;
    if (fd >= 0) need(write(fd, &one, sizeof one) == sizeof one, "eventfd");
}

/* All at once, in this order. */
static void put_events(int n, const int order[]) {
    for (int i = 0; i < n; i++) fill_event(ring->tail + (unsigned)i, taken[order[i]]);
    ring->tail = (ring->tail + (unsigned)n) % RING;
}

static long submit(long n, struct iocb **iocbs) {
    long i = 0;
    if (iocbs[0]->aio_fildes < 0) return -EBADF; /* the library asks what the kernel knows */
    pthread_mutex_lock(&lock);
    for (; i < n && i < now.most; i++) {
        if (strikes(iocbs[i], false)) break;
        if (now.late) taken[ntaken++] = iocbs[i];
        else put_event(iocbs[i]);
    }
    now.left -= i == 0; /* of those behind others nothing is said */
    pthread_mutex_unlock(&lock);
    return i ? i : -now.error;
}

static long at_call(const struct call *call) {
    const long *a = call->args;
    switch (call->nr) {
    case SYS_io_setup: *(void **)a[1] = ring; return 0;
    case SYS_io_submit: return submit(a[1], (struct iocb **)a[2]);
    }
    if (now.zeros && call->nr == SYS_preadv2) return 0;
    if (!now.short_nr || call->nr != now.short_nr || a[0] != buffered) return GO_ON;
    struct call less = *call;
    struct iovec iov;
    now.short_nr = 0;
    if (call->nr == SYS_preadv2 || call->nr == SYS_pwritev2) {
        iov = *(struct iovec *)a[1];
        iov.iov_len = (size_t)now.short_count;
        less.args[1] = (long)&iov;
        less.args[5] = 0; /* ext4 takes no write that may not wait */
    } else {
        less.args[2] = now.short_count;
    }
    return perform(&less);
}

#endif
