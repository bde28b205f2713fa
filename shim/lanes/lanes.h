/* SPDX-License-Identifier: MIT */
/* lanes.h - who carries requests out. */
#ifndef KAIO_LANES_H
#define KAIO_LANES_H

#include "request/request.h"

struct epoll_event;

/* direct.c */
/* NOT: nothing has been done; REFUSED: it is to be taken back; DECLINED: done, but the kernel has
 * declined it in the call, and a worker is needed. */
enum kaio_short { KAIO_SHORT_NOT, KAIO_SHORT_REFUSED, KAIO_SHORT_DECLINED, KAIO_SHORT_DONE };
enum kaio_short kaio_direct_submit(struct aiocb *cb, enum kaio_op op); /* without the lock */
LOCKED void kaio_direct_take_back(struct kaio_thread *self);
LOCKED void kaio_direct_stock(struct kaio_thread *self);
void kaio_direct_forget(struct kaio_thread *thread); /* in a child */

/* kernel.c */
void kaio_kernel_begin(void); /* its state is zeros, here and below */
LOCKED bool kaio_kernel_reap(
    struct kaio_batch *b); /* some, for others want the lock, too; true: there is more */
LOCKED void kaio_kernel_offer(struct kaio_batch *b, struct kaio_req *req);
LOCKED void kaio_kernel_backlog(struct kaio_batch *b);
LOCKED bool
kaio_kernel_unclog(struct kaio_batch *b);       /* of a device that hangs; true: there is more */
void kaio_kernel_unqueue(struct kaio_req *req); /* takes it out of the backlog */
LOCKED void kaio_kernel_decline(struct kaio_batch *b); /* all of b->offer */
LOCKED void kaio_kernel_submit(struct kaio_batch *b); /* takes b->offer; drops the lock meanwhile */

/* copy.c */
bool kaio_copy_is_memory(int fd);
bool kaio_copy_waits(const struct kaio_file *file, enum kaio_op op);
void kaio_copy_learn(struct kaio_file *file, enum kaio_op op, bool waits);
bool kaio_copy_suits(int flags, size_t nbytes, off_t offset);
LOCKED void kaio_copy_offer(struct kaio_batch *b, struct kaio_req *req);
LOCKED int kaio_copy_take(struct kaio_batch *b, struct kaio_req *batch[KAIO_BATCH]); /* 0: none */
void kaio_copy(struct kaio_req *batch[], long res[], int n); /* without the lock */
long kaio_copy_stream(struct kaio_req *req);
void kaio_copy_begin(struct kaio_req *req);               /* has the kernel fetch what it reads */
bool kaio_copy_is_quick(size_t nbytes, uint64_t took_ns); /* it did not wait for a device */
bool kaio_copy_read(struct aiocb *cb);                    /* without the lock; true: it has ended */

/* worker.c */
LOCKED void kaio_worker_finish(struct kaio_batch *b, struct kaio_req *req, long res);
LOCKED void kaio_worker_offer(struct kaio_batch *b, struct kaio_req *req);
void kaio_worker_join(struct kaio_req *batch[], int n); /* what continues, by one call */
bool kaio_worker_is_done(const struct kaio_req *req);   /* by that, or kaio_copy_begin() */
long kaio_worker_run(struct kaio_req *req);             /* bytes or -errno; without the lock */

/* stream.c */
void kaio_stream_begin(void);
LOCKED bool kaio_stream_needs_reaper(void); /* some wait for it */
LOCKED struct kaio_req *
kaio_stream_polled(uint32_t *next); /* of those in the set, from *next on; NULL: no more */
struct kaio_req *kaio_stream_next_blocker(void); /* whose thread is to be started; NULL: none */
bool kaio_stream_misleads(const struct kaio_req *req);
LOCKED void kaio_stream_poll(struct kaio_batch *b, struct kaio_req *req);
LOCKED void kaio_stream_unpoll(struct kaio_req *req);
LOCKED void kaio_stream_event(struct kaio_batch *b, const struct epoll_event *ev);
LOCKED bool kaio_stream_sweep(struct kaio_batch *b);      /* true: it is not at its end */
LOCKED void kaio_stream_poll_again(struct kaio_batch *b); /* all: the set is a new one */
uint64_t kaio_stream_limit(const struct kaio_req *req);   /* ns; 0: none */
int kaio_stream_ms_until(uint64_t end);
bool kaio_stream_is_hung_up(const struct kaio_req *req, short ready);
LOCKED bool kaio_stream_enters(const struct kaio_file *file); /* close() must not go past it */
bool kaio_stream_is_refusal(long res);
long kaio_stream_objection(const struct kaio_req *req, short ready); /* -errno; 0: offer it */
bool kaio_stream_must_wait(struct kaio_req *req, long res, short ready);
LOCKED void kaio_stream_block(struct kaio_batch *b,
                              struct kaio_req *req); /* a thread waits for it */
LOCKED bool kaio_stream_unblock(struct kaio_req *req, enum kaio_state state); /* false: cancelled */
LOCKED void kaio_stream_cancel(struct kaio_req *req); /* the caller ends it */

#endif
