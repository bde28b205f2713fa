/* SPDX-License-Identifier: MIT */
/* finish.c - the one end of every request: result, status, wake-ups, what waited behind it.
 *
 * Under the lock, on whichever thread learned the result. Nothing is allocated here. The status
 * store is the last touch of the aiocb (but see below): from then on it is the program's again.
 *
 * A signal is sent after the status store, for who gets it may free the aiocb at once. If it cannot
 * be sent, that is the request's error (as in glibc), stored over the first: nobody has seen that
 * one, since aio_error(), aio_return() and aio_suspend() ask kaio_is_sending() and then come for
 * the lock, which is held here until all is settled. A thread is started by kaio_leave() without
 * the lock. Only then does the request count as ended for its list, so that the list's own
 * notification comes last.
 */
#include "core/core.h"

atomic_bool kaio_sending KAIO_WIPED;

/* Publishes and notifies by signal; answers the result, which the signal may have changed. */
static long publish(struct kaio_req *req, long res) {
    struct aiocb *cb = req->cb;
    if (!cb) return res; /* fsync()'s: only its list is waited for */
    /* release: pairs with the acquire in settled_status() in api.c, which the signal may lead to */
    atomic_store_explicit(&kaio_sending, true, memory_order_release);
    /* relaxed: aio_return() may be called too early */
    __atomic_store_n(&cb->__return_value, res < 0 ? -1 : res, __ATOMIC_RELAXED);
    /* release: pairs with the acquire in aio_error(), aio_return() and aio_suspend() */
    __atomic_store_n(&cb->__error_code, res < 0 ? (int)-res : 0, __ATOMIC_RELEASE);
    int err = kaio_notify_signal(&req->sigev);
    if (err) { /* no signal came, and who asks waits: nobody knows yet that it has ended */
        res = err;
        __atomic_store_n(&cb->__return_value, -1, __ATOMIC_RELAXED);
        __atomic_store_n(&cb->__error_code, (int)-res, __ATOMIC_RELEASE);
    }
    atomic_store_explicit(&kaio_sending, false, memory_order_release);
    return res;
}

/* Does the thread that made the request sleep, maybe for it? seq_cst: pairs with the fence in
 * arm_own() in wait.c. Either it sees the status there, or it is seen asleep here. */
LOCKED static void wake_submitter(const struct kaio_req *req) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&req->submitter->sleep, memory_order_relaxed) != KAIO_AWAKE)
        kaio_thread_wake_later(req->submitter);
}

LOCKED static void lio_end(struct kaio_batch *b, struct kaio_lio *lio) {
    kaio_thread_wake_waiter(lio->waiter);
    if (lio->wait) return; /* kaio_wait_list() frees it */
    kaio_notify_signal(&lio->sigev);
    if (lio->sigev.sigev_notify == SIGEV_THREAD) TAILQ_INSERT_TAIL(&b->lists, lio, link);
    else kaio_lio_free(lio);
}

void kaio_complete_item(struct kaio_batch *b, struct kaio_lio *lio, bool failed) {
    KAIO_ASSERT(lio->pending > 0);
    lio->failed |= failed;
    /* relaxed: is_over() in wait.c looks without the lock, and later with it */
    __atomic_store_n(&lio->pending, lio->pending - 1, __ATOMIC_RELAXED);
    if (lio->pending == 0) lio_end(b, lio);
}

/* res: bytes, or -errno. The caller has taken req off the list that its state names. What has been
 * transferred is the result, as of write(), whatever has stopped the rest. */
void kaio_complete(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (res < 0 && req->done > 0) res = (long)req->done;
    kaio_req_move(req, KAIO_DONE);
    enum kaio_lane by = req->lane < KAIO_LANES ? req->lane : KAIO_BY_WORKER; /* a blocker */
    if (__builtin_expect(kaio_stats_on, false)) kaio_stats_complete(by, req->op, &req->stamp, res);
    KAIO_PROBE(complete, req->cb, by, res);
    req->answer.res = publish(req, res);
    kaio_thread_wake_waiter(req->waiter);
    wake_submitter(req);
    if (req->in_line) kaio_order_line_end(b, req);
    kaio_order_end(b, req, res);
    if (req->sigev.sigev_notify == SIGEV_THREAD) {
        TAILQ_INSERT_TAIL(&b->notify, req, link);
        return;
    }
    if (req->lio) kaio_complete_item(b, req->lio, req->answer.res < 0);
    kaio_req_free(req);
}

/* No thread can be had for it. The call that submits it says so, and then nobody is notified. */
void kaio_complete_refused(struct kaio_batch *b, struct kaio_req *req) {
    if (req->lio ? req->lio->serial == b->list : req->cb == b->cb) {
        b->no_thread = true;
        req->sigev.sigev_notify = SIGEV_NONE;
    }
    kaio_complete(b, req, -EAGAIN);
}
