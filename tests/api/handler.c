/* SPDX-License-Identifier: MIT */
/* Signal handlers that call aio_error(), aio_return() and aio_suspend() thousands of times a
 * second, while the threads that they interrupt submit, poll, suspend and complete requests
 * themselves: 5 kHz on the main thread for 3 s, or with TEST_LONG (scripts/soak) 10 kHz for 30 s.
 * Notifications of some, by signal and by thread, must come once each. Then handlers that call
 * fsync(), dup2() and close(). */
#include "test.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { THREADS = 4, BATCH = 4, BLOCKS = 256, BLOCK = 4096, MOST = 1 << 20 };
enum { END = BLOCKS * BLOCK, LEAST = 200, LEAST_WAITS = 100 };

extern char **environ;

static int seconds = 3, patience = 25; /* s more, slow disk */
static long fast_ns = 200000; /* between two signals of the main thread; the others': 1 ms */
static int least_calls = 1000;

/* What a thread's handler may look at; `known` of them have been submitted. */
static __thread struct aiocb cbs[BATCH];
static __thread volatile sig_atomic_t known;
static __thread unsigned turn;
static __thread bool is_main;

static int calls, fast_calls, waits, interrupted,
    handler_bad; /* fast_calls: of the main thread's */

static void count(int *counter, int n) {
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void handler(int signo) {
    (void)signo;
    const struct aiocb *list[BATCH];
    struct timespec now = {0, 0};
    int saved = errno, n = known;
    count(&calls, 1);
    count(&fast_calls, is_main);
    for (int i = 0; i < n; i++) {
        int err = aio_error(&cbs[i]);
        ssize_t res = aio_return(&cbs[i]);
        bool ok = err == 0 && res == (ssize_t)cbs[i].aio_nbytes;
        if (err != EINPROGRESS && !ok) count(&handler_bad, 1);
        list[i] = &cbs[i];
    }
    if (n > 0 && aio_suspend(list, n, &now) && errno != EAGAIN) count(&handler_bad, 1);
    if (n > 0 && turn++ % 4 == 0) {
        const struct aiocb *last[] = {&cbs[n - 1]};
        int res = aio_suspend(last, 1, NULL); /* other signals may interrupt it, none should */
        if (res || aio_error(last[0]) == EINPROGRESS) count(&handler_bad, 1);
        count(&waits, 1);
    }
    errno = saved;
}

static unsigned char seen[MOST]; /* how often each notification came */
static int wanted;               /* notifications so far */

static void notified(union sigval value) {
    __atomic_fetch_add(&seen[value.sival_int], 1, __ATOMIC_RELAXED);
}

static void on_notification(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    notified(info->si_value);
}

/* Most by a signal, which interrupts some thread; a few by a thread. */
static void notify(struct sigevent *sigev) {
    int value = __atomic_fetch_add(&wanted, 1, __ATOMIC_RELAXED);
    need(value < MOST, "room for notifications");
    sigev->sigev_value.sival_int = value;
    sigev->sigev_notify = value % 16 ? SIGEV_SIGNAL : SIGEV_THREAD;
    if (value % 16) sigev->sigev_signo = SIGRTMIN + 1;
    else sigev->sigev_notify_function = notified;
}

static int not_once(void) {
    int bad = 0;
    for (int i = 0; i < wanted; i++)
        for (int k = 0; k < 5000 && !__atomic_load_n(&seen[i], __ATOMIC_RELAXED); k++) sleep_ms(1);
    settle(); /* for those that come too often */
    for (int i = 0; i < wanted; i++) bad += seen[i] != 1;
    return bad;
}

enum kind { DIRECT, DATA, WRITE, SYNC, PIPE };

struct reader {
    int id, fds[5], feed;
    enum kind kinds[BATCH];
    int rounds, bad;
};

static void feed(int pipe) {
    char block[BLOCK];
    ssize_t n;
    for (int k = 0; k < BLOCK; k++) block[k] = (char)(k / 512 * 7 + k);
    while ((n = write(pipe, block, BLOCK)) < 0 && errno == EINTR) continue; /* all or nothing */
    need(n == BLOCK, "feed the pipe");
}

static void submit(struct reader *r, int i, char *buf, off_t at) {
    static const enum kind others[] = {DATA, WRITE, PIPE, WRITE, DATA, PIPE, SYNC};
    enum kind kind = r->kinds[i] = i == BATCH - 1 ? others[r->rounds % 7] : i % 2 ? DATA : DIRECT;
    struct aiocb *cb = &cbs[i];
    *cb = request(r->fds[kind], buf, kind == SYNC ? 0 : BLOCK, kind == PIPE ? 0 : at);
    if (i == r->rounds % BATCH || kind >= WRITE) notify(&cb->aio_sigevent);
    int res = kind == SYNC ? aio_fsync(O_DSYNC, cb) : kind == WRITE ? aio_write(cb) : aio_read(cb);
    need(res == 0, "request");
    if (kind == PIPE) feed(r->feed);
    known = i + 1; /* only now: the handler may wait for it */
}

/* The same requests as one list, whose wait the signals interrupt. */
static void submit_list(struct reader *r, char *buf, off_t at) {
    struct aiocb *list[BATCH];
    for (int i = 0; i < BATCH; i++) {
        r->kinds[i] = i % 2 ? DATA : DIRECT;
        cbs[i] = request(r->fds[r->kinds[i]], buf + i * BLOCK, BLOCK, (at + i * BLOCK) % END);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    int res = lio_listio(LIO_WAIT, list, BATCH, NULL);
    r->bad += res && errno != EINTR;
    count(&interrupted, res != 0);
    known = BATCH;
}

static void collect(struct reader *r, int way, char *buf) {
    for (int i = 0; i < BATCH; i++) {
        const struct aiocb *list[] = {&cbs[i]};
        struct timespec soon = {0, 300000};
        while (aio_error(&cbs[i]) == EINPROGRESS) {
            int res = way == 0 ? 0 : aio_suspend(list, 1, way == 1 ? NULL : &soon);
            if (res && errno != EINTR && !(way == 2 && errno == EAGAIN)) r->bad++;
        }
        bool read = r->kinds[i] != WRITE && r->kinds[i] != SYNC;
        r->bad += aio_error(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)cbs[i].aio_nbytes;
        r->bad += read && !is_pattern(buf + i * BLOCK, BLOCK, cbs[i].aio_offset);
    }
}

static timer_t every(long ns) {
    timer_t timer;
    struct sigevent sigev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    struct itimerspec period = {{0, ns}, {0, ns}};
    sigev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    need(timer_create(CLOCK_MONOTONIC, &sigev, &timer) == 0, "timer");
    need(timer_settime(timer, 0, &period, NULL) == 0, "timer");
    return timer;
}

/* The main thread has the fast timer, and does not end before its handler has done its part. */
static bool enough(const struct reader *r) {
    if (r->id) return r->rounds >= LEAST;
    return r->rounds >= LEAST && fast_calls >= least_calls && waits >= LEAST_WAITS;
}

static void *read_on(void *arg) {
    struct reader *r = arg;
    char *buf = pages(BATCH * BLOCK);
    unsigned random = (unsigned)r->id;
    is_main = r->id == 0;
    uint64_t end = now_us() + (uint64_t)seconds * 1000000,
             last = end + (uint64_t)patience * 1000000;
    timer_t timer = every(r->id == 0 ? fast_ns : 1000000);
    while (now_us() < (enough(r) ? end : last)) {
        known = 0;
        memset(buf, 0, BATCH * BLOCK);
        if (r->rounds % 64 == 0) posix_fadvise(r->fds[DATA], 0, 0, POSIX_FADV_DONTNEED);
        bool listed = r->rounds % 8 == 7 && is_shim(); /* glibc may crash after EINTR */
        if (listed) submit_list(r, buf, (off_t)(random >> 8) % BLOCKS * BLOCK);
        for (int i = 0; i < BATCH && !listed; i++) {
            random = random * 1664525u + 1013904223u;
            submit(r, i, buf + i * BLOCK, (off_t)(random >> 8) % BLOCKS * BLOCK);
        }
        collect(r, r->rounds % 3, buf);
        __atomic_fetch_add(&r->rounds, 1, __ATOMIC_RELAXED);
    }
    known = 0;
    timer_delete(timer);
    free(buf);
    return NULL;
}

static struct reader readers[THREADS];

static void open_all(struct reader *r) {
    int pipes[2];
    r->fds[DIRECT] = scratch(O_RDONLY | O_DIRECT, BLOCKS * BLOCK);
    r->fds[DATA] = scratch(O_RDONLY, BLOCKS * BLOCK);
    r->fds[WRITE] = r->fds[SYNC] = scratch(O_RDWR, BLOCKS * BLOCK);
    need(pipe(pipes) == 0, "pipe");
    r->fds[PIPE] = pipes[0];
    r->feed = pipes[1];
}

static const char *run(void) {
    pthread_t threads[THREADS];
    struct sigaction act = {.sa_handler = handler};
    struct sigaction note = {.sa_sigaction = on_notification, .sa_flags = SA_SIGINFO | SA_RESTART};
    int bad = 0, busy = 0;
    if (getenv("TEST_LONG")) {
        seconds = 30;
        fast_ns = 100000;
        if (is_shim()) least_calls = 100000, patience = 500; /* a third of what is asked for */
    }
    alarm((unsigned)(seconds + patience) + 20); /* a deadlock is the expected way to fail */
    sigaction(SIGUSR1, &act, NULL);
    sigaction(SIGRTMIN + 1, &note, NULL);
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.id = i};
        open_all(&readers[i]);
        if (i) need(!pthread_create(&threads[i], NULL, read_on, &readers[i]), "thread");
    }
    read_on(&readers[0]);
    for (int i = 0; i < THREADS; i++) {
        if (i) pthread_join(threads[i], NULL);
        bad += readers[i].bad;
        busy += enough(&readers[i]);
    }
    int wrong = not_once();
    note("%d s and more: %d handlers, %d of the main thread; %d lists interrupted", seconds, calls,
         fast_calls, interrupted);
    if (busy == THREADS && !bad && !handler_bad && !wrong) return "goes on";
    say("%d threads went on, %d bad; %d calls, %d waits, %d bad; %d notifications, %d not once",
        busy, bad, calls, waits, handler_bad, wanted, wrong);
    return "fails";
}

