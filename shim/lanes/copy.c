/* SPDX-License-Identifier: MIT */
/* copy.c - small buffered requests and streams are offered by the calling thread's own
 * preadv2(RWF_NOWAIT): such an iocb would be carried out inside io_submit() anyway, and this gives
 * the same answers in half the time. tmpfs has no RWF_NOWAIT and never waits.
 *
 * kaio_copy() is called without the lock by kaio_leave(), and its answer is taken like an event's
 * (kaio_answer()). kaio_copy_read() is the short way of an aio_read() that wants no
 * notification: no lock, no request, signals open, and the read has ended before the call returns,
 * so no sync, close() or cancellation can miss it. What is not all there goes the long way.
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define QUICK_NS 20000

/* Regular files whose pages are the storage: shmem alone answers F_GET_SEALS (fcntl(2)). */
bool kaio_copy_is_memory(int fd) {
    return fcntl(fd, F_GET_SEALS) >= 0;
}

/* flags: F_GETFL's. preadv2() takes offset -1 for the file's own, and answers 0 for no bytes of
 * anything. */
bool kaio_copy_suits(int flags, size_t nbytes, off_t offset) {
    return flags >= 0 && !(flags & O_DIRECT) && nbytes > 0 && offset >= 0;
}

/* 4 bytes in a ns: what a copy from the page cache takes at most. */
bool kaio_copy_is_quick(size_t nbytes, uint64_t took_ns) {
    return took_ns < QUICK_NS + nbytes / 4;
}

/* Would an offer be declined, or take as long as the device? So it was with the last one, or with
 * the last that a worker had. relaxed: hints */
bool kaio_copy_waits(const struct kaio_file *file, enum kaio_op op) {
    return atomic_load_explicit(&file->cold, memory_order_relaxed) & 1u << op;
}

void kaio_copy_learn(struct kaio_file *file, enum kaio_op op, bool waits) {
    uint8_t bit = (uint8_t)(1u << op);
    if (kaio_copy_waits(file, op) == waits) return;
    if (waits) atomic_fetch_or_explicit(&file->cold, bit, memory_order_relaxed);
    else atomic_fetch_and_explicit(&file->cold, (uint8_t)~bit, memory_order_relaxed);
}

/* One piece by pread() where that does: the kernel then copies no vector. */
static long copy_all(enum kaio_op op, int fd, const struct iovec *iov, int n, off_t offset,
                     bool memory) {
    bool read = op == KAIO_READ;
    long r;
    if (!memory)
        r = syscall(read ? SYS_preadv2 : SYS_pwritev2, fd, iov, (long)n, KAIO_AT_V(offset),
                    (long)RWF_NOWAIT);
    else if (n > 1)
        r = syscall(read ? SYS_preadv : SYS_pwritev, fd, iov, (long)n, KAIO_AT_V(offset));
    else
        r = syscall(read ? SYS_pread64 : SYS_pwrite64, fd, iov->iov_base, iov->iov_len,
                    KAIO_AT(offset));
    return r < 0 ? -errno : r;
}

static long copy_one(enum kaio_op op, int fd, void *buf, size_t n, off_t offset, bool memory) {
    return copy_all(op, fd, &(struct iovec){buf, n}, 1, offset, memory);
}

void kaio_copy_offer(struct kaio_batch *b, struct kaio_req *req) {
    kaio_req_move(req, KAIO_OFFERED);
    req->joins = req->op == KAIO_READ && !req->in_line && !req->file->memory;
    TAILQ_INSERT_TAIL(&b->copy, req, link);
}

/* Offset -1 stands for none. */
long kaio_copy_stream(struct kaio_req *req) {
    const struct io_iocb_common *rest = &req->iocb.u.c;
    return copy_one(req->op, req->iocb.aio_fildes, rest->buf, rest->nbytes, -1, false);
}

/* Some of a list, or what one call asks for: 0: there is none. */
int kaio_copy_take(struct kaio_batch *b, struct kaio_req *batch[KAIO_BATCH]) {
    struct kaio_req *req;
    size_t bytes = 0;
    int n = 0;
    while (n < KAIO_BATCH && bytes < KAIO_BATCH_BYTES && (req = TAILQ_FIRST(&b->copy))) {
        bytes += req->iocb.u.c.nbytes;
        TAILQ_REMOVE(&b->copy, req, link);
        batch[n++] = req;
    }
    return n;
}

/* A write may wait in spite of RWF_NOWAIT: xfs and btrfs make it durable before they return (mount
 * -o sync, chattr +S), a frozen filesystem lets none begin. relaxed: a hint */
