/* direct.c - the short way of an aio_read() or aio_write() of an O_DIRECT file that wants no
 * notification: one io_submit(), without the lock and with signals open. Blocking signals, twice a
 * request, costs more than all else that the long way does.
 *
 * On the program's threads. The request comes from the thread's own stock, which kaio_leave()
 * fills. While the call lasts (thread->calling), it is nobody's business but the caller's:
 *   - A handler that has interrupted the call finds the aiocb as it was before (kaio_status()), so
 *     it does not wait for what it has itself stopped. fsync() and close() there do not either.
 *   - Others do not find the request by its aiocb, and no sync covers it: it has not been made yet.
 *   - A child that the handler forks goes on here with a request of its parent, and an io_submit()
 *     that must fail, since the context is not mapped there. It takes nothing back: kaio was wiped
 *     and has its own pid, or none yet.
 * So whatever speaks against the short way, the long one begins anew. The event comes to
 * kaio_kernel_reap() like any other, on any thread, maybe before io_submit() has returned; only
 * then, or when a sync of its file begins, does the request enter the books (kaio_direct_count()).
 */
#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOCK_LOW (KAIO_STOCK / 2)

/* Under the lock, at the end of kaio_leave(). Not while the thread itself, below in a handler's
 * stack, is taking one. Takes what lies about: no memory is asked for on completion. */
void kaio_direct_stock(struct kaio_thread *self) {
    struct kaio_req *req;
    if (!self->direct || self->shared || self->calling || self->nstock > STOCK_LOW) return;
    while (self->nstock < KAIO_STOCK && (req = TAILQ_FIRST(&kaio.free))) {
        TAILQ_REMOVE(&kaio.free, req, link);
        kaio_req_clear(req);
        self->stock[self->nstock++] = req;
    }
}

/* Under the lock. What kaio_req_get(), kaio_file_start() and kaio_kernel_submit() do for others. */
void kaio_direct_count(struct kaio_req *req) {
    req->straight = false;
    kaio.by_op[req->op]++;
    kaio.submits++;
    kaio.submitted++;
    kaio_file_count(req);
}

/* Under the lock: a sync of the file begins. */
void kaio_direct_count_all(struct kaio_file *file) {
    if (!atomic_load_explicit(&file->straight, memory_order_relaxed)) return;
    for (uint32_t i = 0; i < kaio.nreqs; i++) {
        struct kaio_req *req = kaio_req_at(i);
        /* acquire: pairs with the release in begin(); then its other members are there, too */
        if (__atomic_load_n(&req->state, __ATOMIC_ACQUIRE) != KAIO_SUBMITTED) continue;
        if (req->straight && req->file == file && !kaio_file_is_gone(req) && !kaio_is_calling(req->submitter, req->cb))
            kaio_direct_count(req);
    }
}

/* A write must raise no signal here (raised.c), so the limit is asked; and the descriptor's flags,
 * since appended writes have an order, and a pipe has SIGPIPE. What changes between the question
 * and io_submit() is the program's race. */
static bool may_write(const struct aiocb *cb) {
    struct rlimit limit;
    int fd = cb->aio_fildes, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || flags & O_APPEND || !(flags & O_DIRECT)) return false;
    if (fcntl(fd, F_GETPIPE_SZ) >= 0) return false; /* pipe2(O_DIRECT): a packet pipe */
    if (getrlimit(RLIMIT_FSIZE, &limit)) return false;
    rlim_t at = (rlim_t)cb->aio_offset;
    return at < limit.rlim_cur && cb->aio_nbytes <= limit.rlim_cur - at;
}

/* Hints, all of them: a stale one costs a detour. */
static bool suits(const struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                  struct kaio_thread *self) {
    if (!file || !self || self->shared || kaio_config.order) return false;
    if (self->calling) return false; /* in a handler, on top of such a call */
    if (!__atomic_load_n(&kaio.ctx, __ATOMIC_RELAXED)) return false;
    if (!atomic_load_explicit(&file->direct, memory_order_relaxed)) return false;
    if (cb->aio_offset < 0 || cb->aio_nbytes == 0) return false;
    if (kaio_notify_wanted(&cb->aio_sigevent) || !kaio_submit_trusts(file)) return false;
    /* the kernel must not signal a file that the program has put on its number, unseen */
    return (op == KAIO_READ || may_write(cb)) && kaio_fd_is_marked(self->efd);
}

