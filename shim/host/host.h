/* SPDX-License-Identifier: MIT */
/* host.h - the lowest room: the process, its threads, descriptors and time, as far as the library
 * needs them; and the words that every room uses.
 */
#ifndef KAIO_HOST_H
#define KAIO_HOST_H

#include "host/machine.h" /* first */

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
#ifndef RWF_APPEND /* the same, Linux 4.16 */
#define RWF_APPEND 16
#endif

#define KAIO_POOL_CHUNK   64   /* requests allocated together */
#define KAIO_POOL_CHUNKS  4096 /* 262,144 outstanding requests; the next one gets EAGAIN */
#define KAIO_FILE_CHUNK   512  /* descriptors whose table is allocated together; a page */
#define KAIO_FILE_CHUNKS  2048 /* 2^20 descriptors, the kernel's default fs.nr_open */
#define KAIO_SUBMIT_MANY  64   /* requests in one io_submit() */
#define KAIO_SUBMIT_FEW   32   /* the same, on a stack that may be small */
#define KAIO_FEW          64   /* requests that workers serve before a context is made */
#define KAIO_BATCH        8    /* reads that one worker begins together, writes that it joins, */
#define KAIO_BATCH_BYTES  (128 << 10) /* of so many bytes at most */
#define KAIO_SPARE        20          /* workers beyond KAIO_WORKERS; glibc's aio_threads */
#define KAIO_STOCK        32  /* requests that a thread keeps for the short way of direct.c */
#define KAIO_EFDS         32  /* threads that have an eventfd of their own, at most */
#define KAIO_EFDS_SHARE   32  /* and one in so many of RLIMIT_NOFILE */
#define KAIO_HOLD         8   /* requests dealt with before others may have the lock, */
#define KAIO_SIGNALS      128 /* and before signals are let in */
#define KAIO_LEVELS       8   /* waits of one thread on top of each other, in handlers */
#define KAIO_LARGE_BYTES  (512 << 10) /* buffered requests from here on are never copied inline */
#define KAIO_TRANSFER_MAX 0x7ffff000  /* MAX_RW_COUNT: what one call transfers at most */
#define KAIO_SIGSET       8           /* bytes of the kernel's sigset_t */

/* What must be so, in a build of the tests' (make DEBUG=1). */
#ifdef KAIO_DEBUG
#define KAIO_ASSERT(what) ((what) ? (void)0 : __builtin_trap())
#else
#define KAIO_ASSERT(what) ((void)0)
#endif

enum kaio_op { KAIO_READ, KAIO_WRITE, KAIO_INVALID, KAIO_FSYNC, KAIO_FDSYNC, KAIO_BARRIER };

/* What a descriptor is, as far as it matters here. */
enum kaio_kind { KAIO_UNKNOWN, KAIO_FILE_LIKE, KAIO_STREAM };

/* Who has a request, or has carried it out. The report names those before KAIO_LANES; with the
 * others a stream's request waits. */
enum kaio_lane {
    KAIO_NOBODY,
    KAIO_BY_KERNEL,
    KAIO_BY_WORKER,
    KAIO_BY_CALLER,
    KAIO_LANES,
    KAIO_BY_EPOLL = KAIO_LANES, /* the reaper's set */
    KAIO_BY_NEW_BLOCKER,        /* a thread that is to be started */
    KAIO_BY_BLOCKER, /* that thread, until it has let go of the request (kaio_stream_unblock()) */
};

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

struct kaio_req;
struct kaio_file;
struct kaio_lio;
struct kaio_thread;
TAILQ_HEAD(kaio_reqs, kaio_req);
TAILQ_HEAD(kaio_files, kaio_file);
TAILQ_HEAD(kaio_lios, kaio_lio);
TAILQ_HEAD(kaio_waiting, kaio_thread);
typedef _Atomic(struct kaio_file *) kaio_number; /* what a descriptor's number means, or NULL */

/* How a thread sleeps: see wait.c. */
enum kaio_sleep { KAIO_ON_EVENTFD, KAIO_AWAKE, KAIO_ON_FUTEX };

