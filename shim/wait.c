/* wait.c - sleeping: aio_suspend(), LIO_WAIT, close().
 *
 * A thread sleeps on its own eventfd. The kernel signals it for the iocbs that this thread
 * submitted; whoever ends a request in another way sees that its submitter sleeps (thread->woken),
 * or another thread's bit in req->waiters (set here under the lock, before the last look at the
 * request), and writes the eventfd. Requests in the kernel under another thread's eventfd are the
 * reaper's duty meanwhile (kaio.owed). So nobody depends on a sleeper that goes away.
 *
 * aio_suspend() is async-signal-safe: signals are blocked while the lock is held, no thread is
 * started, and an inner wait (in a handler, on top of an outer one) gives back the wake-up that it
 * may have taken. It runs no request itself: there no signal and no cancellation would reach it.
 */
#include "kaio.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_ROUNDS 400 /* some 10 us, for a request that a worker is about to end */

struct wait {
    struct kaio_thread *self;        /* NULL: not begun */
    const struct aiocb *const *list; /* for any of these, */
    int n;
    struct kaio_lio *lio;            /* or for all items of this (list then names them), */
    struct kaio_file *file;          /* or until nobody needs this file's number */
    const struct timespec *deadline; /* CLOCK_MONOTONIC; NULL: none */
    struct kaio_nap nap;
    bool cancellable, foreign, worker_has_it;
    bool unflagged; /* its iocb went without an eventfd, as there was none to be had */
    bool outer;     /* this is in a handler that has interrupted the thread in its sleep */
};

static bool in_progress(const struct aiocb *cb) {
    return kaio_status(cb) == EINPROGRESS;
}

static bool any_done(const struct wait *w) {
    bool none = true;
    for (int i = 0; i < w->n; i++) {
        if (w->list[i] && !in_progress(w->list[i])) return true;
        none = none && !w->list[i];
    }
    return none;
}

/* relaxed: what has just ended is seen late at worst, since whoever did it also wakes this one */
static bool is_over(const struct wait *w) {
    if (w->lio) return __atomic_load_n(&w->lio->pending, __ATOMIC_RELAXED) == 0;
    if (w->file) return __atomic_load_n(&w->file->unsubmitted, __ATOMIC_RELAXED) == 0;
    return any_done(w);
}

static void set_foreign(struct wait *w, bool foreign) {
    kaio.owed += (unsigned)foreign - (unsigned)w->foreign;
    w->foreign = foreign;
}

/* Does the kernel signal another thread of the program for it, or will it? */
static bool is_foreign(const struct wait *w, const struct kaio_req *req) {
    bool ours = req->state == KAIO_QUEUED || req->state == KAIO_RUNNING || req->blocker;
    return !ours && req->owner != w->self && req->owner != kaio.reaper;
}

/* A hint: is a worker about to end it, or those before it? relaxed: maybe of another by now */
static bool is_soon(const struct kaio_req *req) {
    const struct kaio_file *file = __atomic_load_n(&req->file, __ATOMIC_RELAXED);
    uint8_t state = __atomic_load_n(&req->state, __ATOMIC_RELAXED);
    return (state == KAIO_RUNNING || state == KAIO_QUEUED) && file &&
           !__atomic_load_n(&req->in_line, __ATOMIC_RELAXED) &&
           !atomic_load_explicit(&file->slow, memory_order_relaxed);
}

/* Whoever ends the request from now on wakes this thread. */
static void arm_one(struct wait *w, struct kaio_req *req) {
    if (!w->lio) req->waiters |= kaio_bit(w->self);
    w->worker_has_it |= is_soon(req);
    w->unflagged |=
        (req->in_kernel || req->state == KAIO_BACKLOG) && !(req->iocb.u.c.flags & IOCB_FLAG_RESFD);
    if (is_foreign(w, req)) set_foreign(w, true);
}

static void arm_list(struct wait *w) {
    struct kaio_req *req;
    w->lio->waiters |= kaio_bit(w->self);
    TAILQ_FOREACH(req, &w->lio->items, item) arm_one(w, req);
}

/* False: one has ended, or is none of ours. */
static bool arm_any(struct wait *w) {
    for (int i = 0; i < w->n; i++) {
        if (!w->list[i]) continue;
        struct kaio_req *req = in_progress(w->list[i]) ? kaio_req_find(w->list[i]) : NULL;
        if (!req) return false;
        arm_one(w, req);
    }
    return true;
}

