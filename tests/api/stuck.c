/* SPDX-License-Identifier: MIT */
/* Requests that cannot end: nobody provides the memory that they read into, until release()
 * (userfaultfd). So they occupy all workers, those of glibc as well, and it is certain which
 * requests run, which are queued and which are held: what aio_cancel() says of each, lists of such,
 * descriptors that are closed or synced under them, and aio_suspend() for them. */
#include "test.h"

#include <linux/userfaultfd.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Large buffered requests go to a worker at once. glibc has 20 threads, and each serves one
 * descriptor; the shim has 16, and 20 more for descriptors that have none of those. */
enum { GLIBC = 20, WORKERS = 16, STUCK = WORKERS + GLIBC, MEMORIES = STUCK + 1, LARGE = 1 << 20 };

static int faults, signo; /* userfaultfd; real-time, blocked */
static char *missing;     /* LARGE bytes for each */
static struct aiocb stuck[STUCK];
static int fds[STUCK];
static sem_t called;

static void open_faults(void) {
    struct uffdio_api api = {.api = UFFD_API};
    faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api)) skip("no userfaultfd here");
    missing =
        mmap(NULL, MEMORIES * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(missing != MAP_FAILED, "memory");
}

static void release(void) {
    struct uffdio_range range = {(uintptr_t)missing, MEMORIES * LARGE};
    need(ioctl(faults, UFFDIO_UNREGISTER, &range) == 0, "UFFDIO_UNREGISTER");
}

static struct aiocb *reads(struct aiocb *cb, int fd, char *buf) {
    *cb = request(fd, buf, LARGE, 0);
    need(aio_read(cb) == 0, "aio_read");
    return cb;
}

static int all_stuck; /* so many occupy all workers */

/* Until release(), whoever touches `missing` is stuck: n requests. */
static void occupy(int n) {
    struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
    struct uffd_msg msg;
    range.range = (struct uffdio_range){(uintptr_t)missing, MEMORIES * LARGE};
    need(madvise(missing, MEMORIES * LARGE, MADV_DONTNEED) == 0, "madvise");
    need(ioctl(faults, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
    for (int i = 0; i < n; i++) {
        fds[i] = i ? dup(fds[0]) : scratch(O_RDWR, 2 * LARGE);
        need(fds[i] >= 0, "dup");
        reads(&stuck[i], fds[i], missing + i * LARGE);
        need(read(faults, &msg, sizeof msg) == sizeof msg, "fault");
    }
}

/* After release(). */
static void collect(int n) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        bad += finish(&stuck[i]) != 0 || aio_return(&stuck[i]) != LARGE;
        bad += !is_pattern(missing + i * LARGE, LARGE, 0);
        close(fds[i]);
    }
    say("stuck ones: %d bad", bad);
}

static void cancels(const char *what, int fd, struct aiocb *cb) {
    int answer = aio_cancel(fd, cb);
    say("%s: %s", what,
        answer == AIO_CANCELED      ? "CANCELED"
        : answer == AIO_NOTCANCELED ? "NOTCANCELED"
        : answer == AIO_ALLDONE     ? "ALLDONE"
                                    : name(errno));
}

static void by_signal(struct sigevent *sigev, int value) {
    memset(sigev, 0, sizeof *sigev);
    sigev->sigev_notify = SIGEV_SIGNAL;
    sigev->sigev_signo = signo;
    sigev->sigev_value.sival_int = value;
}

static void call(union sigval value) {
    (void)value;
    sem_post(&called);
}

static void by_thread(struct sigevent *sigev) {
    memset(sigev, 0, sizeof *sigev);
    sigev->sigev_notify = SIGEV_THREAD;
    sigev->sigev_notify_function = call;
}

/* At once and once. */
static bool was_called(void) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += quiet_s(10);
    return sem_clockwait(&called, CLOCK_MONOTONIC, &end) == 0 && sem_trywait(&called) != 0;
}

