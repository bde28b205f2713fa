/* SPDX-License-Identifier: MIT */
/* direct.c - the short way of an aio_read() or aio_write() of an O_DIRECT file that wants no
 * notification: one io_submit(), without the lock and with signals open. Blocking signals, twice a
 * request, costs more than all else that the long way does.
 *
 * On the program's threads. The request comes from the thread's own stock, which kaio_leave()
 * fills. While the call lasts (thread->calling), it is nobody's business but the caller's:
 *   - A handler that has interrupted the call finds the aiocb as it was before (kaio_status()), so
 *     it does not wait for what it has itself stopped. fsync() and close() there do not either.
 *   - Others do not find the request by its aiocb, and no sync covers it: it has not been made yet.
 *   - A child that the handler forks goes on here, with what is the parent's. It counts nothing,
 *     for the counts lie in one word with the pid (kaio_context.load), and it submits nothing.
 * Either the pid shows that kaio is the child's, or the fork came after that look: then the request
 * has been spoilt (kaio_direct_forget()), or the child has not come here yet, and the context that
 *     it names is not mapped there. Nor does it take anything back.
 * So whatever speaks against the short way, the long one begins anew. The event comes to
 * kaio_kernel_reap() like any other, on any thread, maybe before io_submit() has returned; only
 * then, or when a sync of its file begins, does the request enter the books (kaio_flight_count()).
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOCK_LOW (KAIO_STOCK / 2)

/* Under the lock, at the end of kaio_leave(). Not while the thread itself, below in a handler's
 * stack, is taking one. Uses only free requests; never allocates. The kernel must not signal a file
 * that the program has put on the number of the thread's eventfd after a raw close: each stock is
 * for an eventfd that has been looked at. */
void kaio_direct_stock(struct kaio_thread *self) {
    struct kaio_req *req;
    if (!self->direct || self->calling || self->nstock > STOCK_LOW) return;
    if (!kaio_fd_is_marked(self->efd) || !kaio_context.ctx) return;
    if (!kaio_flight_ready(kaio_context.depth)) return;
    for (unsigned n = self->nstock; n < KAIO_STOCK && (req = kaio_req_take()); n++) {
        req->lane = KAIO_BY_KERNEL;
        self->stock[n] = req;
        self->nstock = n + 1;
    }
}

/* In a child: a call of the thread that has forked may go on here with a request of the parent's.
 */
void kaio_direct_forget(struct kaio_thread *thread) {
    struct kaio_req *req =
        atomic_exchange_explicit(&thread->submitting, NULL, memory_order_relaxed);
    if (req) req->iocb.aio_lio_opcode = -1; /* EINVAL */
    thread->calling = NULL;
}

/* A write must raise no signal here (raised.c), so the limit is asked; and the descriptor's flags,
 * since appended writes have an order, and a pipe has SIGPIPE: pipe2(O_DIRECT) makes a packet pipe,
 * but what is opened by name is O_LARGEFILE on 64-bit Linux. What changes between the question and
 * io_submit() is the program's race. */
static bool may_write(const struct aiocb *cb) {
    if (kaio_context.waits) return false;
    struct rlimit limit;
    int fd = cb->aio_fildes, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || flags & O_APPEND) return false;
    if (!(flags & O_DIRECT) || !(flags & KAIO_LARGEFILE)) return false;
    if (getrlimit(RLIMIT_FSIZE, &limit)) return false;
    rlim_t at = (rlim_t)cb->aio_offset;
    return at < limit.rlim_cur && cb->aio_nbytes <= limit.rlim_cur - at;
}

/* A read; its flags are asked by one in many. */
static bool may_read(const struct aiocb *cb, struct kaio_file *file) {
    if (kaio_file_trusts(file)) return true;
    int flags = fcntl(cb->aio_fildes, F_GETFL);
    return flags >= 0 && flags & O_DIRECT && kaio_file_trust(file);
}

/* Hints, all of them: a stale one costs a detour. */
static bool suits(const struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                  struct kaio_thread *self) {
    if (!file || !self || kaio_config.order) return false;
    if (self->calling) return false; /* in a handler, on top of such a call */
    if (!__atomic_load_n(&kaio_context.ctx, __ATOMIC_RELAXED)) return false;
    if (!atomic_load_explicit(&file->direct, memory_order_relaxed)) return false;
    if (cb->aio_offset < 0 || cb->aio_nbytes == 0) return false;
    if (self->efd < 0 || kaio_notify_wanted(&cb->aio_sigevent)) return false;
    return op == KAIO_READ ? may_read(cb, file) : may_write(cb);
}

/* A quarter of the context is left to the long way, so those who wait there do not wait for a call
 * that a handler has interrupted. seq_cst: see will_end() in kernel.c. False: there is no room, or
 * this is a child by now. */
