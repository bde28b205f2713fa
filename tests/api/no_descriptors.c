/* SPDX-License-Identifier: MIT */
/* A program that has used up its descriptors: glibc's AIO needs none, so nothing may fail here that
 * does not fail there. Reads, waits, notifications, streams, syncs, lists, other threads. */
#include "test.h"

#include <limits.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BLOCK = 4096, BLOCKS = 64, READS = 100 };

static int direct_fd, data_fd, memory_fd, append_fd, pipes[2], pair[2];
static char *memory; /* READS blocks */
static int signo;    /* real-time */
static sem_t called, signaled;
static volatile sig_atomic_t signal_value;

static void call(union sigval value) {
    (void)value;
    sem_post(&called);
}

/* On any thread: those of callbacks block no signal. */
static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    signal_value = info->si_value.sival_int;
    sem_post(&signaled);
}

static bool ended(struct aiocb *cb, ssize_t n) {
    return finish(cb) == 0 && aio_return(cb) == n;
}

static bool take(sem_t *sem) {
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += quiet_s(2);
    int res;
    do res = sem_clockwait(sem, CLOCK_MONOTONIC, &limit);
    while (res != 0 && errno == EINTR);
    return res == 0;
}

static bool take_call(void) {
    return take(&called);
}

static bool take_signal(int value) {
    return take(&signaled) && signal_value == value;
}

/* One after the other, by each way to wait. */
static void files(const char *what, int fd) {
    int bad = 0;
    for (int i = 0; i < READS; i++) {
        struct aiocb cb = request(fd, memory, BLOCK, i % BLOCKS * BLOCK);
        if (i % 4 == 1) cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        if (i % 4 == 2) cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
        if (i % 4 == 1) cb.aio_sigevent.sigev_signo = signo;
        if (i % 4 == 1) cb.aio_sigevent.sigev_value.sival_int = i;
        if (i % 4 == 2) cb.aio_sigevent.sigev_notify_function = call;
        bad += aio_read(&cb) != 0;
        if (i % 4 == 1) bad += !take_signal(i);
        if (i % 4 == 2) bad += !take_call();
        while (i % 4 == 3 && aio_error(&cb) == EINPROGRESS) continue;
        bad += !ended(&cb, BLOCK) || !is_pattern(memory, BLOCK, cb.aio_offset);
    }
    say("%s: %d bad", what, bad);
}

/* Of a file: all at once. */
static void list(const char *what, int fd, int mode) {
    static struct aiocb cbs[READS], *items[READS];
    struct sigevent sigev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signo};
    int bad = 0;
    memset(memory, 0, READS * BLOCK);
    for (int i = 0; i < READS; i++) {
        items[i] = &cbs[i];
        cbs[i] = request(fd, memory + i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
        cbs[i].aio_lio_opcode = LIO_READ;
    }
    sigev.sigev_value.sival_int = 77;
    bad += lio_listio(mode, items, READS, &sigev) != 0;
    if (mode == LIO_NOWAIT) bad += !take_signal(77);
    for (int i = 0; i < READS; i++)
        bad += !ended(&cbs[i], BLOCK) || !is_pattern(memory + i * BLOCK, BLOCK, cbs[i].aio_offset);
    say("%s, list: %d bad", what, bad);
}

/* Writes, and a sync behind them. */
static void sync_behind(const char *what, int fd, bool by_signal) {
    struct aiocb writes[8], sync = request(fd, NULL, 0, 0);
    int bad = 0, early = 0;
    for (int i = 0; i < 8; i++) {
        writes[i] = request(fd, memory, BLOCK, i * BLOCK);
        bad += aio_write(&writes[i]) != 0;
    }
    if (by_signal) sync.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    if (by_signal) sync.aio_sigevent.sigev_signo = signo;
    if (by_signal) sync.aio_sigevent.sigev_value.sival_int = 5;
    bad += aio_fsync(O_SYNC, &sync) != 0;
    if (by_signal) bad += !take_signal(5);
    bad += !ended(&sync, 0);
    for (int i = 0; i < 8; i++) early += aio_error(&writes[i]) == EINPROGRESS;
    for (int i = 0; i < 8; i++) bad += !ended(&writes[i], BLOCK);
    say("%s, sync: %d early, %d bad", what, early, bad);
}

/* Three reads wait, and are fed one after the other; one by signal, one by thread. */
static void stream(const char *what, int from, int to) {
    struct aiocb cbs[3];
    char bytes[4] = "---";
    int bad = 0;
    for (int i = 0; i < 3; i++) cbs[i] = request(from, bytes + i, 1, 0);
    cbs[0].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cbs[0].aio_sigevent.sigev_signo = signo;
    cbs[0].aio_sigevent.sigev_value.sival_int = 3;
    cbs[1].aio_sigevent.sigev_notify = SIGEV_THREAD;
    cbs[1].aio_sigevent.sigev_notify_function = call;
    for (int i = 0; i < 3; i++) bad += aio_read(&cbs[i]) != 0;
    settle();
    for (int i = 0; i < 3; i++) bad += aio_error(&cbs[i]) != EINPROGRESS;
    for (int i = 0; i < 3; i++) {
        need(write(to, &"abc"[i], 1) == 1, "write");
        if (i == 0) bad += !take_signal(3);
        if (i == 1) bad += !take_call();
        bad += !ended(&cbs[i], 1);
    }
    say("%s: %s, %d bad", what, bytes, bad);
}

