/* SPDX-License-Identifier: MIT */
/* request.h - what is known of requests and of the files that they are on. */
#ifndef KAIO_REQUEST_H
#define KAIO_REQUEST_H

#include "host/host.h"
#include "observe/watch.h"

/* Where a request is. kaio_req_move() changes it, under the lock; and
 * prepare_short() in lanes/direct.c, of a request that nobody else knows. */
enum kaio_state {
    KAIO_FREE,    /* in the pool; belongs to nobody */
    KAIO_HELD,    /* in file->held: waits for earlier requests of its descriptor */
    KAIO_BACKLOG, /* in file->backlog: the context is full */
    KAIO_OFFERED, /* in a batch: to begin, answered, on the way into io_submit(), or to be copied */
    KAIO_SUBMITTED, /* in the kernel as an iocb */
    KAIO_LINED,     /* in file->line[]: waits behind an earlier one of the stream */
    KAIO_POLLING,   /* file->served[]: waits for its peer; req->lane says how */
    KAIO_QUEUED,    /* for workers: in file->reads or file->writes */
    KAIO_RUNNING,   /* some thread has taken it and is inside pread(), pwrite() or fsync() */
    KAIO_DONE,      /* its status is published; its SIGEV_THREAD is on the way */
    KAIO_ZOMBIE,    /* ended by aio_cancel() while its blocker still refers to it */
};

/* What an answer is about. */
enum kaio_says {
    KAIO_FINAL, /* the request ends: bytes or -errno */
    KAIO_SAYS,  /* an offer: as in an event, or what io_submit() failed with */
    KAIO_READY, /* the stream may be: poll(2)'s events */
};

struct kaio_answer {
    long res;
    uint8_t says; /* enum kaio_says */
};

/* The last of the ranks before and after it. */
struct kaio_run {
    struct kaio_req *before, *after;
};

/* (l): under the lock, or by the lane that has it (OFFERED, RUNNING), without. */
struct kaio_req {
    struct iocb iocb; /* (l) u.c: what is left to be transferred; aio_reqprio: where requests queue,
                       * lower goes first, as in glibc */
    TAILQ_ENTRY(kaio_req) link; /* (L) the list that the state names, or a batch's */
    struct kaio_lio *lio;       /* (L) the list that it belongs to, or NULL */
    struct kaio_thread *owner;  /* (L) whose eventfd the kernel signals: the submitter's, the
                                 * reaper's; of a stream's, its blocker */
    struct sigevent sigev;      /* (L) */
    struct kaio_thread *waiter; /* (L) another thread that sleeps for it, or KAIO_EVERYONE */
    struct kaio_run run;        /* (L) rank.c: if it is the last of its rank where it queues */
    size_t done;                /* (l) bytes transferred so far */
    uint64_t serial;            /* (L) of all requests, as they were made */
    struct kaio_stamp stamp;    /* (L) only if kaio_stats_on */
    struct kaio_answer answer;  /* (L) a lane's last; once DONE, the result */
    uint8_t op, lane;           /* (l) enum kaio_op, kaio_lane */
    uint8_t epoch;              /* (L) counts in file->active[epoch - 1]; 0: in neither */
    bool told;      /* (L) by aio_cancel(), as it was just being offered: ends instead of waiting */
    bool joins;     /* (L) others in a batch: a read that RWF_NOWAIT begins, if its data is not
                       in memory; a write with O_APPEND */
    uint32_t index; /* (c) in the pool; also left in cb->__abs_prio */
    /* (L), but stored whole, as kaio_req_glance() and is_soon() in wait.c look without it: */
    struct aiocb *cb; /* NULL once cancelled; untouched after the status store */
    struct kaio_file *file;
    struct kaio_thread *submitter; /* woken when it ends, if it sleeps */
    uint8_t state;
    bool in_line; /* a stream's: in file->served[op], or waits for that in file->line[op] */
};

/* One per open file with requests, as far as that can be told: a number that means another file
 * gets another record, and requests that are still in progress keep theirs. Reused, never unmapped.
 * The counts are of requests on it. */
