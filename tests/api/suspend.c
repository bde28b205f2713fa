/* SPDX-License-Identifier: MIT */
/* aio_suspend(): what it answers at once, time limits, signal handlers, cancellation, and threads
 * that wait for each other's requests. Reads of empty pipes are the requests that stay pending. */
#include "test.h"

#include <ctype.h>
#include <limits.h>
#include <sys/syscall.h>

enum { MORE = 4, CROWD = 100 }; /* threads, pipes */

static char byte[MORE + 1];

static struct aiocb pending(const int pipes[2], char *to) {
    return request(pipes[0], to, 1, 0);
}

static void open_pipe(int pipes[2]) {
    need(pipe(pipes) == 0, "pipe");
}

static void feed(const int pipes[2]) {
    need(write(pipes[1], "x", 1) == 1, "write to the pipe");
}

static void close_pipe(const int pipes[2]) {
    close(pipes[0]);
    close(pipes[1]);
}

static void at_once(void) {
    int pipes[2], fd = scratch(O_RDONLY, 4096);
    char buf[100], text[60];
    open_pipe(pipes);
    struct aiocb waits = pending(pipes, byte), done = request(fd, buf, 100, 0), fresh, failed;
    memset(&fresh, 0, sizeof fresh);
    failed = request(-1, buf, 100, 0);
    need(aio_read(&waits) == 0 && aio_read(&done) == 0 && aio_read(&failed) == 0, "requests");
    finish(&done);
    finish(&failed);
    const struct aiocb *none[3] = {NULL},
                       *cases[][3] = {{&done, NULL, NULL},    {NULL, NULL, &done},
                                      {&waits, &done, NULL},  {&done, &waits, &waits},
                                      {&fresh, NULL, NULL},   {&waits, NULL, &fresh},
                                      {NULL, &failed, &waits}};
    struct timespec zero = {0, 0}, *limits[] = {NULL, &zero};
    for (int i = 0; i < 2; i++) {
        answered("no entries", aio_suspend(none, 0, limits[i]));
        answered("all NULL", aio_suspend(none, 3, limits[i]));
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            snprintf(text, sizeof text, "case %zu, %s", k, limits[i] ? "{0, 0}" : "no limit");
            answered(text, aio_suspend(cases[k], 3, limits[i]));
        }
    }
    answered("an entry beyond the list is not seen", aio_suspend(cases[2], 1, &zero));
    say("still pending: %s", name(aio_error(&waits)));
    feed(pipes);
    report("read", &waits);
    answered("done", aio_suspend(cases[2], 3, NULL));
    close_pipe(pipes);
    close(fd);
}

static void times(void) {
    int pipes[2];
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte);
    const struct aiocb *list[] = {NULL, &cb, NULL, &cb};
    struct timespec limits[] = {{0, 0}, {-1, 0}, {-1000000, 999999999}, {0, 1}, {0, 30000000}};
    need(aio_read(&cb) == 0, "read");
    for (int i = 0; i < 5; i++) {
        bool over = limits[i].tv_sec < 0, aborts = over && !is_shim() && !__GLIBC_PREREQ(2, 34);
        uint64_t begin = now_us();
        errno = EAGAIN;
        answered("no time left", aborts ? -1 : aio_suspend(list, 4, &limits[i])); /* glibc 2.31 */
        uint64_t took = now_us() - begin;
        uint64_t least = over ? 0 : (uint64_t)limits[i].tv_nsec / 1000;
        say("waited long enough %d, not for ever %d", took >= least, took < quiet_us(3000000));
    }
    feed(pipes);
    struct timespec minute = {59, 999999999};
    uint64_t begin = now_us();
    answered("in time", aio_suspend(list, 4, &minute));
    say("soon %d", now_us() - begin < quiet_us(3000000));
    report("read", &cb);
    close_pipe(pipes);
}

static void *feed_later(void *pipes) {
    until_asleep(getpid());
    feed(pipes);
    return NULL;
}

/* Nanoseconds that are none: nothing is waited for, but what has ended is seen. glibc aborts, or
 * not, as the clock stands, if nothing has. */