struct wait {
    struct aiocb *cb;
    int bad;
};

static void *wait_for(void *arg) {
    struct wait *wait = arg;
    wait->bad = finish(wait->cb) != 0;
    return NULL;
}

/* A thread waits for what the main thread has asked for and does not look at. */
static void by_another(const char *what, int fd, int feed) {
    int bad = 0;
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(fd, memory, feed >= 0 ? 1 : BLOCK, i * BLOCK);
        struct wait wait = {&cb, 0};
        pthread_t thread;
        bad += aio_read(&cb) != 0;
        need(pthread_create(&thread, NULL, wait_for, &wait) == 0, "thread");
        if (feed >= 0) sleep_ms(2);
        if (feed >= 0) need(write(feed, "x", 1) == 1, "write");
        pthread_join(thread, NULL);
        bad += wait.bad + !ended(&cb, (ssize_t)cb.aio_nbytes);
    }
    say("%s, another thread waits: %d bad", what, bad);
}

static void timed_out(void) {
    struct aiocb cb = request(pipes[0], memory, 1, 0);
    const struct aiocb *list[] = {&cb};
    struct timespec limit = {0, 20000000};
    answered("aio_read", aio_read(&cb));
    answered("suspend with a time limit", aio_suspend(list, 1, &limit));
    need(write(pipes[1], "x", 1) == 1, "write");
    report("read", &cb);
}

static pid_t waiter;
static sem_t waits;

static void *interrupt(void *unused) {
    for (int i = 0; i < 2 * 2; i++) {
        while (sem_wait(&waits)) continue;
        settle(); /* until_asleep() needs a descriptor */
        tgkill(getpid(), waiter, SIGUSR1);
        sleep_ms(
            100); /* if it has not had a CPU until then, it finds both, and that it has ended */
        need(write(pipes[1], "x", 1) == 1, "write");
    }
    return unused;
}

static void ignore(int number) {
    (void)number;
}

/* SA_RESTART takes up a wait again, if it has no time limit. */
static void interrupted(void) {
    const struct timespec minute = {60, 0};
    pthread_t thread;
    waiter = gettid();
    sem_init(&waits, 0, 0);
    need(pthread_create(&thread, NULL, interrupt, NULL) == 0, "thread");
    for (int i = 0; i < 2 * 2; i++) {
        bool restart = i & 1, limited = i & 2;
        struct sigaction action = {.sa_handler = ignore, .sa_flags = restart ? SA_RESTART : 0};
        struct aiocb cb = request(pipes[0], memory, 1, 0);
        const struct aiocb *list[] = {&cb};
        sigaction(SIGUSR1, &action, NULL);
        answered("aio_read", aio_read(&cb));
        sem_post(&waits);
        say("%s%s", restart ? "SA_RESTART" : "handler", limited ? ", time limit" : "");
        answered("suspend", aio_suspend(list, 1, limited ? &minute : NULL));
        report("read", &cb);
    }
    pthread_join(thread, NULL);
}

/* No number is left. */
static void use_up(void) {
    struct rlimit limit;
    int next = dup(0);
    need(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0, "dup");
    limit.rlim_cur = (rlim_t)next;
    need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    answered("another descriptor", dup(0));
}

static void test(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    signo = SIGRTMIN + 1;
    sigaction(signo, &action, NULL);
    sem_init(&signaled, 0, 0);
    sem_init(&called, 0, 0);
    memory = pages(READS * BLOCK);
    direct_fd = scratch(O_RDWR | O_DIRECT, BLOCKS * BLOCK);
    data_fd = scratch(O_RDWR, BLOCKS * BLOCK);
    append_fd = scratch(O_WRONLY | O_APPEND, 0);
    memory_fd = memfd_create("memory", MFD_CLOEXEC);
    need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
    use_up();
    posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
    CASE("timed-out-at-first") timed_out();
    CASE("stream-at-first") stream("pipe", pipes[0], pipes[1]);
    CASE("files") {
        files("buffered", data_fd);
        files("direct", direct_fd);
    }
    CASE("lists") {
        list("buffered", data_fd, LIO_WAIT);
        list("direct", direct_fd, LIO_NOWAIT);
        list("direct", direct_fd, LIO_WAIT);
    }
    CASE("by-another") {
        by_another("direct", direct_fd, -1);
        by_another("buffered", data_fd, -1);
        by_another("pipe", pipes[0], pipes[1]);
    }
    CASE("streams") {
        stream("pipe", pipes[0], pipes[1]);
        stream("socket", pair[0], pair[1]);
    }
    CASE("timed-out") timed_out();
    CASE("interrupted") interrupted();
    CASE("sync-behind")
        for (int by_signal = 0; by_signal < 2; by_signal++) {
            sync_behind("buffered", data_fd, by_signal);
            sync_behind("direct", direct_fd, by_signal);
            sync_behind("append", append_fd, by_signal);
            sync_behind("memory", memory_fd, by_signal);
        }
}