/* A quarter of the context is left to the long way, so those who wait there do not wait for a call
 * that a handler has interrupted. (Idle streams have half of it at most.) */
static struct kaio_req *take(struct kaio_thread *self) {
    unsigned n = self->nstock, depth = atomic_load_explicit(&kaio.depth, memory_order_relaxed);
    unsigned most = depth - depth / 4;
    if (n == 0 || atomic_load_explicit(&kaio.in_kernel, memory_order_relaxed) + 1 >= most)
        return NULL;
    /* seq_cst, in this order: see will_end() in kernel.c */
    atomic_fetch_add(&kaio.calling, 1);
    atomic_fetch_add(&kaio.in_kernel, 1);
    self->nstock = n - 1;
    return self->stock[n - 1];
}

static void begin(struct kaio_req *req, struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                  int efd) {
    kaio_req_fill(req, cb, op, file, cb->aio_fildes);
    if (op == KAIO_READ)
        io_prep_pread(&req->iocb, cb->aio_fildes, req->buf, req->nbytes, req->offset);
    else io_prep_pwrite(&req->iocb, cb->aio_fildes, req->buf, req->nbytes, req->offset);
    req->iocb.aio_rw_flags = RWF_NOWAIT;
    req->iocb.data = req;
    io_set_eventfd(&req->iocb, efd);
    req->lane = KAIO_BY_KERNEL;
    req->in_kernel = true;
    req->straight = true;
    /* release: pairs with the acquires in kaio_direct_count_all() and in event() in kernel.c */
    __atomic_store_n(&req->state, KAIO_SUBMITTED, __ATOMIC_RELEASE);
}

/* The kernel has not taken it; the long way meets the same error and knows what to do. */
static void take_back(struct kaio_req *req) {
    struct kaio_batch b;
    kaio_enter(&b);
    kaio.in_kernel--;
    req->in_kernel = false;
    kaio_req_free(req);
    kaio_leave(&b);
}

static bool submit(struct kaio_thread *self, struct aiocb *cb, enum kaio_op op,
                   struct kaio_file *file, pid_t pid, bool *declined) {
    struct kaio_req *req = take(self);
    if (!req) return false;
    begin(req, cb, op, file, self->efd);
    atomic_store_explicit(&file->straight, true, memory_order_relaxed);
    struct iocb *iocb = &req->iocb;
    unsigned tail = kaio_kernel_tail();
    bool taken = syscall(SYS_io_submit, kaio.ctx, 1l, &iocb) == 1;
    if (kaio.pid != pid) return false;
    if (!taken) take_back(req);
    *declined = taken && kaio_kernel_has_declined(iocb, tail);
    atomic_fetch_sub(&kaio.calling, 1);
    return taken;
}

/* The kernel has declined it in the call: a worker is called here, for who waits may start none. */
static void call_worker(void) {
    struct kaio_batch b;
    kaio_enter(&b);
    kaio_leave(&b);
}

/* Without the lock; false: nothing has been done. */
bool kaio_direct_submit(struct aiocb *cb, enum kaio_op op) {
    struct kaio_file *file = kaio_file_used(cb->aio_fildes);
    struct kaio_thread *self = kaio_self;
    int saved = errno;
    if (!suits(cb, op, file, self)) {
        errno = saved;
        return false;
    }
    pid_t pid = kaio.pid;
    self->before = __atomic_load_n(&cb->__error_code, __ATOMIC_RELAXED);
    /* Read by this thread's handlers and, under the lock, by others, to whom begin() releases it */
    atomic_store_explicit(&self->calling, cb, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    bool declined = false, done = submit(self, cb, op, file, pid, &declined);
    atomic_signal_fence(memory_order_seq_cst);
    if (kaio.pid == pid) atomic_store_explicit(&self->calling, NULL, memory_order_relaxed);
    if (declined) call_worker();
    errno = saved;
    return done;
}