struct kaio_file {
    struct kaio_reqs held;       /* (L) aio_fsync and barriers, oldest first */
    struct kaio_req *served[2];  /* (L) a stream's read and write whose turn it is, */
    struct kaio_reqs line[2];    /* (L) and those behind them */
    struct kaio_reqs reads;      /* (L) for workers: file reads and syncs, */
    struct kaio_reqs writes;     /* (L) and file writes, which are done one at a time */
    struct kaio_reqs backlog;    /* (L) the context is full */
    TAILQ_ENTRY(kaio_file) full; /* (L) kernel.c, if backlog is not empty */
    TAILQ_ENTRY(kaio_file) ends; /* (L) order.c, if ending */
    uint64_t covers;             /* (L) the sync in progress covers those held up to this serial */
    uint8_t covers_op, ending_lane; /* (L) */
    bool ending;                    /* (L) that one has ended well: those do, too */
    struct kaio_req *writer;        /* (L) the one that is running; NULL: none */
    TAILQ_ENTRY(kaio_file) link;    /* (L) queue.c, if ready */
    TAILQ_ENTRY(kaio_file) gone;    /* (L) file.c, once its number means another file */
    uint32_t active[2];             /* (L) started and not finished, by epoch: see order.c */
    uint32_t unsubmitted; /* (L) would use the descriptor's number again; is_over() looks without */
    struct kaio_thread *waiter; /* (L) sleeps for unsubmitted == 0; or KAIO_EVERYONE */
    uint16_t workers;           /* (L) at work on it */
    bool ready;                 /* (L) queue.c: has something to take */
    bool has_read;              /* (L) queue.c: the last one that was taken was no write */
    uint8_t epoch;              /* (L) */
    bool armed;                 /* (L) the epoch has been flipped for the first of held */
    bool detached;              /* (h) no number leads to it any more */
    uint8_t refused;            /* (L) 1 << op: learned to be declined; costs speed when stale */
    uint8_t kind;               /* (L) enum kaio_kind, of the descriptor when last looked */
    bool anonymous;             /* (L) a stream without a type: eventfd, signalfd, ... */
    bool socket;                /* (L) */
    atomic_bool direct;         /* (h) rule.c: O_DIRECT when last asked, */
    _Atomic uint8_t trust;      /* (h) and for how many more reads that is believed */
    atomic_bool memory;         /* (h) tmpfs: has no RWF_NOWAIT, and waits for nothing */
    atomic_bool hot;            /* (h) copy.c: the last small read found its data in memory */
    _Atomic uint8_t cold; /* (h) 1 << op: the last small one waited for the device; not offered */
    atomic_bool slow;     /* (h) workers.c: its last request for a worker waited */
};

/* A lio_listio() call. */
struct kaio_lio {
    TAILQ_ENTRY(kaio_lio) link; /* (L) free ones, or a batch's */
    struct sigevent sigev;      /* (L) */
    uint64_t serial; /* (L) its memory may serve another list while the call that made it goes on */
    struct kaio_thread *waiter; /* (L) LIO_WAIT: who made the call */
    struct kaio_req *last;      /* (h) of its items; it may have ended */
    uint32_t pending;           /* (L) items that have not ended; is_over() looks without */
    bool failed;                /* (L) some item did not succeed */
    bool wait;                  /* (L) LIO_WAIT: the waiting thread frees it */
};
/* What was decided under the lock and is carried out without it. Lives on a stack. */
struct kaio_batch {
    sigset_t mask; /* the caller's, restored by kaio_leave() */
    struct kaio_thread *self;
    struct kaio_reqs answers;    /* of lanes: kaio_decide() says what comes next */
    struct kaio_reqs begin;      /* whose turn it is: to be offered */
    struct kaio_reqs offer;      /* to io_submit() */
    struct kaio_reqs copy;       /* to be offered by this very thread's own call */
    struct kaio_reqs notify;     /* published; SIGEV_THREAD to be started */
    struct kaio_lios lists;      /* ended; SIGEV_THREAD to be started */
    struct kaio_thread *checked; /* whose eventfd kernel.c has looked at */
    bool careful;                /* maybe in a signal handler: start no thread */
    struct aiocb *cb;            /* the request that the caller submits, */
    uint64_t list;               /* or the list, its serial number; 0: none */
    bool no_thread;              /* out: no worker could be started for it */
    bool alone;                  /* nor could the reaper */
    struct kaio_raised raised;   /* by the thread's own writes */
};

/* request.c */
void kaio_req_begin(void);             /* its state is zeros, here and below */
LOCKED uint32_t kaio_req_count(void);  /* of the pool: kaio_req_at() */
LOCKED uint64_t kaio_req_serial(void); /* of the last that was made */
LOCKED struct kaio_req *kaio_req_get(struct aiocb *cb, enum kaio_op op,
                                     int fd); /* NULL: no memory */
