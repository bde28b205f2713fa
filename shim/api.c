/* interpose.c - the exported functions: validate, forward, set errno.
 *
 * The walk of a request, file by file:
 *   interpose.c  the call                   lifecycle.c  enter (lock, signals) and leave
 *   request.c    aiocb -> request           file.c       held back? (sync, KAIO_ORDER=fd)
 *   submit.c     offer, wait or work        kernel.c     io_submit(), the ring of events
 *   direct.c     the same, without the lock copy.c       small buffered requests
 *   queue.c      what the kernel declined   worker.c     threads for it
 *   blocker.c    unpollable streams         thread.c     records of threads, starting them
 *   complete.c   result, status, wake-ups   notify.c     signal or thread
 *   reaper.c     the background thread      wait.c       aio_suspend(), LIO_WAIT
 *   cancel.c     aio_cancel(), close()      nap.c        where nobody can wake it
 *   watch.c      KAIO_STATS: at the calls   stats.c      inside; the report (json.c)
 *   share.c      KAIO_STATS=live            record.c     KAIO_RECORD
 *   fd.c         our own descriptors        raised.c     signals of a write
 *   config.c     KAIO_*                     clock.c      time, as nobody fakes it
 *   output.c     log, report                spin.c       a look around before sleep
 *
 * Nothing else in the library touches errno for the program, and nothing else is visible outside.
 * KAIO_MODE=off forwards every call to the next definition in line, which is glibc's.
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
#define EXPORT       __attribute__((visibility("default")))
/* The same function under its large-file name: off_t is 64 bits wide on x86-64. */
#define EXPORT_64(name) __asm__(".globl " #name "64\n.set " #name "64, " #name)

/* The next definitions in line: looked up at load, for dlsym() takes locks and may allocate; or
 * when first used, since other libraries' constructors call close() before ours has run. The lookup
 * is idempotent, so racing is harmless. */
#define EACH_NEXT(use)                                                                             \
    use(aio_read) use(aio_write) use(aio_fsync) use(aio_error) use(aio_return) use(aio_suspend)    \
        use(aio_cancel) use(lio_listio) use(aio_init) use(fsync) use(fdatasync) use(close)         \
            use(close_range) use(dup2) use(dup3)
#define DECLARE(name) static __typeof__(&name) next_##name;
EACH_NEXT(DECLARE)

