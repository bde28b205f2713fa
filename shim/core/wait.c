/* SPDX-License-Identifier: MIT */
/* wait.c - sleeping: aio_suspend(), LIO_WAIT, close(), fsync().
 *
 * The kernel signals the eventfd of the thread that has submitted an iocb, and there that thread
 * sleeps; a thread without one sleeps on thread->sleep (futex(2)), and the reaper reaps for it.
 * Whoever ends a request in another way sees that its submitter sleeps, or finds another thread in
 * req->waiter (set here under the lock, before the last look at the request), and wakes it.
 * Requests in the kernel under another thread's eventfd are the reaper's duty meanwhile
 * (kaio_reaper.owed). So nobody depends on a sleeper that goes away.
 *
 * aio_suspend() is async-signal-safe: signals are blocked while the lock is held, no thread is
 * started, and an inner wait (in a handler, on top of an outer one) gives back the wake-up that it
 * may have taken. It runs no request itself: there no signal and no cancellation would reach it.
 *
 * A wait may be left sideways: siglongjmp() out of a handler, an exception, a cancellation. So it
 * keeps nothing on its stack that another thread follows, and no handler for unwinding. What it has
 * entered stands in the thread's record (struct kaio_level), where the thread's next wait finds it,
 * or its end (kaio_level_abandon()).
 */
#include "core/core.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAP_NS 250000

struct wait {
    struct kaio_thread *self;        /* NULL: not begun */
    struct kaio_level *level;        /* in the record; NULL: not begun, or there are too many */
    const struct aiocb *const *list; /* for any of these, */
    int n;
    struct kaio_lio *lio;            /* or for all items of this, */
    struct kaio_file *file;          /* or until nobody needs this file's number */
    const struct timespec *deadline; /* CLOCK_MONOTONIC; NULL: none */
    bool invalid; /* the limit: nothing is waited for. glibc aborts, or not, as its clock stands */
    bool cancellable;
    bool careful; /* maybe in a handler: not LIO_WAIT, whose caller may start threads */
    bool worker_has_it;
};

static bool in_progress(const struct aiocb *cb) {
    return kaio_status(cb) == EINPROGRESS;
}

