/* kernel.c - the lane of the kernel: iocbs into the context, events out of it.
 *
 * Under the lock, except io_submit() itself, for which kaio_kernel_submit() drops it: ringing a
 * device may take long. On whichever thread leaves.
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>

bool kaio_kernel_is_poll(const struct kaio_req *req) {
    return req->iocb.aio_lio_opcode == IO_CMD_POLL;
}

static void event(struct kaio_batch *b, const struct io_event *ev) {
    struct kaio_req *req = ev->data;
    /* acquire: pairs with the release in direct.c, whose thread may never have had the lock */
    enum kaio_state state = __atomic_load_n(&req->state, __ATOMIC_ACQUIRE);
    req->in_kernel = false;
    atomic_fetch_sub(&kaio.load, 1);
    if (kaio_kernel_is_poll(req)) {
        kaio.polls--;
    } else {
        kaio.ends++;
        kaio.stuck = false;
    }
    if (req->flight) kaio_flight_count(req);
    if (state == KAIO_SUBMITTED) kaio_answer(b, req, KAIO_SAYS, (long)ev->res);
    else if (state == KAIO_POLLING)
        kaio_answer(b, req, KAIO_READY, (long)ev->res > 0 ? (long)ev->res : 0);
    else if (state == KAIO_ZOMBIE) kaio_req_free(req);
}

bool kaio_kernel_reap(struct kaio_batch *b) {
    struct io_event ev;
    for (int n = 0; kaio_context_event(&ev); n++) {
        event(b, &ev);
        if (n == KAIO_HOLD - 1) return true;
    }
    return false;
}

/* Somebody must act on the end of these, whatever the program's threads do. */
static bool needs_reaper(const struct kaio_req *req) {
    return kaio_kernel_is_poll(req) || kaio_notify_wanted(&req->sigev) ||
           (req->lio && kaio_notify_wanted(&req->lio->sigev));
}

/* By file, so that those of one can be found; files have their turns. A stream's others wait behind
 * it, so it goes first. */
static void queue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    bool first = TAILQ_EMPTY(&file->backlog);
    TAILQ_INSERT_TAIL(&file->backlog, req, link);
    if (first && req->in_line) TAILQ_INSERT_HEAD(&kaio.backlog, file, full);
    else if (first) TAILQ_INSERT_TAIL(&kaio.backlog, file, full);
}

struct kaio_req *kaio_kernel_waiting(void) {
    struct kaio_file *file = TAILQ_FIRST(&kaio.backlog);
    return file ? TAILQ_FIRST(&file->backlog) : NULL;
}

void kaio_kernel_unqueue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    TAILQ_REMOVE(&file->backlog, req, link);
    kaio.polls -= kaio_kernel_is_poll(req);
    TAILQ_REMOVE(&kaio.backlog, file, full);
    if (!TAILQ_EMPTY(&file->backlog)) TAILQ_INSERT_TAIL(&kaio.backlog, file, full);
}

/* Into b->offer, or behind those for which the context has no room; once that is stuck, as if it
 * had been declined. Nor is a number used that is another file's by now. The iocb is complete. */
static void enqueue(struct kaio_batch *b, struct kaio_req *req) {
    bool room = kaio_in_kernel() < kaio.depth;
    if (kaio_file_is_gone(req) || (!room && kaio.stuck)) {
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
        return;
    }
    kaio.polls += kaio_kernel_is_poll(req);
    if (room) atomic_fetch_add(&kaio.load, 1);
    req->in_kernel = room;
    kaio_req_move(req, room ? KAIO_OFFERED : KAIO_BACKLOG);
    if (room) TAILQ_INSERT_TAIL(&b->offer, req, link);
    else queue(req);
}