static void invalid(void) {
    static const struct timespec limits[] = {{0, -1},        {0, 1000000000}, {10, -1},
                                             {10, LONG_MIN}, {0, LONG_MAX},   {-1, 1000000000},
                                             {LONG_MAX, -1}};
    int pipes[2], fd = scratch(O_RDONLY | O_DIRECT, 4096);
    char *block = pages(4096);
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte);
    const struct aiocb *list[] = {NULL, &cb};
    need(aio_read(&cb) == 0, "read");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct aiocb done = request(fd, block, 4096, 0);
        const struct aiocb *both[] = {&cb, &done}, *none[] = {NULL};
        uint64_t begin = now_us();
        errno = EINVAL;
        answered("invalid", is_shim() ? aio_suspend(list, 2, &limits[i]) : -1);
        say("soon %d", now_us() - begin < quiet_us(3000000));
        answered("no entries", aio_suspend(none, 1, &limits[i]));
        need(aio_read(&done) == 0, "read");
        if (!is_shim()) finish(&done); /* or glibc may abort */
        int answer = -1;
        for (int n = 0; n < 500 && answer; n++) {
            answer = aio_suspend(both, 2, &limits[i]); /* the first to see that it has ended */
            if (answer) sleep_ms(10);
        }
        answered("done", answer);
        report("read", &done);
    }
    feed(pipes);
    report("read", &cb);
    close_pipe(pipes);
    close(fd);
    free(block);
}

/* Time limits beyond any clock. */
static void endless(void) {
    static const struct timespec limits[] = {{LONG_MAX / 2, 999999999}, {LONG_MAX, 0}};
    for (int i = 0; i < 2; i++) {
        int pipes[2];
        pthread_t thread;
        open_pipe(pipes);
        struct aiocb cb = pending(pipes, byte);
        const struct aiocb *list[] = {&cb};
        need(aio_read(&cb) == 0, "read");
        need(pthread_create(&thread, NULL, feed_later, pipes) == 0, "thread");
        const char *answer = aio_suspend(list, 1, &limits[i]) ? name(errno) : "0";
        /* adding it to the clock in 64 bits, glibc arrives in the past; 2.31 does not add */
        bool past = sizeof(long) == 8 && __GLIBC_PREREQ(2, 34);
        if (i) differs("LONG_MAX seconds", past ? "EAGAIN" : "0", "0", answer);
        else say("half as many: %s", answer);
        pthread_join(thread, NULL);
        report("read", &cb);
        close_pipe(pipes);
    }
}

struct interrupter {
    pthread_t victim;
    pid_t tid;
    const int *pipes; /* fed after the signal, unless NULL */
};

static volatile sig_atomic_t handled;

static void on_signal(int signo) {
    (void)signo;
    handled++;
}

static void *interrupt(void *arg) {
    struct interrupter *in = arg;
    until_asleep(in->tid);
    need(handled == 0, "no signal yet");
    pthread_kill(in->victim, SIGUSR1);
    while (!handled) sleep_ms(1);
    until_asleep(in->tid);
    if (in->pipes) feed(in->pipes);
    return NULL;
}

/* What a handler does to a thread in aio_suspend(). Only a call that restarts gets data, to end. */
static void interrupted(const char *what, int flags, const struct timespec *limit, bool restarts) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(SIGUSR1, &action, NULL);
    int pipes[2];
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte);
    const struct aiocb *list[] = {&cb};
    struct interrupter in = {pthread_self(), gettid(), restarts ? pipes : NULL};
    pthread_t thread;
    handled = 0;
    need(aio_read(&cb) == 0, "read");
    need(pthread_create(&thread, NULL, interrupt, &in) == 0, "thread");
    answered(what, aio_suspend(list, 1, limit));
    say("handler ran %d, request %s", handled, name(aio_error(&cb)));
    pthread_join(thread, NULL);
    if (!restarts) feed(pipes);
    report("read", &cb);
    close_pipe(pipes);
}

/* In a child: until the parent's main thread has been found in this state so often in a row. */
static void until_state(pid_t parent, char state, unsigned times) {
    for (unsigned seen = 0; seen < times; usleep(1000)) {
        char path[50], line[200] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", parent);
        FILE *file = fopen(path, "r");
        bool is_read = file && fgets(line, sizeof line, file);
        if (file) fclose(file);
        if (!is_read || getppid() != parent) _exit(1);
        seen = toupper(strrchr(line, ')')[2]) == state ? seen + 1 : 0;
    }
}

/* Another process stops this one and lets it go on: no handler runs, so no wait ends. */
static void stopped(const char *what, const struct timespec *limit, bool in_list) {
    int pipes[2];
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte), *items[] = {&cb};
    const struct aiocb *list[] = {&cb};
    cb.aio_lio_opcode = LIO_READ;
    pid_t parent = getpid(), pid = fork();
    for (int i = 0; pid == 0 && i < 2; i++) {
        until_state(parent, 'S', quiet_s(10));
        kill(parent, SIGSTOP);
        until_state(parent, 'T', 1); /* 't': traced */
        kill(parent, SIGCONT);
    }
    if (pid == 0) until_state(parent, 'S', quiet_s(10)), feed(pipes), _exit(0);
    if (!in_list) need(aio_read(&cb) == 0, "read");
    answered(what, in_list ? lio_listio(LIO_WAIT, items, 1, NULL) : aio_suspend(list, 1, limit));
    say("the request %s", name(aio_error(&cb)));
    need(pid > 0 && waitpid(pid, NULL, 0) == pid, "child");
    report("read", &cb);
    close_pipe(pipes);
}

