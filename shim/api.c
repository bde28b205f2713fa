/* SPDX-License-Identifier: MIT */
/* api.c - the exported functions: check, forward, set errno.
 *
 * The walk of a request, file by file (README.md beside this has it in words):
 *   api.c                  the call             core/engine.c   enter (lock, signals) and leave
 *   lanes/direct.c, copy.c the short ways       request/        aiocb -> request, its file, queues
 *   core/order.c           held back? (sync)    core/rule.c     offer, wait or work
 *   lanes/kernel.c         iocbs and events     lanes/copy.c    small buffered requests, streams
 *   lanes/worker.c         calls that may wait  lanes/stream.c  who waits for a stream
 *   core/workers.c, reaper.c, blockers.c        the loops of our threads; core/calls.c starts them
 *   core/rule.c            answers: what next   core/finish.c   result, status, wake-ups, lists
 *   core/notify.c          signal or thread     core/wait.c     aio_suspend(), LIO_WAIT
 *   core/cancel.c          aio_cancel()         core/close.c    fsync(), close(), dup2()
 *   observe/               KAIO_STATS           host/           threads, descriptors, time
 *
 * Nothing else is visible outside. errno is set for the program here only: what is below answers
 * -errno. What its own system calls leave in errno is put back, there or here.
 * KAIO_MODE=off forwards every call to the next definition in line, which is glibc's.
 *
 * Above each function: what it takes and answers, its errors, and where that is written. "Handler":
 * may it be called in a signal handler, whatever that has interrupted (POSIX, 2.4.3)? Exceptions
 * are among the limits of docs/differences.md. Each AIO function but aio_init() has a second name
 * for the same, with 64 at its end (large files).
 */
#include "core/core.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRIORITY_MAX 20 /* AIO_PRIO_DELTA_MAX; <limits.h> does not say it */
#define LIO_DSYNC    3  /* what glibc's aio_misc.h leaves in the aiocb */
#define LIO_SYNC     4

/* The next definitions in line: looked up at load, for dlsym() takes locks and may allocate; or
 * when first used, since other libraries' constructors call close() before ours has run. The lookup
 * is idempotent, so racing is harmless. release and acquire pair: what dlsym() has found may have
 * been loaded by the thread that asked. */
#define EACH_NEXT(use)                                                                             \
    use(aio_read, LARGE("aio_read")) use(aio_write, LARGE("aio_write"))                            \
        use(aio_fsync, LARGE("aio_fsync")) use(aio_error, LARGE("aio_error"))                      \
            use(aio_return, LARGE("aio_return")) use(aio_suspend, LARGE("aio_suspend"))            \
                use(aio_cancel, LARGE("aio_cancel")) use(lio_listio, LARGE("lio_listio"))          \
                    use(aio_init, "aio_init") use(fsync, "fsync") use(fdatasync, "fdatasync")      \
                        use(close, "close") use(close_range, "close_range") use(dup2, "dup2")      \
                            use(dup3, "dup3")
#define DECLARE(name, symbol)                                                                      \
    static const char symbol_##name[] = symbol;                                                    \
    static __typeof__(&name) next_##name;
EACH_NEXT(DECLARE)