static void flag_and_enqueue(struct kaio_batch *b, struct kaio_req *req) {
    req->iocb.data = req;
    kaio_thread_check(req->owner);
    bool own = !needs_reaper(req) && kaio_thread_efd(req->owner) >= 0;
    if (!own && kaio_reaper_ready(b->careful)) {
        req->owner = kaio.reaper;
        kaio_thread_check(req->owner);
    }
    int efd = kaio_thread_efd(req->owner);
    if (efd >= 0) io_set_eventfd(&req->iocb, efd);
    else req->owner->unflagged = true;
    enqueue(b, req);
}

void kaio_kernel_offer(struct kaio_batch *b, struct kaio_req *req) {
    struct iocb *iocb = &req->iocb;
    req->lane = KAIO_BY_KERNEL;
    int fd = iocb->aio_fildes;
    char *buf = req->buf + req->done;
    size_t rest = req->nbytes - req->done;
    bool seeks = !req->in_line || req->offset < 0; /* which is wrong for a stream, too */
    off_t offset = seeks ? req->offset + (off_t)req->done : 0;
    if (req->op == KAIO_READ) io_prep_pread(iocb, fd, buf, rest, offset);
    else if (req->op == KAIO_WRITE) io_prep_pwrite(iocb, fd, buf, rest, offset);
    else if (req->op == KAIO_FSYNC) io_prep_fsync(iocb, fd);
    else io_prep_fdsync(iocb, fd);
    if (req->op <= KAIO_WRITE && !req->blocking) iocb->aio_rw_flags = RWF_NOWAIT;
    flag_and_enqueue(b, req);
}

void kaio_kernel_poll(struct kaio_batch *b, struct kaio_req *req) {
    io_prep_poll(&req->iocb, req->iocb.aio_fildes, req->op == KAIO_READ ? POLLIN : POLLOUT);
    flag_and_enqueue(b, req);
}

/* The event of a cancelled poll still arrives; when the poll is just ending, so does it. */
void kaio_kernel_unpoll(struct kaio_req *req) {
    struct io_event unused;
    kaio_context_call(SYS_io_cancel, (long)kaio.ctx, (long)&req->iocb, (long)&unused, 0, 0);
}

void kaio_kernel_backlog(struct kaio_batch *b) {
    struct kaio_req *req;
    for (int n = 0; n < KAIO_SUBMIT_MAX && kaio_in_kernel() < kaio.depth; n++) {
        if (!(req = kaio_kernel_waiting())) break;
        kaio_kernel_unqueue(req);
        enqueue(b, req);
    }
}

/* io_submit() failed since the eventfd that the iocb names is ours no more: without it then. */
static bool has_lost_eventfd(struct kaio_req *req, int err) {
    if ((err != -EBADF && err != -EINVAL) || req->owner->efd == -1) return false;
    kaio_thread_check(req->owner);
    if (req->owner->efd >= 0 || !(req->iocb.u.c.flags & IOCB_FLAG_RESFD)) return false;
    req->iocb.u.c.flags = 0;
    req->owner->unflagged = true;
    return true;
}

/* By aio_cancel() or close() while it was on its way as a POLL iocb. The state first: direct.c may
 * be filling it for another by now. */
static bool is_cancelled(const struct kaio_req *req) {
    enum kaio_state state = __atomic_load_n(&req->state, __ATOMIC_RELAXED);
    return (state == KAIO_ZOMBIE || state == KAIO_DONE) && req->in_kernel;
}

/* How many will end by themselves? Not the polls of idle streams, nor what direct.c is just
 * submitting, perhaps in vain. Under the lock, without which none leaves; so it may
 * answer too few, never too many. */
static unsigned will_end(void) {
    uint64_t load = atomic_load(&kaio.load);
    unsigned all = kaio_load_count(load), others = kaio_load_calling(load) + kaio.polls;
    return all > others ? all - others : 0;
}

static void leave_kernel(struct kaio_req *req) {
    kaio.polls -= kaio_kernel_is_poll(req);
    atomic_fetch_sub(&kaio.load, 1);
    req->in_kernel = false;
}

