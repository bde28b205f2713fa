/* SPDX-License-Identifier: MIT */
/* calls.c - waking and starting threads of ours, and handing them what others must not do.
 *
 * Called by kaio_leave() under the lock, which all but the handing over drop meanwhile. A careful
 * caller, maybe in a signal handler, starts none: pthread_create() takes locks of libc's, which the
 * thread that it has interrupted may hold.
 */
#include "core/core.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct kaio_loops loops;
struct kaio_workers kaio_workers KAIO_WIPED;

static struct {
    struct kaio_reqs handover; /* SIGEV_THREAD notifications that others must not start */
    struct kaio_lios handover_lists;
    bool worker_failed, reaper_failed; /* to start, and the log has said so */
} calls KAIO_WIPED GUARDED;

void kaio_calls_begin(void) {
    TAILQ_INIT(&calls.handover);
    TAILQ_INIT(&calls.handover_lists);
}

void kaio_calls_load(const struct kaio_loops *what) {
    loops = *what;
}

/* A program's thread may be in a signal handler, or has better things to do than to start those of
 * others: SIGEV_THREAD goes to the reaper, or to the next thread of ours that comes by. False:
 * there is none. */
bool kaio_reaper_hand(struct kaio_batch *b) {
    if (TAILQ_EMPTY(&b->notify) && TAILQ_EMPTY(&b->lists)) return true;
    if (!kaio_reaper_ready(b->careful) && !b->careful) return false;
    TAILQ_CONCAT(&calls.handover, &b->notify, link);
    TAILQ_CONCAT(&calls.handover_lists, &b->lists, link);
    kaio_reaper_kick();
    return true;
}

/* What was handed over comes into b, from where kaio_leave() delivers it. */
void kaio_reaper_take(struct kaio_batch *b) {
    TAILQ_CONCAT(&b->notify, &calls.handover, link);
    TAILQ_CONCAT(&b->lists, &calls.handover_lists, link);
}

/* Nobody is going to look at the set. */
LOCKED static void give_up_polls(struct kaio_batch *b) {
    struct kaio_req *req;
    uint32_t next = 0;
    while ((req = kaio_stream_polled(&next))) {
        kaio_stream_unpoll(req);
        kaio_complete_refused(b, req);
    }
}

bool kaio_reaper_has(void) {
    return !TAILQ_EMPTY(&calls.handover) || !TAILQ_EMPTY(&calls.handover_lists);
}

/* Without the lock: pthread_create() takes locks of libc's, which a thread may hold that is in a
 * signal handler and waits for ours. If it fails, what was to wait for the reaper is refused; what
 * others are to submit meanwhile waits (submit_offered() in engine.c). */
bool kaio_reaper_start(struct kaio_batch *b) {
    if (b->careful) return false;
    if (!kaio_reaper.thread && kaio_reaper_has() && !b->alone) kaio_reaper_ready(false);
    if (!kaio_reaper.due) return false;
    struct kaio_thread *thread = kaio_reaper.thread;
    kaio_reaper.due = false;
    kaio_unlock();
    int err = kaio_thread_start(loops.reaper, thread);
    kaio_lock();
    atomic_store(&kaio_reaper.runs, err == 0);
    if (err == 0) return true;
    if (!calls.reaper_failed) kaio_log("the reaper could not be started: %s", kaio_strerror(-err));
    calls.reaper_failed = true;
    kaio_reaper_end();
    atomic_store_explicit(&thread->taken, false, memory_order_release);
    give_up_polls(b);
    kaio_reaper_take(b);
    b->alone = true;
    return true;
}

bool kaio_blocker_create(struct kaio_batch *b) {
    struct kaio_req *req = b->careful ? NULL : kaio_stream_next_blocker();
    if (!req) return false;
    kaio_unlock();
    int err = kaio_thread_start(loops.blocker, req);
    kaio_lock();
    if (err && kaio_stream_unblock(req, KAIO_RUNNING)) kaio_complete_refused(b, req);
    return true;
}

/* Wakes one that sleeps there, without the lock. */
static void wake_one(void) {
    syscall(SYS_futex, &kaio_workers.work, FUTEX_WAKE_PRIVATE, 1l);
}

/* The last worker could not be started: what is queued can only fail. */
LOCKED static bool give_up(struct kaio_batch *b) {
    struct kaio_file *file;
    bool any = false;
    while (kaio_counted.workers == 0 && (file = kaio_queue_next())) {
        struct kaio_req *req = kaio_queue_take(file);
        kaio_queue_ended(req);
        kaio_complete_refused(b, req);
        any = true;
    }
    return any;
}

/* Under the lock, which it drops meanwhile: if ready holds more than the awake workers expect, and
 * one can be woken or started, does so and answers true. A careful caller starts none: the thread
 * that submitted the request comes here, too, before its call returns. */
bool kaio_worker_call(struct kaio_batch *b) {
    unsigned coming = kaio_workers.looking + kaio_workers.called + kaio_workers.starting;
    if (kaio_queue_batches(coming) <= coming) return false;
    if (kaio_workers.idle > kaio_workers.called) {
        kaio_workers.called++; /* taken back by the one that wakes, in sleep_for_work() */
        kaio_workers.work++;
        kaio_unlock();
        wake_one();
        kaio_lock();
        return true;
    }
    if (kaio_counted.workers == (unsigned)kaio_config.workers + KAIO_SPARE) return false;
    if (b->careful) {
        kaio_reaper_kick(); /* it starts one; it is there, as an event has just come */
        return false;
    }
    if (++kaio_counted.workers > kaio_counted.worker_peak)
        kaio_counted.worker_peak = kaio_counted.workers;
    kaio_workers.starting++; /* taken back by worker_main() */
    kaio_unlock();
    int err = kaio_thread_start(loops.worker, NULL);
    kaio_lock();
    if (err == 0) return true;
    kaio_counted.workers--;
    kaio_workers.starting--;
    if (!calls.worker_failed) kaio_log("a worker could not be started: %s", kaio_strerror(-err));
    calls.worker_failed = true;
    return give_up(b);
}
