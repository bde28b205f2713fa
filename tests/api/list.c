/* SPDX-License-Identifier: MIT */
/* lio_listio(): waiting or not, entries to skip, lists of all sizes, items that fail, notification
 * of items and list, and a signal handler that ends the wait, or, with SA_RESTART, does not. */
#include "test.h"

#include <limits.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>

extern char **environ;

enum { MOST = 1000, BLOCK = 1024, FILES = 3 };

static struct aiocb cbs[MOST];
static struct aiocb *list[MOST];
static char *bufs;      /* a block for each item */
static char *back;      /* one to read into what an item has written */
static int ITEM, OTHER; /* real-time signals, blocked */

static void no_signal(const char *what, int signo) {
    say("%s: no other signal %d", what, next_signal(signo, 0) == NO_SIGNAL);
}

/* Item i reads or writes block i of one of the files; every third writes. */
static void fill(int n, const int fds[FILES]) {
    memset(bufs, 0, MOST * BLOCK);
    for (int i = 0; i < n; i++) {
        cbs[i] = request(fds[i % FILES], bufs + i * BLOCK, BLOCK, (off_t)i * BLOCK);
        cbs[i].aio_lio_opcode = i / FILES % 3 == 2 ? LIO_WRITE : LIO_READ;
        if (cbs[i].aio_lio_opcode == LIO_WRITE) memset(bufs + i * BLOCK, 1 + i % 100, BLOCK);
        list[i] = &cbs[i];
    }
}

/* How many of the items have not ended well, or with wrong data? Waits for none. */
static int check(int n) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        char *buf = bufs + i * BLOCK;
        bool ok = aio_error(&cbs[i]) == 0 && aio_return(&cbs[i]) == BLOCK;
        if (cbs[i].aio_lio_opcode == LIO_READ) {
            ok = ok && is_pattern(buf, BLOCK, cbs[i].aio_offset);
        } else {
            ok = ok && pread(cbs[i].aio_fildes, back, BLOCK, cbs[i].aio_offset) == BLOCK &&
                 memcmp(back, buf, BLOCK) == 0;
        }
        bad += !ok;
    }
    return bad;
}

static void size(int n, int flags) {
    int fds[FILES];
    struct sigevent sigev = sigevent_signal(OTHER, n);
    for (int i = 0; i < FILES; i++) fds[i] = scratch(O_RDWR | flags, MOST * BLOCK);
    say("%d items:", n);
    fill(n, fds);
    answered("wait", lio_listio(LIO_WAIT, list, n, NULL));
    say("%d bad", check(n));
    fill(n, fds);
    answered("no wait", lio_listio(LIO_NOWAIT, list, n, &sigev));
    say("signal %d", next_signal(OTHER, 20));
    say("%d bad", check(n));
    no_signal("list", OTHER);
    fill(n, fds);
    answered("no wait, no signal", lio_listio(LIO_NOWAIT, list, n, NULL));
    for (int i = 0; i < n; i++) finish(&cbs[i]);
    say("%d bad", check(n));
    for (int i = 0; i < FILES; i++) close(fds[i]);
}

/* Nothing to do at all: no wait, but the list's notification comes. */
static void nothing(const char *what, int n) {
    char text[80];
    struct sigevent sigev = sigevent_signal(OTHER, 7);
    snprintf(text, sizeof text, "%s, wait", what);
    answered(text, lio_listio(LIO_WAIT, list, n, &sigev));
    no_signal(text, OTHER);
    snprintf(text, sizeof text, "%s, no wait", what);
    answered(text, lio_listio(LIO_NOWAIT, list, n, &sigev));
    say("signal %d", next_signal(OTHER, 20));
    no_signal(text, OTHER);
    answered("without signal", lio_listio(LIO_NOWAIT, list, n, NULL));
    sigev.sigev_notify = SIGEV_NONE;
    answered("SIGEV_NONE", lio_listio(LIO_NOWAIT, list, n, &sigev));
    no_signal(text, OTHER);
}

