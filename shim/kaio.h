/* kaio.h - everything that the files of the shim share.
 *
 * One lock guards all of it, and a thread that holds the lock has every signal blocked, so a
 * handler never meets the library half way. Between kaio_enter() and kaio_leave() the caller owns
 * the lock and decides; what it decided is collected in a struct kaio_batch and carried out by
 * kaio_leave() with the lock released. shim/README.md tells the whole story.
 */
#ifndef KAIO_H
#define KAIO_H

#include <aio.h>
#include <errno.h>
#include <libaio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#define IOCB_FLAG_RESFD 1 /* <linux/aio_abi.h>: the iocb names an eventfd */
#ifndef RWF_NOWAIT        /* <linux/fs.h>, Linux 4.14 */
#define RWF_NOWAIT 8
#endif

#define KAIO_POOL_CHUNK   64   /* requests allocated together */
#define KAIO_POOL_CHUNKS  4096 /* 262,144 outstanding requests; the next one gets EAGAIN */
#define KAIO_FILE_CHUNK   512  /* descriptors whose table is allocated together; a page */
#define KAIO_FILE_CHUNKS  2048 /* 2^20 descriptors, the kernel's default fs.nr_open */
#define KAIO_SUBMIT_MAX   256  /* iocbs in one io_submit() */
#define KAIO_SUBMIT_FEW   32   /* the same, on a stack that may be small */
#define KAIO_FEW          64   /* requests that workers serve before a context is made */
#define KAIO_BATCH        8    /* reads that one worker begins together */
#define KAIO_SPARE        20   /* workers beyond KAIO_WORKERS; glibc's aio_threads */
#define KAIO_STOCK        16   /* requests that a thread keeps for the short way of direct.c */
#define KAIO_EFDS         32   /* threads that have an eventfd of their own, at most */
#define KAIO_EFDS_SHARE   32   /* and one in so many of RLIMIT_NOFILE */
#define KAIO_HOLD         8    /* requests dealt with before others may have the lock */
#define KAIO_LEVELS       8    /* waits of one thread on top of each other, in handlers */
#define KAIO_LARGE_BYTES  (512 << 10) /* buffered requests from here on are never copied inline */
#define KAIO_TRANSFER_MAX 0x7ffff000  /* MAX_RW_COUNT: what one call transfers at most */
#define KAIO_SIGSET       8           /* bytes of the kernel's sigset_t */

enum kaio_op { KAIO_READ, KAIO_WRITE, KAIO_INVALID, KAIO_FSYNC, KAIO_FDSYNC, KAIO_BARRIER };

/* What a descriptor is, as far as it matters here. */
enum kaio_kind { KAIO_UNKNOWN, KAIO_FILE_LIKE, KAIO_STREAM };

/* Where a request is. Only kaio_req_move() changes it, under the lock. */
enum kaio_state {
    KAIO_FREE,    /* in kaio.free; belongs to nobody */
    KAIO_HELD,    /* in file->held: waits for earlier requests of its descriptor */
    KAIO_BACKLOG, /* in kaio.backlog: the context is full */
    KAIO_OFFERED, /* in a batch's offer, on the way into io_submit(); or in its run, to be copied */
    KAIO_SUBMITTED, /* in the kernel as an iocb */
    KAIO_LINED,     /* not the head of file->line[]: waits behind an earlier one of the stream */
    KAIO_POLLING,   /* head of file->line[]; its POLL iocb is in the kernel, or epoll, a blocker */
    KAIO_QUEUED,    /* for workers: in file->reads or file->writes */
    KAIO_RUNNING,   /* some thread has taken it and is inside pread(), pwrite() or fsync() */
    KAIO_DONE,      /* its status is published; its SIGEV_THREAD is on the way */
    KAIO_ZOMBIE,    /* ended by aio_cancel() while polling, whose end is yet to come */
};

/* Who has carried a request out. */
enum kaio_lane { KAIO_NOBODY, KAIO_BY_KERNEL, KAIO_BY_WORKER, KAIO_BY_CALLER, KAIO_LANES };

