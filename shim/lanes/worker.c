/* SPDX-License-Identifier: MIT */
/* worker.c - the lane of calls that may wait: pread(), pwrite(), fsync().
 *
 * kaio_worker_run() without the lock, on a worker or a blocker (core/workers.c, core/blockers.c);
 * the rest under the lock.
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* A stream, seen only now, is not waited for here: see kaio_worker_finish(). errno stays ESPIPE. */
static bool is_stream_after_all(const struct kaio_req *req) {
    return !req->in_line && kaio_kind_is_stream(req->iocb.aio_fildes);
}

/* A stream's read() may end by EINTR though signals are blocked: of a socket with a time limit, by
 * SIGSTOP (signal(7)), and of some devices. close() waits only until it has begun. The lock: under
 * it let_go() in core/close.c sees a thread asleep in its call and gives the number away. */
static bool may_call_again(const struct kaio_req *req) {
    if (!req->in_line) return true;
    kaio_lock();
    bool same = !kaio_file_is_gone(req);
    kaio_unlock();
    if (!same) errno = ECANCELED;
    return same;
}

static atomic_bool append_refused; /* by Linux before 4.16; relaxed: a hint */

/* Of writes, RWF_APPEND: the program may have taken O_APPEND away. */
static long call_for_all(const struct kaio_req *first, const struct iovec *iov, long n) {
    int fd = first->iocb.aio_fildes;
    int64_t at = first->iocb.u.c.offset;
    if (first->op == KAIO_READ) return syscall(SYS_preadv, fd, iov, n, KAIO_AT_V(at));
    if (!first->joins) return syscall(SYS_pwritev, fd, iov, n, KAIO_AT_V(at));
    if (atomic_load_explicit(&append_refused, memory_order_relaxed)) return -1;
    long r = syscall(SYS_pwritev2, fd, iov, n, KAIO_AT_V(0), (long)RWF_APPEND);
    if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        atomic_store_explicit(&append_refused, true, memory_order_relaxed);
    return r;
}

/* What the call does not transfer each does by its own, which tells its error. */
void kaio_worker_join(struct kaio_req *batch[], int n) {
    const struct kaio_req *first = batch[0];
    struct iovec iov[KAIO_BATCH];
    if (first->op == KAIO_WRITE && !kaio_kind_is_storage(first->iocb.aio_fildes)) return;
    for (int i = 0; i < n; i++)
        iov[i] = (struct iovec){batch[i]->iocb.u.c.buf, batch[i]->iocb.u.c.nbytes};
    long r = call_for_all(first, iov, n);
    for (int i = 0; i < n && r > 0; i++) {
        size_t part = (size_t)r < iov[i].iov_len ? (size_t)r : iov[i].iov_len;
        kaio_req_advance(batch[i], part);
        r -= (long)part;
    }
}

bool kaio_worker_is_done(const struct kaio_req *req) {
    return req->iocb.u.c.nbytes == 0 && req->done > 0;
}

/* Raw system calls: these are no cancellation points, and fsync is ours. */
long kaio_worker_run(struct kaio_req *req) {
    int fd = req->iocb.aio_fildes;
    char *buf = req->iocb.u.c.buf;
    size_t rest = req->iocb.u.c.nbytes;
    int64_t at = req->iocb.u.c.offset;
    long r;
    if (kaio_worker_is_done(req)) return (long)req->done;
    /* One call for a stream: close() sees a thread in it and gives the number away */
    bool by_offset = !req->in_line || at < 0; /* EINVAL */
    do {
        switch (req->op) {
        case KAIO_READ:
            r = by_offset ? syscall(SYS_pread64, fd, buf, rest, KAIO_AT(at))
                          : syscall(SYS_read, fd, buf, rest);
            if (r < 0 && errno == ESPIPE && !is_stream_after_all(req))
                r = syscall(SYS_read, fd, buf, rest);
            break;
        case KAIO_WRITE:
            r = by_offset ? syscall(SYS_pwrite64, fd, buf, rest, KAIO_AT(at))
                          : syscall(SYS_write, fd, buf, rest);
            if (r < 0 && errno == ESPIPE && !is_stream_after_all(req))
                r = syscall(SYS_write, fd, buf, rest);
            break;
        case KAIO_FSYNC: r = syscall(SYS_fsync, fd); break;
        default: r = syscall(SYS_fdatasync, fd); break;
        }
    } while (r < 0 && errno == EINTR && may_call_again(req));
    if (r < 0) return req->done ? (long)req->done : -errno;
    return (long)req->done + r;
}

void kaio_worker_offer(struct kaio_batch *b, struct kaio_req *req) {
    (void)b;
    kaio_queue_add(req);
}

void kaio_worker_finish(struct kaio_batch *b, struct kaio_req *req, long res) {
    kaio_queue_ended(req);
    kaio_answer(b, req, res == -ESPIPE ? KAIO_SAYS : KAIO_FINAL, res);
}