static void skipped(int fd) {
    nothing("empty list", 0);
    for (int i = 0; i < 3; i++) list[i] = NULL;
    nothing("all NULL", 3);
    fill(3, (int[FILES]){-1, -1, -1});
    for (int i = 0; i < 3; i++) cbs[i].aio_lio_opcode = LIO_NOP;
    nothing("all LIO_NOP", 3);
    for (int i = 0; i < 3; i++)
        say("LIO_NOP: %s, %zd", name(aio_error(&cbs[i])), aio_return(&cbs[i]));

    for (int i = 0; i < 3; i++) memset(&cbs[i], 0xff, sizeof cbs[i]);
    for (int i = 0; i < 3; i++) cbs[i].aio_lio_opcode = LIO_NOP;
    nothing("all LIO_NOP, garbage", 3);

    fill(6, (int[FILES]){fd, fd, fd});
    list[0] = list[3] = NULL;
    cbs[1].aio_lio_opcode = LIO_NOP;
    cbs[1].aio_fildes = -1;
    cbs[1].aio_reqprio = -1;
    answered("some NULL, some LIO_NOP", lio_listio(LIO_WAIT, list, 6, NULL));
    for (int i = 0; i < 6; i++)
        say("item %d: %s, %zd", i, name(aio_error(&cbs[i])), aio_return(&cbs[i]));
    answered("bad mode", lio_listio(LIO_WAIT + LIO_NOWAIT + 1, list, 6, NULL));
    answered("mode -1", lio_listio(-1, list, 6, NULL));
}

/* glibc's array on the stack has a negative size then: it does nothing, or crashes. Nobody can lean
 * on that, so only the shim is asked. */
static void less_than_none(void) {
    static const int sizes[] = {-1, -100, INT_MIN};
    struct sigevent sigev = sigevent_signal(OTHER, 6);
    for (int i = 0; i < 6; i++) {
        errno = EINVAL;
        int mode = i % 2 ? LIO_WAIT : LIO_NOWAIT, n = sizes[i / 2];
        answered("less than no items", is_shim() ? lio_listio(mode, list, n, &sigev) : -1);
    }
    no_signal("less than no items", OTHER);
}

/* glibc knows nothing of this kind, for a list neither. */
static void to_thread(const char *what, int n, int fd) {
    struct sigevent sigev = sigevent_signal(OTHER, 11);
    sigev.sigev_notify = SIGEV_THREAD_ID;
    sigev._sigev_un._tid = gettid();
    fill(n, (int[FILES]){fd, fd, fd});
    answered(what, lio_listio(LIO_NOWAIT, list, n, &sigev));
    for (int i = 0; i < n; i++) finish(&cbs[i]);
    if (!is_shim()) settle();
    int value = next_signal(OTHER, is_shim() ? 20 : 0);
    differs(what, "nothing", "delivered",
            value == 11          ? "delivered"
            : value == NO_SIGNAL ? "nothing"
                                 : "wrong");
    say("%d bad", check(n));
    no_signal(what, OTHER);
}

enum fault { OPCODE, FD, PRIORITY, OFFSET, ALL_OPCODES, ALL_PRIORITIES, FAULTS };

static const char *const faults[] = {"opcode", "descriptor",  "priority",
                                     "offset", "all opcodes", "all priorities"};

static void spoil(enum fault fault, int n) {
    switch (fault) {
    case OPCODE: cbs[1].aio_lio_opcode = 77; break;
    case FD: cbs[1].aio_fildes = -1; break;
    case PRIORITY: cbs[1].aio_reqprio = -1; break;
    case OFFSET: cbs[1].aio_offset = -1; break;
    case ALL_OPCODES:
        for (int i = 0; i < n; i++) cbs[i].aio_lio_opcode = 77 + i;
        break;
    default:
        for (int i = 0; i < n; i++) cbs[i].aio_reqprio = 21 + i;
    }
}

/* One item that fails, or all: the others go on, and the list is notified nevertheless. */
static void failing(enum fault fault, int fd) {
    enum { N = 4 };
    char text[80];
    struct sigevent sigev = sigevent_signal(OTHER, 9);
    for (int wait = 1; wait >= 0; wait--) {
        fill(N, (int[FILES]){fd, fd, fd});
        for (int i = 0; i < N; i++) cbs[i].aio_sigevent = sigevent_signal(ITEM, i);
        spoil(fault, N);
        snprintf(text, sizeof text, "bad %s, %s", faults[fault], wait ? "wait" : "no wait");
        answered(text, lio_listio(wait ? LIO_WAIT : LIO_NOWAIT, list, N, &sigev));
        for (int i = 0; i < N; i++) report("item", &cbs[i]);
        if (!wait) say("signal %d", next_signal(OTHER, 20));
        bool seen[N] = {false};
        int value;
        /* an item is notified after its status; the list's signal or the wait's end came later */
        while ((value = next_signal(ITEM, 0)) >= 0 && value < N && !seen[value]) seen[value] = true;
        say("items notified: %d %d %d %d, last %d", seen[0], seen[1], seen[2], seen[3], value);
        no_signal(text, OTHER);
    }
}