/* io_submit() did not take this request; err 0: because of one before it. */
static void refused(struct kaio_batch *b, struct kaio_req *req, int err) {
    bool cancelled = is_cancelled(req);
    leave_kernel(req);
    if (req->state == KAIO_ZOMBIE) kaio_req_free(req);
    if (cancelled) return;
    kaio_req_move(req, KAIO_OFFERED);
    if (err == 0 || has_lost_eventfd(req, err)) {
        enqueue(b, req);
    } else if (kaio_kernel_is_poll(req) && err != -EAGAIN) {
        kaio_answer(b, req, KAIO_UNPOLLABLE, 0);
    } else if (err != -EAGAIN) {
        kaio_answer(b, req, KAIO_SAYS, err);
    } else if (will_end() == 0) { /* no event need ever make room */
        kaio_answer(b, req, KAIO_SAYS, -ENOSYS);
    } else {
        kaio.depth = kaio_in_kernel(); /* the kernel's limit is less than it promised */
        enqueue(b, req);
    }
}

static int submit(long n, struct iocb **iocbs) {
    return kaio_context_call(SYS_io_submit, (long)kaio.ctx, n, (long)iocbs, 0, 0);
}

/* Its eventfd may have another number by now (kaio_fd_evade()), if it has waited for room. */
static void renumber(struct kaio_req *req) {
    int efd = req->owner->efd;
    if (!(req->iocb.u.c.flags & IOCB_FLAG_RESFD)) return;
    if (efd >= 0) {
        io_set_eventfd(&req->iocb, efd);
        return;
    }
    req->iocb.u.c.flags = 0;
    req->owner->unflagged = true;
}

/* Submits of b->offer what one call takes: all of a list, but little where the stack may be a
 * signal handler's. io_submit() stops at the first iocb that it refuses; its error comes when it is
 * the first of a call. Those behind it are offered again. */
void kaio_kernel_submit(struct kaio_batch *b) {
    const long most = b->list || kaio_is_ours ? KAIO_SUBMIT_MAX : KAIO_SUBMIT_FEW;
    struct iocb *iocbs[most];
    struct kaio_file *files[most];
    long n = 0, taken = 0, r = 0;
    struct kaio_req *req;
    while (n < most && (req = TAILQ_FIRST(&b->offer))) {
        TAILQ_REMOVE(&b->offer, req, link);
        if (kaio_kernel_is_poll(req) && req->canceller) { /* it has been told to end meanwhile */
            leave_kernel(req);
            kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
            continue;
        }
        kaio_req_move(req, kaio_kernel_is_poll(req) ? KAIO_POLLING : KAIO_SUBMITTED);
        if (req->op == KAIO_WRITE) kaio_raised_before(&b->raised, &b->mask);
        renumber(req);
        iocbs[n] = &req->iocb;
        files[n] = req->file; /* an accepted request may be gone when io_submit() returns */
        kaio_file_unsubmitted(files[n++], 1);
    }
    if (n == 0) return;
    kaio.submits++;
    kaio.submitted += (uint64_t)n;
    kaio_unlock();
    while (taken < n && (r = submit(n - taken, iocbs + taken)) > 0) taken += r;
    kaio_lock();
    for (long i = 0; i < n; i++) kaio_file_unsubmitted(files[i], -1);
    for (long i = 0; i < taken; i++) { /* io_cancel() came too early for these */
        /* maybe another by now; requests are never unmapped */
        /* cppcheck-suppress uninitvar ; those below n are set */
        req = (struct kaio_req *)iocbs[i];
        if (is_cancelled(req) && kaio_kernel_is_poll(req)) kaio_kernel_unpoll(req);
    }
    for (long i = taken; i < n; i++) {
        req = (struct kaio_req *)iocbs[i];
        refused(b, req, i == taken || r == -EAGAIN ? (int)r : 0);
    }
}
