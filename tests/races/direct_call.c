/* SPDX-License-Identifier: MIT */
/* What may happen while aio_read() or aio_write() of an O_DIRECT file is inside
 * io_submit() the short way (direct.c), for races.sh: a signal handler that
 * asks for that very request, syncs or forks; a child forked there that makes
 * reads of its own before it goes on with the call; a sync by another thread;
 * the request's end, seen by another thread; a refusal. On the main thread,
 * then on the one that came last: a child's first thread gets the record that
 * this had. */
#include "test.h"
#include "hold.h"

#include <libaio.h>

enum { BLOCK = 4096, BLOCKS = 64, BEFORE = 77, OTHERS = 6 };
enum event {
    NONE,
    ASKED,
    SYNCED,
    FORKED,
    RAW_FORKED,
    READS_ONE,
    READS_MANY,
    INTERRUPTED,
    ENDED,
    REFUSED,
    EVENTS,
    LONG_WAY
};
static const char *const events[] = {"nothing",
                                     "handler asks",
                                     "handler and thread sync",
                                     "handler forks",
                                     "handler forks by _Fork()",
                                     "handler forks, child reads",
                                     "handler forks, child reads with a context of its own",
                                     "interrupted",
                                     "ended before the return",
                                     "refused"};

static int fd;
static char *buf, *zeros, *own;
static bool writes;
static struct aiocb cb;
static pid_t pid;
static _Atomic pid_t caller;
static _Atomic enum event event; /* to come at the next io_submit() of the caller */
static _Atomic int seen, asked;
static sem_t sync_now, synced;
static pid_t child;
static bool child_reads_well;

/* In the child, inside the handler: it is still in its parent's call. */
static bool reads(int n) {
    bool good = true;
    for (int i = 0; i < n; i++) {
        struct aiocb mine = request(fd, own, BLOCK, (BLOCKS - 1 - i % BLOCKS) * BLOCK);
        const struct aiocb *list[] = {&mine};
        memset(own, 0, BLOCK);
        good = good && aio_read(&mine) == 0 && aio_suspend(list, 1, NULL) == 0;
        good = good && finish(&mine) == 0 && aio_return(&mine) == BLOCK;
        good = good && is_pattern(own, BLOCK, mine.aio_offset);
    }
    return good;
}

static void forks(void) {
    child = seen == RAW_FORKED ? _Fork() : fork();
    if (child) return;
    alarm(3); /* it takes 50 ms; with a count that is wrong each request waits for a second */
    child_reads_well = seen < READS_ONE || reads(seen == READS_ONE ? 1 : 100);
}

static bool forked(enum event what) {
    return what >= FORKED && what <= READS_MANY;
}

static void on_signal(int signo) {
    (void)signo;
    const struct aiocb *list[] = {&cb};
    asked = aio_error(&cb);
    if (seen == ASKED && aio_suspend(list, 1, NULL)) asked = -1;
    if (seen == SYNCED && fsync(fd)) asked = -1;
    if (forked(seen) && getpid() == pid && !child) forks();
}

static void *syncer(void *unused) {
    for (;;) {
        struct aiocb sync = request(fd, NULL, 0, 0);
        while (sem_wait(&sync_now)) continue;
        need(aio_fsync(O_SYNC, &sync) == 0 && finish(&sync) == 0 && fsync(fd) == 0, "sync");
        sem_post(&synced);
    }
    return unused;
}

static long at_call(const struct call *call) {
    enum event now = call->tid == caller ? event : NONE;
    if (now == NONE) return GO_ON;
    event = NONE;
    seen = now;
    if (now == SYNCED) {
        sem_post(&sync_now);
        while (sem_wait(&synced)) continue;
    }
    if (now < ENDED) { /* the handler runs, then the call is made again, or has
                          failed with EINTR */
        syscall(SYS_tgkill, pid, caller, SIGUSR1);
        for (int ms = 0; asked == 0 && ms < 300; ms++) sleep_ms(1);
        if (asked == 0) seen = LONG_WAY;
        return asked ? -EAGAIN : GO_ON; /* to nobody: it has been interrupted */
    }
    if (now == REFUSED) return -EAGAIN;
    long r = perform(call);
    while (aio_error(&cb) == EINPROGRESS || aio_error(&cb) == BEFORE) sleep_ms(1);
    return r;
}