/* Items and list by the same signal, which is queued in the order of delivery. */
static void notified(int n, int flags, int mode) {
    int fds[FILES], bad = 0, early = 0;
    bool seen[MOST] = {false};
    struct sigevent sigev = sigevent_signal(ITEM, MOST);
    for (int i = 0; i < FILES; i++) fds[i] = scratch(O_RDWR | flags, MOST * BLOCK);
    fill(n, fds);
    for (int i = 0; i < n; i++) cbs[i].aio_sigevent = sigevent_signal(ITEM, i);
    answered(mode == LIO_WAIT ? "wait" : "no wait", lio_listio(mode, list, n, &sigev));
    for (int i = 0; i < n; i++) {
        int value = next_signal(ITEM, mode == LIO_WAIT ? 0 : 20);
        if (value < 0 || value >= n || seen[value]) bad++;
        else seen[value] = true, early += aio_error(&cbs[value]) == EINPROGRESS;
    }
    say("signals of %d items: %d bad, %d before their status", n, bad, early);
    if (mode == LIO_NOWAIT) say("the list's is the last %d", next_signal(ITEM, 20) == MOST);
    no_signal("list", ITEM);
    say("%d bad", check(n));
    for (int i = 0; i < FILES; i++) close(fds[i]);
}

/* A list that ends only when the pipe gets data: not before, and with the right data. */
static void waits_for_pipe(int fd) {
    int pipes[2];
    char byte = 0;
    need(pipe(pipes) == 0, "pipe");
    struct sigevent sigev = sigevent_signal(OTHER, 5);
    fill(3, (int[FILES]){fd, fd, fd});
    cbs[1] = request(pipes[0], &byte, 1, 0);
    cbs[1].aio_lio_opcode = LIO_READ;
    answered("pipe in the list", lio_listio(LIO_NOWAIT, list, 3, &sigev));
    report("item 0", &cbs[0]);
    report("item 2", &cbs[2]);
    say("pipe: %s", name(aio_error(&cbs[1])));
    no_signal("pending", OTHER);
    need(write(pipes[1], "x", 1) == 1, "write");
    say("signal %d", next_signal(OTHER, 20));
    say("pipe: %s, %zd, %c", name(aio_error(&cbs[1])), aio_return(&cbs[1]), byte);
    close(pipes[0]);
    close(pipes[1]);
}

static atomic_int handled;

static void on_signal(int signo) {
    (void)signo;
    handled++;
}

/* Signals the main thread once it has been asleep for a while: in lio_listio(). */
static void *interrupt(void *arg) {
    until_asleep(getpid());
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

/* Ends one item, then signals, then ends the other, each when the main thread sleeps (again). */
static void *interrupt_and_feed(void *arg) {
    int(*pipes)[2] = arg;
    until_asleep(getpid());
    need(write(pipes[0][1], "x", 1) == 1, "write");
    until_asleep(getpid());
    kill(getpid(), SIGUSR1);
    for (int seen = 0; seen < 10; sleep_ms(2)) seen = handled && sleeps(getpid()) ? seen + 1 : 0;
    need(write(pipes[1][1], "y", 1) == 1, "write");
    return NULL;
}

/* The wait goes on after the handler. */
static void restarted(int fd) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t set, old;
    pthread_t thread;
    char bytes[2] = "--";
    int pipes[2][2];
    need(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0, "pipe");
    need(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old); /* for the other thread */
    need(pthread_create(&thread, NULL, interrupt_and_feed, pipes) == 0, "thread");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    fill(3, (int[FILES]){fd, fd, fd});
    for (int i = 0; i < 2; i++) {
        cbs[i] = request(pipes[i][0], &bytes[i], 1, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
    }
    handled = 0;
    answered("SA_RESTART", lio_listio(LIO_WAIT, list, 3, NULL));
    say("handler ran %d", handled);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) report("item", &cbs[i]);
    say("%.2s", bytes);
    handled = 0;
    for (int i = 0; i < 4; i++) close(pipes[i / 2][i % 2]);
}

/* What the requests of an interrupted LIO_WAIT do when data comes for them. No aio_suspend() here:
 * glibc would link a second wait to the first, which is gone, and may go round in a circle. */
static const char *afterwards(int pipes[2][2], char bytes[2]) {
    bool ok = aio_error(&cbs[0]) == EINPROGRESS && aio_error(&cbs[1]) == EINPROGRESS;
    for (int i = 1; i >= 0; i--) {
        need(write(pipes[i][1], i ? "1" : "0", 1) == 1, "write");
        for (int k = 0; k < 5000 && aio_error(&cbs[i]) == EINPROGRESS; k++) sleep_ms(1);
        ok = ok && aio_error(&cbs[i]) == 0 && aio_return(&cbs[i]) == 1 && bytes[i] == '0' + i;
        ok = ok && next_signal(ITEM, 20) == i;
    }
    ok = ok && next_signal(ITEM, 0) == NO_SIGNAL && next_signal(OTHER, 0) == NO_SIGNAL;
    return ok ? "go on" : "lost";
}