/* Why a request was not left to the kernel. Order and names are those of the report. */
enum kaio_reason {
    KAIO_R_FEW,     /* one of the first few of the process */
    KAIO_R_CONTEXT, /* no kernel context: mode worker, or io_setup() refused */
    KAIO_R_AGAIN,   /* the kernel would have had to wait */
    KAIO_R_UNSUPP,  /* the file cannot take the operation without waiting */
    KAIO_R_ERROR,   /* an errno that pread(), pwrite() or fsync() shall confirm */
    KAIO_R_LARGE,   /* a large copy, to overlap with the program's computation */
    KAIO_R_APPEND,  /* O_APPEND: lands in call order */
    KAIO_R_SHORT,   /* the rest of a partly served request */
    KAIO_REASONS
};

struct kaio_req {
    struct iocb iocb;
    TAILQ_ENTRY(kaio_req) link; /* the list that the state names, or a batch's */
    TAILQ_ENTRY(kaio_req) item; /* lio->items, until it has ended */
    TAILQ_ENTRY(kaio_req) line; /* file->line[op], while in_line */
    struct kaio_lio *lio;       /* the list that it belongs to, or NULL */
    struct kaio_thread *owner; /* whose eventfd the kernel signals: the submitter's, the reaper's */
    struct sigevent sigev;
    struct kaio_thread *waiter;    /* another thread that sleeps for it, or KAIO_EVERYONE */
    struct kaio_thread *canceller; /* its aio_cancel() has met it while it was being offered, and
                                    * waits; KAIO_EVERYONE: it has been told to end */
    char *buf;
    size_t nbytes, done; /* asked for; transferred so far */
    off_t offset;
    uint32_t generation; /* the file's when it was made: is the number still the same file? */
    uint64_t serial;     /* of all requests, as they were made */
    uint64_t start_ns;   /* of the call that made it; only if kaio_stats_on */
    uint8_t op, epoch, lane;
    int8_t priority; /* where requests queue, lower goes first, as in glibc */
    bool buffered;   /* a read that RWF_NOWAIT begins, if its data is not in memory: worker.c */
    bool armed;      /* held: file->active[] of the other epoch is all it waits for */
    bool blocking;   /* may wait inside the call: KAIO_MODE=kernel, SO_RCVLOWAT */
    bool in_kernel;  /* an iocb of it is in kaio.in_kernel */
    bool unstarted;  /* in kaio.blockers */
    bool blocker;    /* polling: by a thread of its own, which still refers to it */
    bool epolled;    /* polling: in the reaper's epoll set */
    bool counted;    /* in file->active[epoch] */
    bool failed;     /* once done: for its list */
    pid_t tid;       /* running, a stream's: of the blocker */
    uint32_t
        flight; /* submitted the short way, and not counted yet: its place in kaio.flights + 1 */
    uint32_t index; /* in the pool, for good; also left in cb->__abs_prio */
    /* stored whole, as kaio_req_glance() and is_soon() in wait.c look without the lock: */
    struct aiocb *cb; /* NULL once cancelled; untouched after the status store */
    struct kaio_file *file;
    struct kaio_thread *submitter; /* woken when it ends, if it sleeps */
    uint8_t state;
    bool in_line; /* is, or waits behind, the head of a stream's line */
};
TAILQ_HEAD(kaio_reqs, kaio_req);

/* One per open file with requests, as far as that can be told: a number that means another file
 * gets another record, and requests that are still in progress keep theirs. Reused, never unmapped.
 * The counts are of requests on it. */
