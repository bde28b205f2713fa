/* SPDX-License-Identifier: MIT */
/* Threads in aio_suspend() for overlapping lists. The one that has submitted the requests, and
 * waits for all of them, leaves: it is cancelled, interrupted by a signal, or its time is up. The
 * others must see the requests end all the same: nobody may depend on a sleeper that goes away.
 * With pipes, which are fed after it has left, and with reads of a file (by the kernel, or uncached
 * ones by workers), in the middle of which it leaves. */
#include "test.h"

enum { SLEEPERS = 3, MOST = 32, BLOCK = 65536, BLOCKS = 64, PIPE_ROUNDS = 10 };

/* How often the leaver shall leave; when the time is up, fewer will do. */
enum { LEAVES = 25, LEAST_LEAVES = 5, SECONDS = 8 };

enum way { CANCELLED, INTERRUPTED, TIMED_OUT, WAYS };
static const char *const ways[] = {"cancelled", "interrupted", "timed out"};

static struct aiocb cbs[MOST]; /* the leaver's, but they outlive it */
static int n;                  /* requests of a round */
static char *memory;
static pthread_barrier_t submitted;

static int below(int limit) {
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (unsigned)limit);
}

struct waiter {
    pthread_t thread;
    _Atomic pid_t tid;
    int from, to;                 /* its share of cbs */
    const struct timespec *limit; /* NULL: none */
    int error;                    /* what has ended its wait, 0: all of its share are done */
};

/* Until all of its share have ended, always for any of those that have not. */
static void wait_for_share(struct waiter *w) {
    w->tid = gettid();
    for (;;) {
        const struct aiocb *list[MOST] = {NULL};
        int left = 0;
        for (int i = w->from; i < w->to; i++)
            if (aio_error(&cbs[i]) == EINPROGRESS) list[i] = &cbs[i], left++;
        if (left == 0) return;
        if (aio_suspend(list, MOST, w->limit) == 0) continue;
        w->error = errno;
        return;
    }
}

static void *sleeper(void *arg) {
    pthread_barrier_wait(&submitted);
    wait_for_share(arg);
    return NULL;
}

/* gcc 12's ASan does not see that a cancelled thread has left its frames: what is called next would
 * find their marks in its own. */
static void frames_are_left(void *frame) {
#ifdef __SANITIZE_ADDRESS__
    extern void __asan_unpoison_memory_region(const void *, size_t);
    __asan_unpoison_memory_region((char *)frame - 32768, 32768);
#endif
    (void)frame;
}

static void *leaver(void *arg) {
    for (int i = 0; i < n; i++) need(aio_read(&cbs[i]) == 0, "read");
    pthread_barrier_wait(&submitted);
    pthread_cleanup_push(frames_are_left, __builtin_frame_address(0));
    wait_for_share(arg);
    pthread_cleanup_pop(0);
    return NULL;
}

/* waiters[0] is the leaver, the others sleep for shares that overlap. They have been submitted. */
static void begin(struct waiter waiters[1 + SLEEPERS], const struct timespec *limit) {
    static const struct timespec minute = {60, 0};
    pthread_barrier_init(&submitted, NULL, 2 + SLEEPERS);
    for (int i = 0; i <= SLEEPERS; i++) {
        struct waiter *w = &waiters[i];
        memset(w, 0, sizeof *w);
        w->from = i ? (i - 1) * n / (SLEEPERS + 1) : 0;
        w->to = i ? (i + 1) * n / (SLEEPERS + 1) : n;
        w->limit = i == 0 ? limit : i == 1 ? &minute : NULL;
        need(pthread_create(&w->thread, NULL, i ? sleeper : leaver, w) == 0, "thread");
    }
    pthread_barrier_wait(&submitted);
}

