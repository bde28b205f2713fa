/* SPDX-License-Identifier: MIT */
/* engine.c - entering and leaving the library; fork.
 *
 * kaio_enter() blocks all signals and takes the one lock; a handler therefore never runs on a
 * thread that holds it, which is what makes aio_error(), aio_return() and aio_suspend() safe to
 * call from handlers. kaio_leave() carries out what was decided, dropping the lock around
 * everything that makes a system call of any length, until nothing is left; then it gives both
 * back. If that takes long, and at some items of a long walk, signals are let in: a handler then
 * finds all as it is between two calls.
 *
 * Fork: the state (KAIO_WIPED) lies in pages of its own that the kernel replaces by zeros in a
 * child (MADV_WIPEONFORK, Linux 4.14), however the child was made, so it starts clean and unlocked.
 * Older kernels do not; there the child's first call does it (kaio_memory_wipe()).
 * Only the threads' records outlive it; the child closes their descriptors, which it shares with
 * the parent.
 */
#include "core/core.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define START_NS 20000

/* In a forked child: the descriptors are shared with the parent. kaio itself is zeros. The parent's
 * threads, of which TSan still thinks here, are not there. */
__attribute__((no_sanitize_thread)) static void child_clean(void) {
    for (struct kaio_thread *t = kaio_threads; t; t = t->next) {
        if (kaio_fd_is_marked(t->efd)) syscall(SYS_close, t->efd);
        t->efd = -1;
        t->taken = false;
        t->nstock = 0;
        kaio_direct_forget(t);
        t->calling = NULL;
        t->levels = 0;
        t->listed = t->owes = t->to_wake = false;
        atomic_store_explicit(&t->sleep, KAIO_AWAKE, memory_order_relaxed);
    }
    memset(kaio_efds, 0, sizeof kaio_efds);
    kaio_context_forget();
    if (kaio_fd_is_marked(kaio_epfd)) syscall(SYS_close, kaio_epfd);
    kaio_epfd = -1;
    kaio_self = NULL;
    kaio_is_ours = false;
}

/* A handler that comes before this one may have made requests already; then begin_process() has
 * cleaned. */
void kaio_engine_forked(void) {
    if (kaio_memory_is_inherited()) kaio_memory_wipe();
    if (!kaio.started) child_clean();
}

static void begin_process(void) {
    child_clean(); /* after _Fork(), which runs no handlers */
    kaio.pid = getpid();
    kaio_context.load = kaio_load_of(kaio.pid);
    kaio_thread_begin();
    kaio_req_begin();
    kaio_file_begin();
    kaio_queue_begin();
    kaio_kernel_begin();
    kaio_stream_begin();
    kaio_order_begin();
    kaio_calls_begin();
    kaio.started = true;
}

static void batch_init(struct kaio_batch *b) {
    TAILQ_INIT(&b->answers);
    TAILQ_INIT(&b->begin);
    TAILQ_INIT(&b->offer);
    TAILQ_INIT(&b->copy);
    TAILQ_INIT(&b->notify);
    TAILQ_INIT(&b->lists);
    b->careful = false;
    b->cb = NULL;
    b->list = 0;
    b->no_thread = b->alone = false;
}

LOCKS static void take(struct kaio_batch *b) {
    b->checked = NULL;
    b->raised.writes = false;
    sigset_t all;
    sigfillset(&all);
    if (!kaio_is_ours) pthread_sigmask(SIG_SETMASK, &all, &b->mask);
    /* relaxed: at worst it is marked once more */
    if (!atomic_load_explicit(&kaio.started, memory_order_relaxed)) kaio_memory_mark();
    kaio_lock();
    if (!kaio.started) begin_process();
    bool first = !kaio_self;
    b->self = kaio_thread_self();
    if (first) kaio_level_abandon(b->self); /* of the record's owner before */
}

void kaio_enter(struct kaio_batch *b) {
    batch_init(b);
    take(b);
}

void kaio_enter_careful(struct kaio_batch *b) {
    kaio_enter(b);
    b->careful = !kaio_is_ours;
}

/* Each of the following takes its share of the batch and drops the lock while it acts. */

LOCKED static bool wake(void) {
    struct kaio_thread *thread = kaio_thread_next_to_wake();
    if (!thread) return false;
    kaio_unlock();
    kaio_thread_wake(thread);
    kaio_lock();
    return true;
}

LOCKED static void notify_request(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_lio *lio = req->lio; /* the new thread frees req */
    bool failed = req->answer.res < 0;
    TAILQ_REMOVE(&b->notify, req, link);
    kaio_unlock();
    bool told = kaio_notify_request(req);
    kaio_lock();
    if (!told) kaio_req_free(req);
    if (lio) kaio_complete_item(b, lio, failed);
}

LOCKED static void notify_list(struct kaio_batch *b, struct kaio_lio *lio) {
    TAILQ_REMOVE(&b->lists, lio, link);
    kaio_unlock();
    bool told = kaio_notify_list(lio);
    kaio_lock();
    if (!told) kaio_lio_free(lio);
}

/* Threads are started by ours, but for that of the very request which the caller submits and which
 * has ended in the call: waking the reaper for it would cost as much. Without a reaper anybody
 * tries, or a list would wait for its items' for ever. */