/* What any call may do with the stack below. */
static __attribute__((noinline)) void use_stack(void) {
    volatile char frame[65536];
    for (size_t i = 0; i < sizeof frame; i++) frame[i] = 0x5a;
}

/* Answers what became of the requests. */
static const char *interrupted(void) {
    static char bytes[2];
    int pipes[2][2];
    struct sigaction action = {.sa_handler = on_signal};
    struct sigevent unused = sigevent_signal(OTHER, 1);
    pthread_t thread, self = pthread_self();
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 2; i++) {
        need(pipe(pipes[i]) == 0, "pipe");
        cbs[i] = request(pipes[i][0], &bytes[i], 1, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        cbs[i].aio_sigevent = sigevent_signal(ITEM, i);
        list[i] = &cbs[i];
    }
    need(pthread_create(&thread, NULL, interrupt, &self) == 0, "thread");
    answered("handler", lio_listio(LIO_WAIT, list, 2, &unused));
    use_stack();
    say("handler ran %d", handled);
    pthread_join(thread, NULL);
    say("requests: %s %s", name(aio_error(&cbs[0])), name(aio_error(&cbs[1])));
    return afterwards(pipes, bytes);
}

/* glibc's requests still point into the frame of the lio_listio() that EINTR has ended, and use it
 * when they end: whatever is there by then. So this is a program of its own. */
static void in_child(void) {
    char *const args[] = {"program", NULL};
    const struct rlimit no_core = {0, 0};
    int status;
    pid_t pid;
    setenv("TEST_CHILD", "1", 1);
    need(setrlimit(RLIMIT_CORE, &no_core) == 0, "RLIMIT_CORE");
    need(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) == 0, "posix_spawn");
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    differs("requests after EINTR", "crash", "go on",
            WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM ? "crash"
            : WIFEXITED(status) && WEXITSTATUS(status) == 42   ? "go on"
                                                               : "lost");
}

static sem_t called;
static int calls, last_value;

static void call(union sigval value) {
    calls++;
    last_value = value.sival_int;
    sem_post(&called);
}

/* Nothing to do: the function runs nevertheless. Last, since its thread blocks no signal. */
static void nothing_by_thread(void) {
    struct sigevent sigev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = call};
    sem_init(&called, 0, 0);
    for (int n = 0; n <= 3; n += 3) {
        fill(n, (int[FILES]){-1, -1, -1});
        for (int i = 0; i < n; i++) cbs[i].aio_lio_opcode = LIO_NOP;
        sigev.sigev_value.sival_int = n;
        answered("nothing, by thread, wait", lio_listio(LIO_WAIT, list, n, &sigev));
        answered("nothing, by thread", lio_listio(LIO_NOWAIT, list, n, &sigev));
        while (sem_wait(&called)) continue;
        settle(); /* a second call would show */
        say("%d calls, value %d", calls, last_value);
    }
}

static void test(void) {
    static const int sizes[] = {1, 2, 64, 300, 1000};
    sigset_t set;
    ITEM = SIGRTMIN + 1;
    OTHER = SIGRTMIN + 2;
    sigemptyset(&set);
    sigaddset(&set, ITEM);
    sigaddset(&set, OTHER);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (getenv("TEST_CHILD")) _exit(strcmp(interrupted(), "go on") ? 1 : 42);
    bufs = pages(MOST * BLOCK);
    back = pages(BLOCK);

    int fd = scratch(O_RDWR, MOST * BLOCK);
    CASE("skipped") skipped(fd);
    CASE("failing")
        for (enum fault fault = 0; fault < FAULTS; fault++) failing(fault, fd);
    CASE("waits-for-pipe") waits_for_pipe(fd);
    CASE("less-than-none") less_than_none();
    CASE("to-thread") {
        to_thread("SIGEV_THREAD_ID", 3, fd);
        to_thread("SIGEV_THREAD_ID, empty", 0, fd);
    }
    CASE("restarted") restarted(fd);
    close(fd);
    CASE("sizes") {
        for (int i = 0; i < 5; i++) size(sizes[i], 0);
        size(64, O_DIRECT);
        size(1000, O_DIRECT);
    }
    CASE("notified") {
        notified(64, 0, LIO_WAIT);
        notified(64, 0, LIO_NOWAIT);
        notified(300, O_DIRECT, LIO_WAIT);
        notified(300, O_DIRECT, LIO_NOWAIT);
    }
    CASE("in-child") in_child();
    CASE("nothing-by-thread") nothing_by_thread();
}