/* Has the leaver left before all had ended? */
static bool leave(struct waiter *w, enum way way) {
    static const int errors[] = {0, EINTR, EAGAIN};
    void *result;
    if (way == CANCELLED) pthread_cancel(w->thread);
    /* again and again: the first may come when it is not in the call */
    while (way == INTERRUPTED && pthread_tryjoin_np(w->thread, NULL)) {
        pthread_kill(w->thread, SIGUSR1);
        usleep(50);
    }
    if (way != INTERRUPTED) pthread_join(w->thread, &result);
    if (way == CANCELLED) return result == PTHREAD_CANCELED;
    need(w->error == 0 || w->error == errors[way], "the leaver's error");
    return w->error != 0;
}

/* The number of those that were not woken, or woke too early. */
static int sleepers_end(struct waiter waiters[1 + SLEEPERS]) {
    int bad = 0;
    for (int i = 1; i <= SLEEPERS; i++) {
        struct timespec end;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += quiet_s(15);
        if (pthread_clockjoin_np(waiters[i].thread, NULL, CLOCK_MONOTONIC, &end)) {
            say("sleeper %d sleeps on", i);
            _exit(1);
        }
        bad += waiters[i].error != 0;
        for (int k = waiters[i].from; k < waiters[i].to; k++) bad += aio_error(&cbs[k]) != 0;
    }
    pthread_barrier_destroy(&submitted);
    return bad;
}

/* Less sure than until_asleep(), for there are many rounds. */
static void until_waits(const struct waiter *w) {
    for (int seen = 0; seen < 3; sleep_ms(1))
        seen = w->tid && task_state(w->tid) != 'R' ? seen + 1 : 0;
}

static void pipe_rounds(enum way way) {
    int fds[SLEEPERS + 1][2], bad = 0, left = 0;
    struct timespec soon = {0, 10000000};
    struct waiter waiters[1 + SLEEPERS];
    n = SLEEPERS + 1;
    for (int i = 0; i < n; i++) need(pipe(fds[i]) == 0, "pipe");
    for (int round = 0; round < PIPE_ROUNDS; round++) {
        for (int i = 0; i < n; i++) cbs[i] = request(fds[i][0], memory + i, 1, 0);
        begin(waiters, way == TIMED_OUT ? &soon : NULL);
        for (int i = way == TIMED_OUT; i <= SLEEPERS; i++) until_waits(&waiters[i]);
        left += leave(&waiters[0], way);
        for (int i = 0; i < n; i++) bad += aio_error(&cbs[i]) != EINPROGRESS;
        for (int i = 0; i < n; i++) {
            int k = (i * 3 + round) % n; /* 3 and n = 4 have no common divisor */
            memory[k] = 0;
            need(write(fds[k][1], "x", 1) == 1, "write");
            if (round % 2) sleep_ms(1);
        }
        bad += sleepers_end(waiters);
        for (int i = 0; i < n; i++) bad += aio_return(&cbs[i]) != 1 || memory[i] != 'x';
    }
    say("pipes, %s: left %d times, %d bad", ways[way], left, bad);
    for (int i = 0; i < n; i++) close(fds[i][0]), close(fds[i][1]);
}

/* The moment is random, and comes sooner if all had ended too often. Goes on until the leaver has
 * really left a number of times: if it never does, until the alarm. */
static void file_rounds(const char *what, int flags, enum way way) {
    int fd = scratch(O_RDONLY | flags, BLOCKS * BLOCK), bad = 0, left = 0;
    int most = way == TIMED_OUT ? 60 : 1000, range = most; /* the limit is for each of its calls */
    uint64_t end = now_us() + SECONDS * 1000000;
    struct waiter waiters[1 + SLEEPERS];
    n = MOST;
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    for (int round = 0; left < LEAST_LEAVES || (left < LEAVES && now_us() < end); round++) {
        int us = below(range);
        struct timespec soon = {0, us * 1000};
        if (!flags) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        for (int i = 0; i < n; i++)
            cbs[i] = request(fd, memory + i * BLOCK, BLOCK, (i * 7 + round) % BLOCKS * BLOCK);
        begin(waiters, way == TIMED_OUT ? &soon : NULL);
        if (way != TIMED_OUT) usleep((useconds_t)us);
        bool early = leave(&waiters[0], way);
        left += early;
        range = early ? range + range / 4 + 1 : range - range / 8;
        if (range > most) range = most;
        bad += sleepers_end(waiters);
        for (int i = 0; i < n; i++)
            bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK ||
                   !is_pattern(memory + i * BLOCK, BLOCK, cbs[i].aio_offset);
    }
    say("%s, %s: %d bad", what, ways[way], bad);
    close(fd);
}