static void handlers(void) {
    struct timespec minute = {60, 0};
    stopped("stopped", NULL, false);
    stopped("stopped, time limit", &minute, false);
    stopped("stopped, LIO_WAIT", NULL, true);
    interrupted("handler", 0, NULL, false);
    interrupted("handler, time limit", 0, &minute, false);
    interrupted("SA_RESTART", SA_RESTART, NULL, true);
    interrupted("SA_RESTART, time limit", SA_RESTART, &minute, false);
    signal(SIGUSR1, SIG_DFL);
}

struct waiter {
    pthread_t thread;
    _Atomic pid_t tid;
    const struct aiocb *list[3];
    int answer;
    _Atomic bool back;
};

static void *suspend(void *arg) {
    struct waiter *w = arg;
    w->tid = gettid();
    w->answer = aio_suspend(w->list, 3, NULL);
    w->back = true;
    return NULL;
}

/* Starts the thread, and returns when it sleeps. */
static void start(struct waiter *w) {
    need(pthread_create(&w->thread, NULL, suspend, w) == 0, "thread");
    while (!w->tid) sleep_ms(1);
    until_asleep(w->tid);
}

static void cancellation(void) {
    int pipes[2];
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte);
    struct waiter dies = {.list = {&cb}}, first = {.list = {&cb}}, last = {.list = {NULL, &cb}};
    void *result;
    need(aio_read(&cb) == 0, "read");
    start(&first);
    start(&dies);
    start(&last);
    pthread_cancel(dies.thread);
    pthread_join(dies.thread, &result);
    say("cancelled %d, returned %d", result == PTHREAD_CANCELED, dies.back);
    say("others wait: %d %d, request %s", first.back, last.back, name(aio_error(&cb)));
    feed(pipes);
    pthread_join(first.thread, NULL);
    pthread_join(last.thread, NULL);
    say("others: %d %d", first.answer, last.answer);
    report("read", &cb);

    struct waiter alone = {.list = {&cb}};
    cb = pending(pipes, byte);
    need(aio_read(&cb) == 0, "read");
    start(&alone);
    pthread_cancel(alone.thread);
    pthread_join(alone.thread, &result);
    say("the only one cancelled %d", result == PTHREAD_CANCELED);
    feed(pipes);
    report("read after that", &cb);
    close_pipe(pipes);
}

/* The cancellation is pending before the call. */
static void *suspend_cancelled(void *arg) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return suspend(arg);
}

static void cancelled_before(const char *what, struct aiocb *cb) {
    struct waiter w = {.list = {cb}};
    void *result;
    need(pthread_create(&w.thread, NULL, suspend_cancelled, &w) == 0, "thread");
    pthread_join(w.thread, &result);
    say("cancelled before, %s: %d, returned %d", what, result == PTHREAD_CANCELED, w.back);
}

static void cancellations_before(void) {
    int pipes[2];
    open_pipe(pipes);
    struct aiocb cb = pending(pipes, byte);
    need(aio_read(&cb) == 0, "read");
    cancelled_before("pending request", &cb);
    feed(pipes);
    report("read", &cb);
    cancelled_before("done request", &cb);
    cancelled_before("nothing", NULL);
    close_pipe(pipes);
}

enum call { READ, WRITE, SYNC, LIST_NOWAIT, LIST_WAIT, ERROR, RETURN, CANCEL, CALLS };

struct caller {
    enum call call;
    struct aiocb cb;
    int answer;
    bool back;
};

static void *call_cancelled(void *arg) {
    struct caller *c = arg;
    struct aiocb *items[] = {&c->cb};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    switch (c->call) {
    case READ: c->answer = aio_read(&c->cb); break;
    case WRITE: c->answer = aio_write(&c->cb); break;
    case SYNC: c->answer = aio_fsync(O_SYNC, &c->cb); break;
    case LIST_NOWAIT: c->answer = lio_listio(LIO_NOWAIT, items, 1, NULL); break;
    case LIST_WAIT: c->answer = lio_listio(LIO_WAIT, items, 1, NULL); break;
    case ERROR: c->answer = aio_error(&c->cb); break;
    case RETURN: c->answer = (int)aio_return(&c->cb); break;
    default: c->answer = aio_cancel(c->cb.aio_fildes, &c->cb);
    }
    c->back = true;
    pthread_testcancel();
    return NULL;
}