struct kaio_file {
    struct kaio_reqs held;       /* aio_fsync and barriers, oldest first */
    struct kaio_reqs line[2];    /* a stream's reads and writes: the head is being served */
    struct kaio_reqs reads;      /* for workers: file reads and syncs, */
    struct kaio_reqs writes;     /* and file writes, which are done one at a time */
    struct kaio_reqs backlog;    /* the context is full */
    TAILQ_ENTRY(kaio_file) full; /* kaio.backlog, if backlog is not empty */
    TAILQ_ENTRY(kaio_file) ends; /* kaio.ending, if ending */
    uint64_t covers;             /* the sync in progress covers those held up to this serial */
    uint8_t covers_op, ending_lane;
    bool ending;                 /* that one has ended well: those do, too */
    struct kaio_req *writer;     /* the one that is running; NULL: none */
    TAILQ_ENTRY(kaio_file) link; /* kaio.ready, if ready */
    TAILQ_ENTRY(kaio_file) gone; /* kaio.gone_files, once its number means another file */
    uint32_t active[2];          /* started and not finished, by epoch: see file.c */
    uint32_t unsubmitted;        /* would use the descriptor's number again */
    struct kaio_thread *waiter;  /* sleeps for unsubmitted == 0; or KAIO_EVERYONE */
    uint16_t workers;            /* at work on it */
    bool ready;                  /* queue.c: has something to take */
    bool has_read;               /* queue.c: the last one that was taken was no write */
    uint8_t epoch;
    uint8_t refused; /* 1 << op: learned to be declined; costs speed when stale */
    uint8_t kind;    /* enum kaio_kind, of the descriptor when last looked */
    bool anonymous;  /* a stream without a type: eventfd, signalfd, ... */
    bool socket;
    atomic_bool direct;    /* submit.c: O_DIRECT when last asked, */
    _Atomic uint8_t trust; /* and for how many more reads that is believed; both hints */
    atomic_bool memory;    /* tmpfs: has no RWF_NOWAIT, and waits for nothing */
    bool releasing;        /* file.c: do not release from within a release */
    bool lining[2];        /* submit.c: the same for a line's turns */
    /* how often the record has lost its number; requests keep that of their start: are they still
     * on the file that the number means? Read without the lock by direct.c */
    uint32_t generation;
    atomic_bool hot;      /* copy.c: the last small read found its data in memory; a hint */
    _Atomic uint8_t cold; /* 1 << op: the last small one waited for the device; not offered */
    atomic_bool slow;     /* worker.c: its last request for a worker waited; a hint */
};

TAILQ_HEAD(kaio_files, kaio_file);
typedef _Atomic(struct kaio_file *) kaio_number; /* what a descriptor's number means, or NULL */

/* A lio_listio() call. */
struct kaio_lio {
    TAILQ_ENTRY(kaio_lio) link; /* kaio.free_lios, or a batch's */
    struct sigevent sigev;
    uint64_t serial; /* its memory may serve another list while the call that made it goes on */
    struct kaio_thread *waiter; /* LIO_WAIT: who made the call */
    struct kaio_reqs items;
    uint32_t pending; /* items that have not ended */
    bool failed;      /* some item did not succeed */
    bool wait;        /* LIO_WAIT: the waiting thread frees it */
};
TAILQ_HEAD(kaio_lios, kaio_lio);
TAILQ_HEAD(kaio_waiting, kaio_thread);

/* How a thread sleeps: see wait.c. */
enum kaio_sleep { KAIO_ON_EVENTFD, KAIO_AWAKE, KAIO_ON_FUTEX };

/* One wait of a thread; those in handlers are on top of the one that they have interrupted. Whoever
 * leaves a wait by siglongjmp(), by an exception or by a cancellation leaves its level here, and
 * the thread's next wait, or its end, puts right what the level stands for. */
struct kaio_level {
    uintptr_t frame;      /* where the wait's variables are; compared, never followed */
    struct kaio_lio *lio; /* what it waits for must be freed */
    bool listed, owes;    /* of it, or of a wait below */
    bool by_eventfd;      /* what it sleeps on: a count that another has taken is given back */
};

/* One per thread that ever used AIO, reused after its end, never freed. Outlives fork(). */
struct kaio_thread {
    struct kaio_thread *next; /* all of them, in kaio_threads */
    /* the eventfd that the kernel signals for its iocbs, and on which it then sleeps; -1: none;
     * -2: closed unseen */
    _Atomic int efd;
    atomic_bool taken;
    atomic_bool
        unseen; /* taken, but nobody will tell when its thread ends; only of the program's */
    pid_t tid;  /* of that thread */
    _Atomic uint64_t copied; /* reads that the thread has done the short way; only it counts */
    bool watched;            /* the reaper's epoll set has its eventfd */
    /* enum kaio_sleep. Whoever turns it to KAIO_AWAKE wakes the thread; futex(2) sleeps on it */
    _Atomic unsigned sleep;
    atomic_bool unflagged; /* some request of it went without an eventfd; only grows */
    bool cancelled;        /* aio_cancel(): what it has met while it was being offered */
    _Atomic int polled;    /* the number of its eventfd while it is in poll(); 0: it is not */
    bool to_wake;          /* it is in kaio.wake, */
    struct kaio_thread *wake_next;
    bool listed; /* in kaio.waiting: it waits for requests that other threads have made, too */
    bool owes;   /* counted in kaio.owed */
    TAILQ_ENTRY(kaio_thread) waiting;
    struct kaio_level level[KAIO_LEVELS]; /* its own, but when its record is taken over */
    unsigned levels;
    /* direct.c; the thread's own, also in its handlers, but for calling */
    struct kaio_req *stock[KAIO_STOCK];
    atomic_uint nstock;
    struct kaio_req
        *_Atomic submitting; /* taken from there, by the call that goes on; NULL: none */
    bool direct;             /* it makes direct reads, and needs a stock */
    bool shared; /* there was no memory for a record each: no stock, no sleep but naps */
    const struct aiocb *_Atomic calling; /* which it is submitting; NULL: none */
    int before;                          /* and the status that this had before */
};