void kaio_req_fill(struct kaio_req *req, struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                   int fd);
LOCKED struct kaio_req *
kaio_req_find(const struct aiocb *cb); /* NULL: not one of ours in progress */
struct kaio_req *
kaio_req_glance(const struct aiocb *cb);     /* without the lock: it may just have ended */
LOCKED struct kaio_req *kaio_req_take(void); /* a free one; NULL: none */
bool kaio_req_is_offered(const struct kaio_req *req);
void kaio_req_advance(struct kaio_req *req, size_t n); /* n bytes have been transferred */
void kaio_req_prepare(struct kaio_req *req);           /* its iocb, for io_submit() */
bool kaio_req_continues(const struct kaio_req *last, const struct kaio_req *req);
struct kaio_req *kaio_req_at(uint32_t index);
LOCKED void kaio_req_move(struct kaio_req *req, enum kaio_state state);
LOCKED void kaio_file_unsubmitted(struct kaio_file *file, int change);
LOCKED unsigned kaio_req_leave_file(struct kaio_req *req);
LOCKED void kaio_req_free(struct kaio_req *req);
bool kaio_notify_wanted(const struct sigevent *sigev);
LOCKED void kaio_answer(struct kaio_batch *b, struct kaio_req *req, enum kaio_says says, long res);
LOCKED void kaio_begin(struct kaio_batch *b, struct kaio_req *req);
LOCKED struct kaio_lio *kaio_lio_get(void); /* NULL: no memory */
void kaio_lio_free(struct kaio_lio *lio);

/* file.c */
void kaio_file_begin(void);
struct kaio_file *kaio_file_get(int fd); /* NULL: no memory */
struct kaio_file *
kaio_file_used(int fd); /* without the lock; NULL: no request since it was opened */
static inline void kaio_file_count(struct kaio_req *req) { /* a sync that begins now waits for it */
    req->epoch = (uint8_t)(req->file->epoch + 1);
    req->file->active[req->epoch - 1]++;
}
static inline bool kaio_file_is_gone(const struct kaio_req *req) { /* the number is another's */
    return __atomic_load_n(&req->file->detached, __ATOMIC_RELAXED);
}
void kaio_file_detach(struct kaio_file *file, int fd); /* the number means another file */
_Atomic(kaio_number *) *kaio_file_chunk(int fd);       /* of the table; NULL there: no records */
/* Without the lock. Uses up one unit of its trust: is it believed to be as when last asked? */
bool kaio_file_trusts(struct kaio_file *file);
bool kaio_file_trust(struct kaio_file *file); /* its flags have been asked; true */

/* rank.c */
LOCKED void kaio_rank_insert(struct kaio_reqs *list, struct kaio_req *req);
LOCKED void kaio_rank_remove(struct kaio_reqs *list, struct kaio_req *req);

/* flight.c */
LOCKED void kaio_flight_count(struct kaio_req *req);       /* when its event has come, */
LOCKED void kaio_flight_count_all(struct kaio_file *file); /* or before a sync */
bool kaio_flight_ready(unsigned depth);              /* there is room for so many; under the lock */
bool kaio_flight_place(struct kaio_req *req);        /* without it; false: in a child */
bool kaio_flight_remove(const struct kaio_req *req); /* false: it is not there */
bool kaio_flight_names(const struct kaio_file *file);

/* queue.c */
void kaio_queue_begin(void);
bool kaio_queue_has(void); /* something to take; without the lock, a hint */
LOCKED void kaio_queue_busy(struct kaio_file *file, int change); /* workers at work on it */
LOCKED void kaio_queue_add(struct kaio_req *req);
void kaio_queue_drop(struct kaio_req *req); /* cancelled */
void kaio_queue_ended(struct kaio_req *req);
LOCKED struct kaio_file *kaio_queue_next(void); /* to be taken from, or NULL */
struct kaio_req *kaio_queue_take(struct kaio_file *file);
LOCKED int kaio_queue_take_batch(struct kaio_file *file,
                                 struct kaio_req *batch[KAIO_BATCH]); /* running */
LOCKED unsigned kaio_queue_batches(unsigned coming);

/* Is the thread in the very call that submits cb? See direct.c. */
static inline bool kaio_is_calling(const struct kaio_thread *thread, const struct aiocb *cb) {
    return atomic_load_explicit(&thread->calling, memory_order_relaxed) == cb;
}

/* aio_error()'s answer; to a handler that has interrupted that call, what cb said before.
 * acquire: pairs with the status store in publish() in finish.c */
static inline int kaio_status(const struct aiocb *cb) {
    int status = __atomic_load_n(&cb->__error_code, __ATOMIC_ACQUIRE);
    if (status == EINPROGRESS && kaio_self && kaio_is_calling(kaio_self, cb))
        return kaio_self->before;
    return status;
}

#endif