static bool any_done(const struct wait *w) {
    bool none = true;
    for (int i = 0; w->list && i < w->n; i++) {
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

/* Levels of waits: what this thread's waits have entered into the books. Written by the thread
 * alone, or under the lock when it has ended. */

/* Has the thread left the wait whose variables were at frame? On one stack, which grows down, a
 * wait that goes on has its variables above those of the waits in its handlers. */
static bool is_frame_left(uintptr_t frame, uintptr_t here) {
    stack_t other;
    if (sigaltstack(NULL, &other)) return false;
    bool on_other = other.ss_flags & SS_ONSTACK;
    bool in_other = frame - (uintptr_t)other.ss_sp < other.ss_size;
    return on_other == in_other ? frame <= here : in_other;
}

/* Without the lock, if this is the thread's only wait. A handler may come between and use the same
 * place for a wait of its own, which ends before we go on: then it is filled again. */
static void push_first(struct wait *w, struct kaio_thread *self) {
    struct kaio_level *level = &self->level[0];
    do {
        *level = (struct kaio_level){.frame = (uintptr_t)w, .lio = w->lio};
        atomic_signal_fence(memory_order_seq_cst);
        self->levels = 1;
        atomic_signal_fence(memory_order_seq_cst);
    } while (level->frame != (uintptr_t)w);
    w->level = level;
}

/* Under the lock: on top of those that go on. */
LOCKED static void push(struct wait *w, struct kaio_thread *self) {
    unsigned n = self->levels;
    while (n > 0 && is_frame_left(self->level[n - 1].frame, (uintptr_t)w)) n--;
    if (n < self->levels) kaio_level_drop(self, n);
    if (n == KAIO_LEVELS || self == &kaio_nobody) return;
    struct kaio_level *below = n > 0 ? &self->level[n - 1] : NULL;
    w->level = &self->level[n];
    *w->level = (struct kaio_level){.frame = (uintptr_t)w, .lio = w->lio};
    w->level->owes = below && below->owes;
    w->level->listed = below && below->listed;
    self->levels = n + 1;
}

static struct kaio_level *level_below(const struct wait *w) {
    return w->level > w->self->level ? w->level - 1 : NULL;
}

/* In a child of a handler's, there are no levels any more. */
static void pop(struct wait *w) {
    struct kaio_batch b;
    struct kaio_thread *self = w->self;
    unsigned n = (unsigned)(w->level - self->level);
    bool books = self->levels > n + 1 || self->listed || self->owes;
    if (books) {
        kaio_enter_careful(&b);
        w->level->lio = NULL;
        if (self->levels > n) kaio_level_drop(self, n);
        kaio_leave(&b);
    } else if (self->levels > n) {
        self->levels = n;
    }
}

LOCKED static void set_foreign(struct wait *w, bool foreign) {
    if (!w->level) return;
    const struct kaio_level *below = level_below(w);
    w->level->owes = foreign || (below && below->owes);
    kaio_level_owe(w->self, w->level->owes);
}

static void set_listed(struct wait *w) {
    if (!w->level) return;
    w->level->listed = true;
    kaio_thread_list(w->self, true);
}

/* From here on what this thread itself ends, in its leave or in a handler, must wake it, too. */
static void fall_asleep(struct wait *w) {
    if (!w->level) return;
    w->level->by_eventfd = w->self->efd >= 0;
    /* release: pairs with the acquire in kaio_thread_wake(). No more: this is under the lock, or
     * the fence in arm_own() follows */
    atomic_store_explicit(&w->self->sleep, w->level->by_eventfd ? KAIO_ON_EVENTFD : KAIO_ON_FUTEX,
                          memory_order_release);
}

static void wake_up(const struct wait *w) {
    atomic_store_explicit(&w->self->sleep, KAIO_AWAKE, memory_order_relaxed);
    /* release: pairs with the load in await_polls() in ours.c; no look at the number comes later */
    atomic_store_explicit(&w->self->polled, 0, memory_order_release);
}

/* Does the kernel signal another thread of the program for it, or will it? */
LOCKED static bool is_foreign(const struct wait *w, const struct kaio_req *req) {
    bool ours =
        req->state == KAIO_QUEUED || req->state == KAIO_RUNNING || req->lane >= KAIO_BY_NEW_BLOCKER;
    return !ours && req->owner != w->self && req->owner != kaio_reaper.thread;
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
LOCKED static void arm_one(struct wait *w, struct kaio_req *req) {
    if (req->submitter != w->self) kaio_thread_add_waiter(&req->waiter, w->self);
    w->worker_has_it |= is_soon(req);
    if (req->owner->efd == KAIO_LOST) kaio_reaper_look();
    if (is_foreign(w, req)) set_foreign(w, true);
}

/* Its items are this thread's own; a look at the last tells enough. */
static void arm_list(struct wait *w) {
    w->lio->waiter = w->self;
    w->worker_has_it |= w->lio->last && is_soon(w->lio->last);
}

/* Many at a time, then others have the lock, or handlers come: whoever ends one finds this thread
 * asleep, as in the sleep itself. False: one has ended, or is none of ours. */
LOCKED static bool arm_any(struct kaio_batch *b, struct wait *w) {
    for (int i = 0; w->list && i < w->n; i++) {
        if (i % KAIO_SIGNALS == KAIO_SIGNALS - 1) kaio_enter_again(b);
        else if (i % KAIO_HOLD == KAIO_HOLD - 1) kaio_stand_aside();
        if (!w->list[i]) continue;
        struct kaio_req *req = in_progress(w->list[i]) ? kaio_req_find(w->list[i]) : NULL;
        if (!req) return false;
        arm_one(w, req);
    }
    return true;
}

/* Under the lock: whoever ends one from now on wakes this thread. False: no need to sleep. */
LOCKED static bool arm_locked(struct kaio_batch *b, struct wait *w) {
    set_foreign(w, false);
    w->worker_has_it = false;
    if (!w->list && is_over(w)) return false; /* of a list each is looked at below */
    kaio_thread_check(w->self);
    if (!w->lio) set_listed(w);
    if (w->file) kaio_thread_add_waiter(&w->file->waiter, w->self);
    fall_asleep(w);
    if (w->lio) arm_list(w);
    return arm_any(b, w);
}

/* Without the lock, if all of the list are this very thread's: whoever ends one from here on sees
 * it asleep (wake_submitter() in finish.c), or the kernel signals its eventfd. False, too, if one
 * has ended: another thread may be about to use its aiocb again; nobody would wake this one. */
static bool arm_own(struct wait *w) {
    struct kaio_thread *self = kaio_self;
    if (!self || self == &kaio_nobody) return false;
    int efd = self->efd;
    if (efd != -1 && !kaio_fd_is_marked(efd)) return false;
    if (!w->self && self->levels > 0) return false;
    w->worker_has_it = false;
    w->self = self;
    if (!w->level) push_first(w, self);
    fall_asleep(w);
    /* seq_cst: pairs with the fence in wake_submitter(); only then are the statuses looked at. And
     * with that in kaio_thread_efd(): an eventfd that it has got by now is what it must sleep on */
    atomic_thread_fence(memory_order_seq_cst);
    if (self->efd != efd) return false;
    for (int i = 0; w->list && i < w->n; i++) {
        if (!w->list[i]) continue;
        struct kaio_req *req = in_progress(w->list[i]) ? kaio_req_glance(w->list[i]) : NULL;
        if (!req || __atomic_load_n(&req->submitter, __ATOMIC_RELAXED) != self) return false;
        w->worker_has_it |= is_soon(req);
    }
    return true;
}

static bool time_left(const struct timespec *deadline, struct timespec *left) {
    kaio_clock_get(left);
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

/* glibc's own waits are cancelled in the same way. A wake-up that has come changes thread->sleep,
 * so none is lost, and an inner wait takes none from an outer one. */
static int sleep_on_futex(const struct wait *w, const struct timespec *left) {
    int type = 0;
    if (w->cancellable) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    long r = syscall(SYS_futex, &w->self->sleep, FUTEX_WAIT_PRIVATE, KAIO_ON_FUTEX, left, NULL, 0);
    int err = r < 0 ? errno : 0;
    if (w->cancellable) pthread_setcanceltype(type, &type);
    if (err == ETIMEDOUT) return -EAGAIN;
    return err == EINTR ? -EINTR : 0;
}

/* Until woken (0; there need be no reason), interrupted (-EINTR) or too late (-EAGAIN). */
static int sleep_on(struct wait *w) {
    int efd = w->self->efd;
    struct timespec left = {0, 0};
    if (w->deadline && !time_left(w->deadline, &left)) return -EAGAIN;
    if (!w->level) return kaio_clock_nap(NAP_NS, w->cancellable); /* nobody would wake it */
    if (!w->level->by_eventfd) return sleep_on_futex(w, w->deadline ? &left : NULL);
    if (efd < 0) return 0; /* lost since */
    if (!kaio_thread_polls(w->self, efd)) return 0;
    if (!w->deadline) {
        if (read_count(w, efd) >= 0) return 0;
        return errno == EINTR ? -EINTR : 0; /* lost meanwhile: there is another look */
    }
    struct pollfd ready = {.fd = efd, .events = POLLIN};
    int n = kaio_clock_poll(&ready, &left);
    if (n <= 0) return n == 0 ? -EAGAIN : -EINTR;
    kaio_thread_drain(w->self);
    return 0;
}

LOCKS static void wait_begin(struct kaio_batch *b, struct wait *w) {
    if (w->careful) kaio_enter_careful(b);
    else kaio_enter(b);
    if (w->self) return;
    w->self = b->self;
    push(w, b->self);
}

/* What the outer wait may have missed: a count that was read here. One that sleeps on the futex
 * finds it changed. */
static void wait_end(struct wait *w) {
    static const uint64_t one = 1;
    if (!w->self) return;
    const struct kaio_level *outer = w->level ? level_below(w) : NULL;
    if (w->level) pop(w);
    wake_up(w);
    /* Also when ours is done: a count that was read here is gone for the reaper's epoll set, too,
     * so the event that it stood for must be reaped here. */
    if (kaio_context_pending()) kaio_poll();
    if (outer && outer->by_eventfd && kaio_fd_is_marked(w->self->efd))
        syscall(SYS_write, w->self->efd, &one, sizeof one);
}

static bool arm_any_of(struct wait *w) {
    if (arm_own(w)) return true;
    struct kaio_batch b;
    wait_begin(&b, w);
    bool armed = arm_locked(&b, w);
    kaio_leave(&b);
    return armed;
}

static bool is_found(const void *w) {
    return any_done(w);
}

static int wait_any(struct wait *w) {
    static struct kaio_spin spin;
    int res = w->invalid ? -EINVAL : 0;
    while (!any_done(w)) {
        if (kaio_context_pending()) kaio_poll();
        if (res) return any_done(w) ? 0 : res;
        if (!arm_any_of(w)) return 0;
        if (w->worker_has_it) kaio_spin(&spin, is_found, w);
        if (!any_done(w)) res = sleep_on(w);
        wake_up(w);
    }
    return 0;
}

int kaio_wait_any(const struct aiocb *const list[], int n, const struct timespec *timeout) {
    struct timespec deadline;
    struct wait w = {.list = list, .n = n, .cancellable = true, .careful = true};
    w.invalid = timeout && (timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000);
    if (timeout && !w.invalid) {
        kaio_clock_get(&deadline);
        /* glibc's sum wraps, and a wait without end ends at once; nobody can lean on that */
        if (__builtin_add_overflow(deadline.tv_sec, timeout->tv_sec, &deadline.tv_sec))
            deadline.tv_sec = LONG_MAX - 1;
        deadline.tv_nsec += timeout->tv_nsec;
        if (deadline.tv_nsec >= 1000000000) deadline.tv_sec++, deadline.tv_nsec -= 1000000000;
        w.deadline = &deadline;
    }
    int res = wait_any(&w);
    if (kaio_is_sending()) kaio_poll();
    wait_end(&w);
    return res;
}

/* Waits with the lock held but while it sleeps; ends with it held. */
LOCKS static int wait_locked(struct kaio_batch *b, struct wait *w, bool interruptible) {
    int res = 0;
    wait_begin(b, w);
    while (!is_over(w) && (res == 0 || !interruptible)) {
        bool armed = arm_locked(b, w);
        kaio_leave(b);
        if (armed && !is_over(w)) res = sleep_on(w);
        wake_up(w);
        wait_begin(b, w);
        kaio_reap(b);
    }
    set_foreign(w, false);
    return is_over(w) ? 0 : res;
}

int kaio_wait_list(struct kaio_lio *lio, bool careful) {
    struct kaio_batch b;
    struct wait w = {.lio = lio, .careful = careful};
    int res = wait_locked(&b, &w, !careful);
    if (res == 0 && lio->failed) res = -EIO;
    if (w.level) w.level->lio = NULL;
    kaio_level_leave_list(lio);
    kaio_leave(&b);
    wait_end(&w);
    return res;
}

void kaio_wait_unsubmitted(struct kaio_file *file) {
    struct kaio_batch b;
    struct wait w = {.file = file, .careful = true};
    wait_locked(&b, &w, false);
    kaio_leave(&b);
    wait_end(&w);
}
