/* SPDX-License-Identifier: MIT */
/* kernel.c - the lane of the kernel: iocbs into the context, events out of it.
 *
 * Under the lock, except io_submit() itself, for which kaio_kernel_submit() drops it: ringing a
 * device may take long. On whichever thread leaves.
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define STUCK_NS 900000000 /* less than the reaper's idle second */

static struct {
    struct kaio_files backlog; /* with requests for which the context has no room, in turn */
    bool stuck; /* the context is full, and nothing in it ends: nobody waits for room */
    uint64_t ends, ends_seen, quiet_since; /* events; and in kaio_kernel_unclog(), in ns */
} lane KAIO_WIPED GUARDED;

void kaio_kernel_begin(void) {
    TAILQ_INIT(&lane.backlog);
}

/* Those of a vector, from the first on. The file's errors concern all. What else is not whole is
 * declined, so it has a call of its own, which tells. */
LOCKED static void vector_ended(struct kaio_batch *b, struct kaio_req *req, long res) {
    struct kaio_req *next;
    long rest = res == -EOPNOTSUPP || res == -EFBIG ? res : -EAGAIN;
    for (; req; req = next) {
        long all = (long)req->iocb.u.c.nbytes;
        next = TAILQ_NEXT(req, link);
        kaio_answer(b, req, KAIO_SAYS, res >= all ? all : rest);
        res -= all;
    }
}

static int length_of(const struct kaio_req *req) {
    int n = 0;
    for (; req; req = TAILQ_NEXT(req, link)) n++;
    return n;
}

/* Answers how many requests have ended. */
LOCKED static int event(struct kaio_batch *b, const struct io_event *ev) {
    struct kaio_req *req = ev->data;
    /* acquire: pairs with the release in direct.c, whose thread may never have had the lock */
    enum kaio_state state = __atomic_load_n(&req->state, __ATOMIC_ACQUIRE);
    KAIO_ASSERT(state == KAIO_SUBMITTED);
    if (state != KAIO_SUBMITTED) return 1;
    int n = ev->obj == &req->iocb ? 1 : length_of(req);
    atomic_fetch_sub(&kaio_context.load, (uint64_t)n);
    lane.ends++;
    lane.stuck = false;
    if (req->epoch == 0) kaio_flight_count(req); /* the short way */
    if (n == 1) kaio_answer(b, req, KAIO_SAYS, (long)ev->res);
    else vector_ended(b, req, (long)ev->res);
    return n;
}

bool kaio_kernel_reap(struct kaio_batch *b) {
    struct io_event ev;
    for (int n = 0; kaio_context_event(&ev);) {
        n += event(b, &ev);
        if (n >= KAIO_HOLD) return true;
    }
    return false;
}

/* Somebody must act on the end of these, whatever the program's threads do. */
static bool needs_reaper(const struct kaio_req *req) {
    return kaio_notify_wanted(&req->sigev) || (req->lio && kaio_notify_wanted(&req->lio->sigev));
}

/* By file, so that those of one can be found; files have their turns. */
static void queue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    bool first = TAILQ_EMPTY(&file->backlog);
    TAILQ_INSERT_TAIL(&file->backlog, req, link);
    if (first) TAILQ_INSERT_TAIL(&lane.backlog, file, full);
}

static struct kaio_req *waiting(void) {
    struct kaio_file *file = TAILQ_FIRST(&lane.backlog);
    return file ? TAILQ_FIRST(&file->backlog) : NULL;
}

void kaio_kernel_unqueue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    TAILQ_REMOVE(&file->backlog, req, link);
    TAILQ_REMOVE(&lane.backlog, file, full);
    if (!TAILQ_EMPTY(&file->backlog)) TAILQ_INSERT_TAIL(&lane.backlog, file, full);
}

/* Into b->offer, or behind those for which the context has no room; once that is stuck, as if it
 * had been declined. Nor is a number used that is another file's by now. The iocb is complete. */
LOCKED static void enqueue(struct kaio_batch *b, struct kaio_req *req) {
    bool room = kaio_in_kernel() < kaio_context.depth;
    if (kaio_file_is_gone(req) || (!room && lane.stuck)) {
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
        return;
    }
    if (room) atomic_fetch_add(&kaio_context.load, 1);
    kaio_req_move(req, room ? KAIO_OFFERED : KAIO_BACKLOG);
    if (room) TAILQ_INSERT_TAIL(&b->offer, req, link);
    else queue(req);
}

