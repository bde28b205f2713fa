/* SPDX-License-Identifier: MIT */
/* watch.h - what is there for KAIO_STATS. Off unless asked for; then it costs its callers a
 * branch on kaio_stats_on.
 */
#ifndef KAIO_WATCH_H
#define KAIO_WATCH_H

#include "host/host.h"
#include "observe/probe.h"

/* watch.c */
struct kaio_counts; /* stats.h */
struct kaio_hist;
#define KAIO_WATCH_LIST (KAIO_BARRIER + 1)   /* for an operation: as each aiocb of the list says; */
#define KAIO_WATCH_WAIT (KAIO_BARRIER + 2)   /* and the call lasts until all have ended */
extern bool kaio_stats_on;                   /* KAIO_STATS; final once loaded */
extern __thread uint64_t kaio_call_start_ns; /* of the thread's last call that made a request */
void kaio_watch_load(void);
uint64_t kaio_watch_begin(struct aiocb *const list[], int n, int op);
void kaio_watch_end(struct aiocb *const list[], int op, uint64_t start_ns, int res);
void kaio_watch_seen(const struct aiocb *cb); /* async-signal-safe */
unsigned kaio_watch_op(enum kaio_op op);
struct kaio_counts *kaio_watch_counts(void);
void kaio_watch_time(struct kaio_hist *hist, uint64_t value);
/* The answer of a call that makes requests; off, it costs a branch. */
#define WATCHED(list, n, op, call)                                                                 \
    ({                                                                                             \
        bool watched_ = __builtin_expect(kaio_stats_on, false);                                    \
        uint64_t start_ = watched_ ? kaio_watch_begin(list, n, op) : 0;                            \
        int res_ = (call);                                                                         \
        if (__builtin_expect(watched_, false)) kaio_watch_end(list, op, start_, res_);             \
        res_;                                                                                      \
    })

/* stats.c. Counted under the lock, whether asked for or not. */
struct kaio_counted {
    uint64_t streams, declined[KAIO_REASONS], submits, submitted;
    unsigned workers, worker_peak;
};
extern struct kaio_counted kaio_counted GUARDED;
/* If kaio_stats_on. */
struct kaio_stamp {
    uint64_t start_ns; /* of the call that made the request */
    uint32_t file;     /* its id in files.c */
};
struct kaio_stamp kaio_stats_stamp(int fd); /* of one that the thread's call makes now */
void kaio_stats_complete(enum kaio_lane lane, enum kaio_op op, const struct kaio_stamp *stamp,
                         long res);
void kaio_stats_copied(int fd, size_t nbytes);
void kaio_stats_declined(const struct kaio_stamp *stamp, enum kaio_reason reason);
LOCKED void kaio_stats_update(void); /* under the lock: what others count there */

/* files.c: figures of single files, if kaio_stats_on. 0 stands for none. */
void kaio_files_load(void);
uint32_t kaio_files_add(struct kaio_counts *c, const struct aiocb *cb, unsigned op);
void kaio_files_take_back(struct kaio_counts *c, const struct aiocb *cb, unsigned op);
uint32_t kaio_files_id(int fd); /* after kaio_files_add() of a request on it */
void kaio_files_ended(struct kaio_counts *c, uint32_t id, enum kaio_lane lane);
void kaio_files_seen(struct kaio_counts *c, uint32_t id, uint64_t took_ns);
void kaio_files_declined(struct kaio_counts *c, uint32_t id, enum kaio_reason reason);
void kaio_files_closed(unsigned first, unsigned last); /* the numbers may mean others now */

/* share.c */
void kaio_share_load(void);
void kaio_share_begin(const struct kaio_counts *own); /* what has no count yet is written */
struct kaio_counts *kaio_share_page(void);            /* NULL: nothing is published */
void kaio_share_end(void);                            /* at exit */

#endif