/* What was decided under the lock and is carried out without it. Lives on a stack. */
struct kaio_batch {
    sigset_t mask; /* the caller's, restored by kaio_leave() */
    struct kaio_thread *self;
    struct kaio_reqs offer;  /* to io_submit() */
    struct kaio_reqs run;    /* to be copied or worked off by this very thread */
    struct kaio_reqs notify; /* published; SIGEV_THREAD to be started */
    struct kaio_lios lists;  /* ended; SIGEV_THREAD to be started */
    bool careful;            /* maybe in a signal handler: start no thread */
    struct aiocb *cb;        /* the request that the caller submits, */
    uint64_t list;           /* or the list, its serial number; 0: none */
    bool no_thread;          /* out: no worker could be started for it */
    bool writes;             /* the thread itself has made some: raised.c */
    unsigned raised;         /* kaio.raised before them, */
    unsigned pending;        /* and the signals of theirs that were pending for the thread */
};

/* All state. Zero is its valid first value, and a forked child sees zeros (MADV_WIPEONFORK). */
struct kaio_global {
    pthread_mutex_t lock;               /* default type: all zeros is unlocked */
    atomic_uint lock_waits, lock_turns; /* who sleeps for it now; who has had it after a sleep */
    atomic_bool started;
    _Atomic pid_t pid;           /* direct.c: without the lock */
    struct kaio_thread *wake;    /* threads to wake; the next kaio_leave() does */
    struct kaio_waiting waiting; /* threads that wait for requests of others */
    atomic_bool sending; /* complete.c: the end of some request is published, but may yet change */
    unsigned raised;     /* EPIPE and EFBIG seen: signals that writes have raised */
    /* request.c */
    struct kaio_req *chunks[KAIO_POOL_CHUNKS];
    uint32_t nreqs;
    struct kaio_reqs free;
    struct kaio_lios free_lios;
    uint64_t lists, serial; /* lists, requests made so far */
    _Atomic unsigned
        offered; /* changes when a request ends to be offered that is to be cancelled */
    /* file.c */
    _Atomic(kaio_number *) numbers[KAIO_FILE_CHUNKS];
    struct kaio_files gone_files, ending;
    /* kernel.c */
    io_context_t ctx;
    struct kaio_ring *_Atomic ring; /* NULL: io_getevents() */
    int setup_error;                /* of io_setup(); final */
    atomic_uint depth; /* iocbs in the kernel at most; learned downwards. direct.c: a hint */
    /* The process, and how many requests are offered, submitted and polling, and of those how many
     * whose call of direct.c has not returned: one word, so that a call which goes on in a child
     * counts nothing there. See kaio_kernel_load(). */
    _Atomic uint64_t load;
    struct kaio_req *_Atomic *_Atomic flights; /* direct.c: those submitted the short way */
    unsigned nflights;
    unsigned polls;            /* POLL iocbs, also in the backlog or a batch */
    unsigned epolled;          /* in the reaper's epoll set */
    struct kaio_files backlog; /* with requests for which the context has no room, in turn */
    bool stuck; /* the context is full, and nothing in it ends: nobody waits for room */
    uint64_t ends, ends_seen, quiet_since; /* reaper.c: events, polls' apart; in ns */
    /* worker.c */
    struct kaio_files ready; /* with requests to take */
    atomic_uint nready;      /* length of ready; spinning workers read it without the lock */
    unsigned workers, busy, idle, looking; /* all; with requests; asleep in kaio.work; still up */
    unsigned called, starting;             /* woken or started, but not here yet */
    bool worker_failed;                    /* to start, and the log has said so */
    atomic_uint work; /* changed under the lock; sleep_for_work() in worker.c sleeps on it */
    /* reaper.c */
    struct kaio_thread *reaper;
    bool efd_failed;           /* a thread has none, and the log has said so */
    struct kaio_reqs blockers; /* blocker.c: their threads are to be started */
    struct kaio_reqs handover; /* SIGEV_THREAD notifications that others must not start */
    struct kaio_lios handover_lists;
    atomic_bool lost; /* a notification; the log has said so */
    bool reaper_due;  /* its record is there, its thread not yet */
    atomic_bool
        unattended; /* it is needed, but there is none; until it runs who waits looks itself */
    bool watching, blind; /* blind: of some requests it sees nothing; it looks around */
    unsigned owed;        /* held + backlog + waits for other threads' requests */
    /* stats.c */
    uint64_t by_op[KAIO_BARRIER + 1], by_lane[KAIO_LANES], by_stream;
    uint64_t declined[KAIO_REASONS], submits, submitted, worker_peak;
} __attribute__((aligned(4096))); /* whole pages: nothing else is wiped with it */