/* With the event at its io_submit(). True: it said what it should. */
static bool transfer_with(enum event what, off_t at) {
    cb = request(fd, buf, BLOCK, at);
    cb.__error_code = BEFORE;
    asked = seen = 0;
    child = 0;
    event = what;
    bool good = (writes ? aio_write(&cb) : aio_read(&cb)) == 0;
    good = good && finish(&cb) == 0 && aio_return(&cb) == BLOCK;
    event = NONE;
    return good;
}

/* True: the data is right. */
static bool transfer(enum event what, off_t at) {
    memset(buf, 0, BLOCK);
    if (writes)
        need(pread(fd, buf, BLOCK, at) == BLOCK && pwrite(fd, zeros, BLOCK, at) == BLOCK, "I/O");
    bool good = transfer_with(what, at);
    if (writes) need(pread(fd, buf, BLOCK, at) == BLOCK, "pread");
    return good && is_pattern(buf, BLOCK, at);
}

/* So that the thread has a stock (40) and the file is known; 100: and in a
 * child, there is a context. */
static bool some(int n) {
    bool good = true;
    for (int i = 0; i < n; i++) good &= transfer(NONE, i % BLOCKS * BLOCK);
    return good;
}

static const char *verdict(enum event what, off_t at) {
    int status;
    if (!some(10)) return "a plain one is wrong";
    bool good = transfer(what, at);
    if (good && seen == LONG_WAY) good = transfer(what, at); /* one in 32 */
    if (getpid() != pid) _exit(good && child_reads_well && some(100) ? 42 : 1);
    if (!good) return "it is wrong";
    if (seen != (int)what) return "the event did not come";
    if (what < ENDED && asked != BEFORE) return "the handler was not told what was before";
    if (forked(what) && (waitpid(child, &status, 0) != child || status != 42 << 8))
        return "the child did not, or not in time";
    return NULL;
}

/* NULL: all is well. */
static void *all_events(void *thread) {
    struct sigaction action = {.sa_handler = on_signal};
    caller = gettid();
    if (!some(40)) return thread;
    for (int round = 0; round < 4; round++) {
        writes = round % 2;
        for (enum event what = ASKED; what < EVENTS; what++) {
            action.sa_flags = what == INTERRUPTED ? 0 : SA_RESTART;
            sigaction(SIGUSR1, &action, NULL);
            const char *wrong = verdict(what, (what + round) * BLOCK);
            if (!wrong) continue;
            say("%s, %s, %s: %s", (char *)thread, writes ? "write" : "read", events[what], wrong);
            return thread; /* a child that did not end well may have left zeros in the
                              file */
        }
    }
    return NULL;
}

/* Keeps a record that an ended thread has left. */
static void *stay(void *ready) {
    some(1);
    sem_post(ready);
    for (;;) pause();
    return NULL;
}

static void start_last(pthread_t *thread, void *name) {
    sem_t ready;
    sem_init(&ready, 0, 0);
    for (int i = 0; i < OTHERS; i++) {
        need(pthread_create(thread, NULL, stay, &ready) == 0, "thread");
        while (sem_wait(&ready)) continue;
    }
    need(pthread_create(thread, NULL, all_events, name) == 0, "thread");
}

static void test(void) {
    const long calls[] = {SYS_io_submit};
    static char first[] = "main thread", last[] = "last thread";
    pthread_t thread;
    void *wrong, *wrong_last;
    pid = getpid();
    fd = scratch(O_RDWR | O_DIRECT, BLOCKS * BLOCK);
    buf = pages(BLOCK);
    own = pages(BLOCK);
    zeros = pages(BLOCK);
    memset(zeros, 0, BLOCK);
    sem_init(&sync_now, 0, 0);
    sem_init(&synced, 0, 0);
    need(pthread_create(&thread, NULL, syncer, NULL) == 0, "thread");
    hold(calls, 1);
    wrong = all_events(first);
    start_last(&thread, last);
    pthread_join(thread, &wrong_last);
    if (wrong || wrong_last) exit(1);
}