/* Looked at once by each entry into the library: that is dearer than all else here. */
LOCKED static int efd_of(struct kaio_batch *b, struct kaio_thread *thread) {
    if (b->checked != thread) kaio_thread_check(thread);
    b->checked = thread;
    return kaio_thread_efd(thread);
}

/* While something is in the kernel the reaper runs: it acts on events whose end has consequences,
 * and sees those that signal nobody. If it cannot be had, the kernel declines. */
LOCKED static void flag_and_enqueue(struct kaio_batch *b, struct kaio_req *req) {
    if (!kaio_reaper_ready(b->careful)) {
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
        return;
    }
    if (needs_reaper(req) || efd_of(b, req->owner) < 0) req->owner = kaio_reaper.thread;
    int efd = efd_of(b, req->owner);
    if (efd >= 0) io_set_eventfd(&req->iocb, efd);
    else kaio_reaper_look();
    enqueue(b, req);
}

void kaio_kernel_offer(struct kaio_batch *b, struct kaio_req *req) {
    kaio_req_prepare(req);
    flag_and_enqueue(b, req);
}

/* In each round of the reaper's: if requests wait for room and for a second nothing in the context
 * has ended, a device holds up what is there; others take the way of what is declined, until
 * something ends. True: there are more. */
bool kaio_kernel_unclog(struct kaio_batch *b) {
    struct kaio_req *req;
    uint64_t now = kaio_now_ns();
    if (!waiting() || lane.ends != lane.ends_seen) lane.quiet_since = 0;
    else if (lane.quiet_since == 0) lane.quiet_since = now;
    else if (now - lane.quiet_since >= STUCK_NS) lane.stuck = true;
    lane.ends_seen = lane.ends;
    for (int n = 0; lane.stuck && n < KAIO_HOLD && (req = waiting()); n++) {
        kaio_kernel_unqueue(req);
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
    }
    return lane.stuck && waiting();
}

void kaio_kernel_backlog(struct kaio_batch *b) {
    struct kaio_req *req;
    for (int n = 0; n < KAIO_SIGNALS && kaio_in_kernel() < kaio_context.depth; n++) {
        if (!(req = waiting())) break;
        kaio_kernel_unqueue(req);
        enqueue(b, req);
    }
}

/* io_submit() failed since the eventfd that the iocb names is ours no more: without it then. */
LOCKED static bool has_lost_eventfd(struct kaio_req *req, int err) {
    if ((err != -EBADF && err != -EINVAL) || req->owner->efd == -1) return false;
    kaio_thread_check(req->owner);
    if (req->owner->efd >= 0 || !(req->iocb.u.c.flags & IOCB_FLAG_RESFD)) return false;
    req->iocb.u.c.flags = 0;
    kaio_reaper_look();
    return true;
}

/* How many will end by themselves? Not what direct.c is just submitting, perhaps in vain. Under the
 * lock, without which none leaves; so it may answer too few, never too many. */
static unsigned will_end(void) {
    uint64_t load = atomic_load(&kaio_context.load);
    unsigned all = kaio_load_count(load), calling = kaio_load_calling(load);
    return all > calling ? all - calling : 0;
}

/* io_submit() did not take this request; err 0: because of one before it. */
LOCKED static void refused(struct kaio_batch *b, struct kaio_req *req, int err) {
    atomic_fetch_sub(&kaio_context.load, 1);
    kaio_req_move(req, KAIO_OFFERED);
    if (err == 0 || has_lost_eventfd(req, err)) {
        enqueue(b, req);
    } else if (err != -EAGAIN) {
        kaio_answer(b, req, KAIO_SAYS, err);
    } else if (will_end() == 0) { /* no event need ever make room */
        kaio_answer(b, req, KAIO_SAYS, -ENOSYS);
    } else {
        kaio_context.depth = kaio_in_kernel(); /* the kernel's limit is less than it promised */
        enqueue(b, req);
    }
}

static int submit_iocbs(long n, struct iocb **iocbs) {
    return kaio_context_call(SYS_io_submit, (long)kaio_context.ctx, n, (long)iocbs, 0, 0);
}

/* Its eventfd may have another number by now (kaio_fd_evade()), if it has waited for room. */
LOCKED static void renumber(struct kaio_req *req) {
    int efd = req->owner->efd;
    if (!(req->iocb.u.c.flags & IOCB_FLAG_RESFD)) return;
    if (efd >= 0) {
        io_set_eventfd(&req->iocb, efd);
        return;
    }
    req->iocb.u.c.flags = 0;
    kaio_reaper_look();
}

