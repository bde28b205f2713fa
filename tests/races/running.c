/* SPDX-License-Identifier: MIT */
/* Requests that run, and what waits behind them, for running.sh, with slowfs at ./slow: it holds
 * syncs, and reads and writes of h, while there is ./log.hold. RUNNING says which part:
 *
 *   sync    one that has begun cannot be cancelled, by itself or with all of its descriptor, and
 *           ends well; syncs queued behind it need one more together
 *   file    reads that occupy all workers, those of glibc as well (tests/api/stuck.c does without
 *           a filesystem, but needs userfaultfd)
 *   others  other files go on
 *   order   what waits for a descriptor has its turn by priority (KAIO_ORDER=fd)
 */
#include "test.h"

/* glibc has 20 threads; the shim 16, and 20 more for descriptors that have none of those */
enum { GLIBC = 20, WORKERS = 16, STUCK = WORKERS + GLIBC, MOST = 64, BLOCK = 4096 };

static char *buf; /* MOST blocks, of which the first are for `stuck` */
static struct aiocb stuck[STUCK];
static int fds[STUCK];

/* How many lines of slowfs's log begin so? */
static int logged(const char *what) {
    char line[50];
    int n = 0;
    FILE *log = fopen("log", "r");
    need(log != NULL, "log");
    while (fgets(line, sizeof line, log)) n += !strncmp(line, what, strlen(what));
    fclose(log);
    return n;
}

/* How many syncs have reached the filesystem? */
static int arrived(void) {
    return logged("sync ");
}

static void hold(void) {
    int lock = open("log.hold", O_CREAT | O_RDWR, 0600);
    need(lock >= 0, "log.hold");
    close(lock);
}

static void release(void) {
    unlink("log.hold");
}

static const char *answer_of(int res) {
    return res == AIO_CANCELED      ? "cancelled"
           : res == AIO_NOTCANCELED ? "not cancelled"
           : res == AIO_ALLDONE     ? "all done"
                                    : "error";
}

static void sync_of(int fd, int op, const char *what) {
    int before = arrived();
    struct aiocb cb = request(fd, NULL, 0, 0);
    hold();
    need(aio_fsync(op, &cb) == 0, "aio_fsync");
    while (arrived() == before) sleep_ms(1);
    say("%s: %s", what, answer_of(aio_cancel(fd, &cb)));
    say("with all: %s", answer_of(aio_cancel(fd, NULL)));
    say("then: %s", name(aio_error(&cb)));
    release();
    report("ends", &cb);
    say("at last: %s", answer_of(aio_cancel(fd, &cb)));
}

/* One runs, others queue behind it, one of which is cancelled. The shim has the filesystem make one
 * more for all that are left. */
static void many(int fd, int op, const char *what) {
    enum { SYNCS = 10, CANCELLED = 4 };
    int before = arrived(), wrong = 0;
    static struct aiocb cbs[SYNCS];
    hold();
    for (int i = 0; i < SYNCS; i++) {
        cbs[i] = request(fd, NULL, 0, 0);
        need(aio_fsync(op, &cbs[i]) == 0, "aio_fsync");
        while (arrived() == before) sleep_ms(1);
    }
    say("%s, one of many: %s", what, answer_of(aio_cancel(fd, &cbs[CANCELLED])));
    release();
    for (int i = 0; i < SYNCS; i++) wrong += finish(&cbs[i]) != (i == CANCELLED ? ECANCELED : 0);
    say("the others end, %d wrong", wrong);
    if (is_shim() && arrived() - before != 2) say("%d syncs, not 2", arrived() - before);
}

static void syncs(void) {
    int fd = open("slow/0", O_RDWR);
    need(fd >= 0, "slow/0");
    sync_of(fd, O_SYNC, "sync");
    sync_of(fd, O_DSYNC, "data sync");
    many(fd, O_SYNC, "sync");
    many(fd, O_DSYNC, "data sync");
    close(fd);
}

static struct aiocb *reads(struct aiocb *cb, int fd, int block) {
    *cb = request(fd, buf + block * BLOCK, BLOCK, block * BLOCK);
    need(aio_read(cb) == 0, "aio_read");
    return cb;
}

static struct aiocb *writes(struct aiocb *cb, int fd, int number) {
    char *data = buf + number * BLOCK;
    memcpy(data, &number, sizeof number);
    *cb = request(fd, data, BLOCK, number * BLOCK);
    need(aio_write(cb) == 0, "aio_write");
    return cb;
}

