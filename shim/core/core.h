/* SPDX-License-Identifier: MIT */
/* core.h - the engine: what becomes of a request, and when. A file uses only those above it here.
 */
#ifndef KAIO_CORE_H
#define KAIO_CORE_H

#include "lanes/lanes.h"

/* notify.c */
int kaio_notify_signal(const struct sigevent *sigev); /* under the lock; 0 or -errno */
/* SIGEV_THREAD, without the lock. The new thread frees what is told; false: there is none. */
bool kaio_notify_request(struct kaio_req *req);
bool kaio_notify_list(struct kaio_lio *lio);

/* levels.c */
LOCKED void kaio_level_owe(struct kaio_thread *thread, bool owes);
void kaio_level_leave_list(struct kaio_lio *lio);
LOCKED void kaio_level_drop(struct kaio_thread *thread, unsigned left);
LOCKED void
kaio_level_abandon(struct kaio_thread *thread); /* all; left sideways, by who has ended */

/* order.c */
void kaio_order_begin(void); /* its state is zeros */
bool kaio_order_is_barrier(const struct kaio_req *req);
LOCKED void kaio_order_start(struct kaio_batch *b,
                             struct kaio_req *req); /* new: it begins, or is held */
LOCKED void kaio_order_end(struct kaio_batch *b, struct kaio_req *req, long res);
LOCKED bool kaio_order_end_covered(struct kaio_batch *b); /* some; false: there are none */
LOCKED void kaio_order_renew(struct kaio_batch *b,
                             struct kaio_req *req);  /* its number: another file */
LOCKED void kaio_order_unhold(struct kaio_req *req); /* takes it out of held */
LOCKED bool
kaio_order_line_up(struct kaio_req *req); /* of a stream; false: it is not its turn yet */
LOCKED void kaio_order_line_end(struct kaio_batch *b, struct kaio_req *req);

/* lane.c */
LOCKED void kaio_lane_give(struct kaio_batch *b, struct kaio_req *req, enum kaio_lane lane);
LOCKED void kaio_lane_take_back(struct kaio_req *req); /* cancelled before it has begun */

/* finish.c */
extern atomic_bool kaio_sending;
/* Is the end of some request published, but may yet change? Without the lock, by every aio_error().
 * acquire: pairs with the release in publish() */
static inline bool kaio_is_sending(void) {
    return atomic_load_explicit(&kaio_sending, memory_order_acquire);
}
LOCKED void kaio_complete(struct kaio_batch *b, struct kaio_req *req, long res);
LOCKED void kaio_complete_refused(struct kaio_batch *b, struct kaio_req *req);
LOCKED void kaio_complete_item(struct kaio_batch *b, struct kaio_lio *lio, bool failed);

/* rule.c */
LOCKED int kaio_submit_new(struct kaio_batch *b, struct aiocb *cb, enum kaio_op op,
                           struct kaio_lio *lio);
LOCKED bool kaio_decide(struct kaio_batch *b);

/* calls.c */
struct kaio_loops {
    void *(*worker)(void *), *(*reaper)(void *), *(*blocker)(void *);
};
struct kaio_workers {
    unsigned idle, looking;    /* asleep on work; still up */
    unsigned called, starting; /* woken or started, but not here yet */
    atomic_uint work; /* changed under the lock; sleep_for_work() in workers.c sleeps on it */
};
extern struct kaio_workers kaio_workers GUARDED; /* and workers.c's, under the lock */
void kaio_calls_begin(void);
void kaio_calls_load(const struct kaio_loops *what);
LOCKED bool kaio_worker_call(struct kaio_batch *b);    /* wakes or starts one if need be */
LOCKED bool kaio_reaper_start(struct kaio_batch *b);   /* its thread */
LOCKED bool kaio_blocker_create(struct kaio_batch *b); /* one's thread */
LOCKED bool
kaio_reaper_hand(struct kaio_batch *b);      /* gives it the notifications that it must make, */
bool kaio_reaper_has(void);                  /* some are handed over */
void kaio_reaper_take(struct kaio_batch *b); /* or takes them over */

/* engine.c */
LOCKS void kaio_enter(struct kaio_batch *b);         /* blocks signals, takes the lock */
LOCKS void kaio_enter_careful(struct kaio_batch *b); /* the same, maybe in a signal handler */
UNLOCKS void kaio_leave(struct kaio_batch *b);       /* carries out b and gives both back */
/* Both, so that signals are let in: in the middle of a long walk. */
LOCKED void kaio_enter_again(struct kaio_batch *b);
void kaio_poll(void);                        /* reaps what is in the ring; async-signal-safe */
LOCKED void kaio_reap(struct kaio_batch *b); /* some of it, under the lock */
void kaio_engine_forked(void);               /* in a child */
void kaio_engine_thread_ended(void);
void kaio_engine_key_ended(void *unused); /* the same, of the program's */

/* The loops of our threads: workers.c, reaper.c, blockers.c */
void *kaio_worker_main(void *unused);
void *kaio_reaper_main(void *self);
void *kaio_blocker_main(void *req);

/* wait.c */
/* 0, -EAGAIN (time is up) or -EINTR; of the list: 0, -EIO or -EINTR */
int kaio_wait_any(const struct aiocb *const list[], int n, const struct timespec *timeout);
int kaio_wait_list(struct kaio_lio *lio, bool careful); /* frees lio; careful: not -EINTR */
void kaio_wait_unsubmitted(struct kaio_file *file);

/* cancel.c */
int kaio_cancel(int fd, struct aiocb *cb); /* AIO_CANCELED, AIO_NOTCANCELED, AIO_ALLDONE; -EINVAL */
LOCKED bool kaio_cancel_stream(struct kaio_batch *b,
                               struct kaio_file *file); /* some; false: no more */

/* close.c */
void kaio_close_sync(int fd);    /* waits for the requests queued so far */
void kaio_close_release(int fd); /* before its number can mean another file */
void kaio_close_release_range(unsigned first, unsigned last);

#endif