/* Ends a program in which no request ends any more; handlers may still run. */
static void *watch(void *unused) {
    int last = -1;
    for (int still = 0; still < 10; sleep_ms(100)) {
        int now = 0;
        for (int i = 0; i < THREADS; i++)
            now += __atomic_load_n(&readers[i].rounds, __ATOMIC_RELAXED);
        still = now == last ? still + 1 : 0;
        last = now;
    }
    (void)unused;
    _exit(3);
}

/* In a program of its own: glibc's handler waits sooner or later for a mutex that the thread which
 * it interrupted holds. Mostly within a second, but nothing says when; so if it has not happened
 * after `seconds`, this counts as if it had. */
static const char *deadlock(void) {
    char *const args[] = {"program", NULL};
    int status;
    pid_t pid;
    setenv("TEST_CHILD", "1", 1);
    need(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) == 0, "posix_spawn");
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    unsetenv("TEST_CHILD");
    if (!WIFEXITED(status)) return "dies";
    note("it %s", WEXITSTATUS(status) == 3 ? "deadlocked" : "went on, or failed");
    return WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 42 ? "deadlocks" : "fails";
}

static void child(void) {
    pthread_t thread;
    seconds = 10;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    need(pthread_create(&thread, NULL, watch, NULL) == 0, "thread");
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    run();
    _exit(42);
}