static void each_state(void) {
    int fd = scratch(O_RDWR, 2 * LARGE);
    char *buf = pages(LARGE);
    struct aiocb cb, other, sync[2];
    say("-- each state");
    occupy(all_stuck);
    cancels("running", fds[0], &stuck[0]);
    cancels("running, all", fds[0], NULL);
    say("still %s", name(aio_error(&stuck[0])));
    cancels("queued", fd, reads(&cb, fd, buf));
    say("it says %s, %zd", name(aio_error(&cb)), aio_return(&cb));
    cancels("again", fd, &cb);
    cb = request(fd, buf, LARGE, 0);
    by_signal(&cb.aio_sigevent, 7);
    need(aio_read(&cb) == 0, "read");
    cancels("queued, signal", fd, &cb);
    say("notified %d", signalled(signo, 10));
    reads(&cb, fd, buf);
    reads(&other, fd, buf);
    cancels("one of two queued", fd, &cb);
    say("they say %s %s", name(aio_error(&cb)), name(aio_error(&other)));
    cancels("all", fd, NULL);
    say("they say %s %s", name(aio_error(&cb)), name(aio_error(&other)));
    cb = request(fd, memset(buf, 'w', LARGE), LARGE, 0);
    need(aio_write(&cb) == 0, "write");
    cancels("queued write", fd, &cb);

    reads(&cb, fds[1], buf);
    cancels("one running, one queued", fds[1], NULL);
    say("they say %s %s", name(aio_error(&stuck[1])), name(aio_error(&cb)));
    for (int i = 0; i < 2; i++) {
        sync[i] = request(fds[2], NULL, 0, 0);
        by_signal(&sync[i].aio_sigevent, 20 + i);
        need(aio_fsync(i ? O_DSYNC : O_SYNC, &sync[i]) == 0, "fsync");
    }
    cancels("held", fds[2], &sync[0]);
    say("they say %s %s, notified %d", name(aio_error(&sync[0])), name(aio_error(&sync[1])),
        signalled(signo, 10));
    struct aiocb behind = request(fds[1], NULL, 0, 0);
    need(aio_fsync(O_SYNC, &behind) == 0, "fsync");
    cancels("one running, one held", fds[1], NULL);
    say("they say %s %s", name(aio_error(&stuck[1])), name(aio_error(&behind)));
    release();
    report("the other", &sync[1]);
    say("notified %d", signalled(signo, 10));
    say("then %d", signalled(signo, 0));
    collect(all_stuck);
    cancels("all done", fd, NULL);
    say("not written %d", pread(fd, buf, LARGE, 0) == LARGE && is_pattern(buf, LARGE, 0));
    close(fd);
    free(buf);
}

static void running_write(void) {
    int fd = scratch(O_RDWR, LARGE);
    struct uffd_msg msg;
    struct aiocb cb = request(fd, missing + LARGE, LARGE, 0);
    say("-- running write");
    occupy(1);
    need(aio_write(&cb) == 0 && read(faults, &msg, sizeof msg) == sizeof msg, "write");
    cancels("running write", fd, &cb);
    cancels("running write, all", fd, NULL);
    release();
    report("write", &cb);
    collect(1);
    close(fd);
}