/* Whose a member is, as in FreeBSD's sys/kern/vfs_aio.c:
 *   (L) under the lock
 *   (t) its own thread's, also in its handlers; of one that has ended, under the lock
 *   (c) constant once others may see it
 *   (a) atomic; the places that use it name their partner
 *   (h) atomic, and a hint: any value is safe, a stale one costs time */

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
    struct kaio_thread *next; /* (c) all of them, in kaio_threads */
    /* (a) the eventfd that the kernel signals for its iocbs, and on which it then sleeps; -1: none;
     * KAIO_LOST, KAIO_NEVER */
    _Atomic int efd;
    atomic_bool taken;  /* (a) kaio_thread_give_back(), kaio_thread_record() */
    atomic_bool unseen; /* (a) taken, but nobody will tell when its thread ends */
    pid_t tid;          /* (L) of that thread */
    bool watched;       /* (L) the reaper's epoll set has its eventfd */
    /* (a) enum kaio_sleep. Whoever turns it to KAIO_AWAKE wakes the thread; futex(2) sleeps on it
     */
    _Atomic unsigned sleep;
    _Atomic int polled; /* (a) the number of its eventfd while it sleeps there; 0: it does not */
    bool to_wake;       /* (L) in the list of those to wake, */
    struct kaio_thread *wake_next; /* (L) */
    bool listed;                   /* (L) it waits for requests that other threads have made, too */
    bool owes;                     /* (L) counted in kaio_reaper.owed */
    TAILQ_ENTRY(kaio_thread) waiting;     /* (L) if listed */
    struct kaio_level level[KAIO_LEVELS]; /* (t) */
    unsigned levels;                      /* (t) */
    /* direct.c */
    struct kaio_req *stock[KAIO_STOCK];  /* (t) filled under the lock, by the thread itself, */
    atomic_uint nstock;                  /* (t) atomic for its handlers */
    struct kaio_req *_Atomic submitting; /* (t) taken from there, by the call that goes on */
    bool direct;                         /* (L) it makes direct reads, and needs a stock */
    const struct aiocb *_Atomic calling; /* (a) which it is submitting; NULL: none */
    int before;                          /* (t) and the status that this had before */
};

/* State that a forked child finds as zeros, which is its first value (memory.c). Each file has its
 * own; unless something else is said, it is that file's alone, and under the lock. */
#define KAIO_WIPED __attribute__((section("kaio_wiped,\"aw\"," KAIO_NOBITS)))

/* The one lock, and what clang's -Wthread-safety sees to (make analyze): LOCKED functions are
 * called under it, GUARDED state is touched only there. UNLOCKED ones look without it; each says
 * why it may.
 */
#ifdef __clang__
#define KAIO_CHECKED(what) __attribute__((what))
#else
#define KAIO_CHECKED(what)
#endif
#define LOCKED   KAIO_CHECKED(requires_capability(kaio_the_lock))
#define GUARDED  KAIO_CHECKED(guarded_by(kaio_the_lock))
#define UNLOCKED KAIO_CHECKED(no_thread_safety_analysis)
#define LOCKS    KAIO_CHECKED(acquire_capability(kaio_the_lock))
#define UNLOCKS  KAIO_CHECKED(release_capability(kaio_the_lock))

/* memory.c */
struct KAIO_CHECKED(capability("lock")) kaio_lock {
    pthread_mutex_t mutex;     /* default type: all zeros is unlocked */
    atomic_uint waits, turns;  /* who sleeps for it now; who has had it after a sleep */
    _Atomic uint64_t since_ns; /* the last of these turns, or when the first began to sleep */
};
extern struct kaio_lock kaio_the_lock;
struct kaio_process {
    _Alignas(KAIO_LINE) atomic_bool started; /* away from the lock, which others write */
    _Atomic pid_t pid;                       /* direct.c: without the lock */
};
extern struct kaio_process kaio;

/* thread.c: the reaper, and what it is there for. */
struct kaio_reaper {
    struct kaio_thread *thread GUARDED; /* its record; NULL: there is none */
    bool due GUARDED;                   /* its thread is to be started */
    atomic_bool runs;                   /* seq_cst: see retire() in reaper.c */
    bool watching GUARDED;              /* its set has all eventfds */
    bool blind GUARDED;                 /* of some requests it sees nothing; it looks around */
    unsigned owed GUARDED;              /* held + backlog + waits for other threads' requests */
};
extern struct kaio_reaper kaio_reaper;

/* context.c */
struct kaio_context {
    io_context_t ctx;  /* NULL: there is none, or not yet */
    int setup_error;   /* of io_setup(); final */
    bool waits;        /* (L) io_submit() cannot be told not to: Linux before 4.13 */
    atomic_uint depth; /* iocbs in the kernel at most; learned downwards. direct.c: a hint */
    /* The process, and how many requests are offered and submitted, and of those how many whose
     * call of direct.c has not returned: one word, so that a call which goes on in a child counts
     * nothing there. See kaio_load_of(). Away from the rest, which hardly ever changes. */
    _Alignas(KAIO_LINE) _Atomic uint64_t load;
};
extern struct kaio_context kaio_context;