extern struct kaio_global kaio;
extern struct kaio_thread *_Atomic kaio_threads;
extern struct kaio_thread *_Atomic kaio_efds[KAIO_EFDS + 1]; /* those with an eventfd; the reaper */
extern _Atomic int kaio_epfd;                                /* the reaper's epoll set, or -1 */
extern __thread struct kaio_thread *kaio_self; /* NULL until the thread first enters */
extern __thread bool kaio_is_ours;             /* a worker or the reaper: signals stay blocked */

/* config.c */
enum kaio_mode { KAIO_AUTO, KAIO_KERNEL, KAIO_WORKER, KAIO_OFF };
#define KAIO_PATH_MAX 1024
struct kaio_config {
    int mode, depth, workers, order;
    /* "": off, "1": standard error, a path */
    char log[KAIO_PATH_MAX], stats[KAIO_PATH_MAX], record[KAIO_PATH_MAX];
};
extern struct kaio_config kaio_config; /* stats may also be "live" */
void kaio_config_load(void);

/* output.c: waits for nothing, but for as many tenths of a second as it is told */
struct kaio_output {
    sigset_t mask;    /* the program's */
    unsigned pending; /* signals of a write, before it */
    int saved;        /* errno */
};
void kaio_output_load(void);
void kaio_output_begin(struct kaio_output *o);        /* around what may raise a signal, */
void kaio_output_end(struct kaio_output *o, int err); /* and has answered 0 or -errno */
int kaio_output_put(int fd, const char *text, size_t n, int tenths, size_t *done);
int kaio_output_write(const char *where, const char *text, size_t n, int tenths);
void kaio_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void kaio_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* lifecycle.c */
extern atomic_bool kaio_loaded;
void kaio_load(void); /* configuration and next functions; idempotent, before anything else */
void kaio_lock(void);
void kaio_unlock(void);
void kaio_stand_aside(void);           /* drops the lock if others wait for it; takes it again */
void kaio_enter(struct kaio_batch *b); /* blocks signals, takes the lock */
void kaio_enter_careful(struct kaio_batch *b); /* the same, maybe in a signal handler */
void kaio_leave(struct kaio_batch *b);         /* carries out b and gives both back */
void kaio_poll(void);                          /* reaps what is in the ring; async-signal-safe */
void *kaio_alloc(size_t size);                 /* zeroed pages, never freed; NULL: no memory */

/* interpose.c */
void kaio_next_load(void);

/* thread.c */
void kaio_thread_load(void);
struct kaio_thread *kaio_thread_self(void);   /* the caller's; under the lock */
struct kaio_thread *kaio_thread_record(void); /* a free one; under the lock */
void kaio_thread_watch(struct kaio_thread *self, bool careful);
void kaio_thread_ended(void);                       /* the calling one; of ours */
int kaio_thread_efd(struct kaio_thread *thread);    /* made when first needed; under the lock */
void kaio_thread_check(struct kaio_thread *thread); /* is it still its own? under the lock */
void kaio_thread_drain(struct kaio_thread *thread); /* reads its eventfd, without waiting */
void kaio_thread_list(struct kaio_thread *thread, bool listed); /* in kaio.waiting */
void kaio_thread_wake_later(struct kaio_thread *thread);  /* at kaio_leave(); under the lock */
void kaio_thread_wake_waiter(struct kaio_thread *waiter); /* the same; NULL, KAIO_EVERYONE, too */
void kaio_thread_add_waiter(struct kaio_thread **waiter, struct kaio_thread *thread);
void kaio_thread_wake(struct kaio_thread *thread); /* now; without the lock */
bool kaio_thread_polls(struct kaio_thread *thread,
                       int efd); /* before poll(); false: it has moved */