#define NEXT(name)                                                                                 \
    ({                                                                                             \
        __typeof__(&name) found = __atomic_load_n(&next_##name, __ATOMIC_ACQUIRE);                 \
        if (!found) {                                                                              \
            found = (__typeof__(&name))dlsym(RTLD_NEXT, symbol_##name);                            \
            __atomic_store_n(&next_##name, found, __ATOMIC_RELEASE);                               \
        }                                                                                          \
        found;                                                                                     \
    })

static void next_load(void) {
#define LOOK_UP(name, symbol) (void)NEXT(name);
    EACH_NEXT(LOOK_UP)
}

static atomic_bool is_loaded;

/* Configuration and next functions; idempotent, before anything else. */
static void load(void) {
    if (kaio_memory_is_inherited()) kaio_memory_wipe();
    if (atomic_load_explicit(&is_loaded, memory_order_acquire)) return;
    static const struct kaio_loops loops = {kaio_worker_main, kaio_reaper_main, kaio_blocker_main};
    static const char *const modes[] = {"auto", "worker", "off"};
    int saved = errno;
    kaio_clock_load();
    next_load();
    kaio_output_load(kaio_config.log);
    kaio_config_load();
    kaio_watch_load();
    kaio_calls_load(&loops);
    kaio_thread_load(kaio_engine_key_ended);
    pthread_atfork(NULL, NULL, kaio_engine_forked);
    kaio_log("active: mode %s", modes[kaio_config.mode]);
    errno = saved;
    /* release: pairs with the acquire above */
    atomic_store_explicit(&is_loaded, true, memory_order_release);
}

__attribute__((constructor)) static void loaded(void) {
    load();
}

__attribute__((destructor)) static void unloaded(void) {
    load();
    kaio_share_end();
}

static bool is_off(void) {
    load();
    return kaio_config.mode == KAIO_OFF;
}

/* Turns -errno into -1 and errno. */
static int answer(int res) {
    if (res >= 0) return res;
    errno = -res;
    return -1;
}

/* glibc leaves the error of the submission in the aiocb, too. */
static int reject(struct aiocb *cb, int err) {
    __atomic_store_n(&cb->__return_value, -1, __ATOMIC_RELAXED);
    __atomic_store_n(&cb->__error_code, err, __ATOMIC_RELEASE);
    errno = err;
    return -1;
}

/* The program may have protected the page of an aiocb, and open it in its handler of SIGSEGV (write
 * barriers, dirty tracking). That handler must come before signals are blocked, where the fault
 * would end the process. What the library writes is written to, atomically, as it may be in
 * progress; the rest is read. */
static void touch(struct aiocb *cb) {
    __atomic_fetch_or(&cb->__abs_prio, 0, __ATOMIC_RELAXED);
    __atomic_fetch_or(&cb->__error_code, 0, __ATOMIC_RELAXED);
    __atomic_fetch_or(&cb->__return_value, 0, __ATOMIC_RELAXED);
    (void)*(volatile int *)&cb->aio_fildes;
    (void)*(volatile off_t *)&cb->aio_offset;
}

static bool bad_priority(const struct aiocb *cb) {
    return cb->aio_reqprio < 0 || cb->aio_reqprio > PRIORITY_MAX;
}

static int submit_one(struct aiocb *cb, enum kaio_op op) {
    struct kaio_batch b;
    int saved = errno;
    touch(cb);
    kaio_enter(&b);
    b.cb = cb;
    int err = kaio_submit_new(&b, cb, op, NULL);
    kaio_leave(&b);
    errno = saved;
    return err || b.no_thread ? reject(cb, EAGAIN) : 0;
}

/* A worker for what was declined in the call is called here, as who waits may start none. */
static bool submit_short(struct aiocb *cb, enum kaio_op op) {
    struct kaio_batch b;
    enum kaio_short done = kaio_direct_submit(cb, op);
    if (done == KAIO_SHORT_DONE || done == KAIO_SHORT_NOT) return done == KAIO_SHORT_DONE;
    int saved = errno;
    kaio_enter(&b);
    if (done == KAIO_SHORT_REFUSED) kaio_direct_take_back(b.self);
    kaio_leave(&b);
    errno = saved;
    return done == KAIO_SHORT_DECLINED;
}

static int read_one(struct aiocb *cb, int opcode) {
    if (bad_priority(cb)) return reject(cb, EINVAL);
    cb->aio_lio_opcode = opcode; /* as in glibc, here and below: it may be used in a list next */
    return kaio_copy_read(cb) || submit_short(cb, KAIO_READ) ? 0 : submit_one(cb, KAIO_READ);
}

static int read_any(struct aiocb *cb, int opcode) {
    bool off = is_off();
    return WATCHED(&cb, 1, KAIO_READ, off ? NEXT(aio_read)(cb) : read_one(cb, opcode));
}

/* Begins to read cb->aio_nbytes at cb->aio_offset of cb->aio_fildes. 0: it is in progress, or has
 * ended already; all further errors are aio_error()'s. -1, and the error in cb, too, as in glibc:
 * EINVAL (aio_reqprio is not 0 to 20), EAGAIN (no memory, 262,144 requests in progress, or no
 * thread for it). POSIX aio_read(), aio_read(3). Handler: no, it may start a thread. */
EXPORT int aio_read(struct aiocb *cb) {
    return read_any(cb, LIO_READ | OPCODE_64);
}
EXPORT_PLAIN(aio_read, read_any(cb, LIO_READ))

static int write_one(struct aiocb *cb, int opcode) {
    if (bad_priority(cb)) return reject(cb, EINVAL);
    cb->aio_lio_opcode = opcode;
    return submit_short(cb, KAIO_WRITE) ? 0 : submit_one(cb, KAIO_WRITE);
}

static int write_any(struct aiocb *cb, int opcode) {
    bool off = is_off();
    return WATCHED(&cb, 1, KAIO_WRITE, off ? NEXT(aio_write)(cb) : write_one(cb, opcode));
}

/* The same for writing; O_APPEND: at the end, in call order. Results, errors and handler as of
 * aio_read(). No SIGPIPE or SIGXFSZ comes: EPIPE and EFBIG do. POSIX aio_write(), aio_write(3). */
EXPORT int aio_write(struct aiocb *cb) {
    return write_any(cb, LIO_WRITE | OPCODE_64);
}
EXPORT_PLAIN(aio_write, write_any(cb, LIO_WRITE))

static int sync_one(int op, struct aiocb *cb) {
    if (op != O_SYNC && op != O_DSYNC) return answer(-EINVAL);
    if (fcntl(cb->aio_fildes, F_GETFL) < 0) return answer(-EBADF);
    cb->aio_reqprio = 0;
    cb->aio_lio_opcode = op == O_SYNC ? LIO_SYNC : LIO_DSYNC;
    return submit_one(cb, op == O_SYNC ? KAIO_FSYNC : KAIO_FDSYNC);
}

/* Begins fsync() (op O_SYNC) or fdatasync() (O_DSYNC) of what was asked for on cb->aio_fildes
 * before, and of nothing later. 0: it is in progress; its own errors are aio_error()'s. -1: EINVAL
 * (op), EBADF (not open; as in glibc, it need not be open for writing), EAGAIN (as aio_read()).
 * POSIX aio_fsync(), aio_fsync(3). Handler: no. */
EXPORT int aio_fsync(int op, struct aiocb *cb) {
    bool off = is_off();
    return WATCHED(&cb, 1, op == O_DSYNC ? KAIO_FDSYNC : KAIO_FSYNC,
                   off ? NEXT(aio_fsync)(op, cb) : sync_one(op, cb));
}
EXPORT_64(aio_fsync);

/* Called a million times a second by some programs: a few loads while nothing has happened. Another
 * status than EINPROGRESS may change while kaio_is_sending(), so it is loaded again once that is
 * false.
 */
static int settled_status(const struct aiocb *cb) {
    for (bool polled = false;; polled = true) {
        bool pending = kaio_status(cb) == EINPROGRESS;
        if (pending && (polled || !kaio_context_pending())) return EINPROGRESS;
        /* acquire: pairs with the releases in publish(): who has seen the first status sees true,
         * or, with false, the last */
        if (!pending && !kaio_is_sending()) return kaio_status(cb);
        int saved = errno;
        kaio_poll();
        errno = saved;
    }
}

static int error_of(const struct aiocb *cb) {
    return is_off() ? NEXT(aio_error)(cb) : settled_status(cb);
}

/* The program is about to learn that it has ended. */
static __attribute__((noinline)) int error_seen(const struct aiocb *cb) {
    int status = error_of(cb);
    if (status != EINPROGRESS) kaio_watch_seen(cb);
    return status;
}

/* EINPROGRESS; 0: it has ended well; else the errno of its read(), write() or fsync(), or
 * ECANCELED. Of an aiocb that was never submitted: what lies in it. errno stays. POSIX aio_error(),
 * aio_error(3). Handler: yes. */
EXPORT int aio_error(const struct aiocb *cb) {
    return __builtin_expect(kaio_stats_on, false) ? error_seen(cb) : error_of(cb);
}
EXPORT_64(aio_error);

/* Of a request that has ended: bytes, 0 (a sync, end of file), or -1: why, aio_error() says; errno
 * stays. Nothing is given back, so it may be called again. Before the end the answer means nothing.
 * POSIX aio_return(), aio_return(3). Handler: yes. */
EXPORT ssize_t aio_return(struct aiocb *cb) {
    if (__builtin_expect(kaio_stats_on, false)) error_seen(cb);
    if (is_off()) return NEXT(aio_return)(cb);
    settled_status(cb); /* relaxed: too early, if at all */
    return __atomic_load_n(&cb->__return_value, __ATOMIC_RELAXED);
}
EXPORT_64(aio_return);

/* Waits until one of the list has ended; NULLs are passed over, and 0 comes at once if there is
 * nothing else. timeout: of CLOCK_MONOTONIC; NULL: none. 0, or -1: EAGAIN (time is up), EINTR (a
 * handler has run; one with SA_RESTART only if there is a timeout), EINVAL (n < 0, as in glibc;
 * tv_nsec outside 0 to 999,999,999, unless one has ended). A cancellation point. POSIX
 * aio_suspend(), aio_suspend(3). Handler: yes. */
EXPORT int aio_suspend(const struct aiocb *const list[], int n, const struct timespec *timeout) {
    if (is_off()) return NEXT(aio_suspend)(list, n, timeout);
    if (n < 0) return answer(-EINVAL);
    int saved = errno;
    int res = kaio_wait_any(list, n, timeout);
    errno = saved;
    return answer(res);
}
EXPORT_64(aio_suspend);

#ifndef __LP64__
/* The same for programs whose time_t has 64 bits (-D_TIME_BITS=64; glibc 2.34). */
struct timespec64 {
    int64_t tv_sec;
    int32_t tv_nsec, unused;
};
EXPORT int __aio_suspend_time64(const struct aiocb *const list[], int n,
                                const struct timespec64 *timeout);
EXPORT int __aio_suspend_time64(const struct aiocb *const list[], int n,
                                const struct timespec64 *timeout) {
    if (!timeout) return aio_suspend(list, n, NULL);
    int64_t s = timeout->tv_sec, most = LONG_MAX;
    struct timespec limit = {(time_t)(s < most ? s : most), timeout->tv_nsec};
    return aio_suspend(list, n, &limit);
}
#endif

/* Cancels cb, or with NULL all requests of fd that were made before. What is cancelled ends with
 * ECANCELED and its notification. AIO_CANCELED: all; AIO_NOTCANCELED: some go on; AIO_ALLDONE:
 * there were none in progress. -1: EBADF (fd is not open), EINVAL (cb is of another descriptor, or
 * says EINPROGRESS and is none of ours). POSIX aio_cancel(), aio_cancel(3). Handler: no. */
EXPORT int aio_cancel(int fd, struct aiocb *cb) {
    if (is_off()) return NEXT(aio_cancel)(fd, cb);
    if (fcntl(fd, F_GETFL) < 0) return answer(-EBADF);
    if (cb && cb->aio_fildes != fd) return answer(-EINVAL);
    int saved = errno;
    if (cb) touch(cb);
    int res = kaio_cancel(fd, cb);
    errno = saved;
    return answer(res);
}
EXPORT_64(aio_cancel);

/* A call of lio_listio(). */
struct list_call {
    struct kaio_lio *lio;
    struct aiocb *const *list; /* what is still to come */
    int err, enqueued;
    bool no_thread;
};

static void touch_list(struct aiocb *const list[], int n) {
    for (int i = 0; i < n; i++)
        if (list[i] && list[i]->aio_lio_opcode != LIO_NOP) touch(list[i]);
}

/* One item of a list. An opcode outside the three fails like any request, in the aiocb. */
LOCKED static int submit_item(struct kaio_batch *b, struct aiocb *cb, struct kaio_lio *lio) {
    int opcode = cb->aio_lio_opcode & ~OPCODE_64;
    enum kaio_op op = opcode == LIO_READ    ? KAIO_READ
                      : opcode == LIO_WRITE ? KAIO_WRITE
                                            : KAIO_INVALID;
    int err = bad_priority(cb) ? -EINVAL : kaio_submit_new(b, cb, op, lio);
    if (err) reject(cb, -err);
    return err;
}

/* Some of the list in one batch, hence in one io_submit(). An item that could not be enqueued is a
 * failed one, too, if others could be. */
static void submit_some(struct list_call *c, int n, bool last) {
    struct kaio_batch b;
    kaio_enter(&b);
    b.list = c->lio->serial;
    for (int i = 0; i < n; i++) {
        struct aiocb *cb = c->list[i];
        if (i % KAIO_HOLD == KAIO_HOLD - 1) kaio_stand_aside();
        if (!cb || cb->aio_lio_opcode == LIO_NOP) continue;
        int err = submit_item(&b, cb, c->lio);
        if (err) c->err = err;
        else c->enqueued++;
    }
    c->lio->failed |= c->err != 0 && c->enqueued > 0;
    if (last) kaio_complete_item(&b, c->lio, false);
    kaio_leave(&b);
    c->no_thread |= b.no_thread;
}

/* 0, or the last item's error that could not be enqueued. Between the batches signals are open. */
static int submit_list(struct kaio_lio *lio, struct aiocb *const list[], int n) {
    struct list_call c = {.lio = lio, .list = list};
    bool last;
    do {
        int some = n < KAIO_SIGNALS ? n : KAIO_SIGNALS;
        last = some == n;
        touch_list(c.list, some);
        submit_some(&c, some, last);
        c.list += some;
        n -= some;
    } while (!last);
    return c.no_thread ? -EAGAIN : c.err;
}

/* There is no memory. */
static int reject_list(struct aiocb *const list[], int n) {
    for (int i = 0; i < n; i++)
        if (list[i] && list[i]->aio_lio_opcode != LIO_NOP) reject(list[i], EAGAIN);
    return answer(-EAGAIN);
}

static int list_all(int mode, struct aiocb *const list[], int n, struct sigevent *sigev) {
    struct kaio_batch b;
    struct sigevent own = {.sigev_notify = SIGEV_NONE};
    int saved = errno;
    if (mode == LIO_NOWAIT && sigev) own = *sigev;
    kaio_enter(&b);
    struct kaio_lio *lio = kaio_lio_get();
    if (lio) {
        lio->sigev = own;
        lio->wait = mode == LIO_WAIT;
        lio->pending = 1; /* ours: the list must not end before it is complete */
    }
    kaio_leave(&b);
    if (!lio) return reject_list(list, n);
    int res = submit_list(lio, list, n);
    if (mode == LIO_WAIT) {
        int waited = kaio_wait_list(lio, false);
        if (waited && res != -EAGAIN) res = waited;
    }
    errno = saved;
    return answer(res);
}

/* Begins all n items, which aio_lio_opcode says; NULLs and LIO_NOP are passed over. LIO_NOWAIT:
 * sigev (or NULL) is told when all have ended. LIO_WAIT: waits for that; no cancellation point. 0,
 * or -1: EINVAL (mode, n < 0, an item's aio_reqprio), EAGAIN (as aio_read(), some item), and of
 * LIO_WAIT EIO (some item has failed), EINTR (a handler without SA_RESTART has run; the items go
 * on). Each item's own error is aio_error()'s; an unknown opcode is one, EINVAL. There is no
 * AIO_LISTIO_MAX. POSIX lio_listio(), lio_listio(3). Handler: no. */
EXPORT int lio_listio(int mode, struct aiocb KAIO_LIST, int n, struct sigevent *restrict sigev) {
    bool off = is_off();
    struct aiocb *const *items = (struct aiocb *const *)list;
    if ((mode != LIO_WAIT && mode != LIO_NOWAIT) || n < 0) return answer(-EINVAL);
    return WATCHED(items, n, mode == LIO_WAIT ? KAIO_WATCH_WAIT : KAIO_WATCH_LIST,
                   off ? NEXT(lio_listio)(mode, list, n, sigev) : list_all(mode, items, n, sigev));
}
EXPORT_PLAIN_LIST(lio_listio)

/* glibc's hints for its thread pool, which has no part in this; KAIO_WORKERS and KAIO_DEPTH take
 * their place. No result, no errors. GNU, aio_init(3). Handler: no. */
EXPORT void aio_init(const struct aioinit *init) {
    if (is_off()) NEXT(aio_init)(init);
}

/* The rest: POSIX ties them to requests in progress. A process without any pays one branch. A
 * vfork()ed child has none; where the kernel wipes nothing, that goes by the pid. */
static bool has_requests(void) {
    return __builtin_expect(atomic_load_explicit(&kaio.started, memory_order_relaxed), false) &&
           !kaio_memory_is_inherited();
}

static void sync_requests(int fd) {
    int saved = errno;
    kaio_close_sync(fd);
    errno = saved;
}

/* Waits for the requests of fd made so far, then libc's: its result and errors. Streams are not
 * waited for. The wait is no cancellation point, libc's call is. POSIX fsync() ("all currently
 * queued I/O operations"), fsync(2). Handler: yes, as POSIX says, here and of fdatasync(). */
EXPORT int fsync(int fd) {
    if (has_requests()) sync_requests(fd);
    return NEXT(fsync)(fd);
}

/* The same with libc's fdatasync(). POSIX fdatasync(), fdatasync(2). */
EXPORT int fdatasync(int fd) {
    if (has_requests()) sync_requests(fd);
    return NEXT(fdatasync)(fd);
}

/* Numbers that may come to mean other files; in every mode. */
static void closed(unsigned first, unsigned last) {
    if (__builtin_expect(kaio_stats_on, false)) kaio_files_closed(first, last);
}

/* Before libc's close(): waits until no request needs the number any more, and ends those that wait
 * for a stream with ECANCELED. -1: EBADF for a descriptor of the library's own; else libc's result
 * and errors. The wait is no cancellation point. POSIX close(), close(2). Handler: yes. */
EXPORT int close(int fd) {
    closed((unsigned)fd, (unsigned)fd);
    if (has_requests()) {
        if (kaio_fd_is_ours(fd)) return answer(-EBADF);
        int saved = errno;
        kaio_close_release(fd);
        errno = saved;
    }
    return NEXT(close)(fd);
}

/* NEXT() knows it from glibc 2.34 on. */
static int close_range_next(unsigned first, unsigned last, int flags) {
    int (*next)(unsigned, unsigned, int) = NEXT(close_range);
    return next ? next(first, last, flags) : (int)syscall(SYS_close_range, first, last, flags);
}

/* Our descriptors are not the program's to close. A vfork()ed child closes only its own copies. */
static int close_others(unsigned first, unsigned last, int flags) {
    unsigned ours;
    int res = 0;
    while (res == 0 && (ours = kaio_fd_ours_from(first)) <= last && ours != UINT_MAX) {
        if (first < ours) res = close_range_next(first, ours - 1, flags);
        first = ours + 1;
    }
    return res == 0 && first <= last ? close_range_next(first, last, flags) : res;
}

/* The same for each number from first to last. Those of the library's own stay open. With
 * CLOSE_RANGE_CLOEXEC nothing is closed, so it is libc's alone. 0, or -1 and its errors; ENOSYS
 * before Linux 5.9. close_range(2); glibc 2.34. Handler: as close(). */
EXPORT int close_range(unsigned first, unsigned last, int flags) {
    bool closes = first <= last && !(flags & ~(int)CLOSE_RANGE_UNSHARE);
    if (closes) closed(first, last);
    if (!has_requests() || !closes || getpid() != kaio.pid)
        return close_range_next(first, last, flags);
    int saved = errno;
    kaio_close_release_range(first, last);
    errno = saved;
    return close_others(first, last, flags);
}

/* The same for all numbers from low on. No result, no errors; errno stays. Before Linux 5.9 there
 * is no close_range(): one by one, up to RLIMIT_NOFILE. closefrom(3); glibc 2.34. Handler: as
 * close(). */
EXPORT void closefrom(int low) {
    unsigned first = low > 0 ? (unsigned)low : 0;
    int saved = errno;
    if (close_range(first, UINT_MAX, 0)) {
        struct rlimit limit = {.rlim_cur = 0};
        getrlimit(RLIMIT_NOFILE, &limit);
        for (unsigned fd = first; fd < limit.rlim_cur && fd <= INT_MAX; fd++) close((int)fd);
    }
    errno = saved;
}

static void make_way(int from, int to) {
    int saved = errno;
    closed((unsigned)to, (unsigned)to);
    if (!has_requests() || from == to || fcntl(from, F_GETFD) < 0) return;
    kaio_fd_evade(to);
    kaio_close_release(to);
    errno = saved;
}

/* Before libc's dup2(): if it will close `to`, waits as close() does. A descriptor of the library's
 * own on that number moves to another. Libc's result and errors. POSIX dup2(), dup2(2). Handler:
 * yes. */
EXPORT int dup2(int from, int to) {
    make_way(from, to);
    return NEXT(dup2)(from, to);
}

/* The same; flags: 0 or O_CLOEXEC, else EINVAL, as when from is to. POSIX.1-2024 dup3(), dup2(2);
 * Linux 2.6.27. Handler: as dup2(). */
EXPORT int dup3(int from, int to, int flags) {
    if (!(flags & ~O_CLOEXEC)) make_way(from, to);
    return NEXT(dup3)(from, to, flags);
}