extern struct kaio_thread *_Atomic kaio_threads;
extern struct kaio_thread *_Atomic kaio_efds[KAIO_EFDS + 1]; /* those with an eventfd; the reaper */
extern _Atomic int kaio_epfd;                                /* the reaper's epoll set, or -1 */
extern struct kaio_thread kaio_nobody;         /* whose own there was no memory for: never asleep */
extern __thread struct kaio_thread *kaio_self; /* NULL until the thread first enters */
extern __thread bool kaio_is_ours;             /* a worker or the reaper: signals stay blocked */

/* config.c */
enum kaio_mode { KAIO_AUTO, KAIO_WORKER, KAIO_OFF };
#define KAIO_PATH_MAX 1024
struct kaio_config {
    int mode, depth, workers, order;
    char log[KAIO_PATH_MAX];   /* "": off, "1": standard error, a path */
    char stats[KAIO_PATH_MAX]; /* "": off, "live", a directory */
};
extern struct kaio_config kaio_config;
void kaio_config_load(void);

/* output.c: waits for nothing */
struct kaio_output {
    sigset_t mask;    /* the program's */
    unsigned pending; /* signals of a write, before it */
    int saved;        /* errno */
};
void kaio_output_load(const char *log);               /* KAIO_LOG's value, once that is known */
void kaio_output_begin(struct kaio_output *o);        /* around what may raise a signal, */
void kaio_output_end(struct kaio_output *o, int err); /* and has answered 0 or -errno */
int kaio_output_put(int fd, const char *text, size_t n, size_t *done);
const char *kaio_strerror(int err); /* strerror(3) without its locks */
void kaio_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void kaio_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* memory.c */
void *kaio_alloc(size_t size); /* zeroed pages, never freed; NULL: no memory */
void kaio_memory_mark(void);   /* a child finds the state wiped by the kernel, or wipes it */
/* Is the state that of a parent? Never, where the kernel wipes it. False in a vfork()ed child that
 * asks for nothing: it must not wipe. */
extern _Atomic pid_t kaio_memory_owner;
bool kaio_memory_is_of_another(pid_t whose);
/* acquire: pairs with the release in kaio_memory_wipe(), maybe by another thread of the child */
static inline bool kaio_memory_is_inherited(void) {
    pid_t whose = atomic_load_explicit(&kaio_memory_owner, memory_order_acquire);
    return __builtin_expect(whose != 0, false) && kaio_memory_is_of_another(whose);
}
void kaio_memory_wipe(void); /* in a child */
LOCKS void kaio_lock(void);
bool kaio_is_locked(void); /* by somebody; for KAIO_ASSERT() */
UNLOCKS void kaio_unlock(void);
LOCKED void kaio_stand_aside(void); /* drops the lock if others wait for it; takes it again */

/* context.c */
/* kaio_context.load: requests in the kernel in the lowest 20 bits, then those calling, then the
 * pid. */
#define KAIO_ONE_CALLING (1ull << 20)
static inline uint64_t kaio_load_of(pid_t pid) {
    return (uint64_t)pid << 40;
}
static inline pid_t kaio_load_pid(uint64_t load) {
    return (pid_t)(load >> 40);
}
static inline unsigned kaio_load_calling(uint64_t load) {
    return (unsigned)(load >> 20) & 0xfffff;
}
static inline unsigned kaio_load_count(uint64_t load) {
    return (unsigned)load & 0xfffff;
}
/* relaxed: under the lock, without which none leaves; or a hint */
static inline unsigned kaio_in_kernel(void) {
    return kaio_load_count(atomic_load_explicit(&kaio_context.load, memory_order_relaxed));
}
int kaio_context_call(long call, long a, long b, long c, long d, long e); /* 0 or more, or -errno */
void kaio_context_forget(void);                                           /* in a child */
bool kaio_context_ready(void);                                            /* made now if need be */
bool kaio_context_pending(void); /* events wait in the ring; no lock, async-signal-safe */
bool kaio_context_event(struct io_event *ev); /* takes the next; false: there is none */
unsigned kaio_context_tail(void);             /* of the ring, without the lock */
bool kaio_context_has_declined(const struct iocb *iocb, unsigned tail); /* the same */

/* epoll.c */
LOCKED bool
kaio_reaper_ready(bool careful);     /* it runs, or kaio_leave() starts it; false: neither */
LOCKED void kaio_reaper_watch(void); /* it reaps for all while kaio_reaper.owed > 0 */
LOCKED void kaio_reaper_end(void); /* it could not be started, or goes; its record is still taken */
LOCKED void kaio_reaper_unwatch(void);
int kaio_epoll_set(void);            /* or -1 */
LOCKED bool kaio_reaper_renew(void); /* a set for it, if it has none or lost it; true: it had not */