/* One thread waits for an aiocb that another uses again and again: what it has seen to be done may
 * be in progress when it looks once more, as another request. Among so many NULLs it takes a while.
 */
enum { NULLS = 50000, REUSE_MS = 700 };
static _Atomic bool stop;

static void *wait_again(void *unused) {
    static const struct aiocb *list[NULLS] = {&cbs[0]};
    while (!stop)
        if (aio_suspend(list, NULLS, NULL)) say("aio_suspend: %s", name(errno));
    return unused;
}

static void used_again(const char *what, int flags) {
    int fd = scratch(O_RDWR | flags, BLOCK), bad = 0;
    pthread_t thread;
    struct timespec limit;
    uint64_t end = now_us() + REUSE_MS * 1000;
    stop = false;
    need(pthread_create(&thread, NULL, wait_again, NULL) == 0, "thread");
    while (now_us() < end) {
        cbs[0] = request(fd, memory, 4096, 0);
        bad += (flags & O_APPEND ? aio_write(&cbs[0]) : aio_read(&cbs[0])) != 0;
        while (aio_error(&cbs[0]) == EINPROGRESS) continue;
    }
    stop = true;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += quiet_s(10);
    say("%s, used again: %d bad", what, bad);
    if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &limit)) say("a thread sleeps on");
    close(fd);
}

/* A thread has left more requests than a context takes, and looks after none: who waits behind them
 * for one of its own must not depend on it. */
enum { LIST = 300 };
static sem_t listed, over;

static void *leave_list(void *fd) {
    static struct aiocb list_cbs[LIST], *list[LIST];
    int bad = 0;
    for (int i = 0; i < LIST; i++) {
        list_cbs[i] = request(*(int *)fd, memory, 4096, i % 16 * 4096);
        list_cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &list_cbs[i];
    }
    need(lio_listio(LIO_NOWAIT, list, LIST, NULL) == 0, "lio_listio");
    sem_post(&listed);
    while (sem_wait(&over)) continue;
    for (int i = 0; i < LIST; i++) bad += finish(list[i]) != 0 || aio_return(list[i]) != 4096;
    say("the list: %d bad", bad);
    return NULL;
}

static void behind_list(void) {
    int fd = scratch(O_RDONLY | O_DIRECT, BLOCK);
    const struct aiocb *list[] = {&cbs[0]};
    pthread_t thread;
    sem_init(&listed, 0, 0);
    sem_init(&over, 0, 0);
    need(pthread_create(&thread, NULL, leave_list, &fd) == 0, "thread");
    while (sem_wait(&listed)) continue;
    cbs[0] = request(fd, memory + BLOCK, 4096, 4096);
    need(aio_read(&cbs[0]) == 0, "aio_read");
    int res = aio_suspend(list, 1, &(struct timespec){quiet_s(10), 0});
    say("behind another's list: %d, %s", res, name(aio_error(&cbs[0])));
    sem_post(&over);
    pthread_join(thread, NULL);
    close(fd);
}

static void on_signal(int signo) {
    (void)signo;
}

static void test(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    memory = pages(MOST * BLOCK);
    CASE("pipes")
        for (enum way way = 0; way < WAYS; way++) pipe_rounds(way);
    CASE("files")
        for (enum way way = 0; way < WAYS; way++) {
            file_rounds("direct", O_DIRECT, way);
            file_rounds("not cached", 0, way);
        }
    CASE("behind-list") behind_list();
    CASE("used-again") {
        used_again("direct", O_DIRECT);
        used_again("appended", O_APPEND);
    }
}