/* The last item to be cancelled ends the list. */
static void list(bool use_thread) {
    enum { N = 3 };
    int fd = scratch(O_RDWR, LARGE);
    char *buf = pages(N * LARGE);
    struct aiocb cbs[N], *items[] = {&cbs[0], NULL, &cbs[1], &cbs[2]};
    struct sigevent sigev;
    say("-- list by %s", use_thread ? "thread" : "signal");
    occupy(all_stuck);
    by_signal(&sigev, 9);
    if (use_thread) by_thread(&sigev);
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, buf + i * LARGE, LARGE, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        if (!use_thread) by_signal(&cbs[i].aio_sigevent, i);
    }
    answered("no wait", lio_listio(LIO_NOWAIT, items, N + 1, &sigev));
    cancels("item 1", fd, &cbs[1]);
    if (!use_thread) say("notified %d", signalled(signo, 10));
    say("items %s %s %s", name(aio_error(&cbs[0])), name(aio_error(&cbs[1])),
        name(aio_error(&cbs[2])));
    say("no other %d %d", signalled(signo, 0) == -1, sem_trywait(&called) != 0);
    cancels("item 0", fd, &cbs[0]);
    if (!use_thread) say("notified %d", signalled(signo, 10));
    cancels("the rest", fd, NULL);
    if (!use_thread) say("notified %d", signalled(signo, 10));
    if (use_thread) say("list %d", was_called());
    else say("list %d", signalled(signo, 10));
    say("no other %d %d", signalled(signo, 0) == -1, sem_trywait(&called) != 0);
    for (int i = 0; i < N; i++) report("item", &cbs[i]);
    release();
    collect(all_stuck);
    close(fd);
    free(buf);
}

/* Callbacks' threads block nothing, so signals no longer come from here on. */
static void by_callback(void) {
    int fd = scratch(O_RDWR, LARGE);
    char *buf = pages(LARGE);
    struct aiocb cb = request(fd, buf, LARGE, 0);
    occupy(all_stuck);
    by_thread(&cb.aio_sigevent);
    need(aio_read(&cb) == 0, "read");
    cancels("queued, thread", fd, &cb);
    say("notified %d", was_called());
    report("it", &cb);
    release();
    collect(all_stuck);
    close(fd);
    free(buf);
}

/* Also if it is stuck itself. */
static void until_waiting(pid_t tid) {
    for (int seen = 0; seen < 10; sleep_ms(2)) seen = task_state(tid) != 'R' ? seen + 1 : 0;
}

static void *release_later(void *unused) {
    (void)unused;
    until_asleep(getpid());
    release();
    return NULL;
}

static bool all_are(const char *buf, char c) {
    for (int i = 0; i < LARGE; i++)
        if (buf[i] != c) return false;
    return true;
}

/* The file that has both writes, and nothing of them is in the other. */
static const char *written(int old, int other) {
    char *buf = pages(2 * LARGE);
    struct stat st;
    bool is_old = pread(old, buf, 2 * LARGE, 0) == 2 * LARGE && all_are(buf, 'b') &&
                  all_are(buf + LARGE, 'a');
    bool untouched = is_pattern(buf, 2 * LARGE, 0);
    bool is_new = pread(other, buf, 2 * LARGE, 0) == 2 * LARGE && all_are(buf, 'b') &&
                  all_are(buf + LARGE, 'a');
    need(fstat(other, &st) == 0, "fstat");
    free(buf);
    return is_old && st.st_size == 0 ? "old file" : is_new && untouched ? "new file" : "lost";
}

/* One request runs on the number, others are queued and held, when it gets another meaning: glibc's
 * go to the new file (bug 14942). */
static void replaced(int way) {
    static const char *const ways[] = {"close", "dup2", "dup3"};
    char *buf = pages(3 * LARGE);
    pthread_t thread;
    struct aiocb before, after, sync, read;
    occupy(all_stuck);
    int fd = fds[0], old = dup(fd), other = open("new", O_RDWR | O_CREAT | O_TRUNC, 0600), bad = 0;
    need(old >= 0 && other >= 0, "descriptors");
    before = request(fd, memset(buf, 'b', LARGE), LARGE, 0);
    sync = request(fd, NULL, 0, 0);
    after = request(fd, memset(buf + LARGE, 'a', LARGE), LARGE, LARGE);
    bad += aio_write(&before) != 0 || aio_fsync(O_SYNC, &sync) != 0 || aio_write(&after) != 0;
    read = request(fd, buf + 2 * LARGE, LARGE, LARGE);
    bad += aio_read(&read) != 0;
    need(pthread_create(&thread, NULL, release_later, NULL) == 0, "thread");
    if (way == 0) bad += close(fd) != 0 || fcntl(other, F_DUPFD, fd) != fd;
    else bad += (way == 1 ? dup2(other, fd) : dup3(other, fd, O_CLOEXEC)) != fd;
    pthread_join(thread, NULL);
    bad += finish(&before) != 0 || finish(&after) != 0 || finish(&sync) != 0 || finish(&read) != 0;
    bad += aio_return(&before) != LARGE || aio_return(&read) != LARGE;
    bad += aio_return(&after) != LARGE || lseek(other, 0, SEEK_CUR) != 0;
    bad += finish(&stuck[0]) != 0 || aio_return(&stuck[0]) != LARGE;
    differs(ways[way], "new file", "old file", written(old, other));
    say("%d bad", bad);
    for (int i = 0; i < all_stuck; i++) {
        finish(&stuck[i]);
        close(fds[i]);
    }
    close(old);
    close(other);
    free(buf);
}