/* kind.c */
struct statx;
enum kaio_kind kaio_kind_of(int fd, struct statx *st); /* and what statx(2) says */
bool kaio_kind_seeks(int fd);
bool kaio_kind_is_storage(int fd);
bool kaio_kind_is_stream(int fd);

/* thread.c */
void kaio_thread_load(void (*ended)(void *)); /* called when a thread of the program's ends */
void kaio_thread_begin(void);                 /* its state is zeros */
struct kaio_thread *kaio_thread_self(void);   /* the caller's; under the lock */
struct kaio_thread *kaio_thread_record(void); /* a free one; NULL: no memory; under the lock */
void kaio_thread_watch(struct kaio_thread *self, bool careful);
void kaio_thread_give_back(void);
LOCKED int kaio_thread_efd(struct kaio_thread *thread); /* made when first needed; under the lock */
LOCKED void kaio_thread_check(struct kaio_thread *thread); /* is it still its own? under the lock */
LOCKED void kaio_reaper_kick(void);                        /* wakes it, under the lock */
LOCKED void kaio_reaper_look(void); /* some event will signal nobody: it looks around from now on */
void kaio_thread_drain(struct kaio_thread *thread); /* reads its eventfd, without waiting */
void kaio_thread_list(struct kaio_thread *thread,
                      bool listed); /* it waits for requests of others */
LOCKED void
kaio_thread_wake_later(struct kaio_thread *thread); /* at kaio_leave(); under the lock */
LOCKED void
kaio_thread_wake_waiter(struct kaio_thread *waiter); /* the same; NULL, KAIO_EVERYONE, too */
void kaio_thread_add_waiter(struct kaio_thread **waiter, struct kaio_thread *thread);
LOCKED struct kaio_thread *kaio_thread_next_to_wake(void); /* NULL: no more */
void kaio_thread_wake(struct kaio_thread *thread);         /* now; without the lock */
bool kaio_thread_polls(struct kaio_thread *thread,
                       int efd); /* before poll(), read(); false: it has moved */
/* Several threads wait for the same: all that wait so are woken. */
#define KAIO_EVERYONE ((struct kaio_thread *)1)
#define KAIO_LOST     (-2)                              /* an eventfd that was closed unseen */
#define KAIO_NEVER    (-3)                              /* kaio_nobody's */
int kaio_thread_start(void *(*run)(void *), void *arg); /* 0 or -errno; without the lock */

/* clock.c; the kernel's, as nobody fakes it */
struct pollfd;
void kaio_clock_load(void);
void kaio_clock_get(struct timespec *now); /* CLOCK_MONOTONIC, here and below */
uint64_t kaio_now_ns(void);
int kaio_clock_poll(struct pollfd *fd, const struct timespec *limit); /* ppoll() of one */
int kaio_clock_nap(long ns, bool cancellable); /* less than a second; 0, or -EINTR */

/* fd.c */
int kaio_fd_move(int fd);  /* another number for it, out of the program's way; or -1 */
int kaio_fd_raise(int fd); /* moves a new descriptor out of the program's way; -1 stays -1 */
bool kaio_fd_is_ours(int fd);
bool kaio_fd_is_marked(int fd);             /* still the file that kaio_fd_raise() answered */
void kaio_fd_evade(int fd);                 /* before dup2() or dup3() onto it */
unsigned kaio_fd_ours_from(unsigned first); /* before close_range(): what to spare */
/* What a small file of proc(5) says, ended by 0. Its length, or -1. */
long kaio_fd_tell(const char *path, char *text, size_t size);

/* raised.c */
struct kaio_raised {
    bool writes;      /* the thread itself has made some, */
    unsigned seen;    /* how many were raised before them, */
    unsigned pending; /* and the signals of theirs that were pending for the thread */
};
LOCKED void kaio_raised_before(struct kaio_raised *r, const sigset_t *mask);
LOCKED bool kaio_raised_since(const struct kaio_raised *r); /* some; under the lock */
void kaio_raised_after(const struct kaio_raised *r, bool any);
LOCKED void kaio_raised_note(void); /* EPIPE, EFBIG, or maybe */
unsigned kaio_raised_pending(const sigset_t *mask);
void kaio_raised_take(unsigned before);

/* spin.c */
struct kaio_bet {
    atomic_uint doubt; /* its losses, less its wins */
    _Atomic uint64_t not_before_ns;
};
struct kaio_spin {
    struct kaio_bet look, yield;
};
void kaio_spin(struct kaio_spin *spin, bool (*is_found)(const void *), const void *arg);

#endif