static void learn(struct kaio_req *req, long res, uint64_t took_ns) {
    struct kaio_file *file = req->file;
    size_t n = req->iocb.u.c.nbytes;
    if (req->op == KAIO_READ) {
        atomic_store_explicit(&file->hot, res == (long)n, memory_order_relaxed);
        kaio_copy_learn(file, KAIO_READ, res == -EAGAIN);
    } else {
        kaio_copy_learn(file, KAIO_WRITE, !kaio_copy_is_quick(n, took_ns));
    }
}

/* The first, and those that continue it, by one call. Answers how many have a result; the last of
 * them may be an error, or a part. */
static int copy_some(struct kaio_req *batch[], long res[], int most) {
    struct iovec iov[KAIO_BATCH];
    const struct iocb *first = &batch[0]->iocb;
    int n = 0, some = 0;
    do {
        iov[n] = (struct iovec){batch[n]->iocb.u.c.buf, batch[n]->iocb.u.c.nbytes};
        n++;
    } while (n < most && kaio_req_continues(batch[n - 1], batch[n]));
    uint64_t begin = kaio_now_ns();
    long r = copy_all(batch[0]->op, first->aio_fildes, iov, n, first->u.c.offset,
                      batch[0]->file->memory);
    uint64_t took_ns = (kaio_now_ns() - begin) / (unsigned)n;
    do {
        long all = (long)iov[some].iov_len;
        res[some] = r < all ? r : all;
        learn(batch[some], res[some], took_ns);
        some++;
        r -= all;
    } while (r > 0 && some < n);
    return some;
}

/* res: bytes or -errno of each */
void kaio_copy(struct kaio_req *batch[], long res[], int n) {
    for (int i = 0; i < n;) {
        if (batch[i]->in_line) res[i] = kaio_copy_stream(batch[i]), i++;
        else i += copy_some(batch + i, res + i, n - i);
    }
}

/* What is in memory is copied; for the rest the kernel begins to read before it declines. */
void kaio_copy_begin(struct kaio_req *req) {
    const struct io_iocb_common *rest = &req->iocb.u.c;
    long res =
        copy_one(KAIO_READ, req->iocb.aio_fildes, rest->buf, rest->nbytes, rest->offset, false);
    if (res > 0) kaio_req_advance(req, (size_t)res);
}

static bool is_still_memory(struct kaio_file *file, int fd) {
    return kaio_file_trusts(file) || (kaio_copy_is_memory(fd) && kaio_file_trust(file));
}

/* The descriptor is what it was when a read was last found to be hot, but for one case: another
 * file has its number, unseen (fclose(), close_range()), or it has become direct (F_SETFL). Then
 * this one read may wait for the device in the call, is seen to, and the next is looked at again.
 */
bool kaio_copy_read(struct aiocb *cb) {
    struct kaio_file *file = kaio_file_used(cb->aio_fildes);
    struct kaio_thread *self = kaio_self;
    if (!file || !self || !atomic_load_explicit(&file->hot, memory_order_relaxed)) return false;
    size_t n = cb->aio_nbytes;
    if (n == 0 || n >= KAIO_LARGE_BYTES || cb->aio_offset < 0 || kaio_config.order) return false;
    if (kaio_notify_wanted(&cb->aio_sigevent)) return false;
    bool memory = atomic_load_explicit(&file->memory, memory_order_relaxed);
    int saved = errno;
    if (memory && !is_still_memory(file, cb->aio_fildes)) {
        errno = saved;
        return false;
    }
    uint64_t begin = kaio_now_ns();
    long res = copy_one(KAIO_READ, cb->aio_fildes, (void *)cb->aio_buf, n, cb->aio_offset, memory);
    if (!kaio_copy_is_quick(n, kaio_now_ns() - begin))
        atomic_store_explicit(&file->hot, false, memory_order_relaxed);
    errno = saved;
    if (res != (long)n) return false;
    KAIO_PROBE(submit, cb, KAIO_READ, cb->aio_fildes, cb->aio_offset, n);
    if (__builtin_expect(kaio_stats_on, false)) kaio_stats_copied(cb->aio_fildes, n);
    KAIO_PROBE(complete, cb, KAIO_BY_CALLER, res);
    __atomic_store_n(&cb->__return_value, res, __ATOMIC_RELAXED);
    /* release: pairs with the acquire in aio_error(), like the status store in finish.c */
    __atomic_store_n(&cb->__error_code, 0, __ATOMIC_RELEASE);
    return true;
}