/* Several threads wait for the same: all of kaio.waiting are woken. */
#define KAIO_EVERYONE ((struct kaio_thread *)1)
#define KAIO_LOST     (-2)                              /* an eventfd that was closed unseen */
int kaio_thread_start(void *(*run)(void *), void *arg); /* 0 or -errno; without the lock */

/* clock.c; the kernel's, as nobody fakes it */
struct pollfd;
void kaio_clock_load(void);
void kaio_clock_get(struct timespec *now); /* CLOCK_MONOTONIC, here and below */
uint64_t kaio_now_ns(void);
int kaio_clock_poll(struct pollfd *fd, const struct timespec *limit); /* ppoll() of one */
void kaio_clock_nap(long ns, bool cancellable); /* less than a second; a signal ends it */

/* fd.c */
int kaio_fd_raise(int fd); /* moves a new descriptor out of the program's way; -1 stays -1 */
bool kaio_fd_is_ours(int fd);
bool kaio_fd_is_marked(int fd);             /* still the file that kaio_fd_raise() answered */
void kaio_fd_evade(int fd);                 /* before dup2() or dup3() onto it */
unsigned kaio_fd_ours_from(unsigned first); /* before close_range(): what to spare */
/* What a small file of proc(5) says, ended by 0. Its length, or -1. */
long kaio_fd_tell(const char *path, char *text, size_t size);

/* request.c */
struct kaio_req *kaio_req_get(struct aiocb *cb, enum kaio_op op, int fd); /* NULL: no memory */
void kaio_req_fill(struct kaio_req *req, struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                   int fd);
struct kaio_req *kaio_req_find(const struct aiocb *cb); /* NULL: not one of ours in progress */
struct kaio_req *
kaio_req_glance(const struct aiocb *cb); /* without the lock: it may just have ended */
void kaio_req_clear(struct kaio_req *req);
bool kaio_req_is_offered(const struct kaio_req *req);
void kaio_req_rank(struct kaio_req *req);              /* among those that queue */
void kaio_req_advance(struct kaio_req *req, size_t n); /* n bytes have been transferred */
struct kaio_req *kaio_req_at(uint32_t index);
void kaio_req_move(struct kaio_req *req, enum kaio_state state);
void kaio_file_unsubmitted(struct kaio_file *file, int change);
unsigned kaio_req_leave_file(struct kaio_req *req);
void kaio_req_free(struct kaio_req *req);
struct kaio_lio *kaio_lio_get(void); /* NULL: no memory */
void kaio_lio_free(struct kaio_lio *lio);

/* file.c */
struct kaio_file *kaio_file_get(int fd); /* NULL: no memory */
struct kaio_file *
kaio_file_used(int fd); /* without the lock; NULL: no request since it was opened */
void kaio_file_start(struct kaio_batch *b, struct kaio_req *req);
void kaio_file_count(struct kaio_req *req); /* a sync that begins now waits for it */
void kaio_file_finish(struct kaio_batch *b, struct kaio_req *req, long res);
bool kaio_file_end_covered(struct kaio_batch *b); /* some; false: there are none */
void kaio_file_renew(struct kaio_batch *b,
                     struct kaio_req *req); /* its number means another file */
static inline bool
kaio_file_is_gone(const struct kaio_req *req) { /* the number is no more its own */
    return req->generation != req->file->generation;
}
void kaio_file_sync(int fd);    /* waits for the requests queued so far */
void kaio_file_release(int fd); /* before its number can mean another file */
void kaio_file_release_range(unsigned first, unsigned last);

/* direct.c */
bool kaio_direct_submit(struct aiocb *cb,
                        enum kaio_op op); /* without the lock; true: it has been submitted */
void kaio_direct_stock(struct kaio_thread *self);
void kaio_direct_forget(struct kaio_thread *thread); /* in a child */
void kaio_direct_count(struct kaio_req *req);        /* when its event has come, */
void kaio_direct_count_all(struct kaio_file *file);  /* or before a sync */

/* submit.c */
void kaio_submit(struct kaio_batch *b, struct kaio_req *req);
void kaio_submit_ready(struct kaio_batch *b, struct kaio_req *req, unsigned events); /* poll()'s */
int kaio_submit_new(struct kaio_batch *b, struct aiocb *cb, enum kaio_op op, struct kaio_lio *lio);
bool kaio_submit_is_stream(int fd);
void kaio_submit_look(struct kaio_batch *b,
                      struct kaio_req *req);     /* does its number mean another file? */