/* A small request on the descriptor of one that is stuck. glibc does one at a time of each; so does
 * the shim, if asked. */
static void beside(const char *what, bool writes) {
    bool in_turn = getenv("KAIO_ORDER");
    char *buf = pages(4096);
    struct aiocb cb;
    occupy(1);
    cb = request(fds[0], buf, 4096, LARGE);
    need((writes ? aio_write(&cb) : aio_read(&cb)) == 0, "request");
    int most = !is_shim() || in_turn ? 50 : 5000;
    for (int i = 0; i < most && aio_error(&cb) == EINPROGRESS; i++) sleep_ms(1);
    differs(what, "EINPROGRESS", in_turn ? "EINPROGRESS" : "0", name(aio_error(&cb)));
    release();
    report("it", &cb);
    say("data %d", writes || is_pattern(buf, 4096, LARGE));
    collect(1);
    free(buf);
}

/* Requests that the kernel declines, one at a time, while a worker is held up: each gets another.
 */
static void beside_declined(void) {
    enum { WRITES = 100 };
    char *buf = pages(4096);
    struct timespec limit = {quiet_s(5), 0};
    int late = 0, fd = scratch(O_RDWR | O_DIRECT, 4096 * WRITES);
    for (int i = 0; i < WRITES; i++) {
        struct aiocb cb = request(fd, buf, 4096, i * 4096);
        need(aio_read(&cb) == 0 && finish(&cb) == 0, "read");
    }
    sleep_ms(1200); /* the workers of the first requests are gone */
    occupy(1);
    for (int i = 0; i < WRITES && !late; i++) {
        static struct aiocb cb;
        cb = request(fd, buf, 4096, 4096 * (WRITES + 2 * i + 1)); /* behind a hole */
        const struct aiocb *list[] = {&cb};
        need(aio_write(&cb) == 0, "write");
        late = aio_suspend(list, 1, &limit) != 0;
        need(late || (aio_error(&cb) == 0 && aio_return(&cb) == 4096), "written");
    }
    say("beside a stuck one, declined: %d late", late);
    release();
    collect(1);
    close(fd);
    free(buf);
}

/* What is in memory is copied inside the call, so that waits for the program's own memory. (Who
 * provides it itself, in the thread that makes the call, would wait for ever: an accident of
 * glibc's that none can lean on, as aio_read() may well look at the buffer.) */
static _Atomic bool returned;

static void *read_small(void *cb) {
    need(aio_read(cb) == 0, "aio_read");
    returned = true;
    return NULL;
}