/* Under the lock: whoever ends one from now on wakes this thread. False: no need to sleep. */
static bool arm(struct kaio_batch *b, struct wait *w) {
    set_foreign(w, false);
    w->worker_has_it = w->unflagged = false;
    if (is_over(w)) return false;
    kaio_thread_check(w->self);
    kaio_thread_efd(w->self);
    if (w->file) w->file->waiters |= kaio_bit(w->self);
    if (w->lio) arm_list(w);
    if (!arm_any(w)) return false;
    if (kaio.owed) kaio_reaper_ready(b);
    w->unflagged |= kaio.unattended || w->self->shared; /* nobody reaps for it, or wakes just it */
    /* From here on, what this thread itself ends, in its leave or in a handler, must wake it. */
    w->self->asleep = true;
    atomic_store_explicit(&w->self->woken, false, memory_order_relaxed); /* see kaio_wait_wake() */
    return true;
}

/* Without the lock, if all of the list are this very thread's: whoever ends one from here on sees
 * it asleep (submitter_bit() in complete.c), or the kernel signals its eventfd. False, too, if one
 * has ended: another thread may be about to use its aiocb again; nobody would wake this one. */
static bool arm_own(struct wait *w) {
    struct kaio_thread *self = kaio_self;
    /* relaxed: if it turns true later, kaio_reaper_start() wakes all */
    if (atomic_load_explicit(&kaio.unattended, memory_order_relaxed)) return false;
    if (!self || self->unflagged || self->shared || !kaio_fd_is_marked(self->efd)) return false;
    w->worker_has_it = w->unflagged = false;
    if (!w->self) w->outer = self->asleep;
    w->self = self;
    self->asleep = true;
    atomic_store_explicit(&self->woken, false, memory_order_relaxed);
    /* seq_cst: pairs with the fence in submitter_bit(); only then are the statuses looked at */
    atomic_thread_fence(memory_order_seq_cst);
    for (int i = 0; i < w->n; i++) {
        if (!w->list[i]) continue;
        struct kaio_req *req = in_progress(w->list[i]) ? kaio_req_glance(w->list[i]) : NULL;
        if (!req || __atomic_load_n(&req->submitter, __ATOMIC_RELAXED) != self) return false;
        w->worker_has_it |= is_soon(req);
    }
    return true;
}

static bool time_left(const struct timespec *deadline, struct timespec *left) {
    clock_gettime(CLOCK_MONOTONIC, left);
    left->tv_sec = deadline->tv_sec - left->tv_sec;
    left->tv_nsec = deadline->tv_nsec - left->tv_nsec;
    if (left->tv_nsec < 0) left->tv_sec--, left->tv_nsec += 1000000000;
    return left->tv_sec >= 0;
}

static long read_count(const struct wait *w, int efd) {
    uint64_t count;
    return w->cancellable ? read(efd, &count, sizeof count)
                          : syscall(SYS_read, efd, &count, sizeof count);
}

/* Until woken (0; there need be no reason), interrupted (-EINTR) or too late (-EAGAIN). */
static int sleep_on(struct wait *w) {
    int efd = w->self->efd;
    struct timespec left = {0, 0};
    if (w->deadline && !time_left(w->deadline, &left)) return -EAGAIN;
    if (efd < 0 || w->unflagged || w->nap.begun) return kaio_nap(&w->nap, w->cancellable);
    if (!w->deadline) {
        if (read_count(w, efd) >= 0) return 0;
        return errno == EINTR ? -EINTR : kaio_nap(&w->nap, w->cancellable);
    }
    struct pollfd ready = {.fd = efd, .events = POLLIN};
    int n = ppoll(&ready, 1, &left, NULL);
    if (n <= 0) return n == 0 ? -EAGAIN : -EINTR;
    kaio_thread_drain(w->self);
    return 0;
}

static void wait_begin(struct kaio_batch *b, struct wait *w) {
    if (w->lio) kaio_enter(b); /* no list is waited for in a handler */
    else kaio_enter_careful(b);
    if (!w->self) w->outer = b->self->asleep;
    w->self = b->self;
}