bool kaio_submit_trusts(struct kaio_file *file); /* without the lock: is it as when last asked? */
void kaio_submit_result(struct kaio_batch *b, struct kaio_req *req, long res);
void kaio_submit_unpollable(struct kaio_batch *b, struct kaio_req *req);
void kaio_submit_line(struct kaio_batch *b, struct kaio_file *file, enum kaio_op op);

/* kernel.c */
/* kaio.load: requests in the kernel in the lowest 20 bits, then those calling, then the pid. */
#define KAIO_ONE_CALLING (1ull << 20)
static inline uint64_t kaio_kernel_load(pid_t pid) {
    return (uint64_t)pid << 40;
}
static inline pid_t kaio_kernel_pid(uint64_t load) {
    return (pid_t)(load >> 40);
}
static inline unsigned kaio_kernel_calling(uint64_t load) {
    return (unsigned)(load >> 20) & 0xfffff;
}
static inline unsigned kaio_kernel_count(uint64_t load) {
    return (unsigned)load & 0xfffff;
}
/* relaxed: under the lock, without which none leaves; or a hint */
static inline unsigned kaio_in_kernel(void) {
    return kaio_kernel_count(atomic_load_explicit(&kaio.load, memory_order_relaxed));
}
void kaio_kernel_forget(void);  /* in a child */
bool kaio_kernel_ready(void);   /* the context, made now if need be */
bool kaio_kernel_pending(void); /* events wait in the ring; no lock, async-signal-safe */
bool kaio_kernel_reap(
    struct kaio_batch *b); /* some, for others want the lock, too; true: there is more */
void kaio_kernel_offer(struct kaio_batch *b, struct kaio_req *req);
unsigned kaio_kernel_tail(void); /* of the ring, without the lock */
bool kaio_kernel_has_declined(const struct iocb *iocb, unsigned tail); /* the same */
bool kaio_kernel_is_poll(const struct kaio_req *req);                  /* is its iocb one? */
void kaio_kernel_poll(struct kaio_batch *b, struct kaio_req *req);
void kaio_kernel_unpoll(struct kaio_req *req);
void kaio_kernel_backlog(struct kaio_batch *b);
struct kaio_req *kaio_kernel_waiting(void);     /* the next of the backlog; NULL: none */
void kaio_kernel_unqueue(struct kaio_req *req); /* takes it out of the backlog */
void kaio_kernel_submit(struct kaio_batch *b);  /* takes b->offer; drops the lock meanwhile */

/* queue.c */
void kaio_queue_add(struct kaio_req *req);
void kaio_queue_drop(struct kaio_req *req); /* cancelled */
void kaio_queue_ended(struct kaio_req *req);
struct kaio_file *kaio_queue_next(void); /* to be taken from, or NULL */
struct kaio_req *kaio_queue_take(struct kaio_file *file);
int kaio_queue_take_batch(struct kaio_file *file, struct kaio_req *batch[KAIO_BATCH]); /* running */
unsigned kaio_queue_batches(unsigned coming);

/* worker.c */
void kaio_worker_queue(struct kaio_batch *b, struct kaio_req *req);
void kaio_worker_finish(struct kaio_batch *b, struct kaio_req *req, long res);
long kaio_worker_run(struct kaio_req *req);  /* bytes or -errno; without the lock */
bool kaio_worker_call(struct kaio_batch *b); /* wakes or starts one if need be; drops the lock */

/* copy.c */
bool kaio_copy_is_memory(int fd);
bool kaio_copy_waits(const struct kaio_file *file, enum kaio_op op);
void kaio_copy_learn(struct kaio_file *file, enum kaio_op op, bool waits);
bool kaio_copy_suits(int flags, size_t nbytes, off_t offset);
void kaio_copy_offer(struct kaio_batch *b, struct kaio_req *req);
long kaio_copy(struct kaio_req *req); /* bytes or -errno; without the lock */
long kaio_copy_stream(struct kaio_req *req);
void kaio_copy_begin(struct kaio_req *req);               /* has the kernel fetch what it reads */
bool kaio_copy_is_quick(size_t nbytes, uint64_t took_ns); /* it did not wait for a device */
bool kaio_copy_read(struct aiocb *cb);                    /* without the lock; true: it has ended */