enum { QUEUED = 8, LARGE = 256 << 10 };

/* The descriptors that the handler works on, each with requests; changed[0] is -1 once it has. */
static volatile int changed[3] = {-1, -1, -1}, by;
static int change_bad;

static void change(int signo) {
    (void)signo;
    if (changed[0] < 0) return;
    int saved = errno;
    change_bad += fsync(changed[0]) != 0 || fdatasync(changed[0]) != 0;
    change_bad += dup2(by, changed[1]) != changed[1];
    change_bad += close(changed[2]) != 0;
    changed[0] = -1;
    errno = saved;
}

/* The handler comes while reads are made. glibc's writes that have not begun by then fail, or go to
 * the other file: see stuck.c. */
static int change_round(const int fds[3], int other, char *buf) {
    static struct aiocb cbs[3][QUEUED], more;
    int bad = 0;
    by = other;
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < QUEUED; i++) {
            cbs[k][i] = request(fds[k], buf, LARGE, (off_t)(k * QUEUED + i) * LARGE);
            bad += aio_write(&cbs[k][i]) != 0;
        }
    }
    for (int k = 0; k < 3; k++) changed[k] = fds[k];
    timer_t timer = every(1000000);
    while (changed[0] >= 0) {
        more = request(fds[0], buf + LARGE, BLOCK, 0);
        bad += aio_read(&more) != 0 || finish(&more) != 0 || aio_return(&more) != BLOCK;
    }
    timer_delete(timer);
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < QUEUED; i++) {
            bool ok = finish(&cbs[k][i]) == 0 && aio_return(&cbs[k][i]) == LARGE;
            bad += !ok && (is_shim() || k == 0);
        }
    }
    return bad;
}

static void changes(void) {
    struct sigaction act = {.sa_handler = change};
    char *buf = pages(LARGE + BLOCK);
    int bad = 0;
    sigaction(SIGUSR1, &act, NULL);
    for (int round = 0; round < 20; round++) {
        int file = scratch(O_RDWR, BLOCK), other = scratch(O_RDWR, 0);
        int fds[] = {file, dup(file), dup(file)}, pipes[2];
        struct stat st;
        char byte = 0;
        need(pipe(pipes) == 0 && fds[1] >= 0 && fds[2] >= 0, "descriptors");
        struct aiocb cb = request(pipes[0], &byte, 1, 0); /* nothing waits for this one */
        bad += aio_read(&cb) != 0 || change_round(fds, other, buf);
        bad += aio_error(&cb) != EINPROGRESS || write(pipes[1], "x", 1) != 1;
        bad += finish(&cb) != 0 || byte != 'x';
        need(fstat(other, &st) == 0, "fstat");
        bad += is_shim() && st.st_size != 0;
        close(pipes[0]), close(pipes[1]), close(fds[0]), close(fds[1]), close(other);
    }
    say("handler that calls fsync, dup2, close: %d bad, %d bad", change_bad, bad);
    free(buf);
}

static void test(void) {
    if (getenv("TEST_CHILD")) child();
    CASE("locks") differs("handlers", "deadlocks", "goes on", is_shim() ? run() : deadlock());
    CASE("changes") changes();
}