/* Also when the thread is cancelled in its sleep. */
static void wait_end(void *arg) {
    struct wait *w = arg;
    uint64_t one = 1;
    if (!w->self) return;
    if (w->foreign) {
        struct kaio_batch b;
        kaio_enter_careful(&b);
        set_foreign(w, false);
        kaio_leave(&b);
    }
    w->self->asleep = w->outer;
    atomic_store_explicit(&w->self->woken, true, memory_order_relaxed); /* or an outer one: below */
    /* Also when ours is done: a count that was read here is gone for the reaper's epoll set, too,
     * so the event that it stood for must be reaped here. */
    if (kaio_kernel_pending()) kaio_poll();
    if (w->outer && kaio_fd_is_marked(w->self->efd))
        syscall(SYS_write, w->self->efd, &one, sizeof one);
    kaio_nap_end(&w->nap);
}

static bool arm_any_of(struct wait *w) {
    if (arm_own(w)) return true;
    struct kaio_batch b;
    wait_begin(&b, w);
    bool armed = arm(&b, w);
    kaio_leave(&b);
    return armed;
}

/* Now and then the worker may have this CPU, should it want it. */
static void spin(const struct wait *w) {
    for (int i = 1; i <= SPIN_ROUNDS && !any_done(w); i++)
        if (i % 64) __builtin_ia32_pause();
        else syscall(SYS_sched_yield);
}

static int wait_any(struct wait *w) {
    int res = 0;
    while (!any_done(w)) {
        if (kaio_kernel_pending()) kaio_poll();
        if (res) return any_done(w) ? 0 : res;
        if (!arm_any_of(w)) return 0;
        if (w->worker_has_it && kaio_ncpu > 1) spin(w);
        if (!any_done(w)) res = sleep_on(w);
        w->self->asleep = w->outer;
    }
    return 0;
}

int kaio_wait_any(const struct aiocb *const list[], int n, const struct timespec *timeout) {
    struct timespec deadline;
    struct wait w = {.list = list, .n = n, .cancellable = true};
    if (timeout) {
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        /* glibc's sum wraps, and a wait without end ends at once; nobody can lean on that */
        if (__builtin_add_overflow(deadline.tv_sec, timeout->tv_sec, &deadline.tv_sec))
            deadline.tv_sec = LONG_MAX - 1;
        deadline.tv_nsec += timeout->tv_nsec;
        if (deadline.tv_nsec >= 1000000000) deadline.tv_sec++, deadline.tv_nsec -= 1000000000;
        w.deadline = &deadline;
        w.nap.limited = true;
    }
    int res;
    pthread_cleanup_push(wait_end, &w);
    res = wait_any(&w);
    if (atomic_load_explicit(&kaio.sending, memory_order_acquire)) kaio_poll();
    pthread_cleanup_pop(1);
    return res;
}

/* Waits with the lock held but while it sleeps; ends with it held. */
static int wait_locked(struct kaio_batch *b, struct wait *w, bool interruptible) {
    int res = 0;
    wait_begin(b, w);
    while (!is_over(w) && (res == 0 || !interruptible)) {
        bool armed = arm(b, w);
        kaio_leave(b);
        if (armed && !is_over(w)) res = sleep_on(w);
        w->self->asleep = w->outer;
        wait_begin(b, w);
        kaio_kernel_reap(b);
    }
    set_foreign(w, false);
    return is_over(w) ? 0 : res;
}

int kaio_wait_list(struct kaio_lio *lio) {
    struct kaio_batch b;
    struct wait w = {.lio = lio};
    int res = wait_locked(&b, &w, true);
    if (res == 0 && lio->failed) res = -EIO;
    lio->waiters = 0;
    lio->wait = false; /* whatever still runs of it ends by itself */
    if (lio->pending == 0) kaio_lio_free(lio);
    kaio_leave(&b);
    wait_end(&w);
    return res;
}

void kaio_wait_unsubmitted(struct kaio_file *file) {
    struct kaio_batch b;
    struct wait w = {.file = file};
    wait_locked(&b, &w, false);
    kaio_leave(&b);
    wait_end(&w);
}

/* One write for all that ends before the thread looks again: it clears woken before it leaves its
 * bits (under the lock), or before its last look at its own requests, and whoever turns it true
 * writes. relaxed: the lock, under which the bits were taken, orders it */
void kaio_wait_wake(uint64_t bits, const struct kaio_thread *self) {
    uint64_t one = 1;
    for (struct kaio_thread *t = kaio_threads; t; t = t->next) {
        if (!(bits & kaio_bit(t)) || t->efd < 0 || (t == self && !t->asleep)) continue;
        if (atomic_exchange_explicit(&t->woken, true, memory_order_relaxed)) continue;
        if (kaio_fd_is_marked(t->efd)) syscall(SYS_write, t->efd, &one, sizeof one);
    }
}
