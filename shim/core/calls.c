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

void kaio_calls_load(const struct kaio_loops *what) {
    loops = *what;
}

/* While there is no thread for it, an item's SIGEV_THREAD does not keep its list from its end. */
static void let_lists_end(struct kaio_batch *b) {
    struct kaio_req *req;
    TAILQ_FOREACH(req, &b->notify, link) {
        struct kaio_lio *lio = req->lio;
        req->lio = NULL;
        if (lio) kaio_complete_item(b, lio, req->failed);
    }
}

/* A program's thread may be in a signal handler, or has better things to do than to start those of
 * others: SIGEV_THREAD goes to the reaper, whenever that comes. */
void kaio_reaper_hand(struct kaio_batch *b) {
    if (TAILQ_EMPTY(&b->notify) && TAILQ_EMPTY(&b->lists)) return;
    if (kaio.unattended) let_lists_end(b);
    TAILQ_CONCAT(&kaio.handover, &b->notify, link);
    TAILQ_CONCAT(&kaio.handover_lists, &b->lists, link);
    if (kaio_reaper_ready(b->careful)) kaio_reaper_kick();
}

/* What was handed over comes into b, from where kaio_leave() delivers it. */
void kaio_reaper_take(struct kaio_batch *b) {
    TAILQ_CONCAT(&b->notify, &kaio.handover, link);
    TAILQ_CONCAT(&b->lists, &kaio.handover_lists, link);
}

/* Nobody is going to look at the set. */
static void give_up_polls(struct kaio_batch *b) {
    for (uint32_t i = 0; kaio.epolled && i < kaio.nreqs; i++) {
        struct kaio_req *req = kaio_req_at(i);
        if (!req->epolled) continue;
        kaio_stream_unpoll(req);
        kaio_complete_refused(b, req);
    }
}

/* Not under the lock: pthread_create() takes locks of libc's, which a thread may hold that is in a
 * signal handler and waits for ours. If it fails, whoever leaves next tries again. */
bool kaio_reaper_start(struct kaio_batch *b) {
    if (b->careful) return false;
    if (kaio.unattended) kaio_reaper_ready(b->careful);
    if (!kaio.reaper_due) return false;
    kaio.reaper_due = false;
    struct kaio_thread *thread = kaio.reaper;
    kaio_unlock();
    int err = kaio_thread_start(loops.reaper, thread);
    kaio_lock();
    kaio.reaper_due = err != 0;
    if (err && !kaio.unattended) {
        kaio_log("the reaper could not be started");
        /* who sleeps looks itself from now on */
        for (struct kaio_thread *t = kaio_threads; t; t = t->next) kaio_thread_wake_later(t);
    }
    kaio.unattended = err != 0;
    if (err) give_up_polls(b);
    return err == 0;
}

bool kaio_blocker_create(struct kaio_batch *b) {
    struct kaio_req *req = TAILQ_FIRST(&kaio.blockers);
    if (!req || b->careful) return false;
    TAILQ_REMOVE(&kaio.blockers, req, link);
    req->unstarted = false;
    kaio_unlock();
    int err = kaio_thread_start(loops.blocker, req);
    kaio_lock();
    if (err && kaio_stream_unblock(req, KAIO_RUNNING)) kaio_complete_refused(b, req);
    return true;
}

/* Wakes one that sleeps there, without the lock. */
static void wake_one(void) {
    syscall(SYS_futex, &kaio.work, FUTEX_WAKE_PRIVATE, 1l);
}

/* The last worker could not be started: what is queued can only fail. */
static bool give_up(struct kaio_batch *b) {
    struct kaio_file *file;
    bool any = false;
    while (kaio.workers == 0 && (file = TAILQ_FIRST(&kaio.ready))) {
        struct kaio_req *req = kaio_queue_take(file);
        kaio_queue_ended(req);
        kaio_complete_refused(b, req);
        any = true;
    }
    return any;
}

/* Declined only in its event (a short direct read, say), when no worker is alive and the caller,
 * maybe a signal handler, can start none: one at a time, for another thread may be about to start
 * one. */
static void run_carefully(struct kaio_batch *b) {
    kaio_worker_run_inline(b, kaio_queue_take(TAILQ_FIRST(&kaio.ready)));
}

/* Under the lock, which it drops meanwhile: if ready holds more than the awake workers expect, and
 * one can be woken or started, does so and answers true. A careful caller starts none: the thread
 * that submitted the request comes here, too, before its call returns. */
bool kaio_worker_call(struct kaio_batch *b) {
    unsigned coming = kaio.looking + kaio.called + kaio.starting;
    if (kaio_queue_batches(coming) <= coming) return false;
    if (kaio.idle > kaio.called) {
        kaio.called++; /* taken back by the one that wakes, in sleep_for_work() */
        kaio.work++;
        kaio_unlock();
        wake_one();
        kaio_lock();
        return true;
    }
    if (kaio.workers == (unsigned)kaio_config.workers + KAIO_SPARE) return false;
    if (b->careful) {
        if (kaio.workers == 0 && TAILQ_EMPTY(&b->run)) run_carefully(b);
        else if (kaio.reaper && !kaio.unattended) kaio_reaper_kick(); /* it starts one */
        return false;
    }
    if (++kaio.workers > kaio.worker_peak) kaio.worker_peak = kaio.workers;
    kaio.starting++; /* taken back by worker_main() */
    kaio_unlock();
    int err = kaio_thread_start(loops.worker, NULL);
    kaio_lock();
    if (err == 0) return true;
    kaio.workers--;
    kaio.starting--;
    if (!kaio.worker_failed) kaio_log("a worker could not be started: %s", strerrordesc_np(-err));
    kaio.worker_failed = true;
    return give_up(b);
}