/* All but aio_suspend() return although the thread is cancelled, be it that they copy, hand over or
 * wait. */
static void no_cancellation_points(void) {
    static const char *const calls[] = {"aio_read", "aio_write", "aio_fsync",  "LIO_NOWAIT",
                                        "LIO_WAIT", "aio_error", "aio_return", "aio_cancel"};
    enum { SIZE = 1 << 20 };
    int fds[] = {scratch(O_RDWR, SIZE), scratch(O_RDWR | O_DIRECT, SIZE), scratch(O_RDWR, SIZE)};
    char *buf = pages(SIZE), text[60];
    for (enum call call = 0; call < CALLS; call++) {
        for (int i = 0; i < 3; i++) { /* copied; by the kernel; by a worker */
            struct caller c = {.call = call, .cb = request(fds[i], buf, i == 2 ? SIZE : 4096, 0)};
            pthread_t thread;
            void *result;
            c.cb.aio_lio_opcode = LIO_READ;
            if (call >= ERROR) need(aio_read(&c.cb) == 0 && finish(&c.cb) == 0, "read");
            need(pthread_create(&thread, NULL, call_cancelled, &c) == 0, "thread");
            pthread_join(thread, &result);
            say("%s: back %d, answer %d, cancelled then %d", calls[call], c.back, c.answer,
                result == PTHREAD_CANCELED);
            snprintf(text, sizeof text, "%s, file %d", calls[call], i);
            if (c.back) report(text, &c.cb);
        }
    }
    int pipes[2];
    pthread_t thread;
    void *result;
    open_pipe(pipes);
    struct caller c = {.call = LIST_WAIT, .cb = pending(pipes, byte)};
    c.cb.aio_lio_opcode = LIO_READ;
    need(pthread_create(&thread, NULL, call_cancelled, &c) == 0, "thread");
    settle();
    feed(pipes);
    pthread_join(thread, &result);
    say("LIO_WAIT that sleeps: back %d, answer %d, cancelled then %d", c.back, c.answer,
        result == PTHREAD_CANCELED);
    close_pipe(pipes);
    for (int i = 0; i < 3; i++) close(fds[i]);
    free(buf);
}

/* Lists that overlap: thread i waits for pipes i and i + 1. */
static void overlapping(void) {
    int pipes[MORE + 1][2];
    struct aiocb cbs[MORE + 1];
    struct waiter waiters[MORE];
    for (int i = 0; i <= MORE; i++) {
        open_pipe(pipes[i]);
        cbs[i] = pending(pipes[i], &byte[i]);
        need(aio_read(&cbs[i]) == 0, "read");
    }
    for (int i = 0; i < MORE; i++) {
        waiters[i] = (struct waiter){.list = {&cbs[i], NULL, &cbs[i + 1]}};
        start(&waiters[i]);
    }
    feed(pipes[1]);
    pthread_join(waiters[0].thread, NULL);
    pthread_join(waiters[1].thread, NULL);
    until_asleep(waiters[2].tid);
    until_asleep(waiters[3].tid);
    say("pipe 1 wakes 0 and 1: %d %d", waiters[0].answer, waiters[1].answer);
    say("2 and 3 wait: %d %d", waiters[2].back, waiters[3].back);
    feed(pipes[4]);
    pthread_join(waiters[3].thread, NULL);
    until_asleep(waiters[2].tid);
    say("pipe 4 wakes 3: %d, 2 waits: %d", waiters[3].answer, waiters[2].back);
    feed(pipes[2]);
    pthread_join(waiters[2].thread, NULL);
    say("pipe 2 wakes 2: %d", waiters[2].answer);
    feed(pipes[0]);
    feed(pipes[3]);
    for (int i = 0; i <= MORE; i++) {
        report("read", &cbs[i]);
        close_pipe(pipes[i]);
    }
}

/* All threads for the same request, which the main thread has submitted and does not watch. */
static void same_pipe(void) {
    int pipes[2], bad = 0;
    open_pipe(pipes);
    for (int round = 0; round < 5; round++) {
        struct aiocb cb = pending(pipes, byte);
        struct waiter waiters[MORE];
        need(aio_read(&cb) == 0, "read");
        for (int i = 0; i < MORE; i++) {
            waiters[i] = (struct waiter){.list = {&cb}};
            start(&waiters[i]);
        }
        feed(pipes);
        for (int i = 0; i < MORE; i++) {
            pthread_join(waiters[i].thread, NULL);
            bad += waiters[i].answer != 0;
        }
        bad += aio_error(&cb) != 0 || aio_return(&cb) != 1;
    }
    say("the same request: %d bad", bad);
    close_pipe(pipes);
}