static void in_the_call(void) {
    const char *mode = getenv("KAIO_MODE");
    bool copies = is_shim() && !(mode && !strcmp(mode, "worker"));
    int fd = scratch(O_RDWR, LARGE);
    char *buf = pages(4096);
    struct aiocb cb = request(fd, buf, 4096, 0);
    pthread_t thread;
    need(aio_read(&cb) == 0 && finish(&cb) == 0, "read");
    occupy(0);
    cb = request(fd, missing, 4096, 4096);
    need(pthread_create(&thread, NULL, read_small, &cb) == 0, "thread");
    for (int ms = 0; !returned && ms < (copies ? 200 : 10000); ms++) sleep_ms(1);
    differs("small read", "back", copies ? "waits" : "back", returned ? "back" : "waits");
    release();
    pthread_join(thread, NULL);
    int err = finish(&cb);
    say("then %s, %d", name(err), is_pattern(missing, 4096, 4096));
    close(fd);
    free(buf);
}

static volatile sig_atomic_t handled;
static volatile bool back;

static void on_signal(int number) {
    (void)number;
    handled++;
}

/* A thread that waits for one request, which nobody has begun. */
struct waiter {
    pthread_t thread;
    _Atomic pid_t tid;
    bool list; /* in lio_listio(), else in aio_suspend() */
    const struct timespec *limit;
    struct aiocb cb;
    int answer, error;
    _Atomic bool back, leave;
};

/* After EINTR glibc's request, when it ends, still uses the frame of its lio_listio(). So the call
 * is made far down the stack, with NULLs between what is used and the calls that it makes itself.
 */
static __attribute__((noinline)) void wait_deep(struct waiter *w) {
    volatile char gap[65536];
    struct aiocb *list[100] = {&w->cb};
    const struct aiocb *one[] = {&w->cb};
    gap[0] = gap[sizeof gap - 1] = 0;
    w->answer = w->list ? lio_listio(LIO_WAIT, list, 100, NULL) : aio_suspend(one, 1, w->limit);
    w->error = w->answer ? errno : 0;
}

/* ASan takes no notice of a thread that is cancelled: the frames that it has left stay poisoned,
 * and here they are far down. */
static __attribute__((noinline)) void tell_asan(void *unused) {
    (void)unused;
#ifdef __SANITIZE_ADDRESS__
    void __asan_handle_no_return(void);
    volatile char gap[131072];
    gap[0] = 0;
    __asan_handle_no_return();
    gap[sizeof gap - 1] = 0;
#endif
}

static void *wait_alone(void *arg) {
    struct waiter *w = arg;
    w->tid = gettid();
    pthread_cleanup_push(tell_asan, NULL);
    wait_deep(w);
    pthread_cleanup_pop(0);
    w->back = true;
    while (!w->leave) sleep_ms(1);
    return NULL;
}

enum leaving { HANDLER, RESTART, LIMIT, CANCEL };

/* What ends a wait ends it at once, although all workers are busy: a thread that served its request
 * itself would be stuck as well. */
static void alone(const char *what, bool list, enum leaving how) {
    static const struct timespec soon = {0, 30000000};
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = how == RESTART ? SA_RESTART : 0};
    struct waiter w = {.list = list, .limit = how == LIMIT ? &soon : NULL};
    int fd = scratch(O_RDONLY, LARGE);
    void *result = NULL;
    sigaction(SIGUSR1, &action, NULL);
    handled = 0;
    occupy(all_stuck);
    w.cb = request(fd, missing + STUCK * LARGE, LARGE, 0);
    w.cb.aio_lio_opcode = LIO_READ;
    if (!list) need(aio_read(&w.cb) == 0, "read");
    need(pthread_create(&w.thread, NULL, wait_alone, &w) == 0, "thread");
    while (!w.tid) sleep_ms(1);
    until_waiting(w.tid);
    if (how == HANDLER || how == RESTART) pthread_kill(w.thread, SIGUSR1);
    if (how == CANCEL) pthread_cancel(w.thread);
    bool gone = false;
    for (int i = 0; i < 1000 && !w.back && !gone && !(how == RESTART && handled); i++) {
        sleep_ms(1);
        gone = how == CANCEL && pthread_tryjoin_np(w.thread, &result) == 0;
    }
    if (how == RESTART) settle(); /* it must not come back */
    say("%s: handler ran %d, back %d, cancelled %d, request %s", what, handled, w.back,
        gone && result == PTHREAD_CANCELED, name(aio_error(&w.cb)));
    release();
    report("it", &w.cb);
    w.leave = true;
    if (!gone) pthread_join(w.thread, NULL);
    if (how != CANCEL) say("answer %d, %s", w.answer, name(w.error));
    collect(all_stuck);
    close(fd);
}