/* blocker.c */
bool kaio_blocker_has_limit(const struct kaio_req *req);
void kaio_blocker_start(struct kaio_batch *b, struct kaio_req *req);
bool kaio_blocker_create(struct kaio_batch *b);         /* one's thread; drops the lock */
void kaio_blocker_cancel(struct kaio_req *req);         /* the caller ends it */
bool kaio_blocker_enters(const struct kaio_file *file); /* close() must not go past it */

/* complete.c */
void kaio_complete(struct kaio_batch *b, struct kaio_req *req, long res);
void kaio_complete_refused(struct kaio_batch *b, struct kaio_req *req);
void kaio_complete_item(struct kaio_batch *b, struct kaio_lio *lio, bool failed);

/* raised.c */
void kaio_raised_before(struct kaio_batch *b);
void kaio_raised_after(struct kaio_batch *b, bool any);
unsigned kaio_raised_pending(const sigset_t *mask); /* the same without a batch */
void kaio_raised_take(unsigned before);

/* notify.c */
bool kaio_notify_wanted(const struct sigevent *sigev);
int kaio_notify_signal(const struct sigevent *sigev); /* under the lock; 0 or -errno */
/* SIGEV_THREAD, without the lock. The new thread frees what is told; false: there is none. */
bool kaio_notify_request(struct kaio_req *req);
bool kaio_notify_list(struct kaio_lio *lio);

/* wait.c */
/* 0, -EAGAIN (time is up) or -EINTR; of the list: 0, -EIO or -EINTR */
int kaio_wait_any(const struct aiocb *const list[], int n, const struct timespec *timeout);
int kaio_wait_list(struct kaio_lio *lio, bool careful); /* frees lio; careful: not -EINTR */
void kaio_wait_unsubmitted(struct kaio_file *file);
/* A wait that its thread has left sideways is over; under the lock. */
void kaio_wait_abandon(struct kaio_thread *thread);

/* Is the thread in the very call that submits cb? See direct.c. */
static inline bool kaio_is_calling(const struct kaio_thread *thread, const struct aiocb *cb) {
    return atomic_load_explicit(&thread->calling, memory_order_relaxed) == cb;
}

/* aio_error()'s answer; to a handler that has interrupted that call, what cb said before.
 * acquire: pairs with the status store in publish() in complete.c */
static inline int kaio_status(const struct aiocb *cb) {
    int status = __atomic_load_n(&cb->__error_code, __ATOMIC_ACQUIRE);
    if (status == EINPROGRESS && kaio_self && kaio_is_calling(kaio_self, cb))
        return kaio_self->before;
    return status;
}

/* spin.c */
struct kaio_bet {
    atomic_uint doubt; /* its losses, less its wins */
    _Atomic uint64_t not_before_ns;
};
struct kaio_spin {
    struct kaio_bet look, yield;
};
void kaio_spin(struct kaio_spin *spin, bool (*is_found)(const void *), const void *arg);

/* nap.c */
struct kaio_nap {
    bool begun, limited; /* limited: there is a time limit */
    sigset_t mask;       /* the program's, until the wait ends */
};
int kaio_nap(struct kaio_nap *nap, bool cancellable); /* 0 or -EINTR */
void kaio_nap_end(const struct kaio_nap *nap);

/* cancel.c */
int kaio_cancel(int fd, struct aiocb *cb); /* AIO_CANCELED, AIO_NOTCANCELED, AIO_ALLDONE; -EINVAL */
bool kaio_cancel_stream(struct kaio_batch *b,
                        struct kaio_file *file); /* some; false: there are no more */

/* reaper.c */
bool kaio_reaper_ready(const struct kaio_batch *b); /* made now if need be; false: there is none */
bool kaio_reaper_start(struct kaio_batch *b);       /* its thread; drops the lock */
void kaio_reaper_kick(void);
void kaio_reaper_watch(const struct kaio_batch *b); /* it reaps for all while kaio.owed > 0 */
bool kaio_reaper_poll(const struct kaio_batch *b, struct kaio_req *req); /* false: it cannot */
void kaio_reaper_unpoll(struct kaio_req *req);
void kaio_reaper_hand(struct kaio_batch *b); /* gives it the notifications that it must make, */
void kaio_reaper_take(struct kaio_batch *b); /* or takes them over */

#include "watch.h" /* watch.c, stats.c, json.c, share.c, record.c */

#endif