LOCKED static bool notify(struct kaio_batch *b) {
    if (kaio_is_ours) kaio_reaper_take(b);
    struct kaio_req *req = TAILQ_FIRST(&b->notify);
    bool own = req && b->cb && req->cb == b->cb;
    if (!kaio_is_ours && !own && !b->alone && kaio_reaper_hand(b))
        return kaio_reaper.due && !b->careful; /* kaio_reaper_start() is next */
    struct kaio_lio *lio = TAILQ_FIRST(&b->lists);
    if (req) notify_request(b, req);
    else if (lio) notify_list(b, lio);
    return req || lio;
}

/* Another thread is in pthread_create() for the reaper. */
LOCKED static void await_start(void) {
    kaio_unlock();
    kaio_clock_nap(START_NS, false);
    kaio_lock();
}

LOCKED static bool submit_offered(struct kaio_batch *b) {
    if (TAILQ_EMPTY(&b->offer)) return false;
    if (atomic_load(&kaio_reaper.runs)) kaio_kernel_submit(b);
    else if (kaio_reaper.thread && !kaio_reaper.due) await_start();
    else kaio_kernel_decline(b);
    return true;
}

LOCKED static bool copy_batch(struct kaio_batch *b) {
    struct kaio_req *batch[KAIO_BATCH];
    long res[KAIO_BATCH];
    int n = kaio_copy_take(b, batch);
    if (n == 0) return false;
    for (int i = 0; i < n; i++)
        if (batch[i]->op == KAIO_WRITE) kaio_raised_before(&b->raised, &b->mask);
    kaio_unlock();
    kaio_copy(batch, res, n);
    kaio_lock();
    for (int i = 0; i < n; i++) kaio_answer(b, batch[i], KAIO_SAYS, res[i]);
    return true;
}

/* They end in order, so what is answered is decided before others have the lock. */
LOCKED static bool end_covered(struct kaio_batch *b) {
    if (!kaio_order_end_covered(b)) return false;
    kaio_decide(b);
    kaio_stand_aside();
    return true;
}

/* One round; false: nothing is left. */
LOCKED static bool carry_out(struct kaio_batch *b) {
    bool more = kaio_kernel_reap(b);
    kaio_decide(b);
    if (more) kaio_stand_aside();
    kaio_kernel_backlog(b);
    if (kaio_reaper.owed && !kaio_reaper.watching && kaio_reaper.thread) kaio_reaper_watch();
    return kaio_decide(b) || kaio_reaper_start(b) || submit_offered(b) || wake() || notify(b) ||
           kaio_blocker_create(b) || kaio_worker_call(b) || end_covered(b) || copy_batch(b) ||
           kaio_decide(b) || more;
}

/* What is still to do is no request of b's: a handler that waits waits for nothing that lies here.
 */
static bool is_carried_out(const struct kaio_batch *b) {
    return TAILQ_EMPTY(&b->answers) && TAILQ_EMPTY(&b->begin) && TAILQ_EMPTY(&b->offer) &&
           TAILQ_EMPTY(&b->copy) && TAILQ_EMPTY(&b->notify) && TAILQ_EMPTY(&b->lists);
}

UNLOCKS static void give_back(struct kaio_batch *b) {
    bool raised = kaio_raised_since(&b->raised);
    if (__builtin_expect(kaio_stats_on, false)) kaio_stats_update();
    kaio_direct_stock(b->self);
    kaio_unlock();
    if (b->self->unseen) kaio_thread_watch(b->self, b->careful);
    if (b->raised.writes) kaio_raised_after(&b->raised, raised);
    if (!kaio_is_ours) pthread_sigmask(SIG_SETMASK, &b->mask, NULL);
}

void kaio_leave(struct kaio_batch *b) {
    for (int n = 1; carry_out(b); n++) {
        if (n < KAIO_SIGNALS / KAIO_HOLD || kaio_is_ours || !is_carried_out(b)) continue;
        give_back(b);
        take(b);
        n = 0;
    }
    KAIO_ASSERT(is_carried_out(b));
    give_back(b);
}

void kaio_enter_again(struct kaio_batch *b) {
    kaio_leave(b);
    take(b);
}

void kaio_poll(void) {
    struct kaio_batch b;
    kaio_enter_careful(&b);
    kaio_leave(&b);
}

/* What is in the ring, for who looks at requests next. */
void kaio_reap(struct kaio_batch *b) {
    kaio_kernel_reap(b);
    kaio_decide(b);
}

/* A wait that was left sideways may have taken a count for which nobody else looks. */
static void end_waits(struct kaio_thread *thread) {
    struct kaio_batch b;
    if (thread->levels == 0) return;
    kaio_enter(&b);
    kaio_level_abandon(thread);
    kaio_leave(&b);
}

/* The calling thread ends, one of ours. */
void kaio_engine_thread_ended(void) {
    struct kaio_thread *self = kaio_self;
    if (self) end_waits(self);
    kaio_thread_give_back();
}

/* The value is of no use: since a fork it may name another's record. */
void kaio_engine_key_ended(void *unused) {
    (void)unused;
    kaio_engine_thread_ended();
}