/* What shall end the main thread's aio_suspend(): a signal, or data in a pipe. */
struct cause {
    pthread_t victim;
    int pipe; /* to write to; -1: a signal */
};

/* If that does not end it, release() does after a second. */
static void *end_wait(void *arg) {
    struct cause *c = arg;
    until_asleep(getpid());
    if (c->pipe >= 0) need(write(c->pipe, "x", 1) == 1, "write");
    else pthread_kill(c->victim, SIGUSR1);
    for (int i = 0; i < 1000 && !back; i++) sleep_ms(1);
    release();
    return NULL;
}

/* A thread that waits for a request which no worker has begun must be as free to leave as any. */
static void waiting(const char *what, bool use_pipe) {
    struct aiocb cb, extra;
    const struct aiocb *list[] = {&extra, &cb};
    int pipes[2], fd = scratch(O_RDONLY, LARGE);
    char byte;
    pthread_t thread;
    need(pipe(pipes) == 0, "pipe");
    cb = request(pipes[0], &byte, 1, 0);
    need(aio_read(&cb) == 0, "read");
    settle(); /* glibc's thread is in read() */
    occupy(all_stuck - 1);
    reads(&extra, fd, missing + STUCK * LARGE);
    struct cause cause = {pthread_self(), use_pipe ? pipes[1] : -1};
    back = false;
    handled = 0;
    need(pthread_create(&thread, NULL, end_wait, &cause) == 0, "thread");
    answered(what, aio_suspend(list, 2, NULL));
    say("request that nobody has begun: %s, pipe: %s, handler ran %d", name(aio_error(&extra)),
        name(aio_error(&cb)), handled);
    back = true;
    pthread_join(thread, NULL);
    if (!use_pipe) need(write(pipes[1], "x", 1) == 1, "write");
    report("pipe", &cb);
    report("extra", &extra);
    collect(all_stuck - 1);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

enum call { FSYNC, FDATASYNC, CLOSE, DUP2, DUP3 };

/* A thread that makes a call on the descriptor of a write which nobody has begun. */
struct caller {
    pthread_t thread;
    _Atomic pid_t tid;
    enum call call;
    bool cancel;
    int fd, old, other, answer; /* old: the same file as fd */
    struct aiocb cb;
    bool early; /* the write was still in progress afterwards */
    _Atomic bool back;
};

static void *make_call(void *arg) {
    struct caller *c = arg;
    c->tid = gettid();
    switch (c->call) {
    case FSYNC: c->answer = fsync(c->fd); break;
    case FDATASYNC: c->answer = fdatasync(c->fd); break;
    case CLOSE: c->answer = close(c->fd); break;
    case DUP2: c->answer = dup2(c->other, c->fd) == c->fd ? 0 : -1; break;
    case DUP3: c->answer = dup3(c->other, c->fd, O_CLOEXEC) == c->fd ? 0 : -1; break;
    }
    c->early = aio_error(&c->cb) == EINPROGRESS;
    c->back = true;
    return NULL;
}

/* Returns when the shim's caller waits, and has run a handler, or glibc's is back. */
static void start(struct caller *c, char *buf) {
    int before = handled;
    c->old = scratch(O_RDWR, 0);
    c->fd = dup(c->old);
    c->cb = request(c->fd, buf, LARGE, 0);
    need(c->fd >= 0 && aio_write(&c->cb) == 0, "aio_write");
    need(pthread_create(&c->thread, NULL, make_call, c) == 0, "thread");
    while (!c->tid || (!is_shim() && !c->back)) sleep_ms(1);
    if (!is_shim()) return;
    until_asleep(c->tid);
    pthread_kill(c->thread, SIGUSR1);
    while (handled == before && !c->back) sleep_ms(1);
    if (c->cancel) pthread_cancel(c->thread);
}

/* After release(). */
static void end(struct caller *c, char *buf) {
    void *result = NULL;
    pthread_join(c->thread, &result);
    bool cancelled = result == PTHREAD_CANCELED, is_point = c->call <= CLOSE;
    differs("then", "0", c->cancel && is_point ? "cancelled" : "0",
            cancelled ? "cancelled" : name(c->answer));
    if (is_shim() && c->early && c->call <= FDATASYNC) say("it came back too early");
    bool lost = finish(&c->cb) || pread(c->old, buf, LARGE, 0) != LARGE || !all_are(buf, 'a');
    bool is_open = c->call != CLOSE || cancelled;
    bool odd = (fcntl(c->fd, F_GETFD) >= 0) != is_open; /* glibc's may be another's by now */
    say("lost %d, open or closed as it should not be %d", lost && is_shim(), odd && is_shim());
    if (is_open) close(c->fd);
    close(c->old);
}

/* glibc's calls know nothing of requests, and what becomes of its writes then is a matter of time.
 * The shim's wait for them. Handlers run meanwhile, and the call goes on waiting; a cancellation
 * is acted upon after the wait, by libc's own call if that is a cancellation point: then nothing
 * has been synced or closed. dup2() and dup3() are none. */
static void during(void) {
    enum { CALLS = 5, N = 2 * CALLS };
    static const char *const names[CALLS] = {"fsync", "fdatasync", "close", "dup2", "dup3"};
    static struct caller callers[N];
    char *buf = pages(2 * LARGE);
    int other = scratch(O_RDWR, 0);
    memset(buf, 'a', LARGE);
    occupy(all_stuck);
    for (int i = 0; i < N; i++) {
        callers[i] = (struct caller){.call = i % CALLS, .cancel = i >= CALLS, .other = other};
        start(&callers[i], buf);
    }
    settle(); /* they must not come back */
    for (int i = 0; i < N; i++)
        differs(names[i % CALLS], "back", "waits",
                callers[i].back                     ? "back"
                : task_state(callers[i].tid) == 'X' ? "gone"
                                                    : "waits");
    release();
    for (int i = 0; i < N; i++) {
        say("%s%s", names[i % CALLS], callers[i].cancel ? ", pthread_cancel" : "");
        end(&callers[i], buf + LARGE);
    }
    collect(all_stuck);
    close(other);
    free(buf);
}

static void test(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    const char *workers = getenv("KAIO_WORKERS");
    all_stuck = !is_shim() ? GLIBC : GLIBC + (workers ? atoi(workers) : WORKERS);
    signo = SIGRTMIN + 1;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sem_init(&called, 0, 0);
    open_faults();
    CASE("each-state") each_state();
    CASE("running-write") running_write();
    CASE("list-by-signal") list(false);
    CASE("by-callback") by_callback();
    CASE("list-by-thread") list(true);
    CASE("replaced")
        for (int way = 0; way < 3; way++) replaced(way);
    CASE("beside") {
        beside("read", false);
        beside("write", true);
    }
    CASE("during") during();
    CASE("in-the-call") in_the_call();
    CASE("beside-declined") beside_declined();
    CASE("waiting") {
        waiting("handler", false);
        waiting("data in a pipe", true);
    }
    CASE("alone") {
        alone("aio_suspend, handler", false, HANDLER);
        alone("aio_suspend, SA_RESTART", false, RESTART);
        alone("aio_suspend, time limit", false, LIMIT);
        alone("aio_suspend, pthread_cancel", false, CANCEL);
        alone("LIO_WAIT, handler", true, HANDLER);
        alone("LIO_WAIT, SA_RESTART", true, RESTART);
    }
}