/* More threads than anybody has bits for: thread i waits for pipe i, and is the only one to return
 * when that gets data. In this order, since glibc reads no more than 20 pipes at a time. */
static void crowd(void) {
    static struct aiocb cbs[CROWD];
    static struct waiter waiters[CROWD];
    static char bytes[CROWD];
    int pipes[CROWD][2], bad = 0, early = 0;
    for (int i = 0; i < CROWD; i++) {
        open_pipe(pipes[i]);
        cbs[i] = pending(pipes[i], &bytes[i]);
        need(aio_read(&cbs[i]) == 0, "read");
        waiters[i] = (struct waiter){.list = {&cbs[i]}};
        need(pthread_create(&waiters[i].thread, NULL, suspend, &waiters[i]) == 0, "thread");
    }
    for (int i = 0; i < CROWD; i++)
        while (!waiters[i].tid || !sleeps(waiters[i].tid)) sleep_ms(1);
    for (int i = 0; i < CROWD; i++) {
        struct timespec end;
        feed(pipes[i]);
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += quiet_s(15);
        if (pthread_clockjoin_np(waiters[i].thread, NULL, CLOCK_MONOTONIC, &end)) {
            say("thread %d of the crowd sleeps on", i);
            _exit(1);
        }
        bad += waiters[i].answer != 0 || aio_error(&cbs[i]) != 0 || bytes[i] != 'x';
        for (int k = i + 1; k < CROWD; k++) early += waiters[k].back;
        close_pipe(pipes[i]);
    }
    say("crowd: %d bad, %d early", bad, early);
}

enum { READS = 8, ROUNDS = 1000, BLOCK = 4096 };

static struct aiocb shared[READS];
static char *blocks;
static pthread_barrier_t turn;

static int collect(int from) {
    int bad = 0;
    for (int i = from; i < READS; i += 2) {
        const struct aiocb *list[] = {&shared[i]};
        while (aio_error(&shared[i]) == EINPROGRESS) bad += aio_suspend(list, 1, NULL) != 0;
        bad += aio_return(&shared[i]) != BLOCK;
        bad += !is_pattern(blocks + i * BLOCK, BLOCK, shared[i].aio_offset);
    }
    return bad;
}

/* Submits nothing itself; its share are the odd requests. */
static void *collector(void *arg) {
    int *bad = arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&turn);
        *bad += collect(1);
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

/* One thread submits, and others wait, with requests that end by themselves. */
static void one_submits(const char *what, int fd, bool waits_too) {
    int bad = 0, theirs = 0;
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    need(pthread_create(&thread, NULL, collector, &theirs) == 0, "thread");
    for (int round = 0; round < ROUNDS; round++) {
        memset(blocks, 0, READS * BLOCK);
        for (int i = 0; i < READS; i++) {
            off_t at = (off_t)(round * 31 + i * 17) % 64 * BLOCK;
            shared[i] = request(fd, blocks + i * BLOCK, BLOCK, at);
            bad += aio_read(&shared[i]) != 0;
        }
        pthread_barrier_wait(&turn);
        if (waits_too) bad += collect(0);
        pthread_barrier_wait(&turn); /* asleep until the other has seen its share end */
        bad += collect(0);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&turn);
    say("%s: %d bad", what, bad + theirs);
    close(fd);
}

static void test(void) {
    blocks = pages(READS * BLOCK);
    CASE("at-once") at_once();
    CASE("times") times();
    CASE("invalid") invalid();
    CASE("endless") endless();
    CASE("handlers") handlers();
    CASE("cancellation") cancellation();
    CASE("cancellations-before") cancellations_before();
    CASE("no-cancellation-points") no_cancellation_points();
    CASE("overlapping") overlapping();
    CASE("same-pipe") same_pipe();
    CASE("crowd") crowd();
    CASE("one-submits") {
        one_submits("direct, one submits", scratch(O_RDONLY | O_DIRECT, 64 * BLOCK), false);
        one_submits("direct, both wait", scratch(O_RDONLY | O_DIRECT, 64 * BLOCK), true);
        one_submits("buffered, both wait", scratch(O_RDONLY, 64 * BLOCK), true);
    }
}