#define NEXT(name)                                                                                 \
    ({                                                                                             \
        __typeof__(&name) found = __atomic_load_n(&next_##name, __ATOMIC_RELAXED);                 \
        if (!found) {                                                                              \
            found = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                    \
            __atomic_store_n(&next_##name, found, __ATOMIC_RELAXED);                               \
        }                                                                                          \
        found;                                                                                     \
    })

static void next_load(void) {
#define LOOK_UP(name) (void)NEXT(name);
    EACH_NEXT(LOOK_UP)
}

static atomic_bool is_loaded;

/* Configuration and next functions; idempotent, before anything else. */
static void load(void) {
    if (atomic_load_explicit(&is_loaded, memory_order_acquire)) return;
    static const struct kaio_loops loops = {kaio_worker_main, kaio_reaper_main, kaio_blocker_main};
    static const char *const modes[] = {"auto", "kernel", "worker", "off"};
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
    kaio_stats_report();
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

static int submit(struct aiocb *cb, enum kaio_op op) {
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

static int read_one(struct aiocb *cb) {
    if (bad_priority(cb)) return reject(cb, EINVAL);
    cb->aio_lio_opcode = LIO_READ; /* as in glibc, here and below: it may be used in a list next */
    return kaio_copy_read(cb) || submit_short(cb, KAIO_READ) ? 0 : submit(cb, KAIO_READ);
}

EXPORT int aio_read(struct aiocb *cb) {
    bool off = is_off();
    return WATCHED(&cb, 1, KAIO_READ, off ? NEXT(aio_read)(cb) : read_one(cb));
}
EXPORT_64(aio_read);

static int write_one(struct aiocb *cb) {
    if (bad_priority(cb)) return reject(cb, EINVAL);
    cb->aio_lio_opcode = LIO_WRITE;
    return submit_short(cb, KAIO_WRITE) ? 0 : submit(cb, KAIO_WRITE);
}

EXPORT int aio_write(struct aiocb *cb) {
    bool off = is_off();
    return WATCHED(&cb, 1, KAIO_WRITE, off ? NEXT(aio_write)(cb) : write_one(cb));
}
EXPORT_64(aio_write);

static int sync_one(int op, struct aiocb *cb) {
    if (op != O_SYNC && op != O_DSYNC) return answer(-EINVAL);
    if (fcntl(cb->aio_fildes, F_GETFL) < 0) return answer(-EBADF);
    cb->aio_reqprio = 0;
    cb->aio_lio_opcode = op == O_SYNC ? LIO_SYNC : LIO_DSYNC;
    return submit(cb, op == O_SYNC ? KAIO_FSYNC : KAIO_FDSYNC);
}

EXPORT int aio_fsync(int op, struct aiocb *cb) {
    bool off = is_off();
    return WATCHED(&cb, 1, op == O_DSYNC ? KAIO_FDSYNC : KAIO_FSYNC,
                   off ? NEXT(aio_fsync)(op, cb) : sync_one(op, cb));
}
EXPORT_64(aio_fsync);

/* Called a million times a second by some programs: a few loads while nothing has happened. Another
 * status than EINPROGRESS may change while kaio.sending, so it is loaded again once that is false.
 */
static int look(const struct aiocb *cb) {
    for (bool polled = false;; polled = true) {
        bool pending = kaio_status(cb) == EINPROGRESS;
        if (pending && (polled || !kaio_context_pending())) return EINPROGRESS;
        /* acquire: pairs with the releases in publish(): who has seen the first status sees true,
         * or, with false, the last */
        if (!pending && !atomic_load_explicit(&kaio.sending, memory_order_acquire))
            return kaio_status(cb);
        int saved = errno;
        kaio_poll();
        errno = saved;
    }
}

static int error_of(const struct aiocb *cb) {
    return is_off() ? NEXT(aio_error)(cb) : look(cb);
}

/* The program is about to learn that it has ended. */
static __attribute__((noinline)) int error_seen(const struct aiocb *cb) {
    int status = error_of(cb);
    if (status != EINPROGRESS) kaio_watch_seen(cb);
    return status;
}

EXPORT int aio_error(const struct aiocb *cb) {
    return __builtin_expect(kaio_stats_on, false) ? error_seen(cb) : error_of(cb);
}
EXPORT_64(aio_error);

EXPORT ssize_t aio_return(struct aiocb *cb) {
    if (__builtin_expect(kaio_stats_on, false)) error_seen(cb);
    if (is_off()) return NEXT(aio_return)(cb);
    look(cb); /* relaxed: too early, if at all */
    return __atomic_load_n(&cb->__return_value, __ATOMIC_RELAXED);
}
EXPORT_64(aio_return);

EXPORT int aio_suspend(const struct aiocb *const list[], int n, const struct timespec *timeout) {
    if (is_off()) return NEXT(aio_suspend)(list, n, timeout);
    if (n < 0) return answer(-EINVAL);
    int saved = errno;
    int res = kaio_wait_any(list, n, timeout);
    errno = saved;
    return answer(res);
}
EXPORT_64(aio_suspend);

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
static int submit_item(struct kaio_batch *b, struct aiocb *cb, struct kaio_lio *lio) {
    enum kaio_op op = cb->aio_lio_opcode == LIO_READ    ? KAIO_READ
                      : cb->aio_lio_opcode == LIO_WRITE ? KAIO_WRITE
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
        int some = n < KAIO_SUBMIT_MAX ? n : KAIO_SUBMIT_MAX;
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
EXPORT int lio_listio(int mode, struct aiocb *const list[], int n, struct sigevent *sigev) {
    bool off = is_off();
    if ((mode != LIO_WAIT && mode != LIO_NOWAIT) || n < 0) return answer(-EINVAL);
    return WATCHED(list, n, mode == LIO_WAIT ? KAIO_WATCH_WAIT : KAIO_WATCH_LIST,
                   off ? NEXT(lio_listio)(mode, list, n, sigev) : list_all(mode, list, n, sigev));
}
EXPORT_64(lio_listio);

/* glibc's hints for its thread pool; KAIO_WORKERS and KAIO_DEPTH take their place. */
EXPORT void aio_init(const struct aioinit *init) {
    if (is_off()) NEXT(aio_init)(init);
}

/* The rest: POSIX ties them to requests in progress. A process without any pays one branch. */
static bool has_requests(void) {
    return __builtin_expect(atomic_load_explicit(&kaio.started, memory_order_relaxed), false);
}

static void sync_requests(int fd) {
    int saved = errno;
    kaio_close_sync(fd);
    errno = saved;
}

EXPORT int fsync(int fd) {
    if (has_requests()) sync_requests(fd);
    return NEXT(fsync)(fd);
}

EXPORT int fdatasync(int fd) {
    if (has_requests()) sync_requests(fd);
    return NEXT(fdatasync)(fd);
}

EXPORT int close(int fd) {
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

EXPORT int close_range(unsigned first, unsigned last, int flags) {
    bool closes = first <= last && !(flags & ~(int)CLOSE_RANGE_UNSHARE);
    if (!has_requests() || !closes || getpid() != kaio.pid)
        return close_range_next(first, last, flags);
    int saved = errno;
    kaio_close_release_range(first, last);
    errno = saved;
    return close_others(first, last, flags);
}

/* Before Linux 5.9 there is no close_range(). */
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
    if (!has_requests() || from == to || fcntl(from, F_GETFD) < 0) return;
    kaio_fd_evade(to);
    kaio_close_release(to);
    errno = saved;
}

EXPORT int dup2(int from, int to) {
    make_way(from, to);
    return NEXT(dup2)(from, to);
}

EXPORT int dup3(int from, int to, int flags) {
    if (!(flags & ~O_CLOEXEC)) make_way(from, to);
    return NEXT(dup3)(from, to, flags);
}