/* There is no reaper after all. */
void kaio_kernel_decline(struct kaio_batch *b) {
    struct kaio_req *req;
    while ((req = TAILQ_FIRST(&b->offer))) {
        TAILQ_REMOVE(&b->offer, req, link);
        atomic_fetch_sub(&kaio_context.load, 1);
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
    }
}

/* One io_submit(): iocbs, some of which have a vector for several requests. */
struct call {
    bool joins;
    struct iocb **iocbs, *vectors;
    struct iovec *iov;
    struct kaio_file **files; /* of each request, which may be gone when io_submit() returns */
    struct kaio_req *last;
    long n, n_vectors, n_reqs;
    unsigned long length; /* of the last vector */
};

static bool joins_vector(const struct call *c, const struct kaio_req *req) {
    return c->joins && c->last && c->length < KAIO_BATCH && req->op <= KAIO_WRITE &&
           req->owner == c->last->owner && req->iocb.u.c.flags == c->last->iocb.u.c.flags &&
           kaio_req_continues(c->last, req);
}

static void start_vector(struct call *c) {
    struct iocb *vector = &c->vectors[c->n_vectors++];
    *vector = *c->iocbs[c->n - 1];
    vector->aio_lio_opcode = c->last->op == KAIO_READ ? IO_CMD_PREADV : IO_CMD_PWRITEV;
    vector->u.c.buf = &c->iov[c->n_reqs - 1];
    c->iocbs[c->n - 1] = vector;
}

/* io_submit() copies iocbs and vectors, so they may be the caller's. */
LOCKED static void add_iocb(struct call *c, struct kaio_req *req) {
    TAILQ_NEXT(req, link) = NULL;
    if (joins_vector(c, req)) {
        if (c->length == 1) start_vector(c);
        c->iocbs[c->n - 1]->u.c.nbytes = ++c->length;
        TAILQ_NEXT(c->last, link) = req;
    } else {
        c->iocbs[c->n++] = &req->iocb;
        c->length = 1;
    }
    if (c->joins) c->iov[c->n_reqs] = (struct iovec){req->iocb.u.c.buf, req->iocb.u.c.nbytes};
    c->files[c->n_reqs++] = req->file;
    c->last = req;
}

/* Of a vector each is tried by itself: EINVAL is taken for doubtful. */
LOCKED static void refused_all(struct kaio_batch *b, const struct iocb *iocb, int err) {
    struct kaio_req *next, *req = iocb->data;
    if (TAILQ_NEXT(req, link) && err == -EFAULT) err = -EINVAL;
    for (; req; req = next) {
        next = TAILQ_NEXT(req, link);
        refused(b, req, err);
    }
}

/* Submits of b->offer what one call takes; less where the stack may be a signal handler's. A
 * thread's has 16 KiB at least: 4 are used here at most. io_submit() stops at the first iocb that
 * it refuses; its error comes when it is the first of a call. Those behind it are offered again. */
void kaio_kernel_submit(struct kaio_batch *b) {
    const bool many = b->list || kaio_is_ours;
    const long most = many ? KAIO_SUBMIT_MANY : KAIO_SUBMIT_FEW;
    struct iocb *iocbs[most], vectors[many ? most / 2 : 1];
    struct iovec iov[many ? most : 1];
    struct kaio_file *files[most];
    struct call c = {.joins = many, .iocbs = iocbs, .vectors = vectors, .iov = iov, .files = files};
    long taken = 0, r = 0;
    struct kaio_req *req;
    while (c.n_reqs < most && (req = TAILQ_FIRST(&b->offer))) {
        TAILQ_REMOVE(&b->offer, req, link);
        kaio_req_move(req, KAIO_SUBMITTED);
        if (req->op == KAIO_WRITE) kaio_raised_before(&b->raised, &b->mask);
        renumber(req);
        kaio_file_unsubmitted(req->file, 1);
        add_iocb(&c, req);
    }
    if (c.n == 0) return;
    kaio_counted.submits++;
    kaio_counted.submitted += (uint64_t)c.n;
    kaio_unlock();
    while (taken < c.n && (r = submit_iocbs(c.n - taken, iocbs + taken)) > 0) taken += r;
    kaio_lock();
    for (long i = 0; i < c.n_reqs; i++) kaio_file_unsubmitted(files[i], -1);
    for (long i = taken; i < c.n; i++)
        refused_all(b, iocbs[i], i == taken || r == -EAGAIN ? (int)r : 0);
}