/* Opened for direct I/O, so that each request reaches slowfs. */
static int open_held(void) {
    int fd = open("slow/h", O_RDWR | O_DIRECT);
    need(fd >= 0, "slow/h");
    return fd;
}

static int all_stuck; /* so many occupy all workers */

/* Until release(), n requests are in the filesystem. */
static void occupy(int n) {
    int before = logged("held ");
    hold();
    for (int i = 0; i < n; i++) reads(&stuck[i], fds[i] = open_held(), i);
    while (logged("held ") - before < n) sleep_ms(1);
}

/* After release(). */
static void collect(int n) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        bad += finish(&stuck[i]) != 0 || aio_return(&stuck[i]) != BLOCK;
        bad += !is_pattern(buf + i * BLOCK, BLOCK, i * BLOCK);
        close(fds[i]);
    }
    say("held ones: %d bad", bad);
}

static void by_signal(struct aiocb *cb, int value) {
    cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb->aio_sigevent.sigev_signo = SIGRTMIN + 1;
    cb->aio_sigevent.sigev_value.sival_int = value;
}

static void cancels(const char *what, int fd, struct aiocb *cb) {
    say("%s: %s", what, answer_of(aio_cancel(fd, cb)));
}

static void each_state(void) {
    int fd = open_held();
    struct aiocb cb, other, sync;
    say("-- each state");
    occupy(all_stuck);
    cancels("running", fds[0], &stuck[0]);
    cancels("running, all", fds[0], NULL);
    say("still %s", name(aio_error(&stuck[0])));
    cancels("queued", fd, reads(&cb, fd, STUCK));
    report("it", &cb);
    cancels("again", fd, &cb);
    cb = request(fd, buf, BLOCK, 0);
    by_signal(&cb, 7);
    need(aio_read(&cb) == 0, "aio_read");
    cancels("one of two queued", fd, (reads(&other, fd, STUCK), &cb));
    say("they say %s %s, notified %d", name(aio_error(&cb)), name(aio_error(&other)),
        signalled(SIGRTMIN + 1, 10));
    cancels("all", fd, NULL);
    report("the other", &other);
    int before = logged("write h 60");
    cancels("queued write", fd, writes(&cb, fd, 60));
    cancels("one running, one queued", fds[1], (reads(&other, fds[1], STUCK), NULL));
    say("they say %s %s", name(aio_error(&stuck[1])), name(aio_error(&other)));
    sync = request(fds[2], NULL, 0, 0);
    by_signal(&sync, 20);
    need(aio_fsync(O_SYNC, &sync) == 0, "aio_fsync");
    cancels("held", fds[2], &sync);
    say("it says %s, notified %d", name(aio_error(&sync)), signalled(SIGRTMIN + 1, 10));
    release();
    collect(all_stuck);
    say("written %d, no other signal %d", logged("write h 60") - before,
        signalled(SIGRTMIN + 1, 0) == -1);
    cancels("all done", fd, NULL);
    close(fd);
}

/* A request beside one of its descriptor that runs: glibc makes one at a time; so does the shim, if
 * asked. */
static void beside(const char *what, bool write) {
    bool in_turn = getenv("KAIO_ORDER");
    struct aiocb cb;
    occupy(1);
    int before = logged("held ");
    if (write) writes(&cb, fds[0], 50);
    else reads(&cb, fds[0], 50);
    int most = !is_shim() || in_turn ? 50 : 10000;
    for (int i = 0; i < most && logged("held ") == before; i++) sleep_ms(1);
    differs(what, "waits", in_turn ? "waits" : "runs",
            logged("held ") == before ? "waits" : "runs");
    say("the first %s", name(aio_error(&stuck[0])));
    release();
    report("it", &cb);
    collect(1);
}

static void *release_later(void *unused) {
    until_asleep(getpid());
    release();
    return unused;
}

/* A request runs on the number, others are queued and held, when it gets another meaning: glibc's
 * go to the new file. */