static bool enter_kernel(pid_t pid) {
    unsigned depth = atomic_load_explicit(&kaio_context.depth, memory_order_relaxed);
    uint64_t load = atomic_load(&kaio_context.load);
    do {
        if (kaio_load_pid(load) != pid || kaio_load_count(load) + 1 >= depth - depth / 4)
            return false;
    } while (!atomic_compare_exchange_weak(&kaio_context.load, &load, load + KAIO_ONE_CALLING + 1));
    return true;
}

/* what: KAIO_ONE_CALLING, and 1 if it leaves the kernel, too */
static void end_calling(pid_t pid, uint64_t what) {
    uint64_t load = atomic_load(&kaio_context.load);
    while (kaio_load_pid(load) == pid &&
           !atomic_compare_exchange_weak(&kaio_context.load, &load, load - what))
        continue;
}

/* In a child the stock has become empty. The reaper may just go: see retire() in core/reaper.c. */
static struct kaio_req *take_from_stock(struct kaio_thread *self, pid_t pid) {
    unsigned n = self->nstock;
    if (n == 0 || !enter_kernel(pid)) return NULL;
    if (atomic_load(&kaio_reaper.runs) && atomic_compare_exchange_strong(&self->nstock, &n, n - 1))
        return self->stock[n - 1];
    end_calling(pid, KAIO_ONE_CALLING + 1);
    return NULL;
}

static void prepare_short(struct kaio_req *req, struct aiocb *cb, enum kaio_op op,
                          struct kaio_file *file, int efd) {
    kaio_req_fill(req, cb, op, file, cb->aio_fildes);
    kaio_req_prepare(req);
    io_set_eventfd(&req->iocb, efd);
    /* release: pairs with the acquires in kaio_flight_count_all() and in event() in kernel.c */
    __atomic_store_n(&req->state, KAIO_SUBMITTED, __ATOMIC_RELEASE);
}

/* Under the lock, by the thread whose call the kernel has refused: the long way meets the same
 * error and knows what to do. In a child, whose handler has made requests, it is none of the
 * child's. */
void kaio_direct_take_back(struct kaio_thread *self) {
    struct kaio_req *req = atomic_load_explicit(&self->submitting, memory_order_relaxed);
    atomic_store_explicit(&self->submitting, NULL, memory_order_relaxed);
    atomic_store_explicit(&self->calling, NULL, memory_order_relaxed);
    if (!req || !kaio_flight_remove(req)) return;
    atomic_fetch_sub(&kaio_context.load, 1);
    kaio_req_free(req);
}

static enum kaio_short submit_alone(struct kaio_thread *self, struct aiocb *cb, enum kaio_op op,
                                    struct kaio_file *file, pid_t pid) {
    struct kaio_req *req = take_from_stock(self, pid);
    if (!req) return KAIO_SHORT_NOT;
    atomic_store_explicit(&self->submitting, req, memory_order_relaxed);
    if (!kaio_flight_place(req)) return KAIO_SHORT_NOT;
    prepare_short(req, cb, op, file, self->efd);
    struct iocb *iocb = &req->iocb;
    unsigned tail = kaio_context_tail();
    atomic_signal_fence(memory_order_seq_cst);
    if (kaio.pid != pid) return KAIO_SHORT_NOT;
    bool taken = syscall(SYS_io_submit, kaio_context.ctx, 1l, &iocb) == 1;
    if (kaio.pid != pid) return KAIO_SHORT_NOT;
    if (taken) atomic_store_explicit(&self->submitting, NULL, memory_order_relaxed);
    bool declined = taken && kaio_context_has_declined(iocb, tail);
    end_calling(pid, KAIO_ONE_CALLING);
    return !taken ? KAIO_SHORT_REFUSED : declined ? KAIO_SHORT_DECLINED : KAIO_SHORT_DONE;
}

/* Without the lock. */
enum kaio_short kaio_direct_submit(struct aiocb *cb, enum kaio_op op) {
    struct kaio_file *file = kaio_file_used(cb->aio_fildes);
    struct kaio_thread *self = kaio_self;
    int saved = errno;
    if (!suits(cb, op, file, self)) {
        errno = saved;
        return KAIO_SHORT_NOT;
    }
    pid_t pid = kaio.pid;
    self->before = __atomic_load_n(&cb->__error_code, __ATOMIC_RELAXED);
    /* Read by this thread's handlers and, under the lock, by others, to whom prepare_short()
     * releases it */
    atomic_store_explicit(&self->calling, cb, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    enum kaio_short done = submit_alone(self, cb, op, file, pid);
    atomic_signal_fence(memory_order_seq_cst);
    if (done != KAIO_SHORT_REFUSED)
        atomic_store_explicit(&self->calling, NULL, memory_order_relaxed);
    errno = saved;
    return done;
}