static void replaced(int way) {
    static const char *const ways[] = {"close", "dup2", "dup3"};
    pthread_t thread;
    struct aiocb cbs[2], sync;
    occupy(all_stuck);
    int fd = fds[0], other = open("slow/1", O_RDWR | O_DIRECT), bad = 0;
    int old = logged("write h"), new = logged("write 1");
    need(other >= 0, "slow/1");
    writes(&cbs[0], fd, 41);
    sync = request(fd, NULL, 0, 0);
    bad += aio_fsync(O_SYNC, &sync) != 0;
    writes(&cbs[1], fd, 43); /* 41 and 42 would be one write */
    need(pthread_create(&thread, NULL, release_later, NULL) == 0, "thread");
    if (way == 0) bad += close(fd) != 0 || fcntl(other, F_DUPFD, fd) != fd;
    else bad += (way == 1 ? dup2(other, fd) : dup3(other, fd, O_CLOEXEC)) != fd;
    pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK;
    bad += finish(&sync) != 0;
    old = logged("write h") - old, new = logged("write 1") - new;
    differs(ways[way], "new file", "old file",
            old == 2 && new == 0   ? "old file"
            : old == 0 && new == 2 ? "new file"
                                   : "both or none");
    say("%d bad", bad);
    collect(all_stuck);
    close(other);
}

/* The first has begun; of the others, who has waited longer goes first among equals. */
static void by_priority(const char *what, bool write) {
    enum { N = 6 };
    static const int values[N] = {3, 10, 0, 20, 10, 0};
    struct aiocb cbs[N];
    char order[2 * N + 1] = "";
    int fd = open_held(), before = logged("held ");
    hold();
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, buf + i * BLOCK, BLOCK, i * BLOCK);
        cbs[i].aio_reqprio = values[i];
        by_signal(&cbs[i], i);
        need((write ? aio_write(&cbs[i]) : aio_read(&cbs[i])) == 0, "request");
        while (logged("held ") == before) sleep_ms(1);
    }
    release();
    for (int i = 0; i < N; i++) sprintf(order + 2 * i, " %d", signalled(SIGRTMIN + 1, 20) & 7);
    say("%s by priority:%s", what, order);
    for (int i = 0; i < N; i++) report("request", &cbs[i]);
    close(fd);
}

/* Reads of one descriptor that are held up keep no other file's requests from their end. */
static void others(int n) {
    enum { KINDS = 5, WAIT_MS = 5000 };
    static const char *const kinds[KINDS] = {"buffered write", "uncached read", "direct read",
                                             "sync", "extending direct write"};
    int fd = scratch(O_RDWR, KINDS * BLOCK), held = open_held(), in_time = 0;
    char path[50], *data = pages(BLOCK);
    struct aiocb cbs[MOST], cb;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int direct = open(path, O_RDWR | O_DIRECT);
    need(direct >= 0 && fsync(fd) == 0, "file");
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    hold();
    for (int i = 0; i < n; i++) reads(&cbs[i], held, i);
    while (logged("held ") == 0) sleep_ms(1);
    sleep_ms(50);
    for (int i = 0; i < KINDS; i++) {
        off_t at[KINDS] = {0, 2 * BLOCK, BLOCK, 0, KINDS * BLOCK};
        cb = request(i == 2 || i == 4 ? direct : fd, data, BLOCK, at[i]);
        int err = i == 3 ? aio_fsync(O_SYNC, &cb) : i % 4 ? aio_read(&cb) : aio_write(&cb);
        need(err == 0, kinds[i]);
        for (int ms = 0; ms < WAIT_MS && aio_error(&cb) == EINPROGRESS; ms++) sleep_ms(1);
        if (aio_error(&cb) == EINPROGRESS) say("%d held, %s: waits for them", n, kinds[i]);
        else in_time++;
        if (aio_error(&cb) == EINPROGRESS) release();
        need(finish(&cb) == 0, kinds[i]);
    }
    release();
    for (int i = 0; i < n; i++) need(finish(&cbs[i]) == 0, "held");
    say("%d held: %d of others in time", n, in_time);
    close(held);
    close(direct);
    close(fd);
    free(data);
}

static void test(void) {
    const char *part = getenv("RUNNING"), *workers = getenv("KAIO_WORKERS");
    sigset_t set;
    all_stuck = !is_shim() ? GLIBC : GLIBC + (workers ? atoi(workers) : WORKERS);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    buf = pages(MOST * BLOCK);
    if (part && !strcmp(part, "sync")) syncs();
    if (part && !strcmp(part, "file")) {
        each_state();
        beside("read", false);
        beside("write", true);
        for (int way = 0; way < 3; way++) replaced(way);
    }
    if (part && !strcmp(part, "others")) {
        others(1);
        others(WORKERS);
        others(MOST);
    }
    if (part && !strcmp(part, "order")) {
        by_priority("reads", false);
        by_priority("writes", true);
    }
}
