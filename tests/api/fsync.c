/* SPDX-License-Identifier: MIT */
/* Durability and order: aio_fsync() and fsync() come after the writes queued before them; O_APPEND
 * writes land in call order. */
#include "test.h"

#include <sys/socket.h>

enum {
    ROUNDS = 50,
    WRITES = 6,
    READS = 16,
    LARGE = 512 << 10,
    RECORDS = 500,
    MANY = 64,
    ITEMS = 300
};

static char *memory; /* WRITES buffers of LARGE */

static size_t sizes[WRITES] = {LARGE, 4096, LARGE, 4096, 65536, LARGE};

static int start_writes(int fd, struct aiocb *cbs) {
    int bad = 0;
    off_t at = 0;
    for (int i = 0; i < WRITES; i++) {
        cbs[i] = request(fd, memory + (size_t)i * LARGE, sizes[i], at);
        at += (off_t)sizes[i];
        bad += aio_write(&cbs[i]) != 0;
    }
    return bad;
}

static int in_progress(const struct aiocb *cbs, int n) {
    int count = 0;
    for (int i = 0; i < n; i++) count += aio_error(&cbs[i]) == EINPROGRESS;
    return count;
}

static int end_writes(struct aiocb *cbs) {
    int bad = 0;
    for (int i = 0; i < WRITES; i++)
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)sizes[i];
    return bad;
}

static void after_writes(const char *what, int flags, bool spinning) {
    struct aiocb cbs[WRITES], sync;
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int round = 0; round < ROUNDS; round++) {
        bad += start_writes(fd, cbs);
        memset(&sync, 0, sizeof sync);
        sync.aio_fildes = fd;
        sync.aio_sigevent.sigev_notify = SIGEV_NONE;
        bad += aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &sync) != 0;
        while (spinning && aio_error(&sync) == EINPROGRESS) usleep(20);
        bad += finish(&sync) != 0;
        early += in_progress(cbs, WRITES) != 0;
        bad += aio_return(&sync) != 0 || end_writes(cbs);
        if (round % 10 == 9) need(ftruncate(fd, 0) == 0, "ftruncate");
    }
    say("%s: %d rounds, %d syncs too early, %d bad", what, ROUNDS, early, bad);
    close(fd);
}

/* Writes of lower priority than the sync, which comes after them all the same; glibc's may overtake
 * them. */
static void after_priorities(const char *what, int flags) {
    struct aiocb cbs[WRITES], sync;
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int round = 0; round < ROUNDS / 2; round++) {
        for (int i = 0; i < WRITES; i++) {
            cbs[i] = request(fd, memory + (size_t)i * LARGE, sizes[i], i * LARGE);
            cbs[i].aio_reqprio = i % 2 ? 20 : 10;
            bad += aio_write(&cbs[i]) != 0;
        }
        sync = request(fd, NULL, 0, 0);
        bad += aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &sync) != 0 || finish(&sync) != 0;
        early += is_shim() && in_progress(cbs, WRITES) != 0;
        bad += end_writes(cbs);
    }
    say("%s, by priority: %d syncs too early, %d bad", what, early, bad);
    close(fd);
}

/* Reads that are in progress, which the device takes a while for: a sync comes after them, too. */
static void after_reads(const char *what, int flags) {
    struct aiocb cbs[READS], sync;
    int fd = scratch(O_RDWR | flags, READS * LARGE), bad = 0, early = 0;
    for (int round = 0; round < ROUNDS / 5; round++) {
        for (int i = 0; i < READS; i++) {
            cbs[i] = request(fd, memory, LARGE, i * LARGE);
            bad += aio_read(&cbs[i]) != 0;
        }
        sync = request(fd, NULL, 0, 0);
        bad += aio_fsync(O_DSYNC, &sync) != 0 || finish(&sync) != 0;
        early += in_progress(cbs, READS) != 0;
        for (int i = 0; i < READS; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != LARGE;
    }
    say("%s: %d syncs before reads, %d bad", what, early, bad);
    close(fd);
}

/* fsync() of glibc does not know about requests: there is nothing to be seen then. */
static void by_program(const char *what, int flags) {
    struct aiocb cbs[WRITES];
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int round = 0; round < ROUNDS / 2; round++) {
        bad += start_writes(fd, cbs);
        bad += (round % 2 ? fsync(fd) : fdatasync(fd)) != 0;
        if (is_shim()) early += in_progress(cbs, WRITES) != 0;
        bad += end_writes(cbs);
    }
    say("%s: fsync() %d times too early, %d bad", what, early, bad);
    close(fd);
}

/* A request of the sync's own descriptor that may wait for ever must not hold up the program. */
static void *sync_pipe(void *arg) {
    int *fd = arg;
    int res = fsync(*fd);
    __atomic_store_n(fd, res < 0 ? -errno : 1, __ATOMIC_RELEASE);
    return NULL;
}

static void pipe_by_program(void) {
    int fds[2];
    char c;
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], &c, 1, 0);
    aio_read(&cb);
    int outcome = fds[0];
    pthread_t thread;
    pthread_create(&thread, NULL, sync_pipe, &outcome);
    for (int i = 0; i < 1000 && __atomic_load_n(&outcome, __ATOMIC_ACQUIRE) > 0; i++) usleep(1000);
    int ended = __atomic_load_n(&outcome, __ATOMIC_ACQUIRE);
    say("fsync() of a pipe with a waiting read: %s", ended > 0 ? "hangs" : name(-ended));
    need(write(fds[1], "x", 1) == 1, "write");
    pthread_join(thread, NULL);
    report("read", &cb);
    close(fds[0]);
    close(fds[1]);
}

/* The program does nothing but to wait for the signal. */
static void by_signal(const char *what, int flags) {
    struct aiocb cbs[WRITES], sync;
    struct timespec limit = {quiet_s(5), 0};
    sigset_t set;
    siginfo_t info;
    int fd = scratch(O_RDWR | flags, 0), bad = 0, came = 0, early = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    for (int round = 0; round < 10; round++) {
        bad += start_writes(fd, cbs);
        sync = request(fd, NULL, 0, 0);
        sync.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        sync.aio_sigevent.sigev_signo = SIGRTMIN + 1;
        sync.aio_sigevent.sigev_value.sival_int = round;
        bad += aio_fsync(O_SYNC, &sync) != 0;
        came += sigtimedwait(&set, &info, &limit) == SIGRTMIN + 1 && info.si_code == SI_ASYNCIO &&
                info.si_value.sival_int == round;
        early += aio_error(&sync) != 0 || in_progress(cbs, WRITES) != 0;
        bad += finish(&sync) != 0 || end_writes(cbs);
    }
    say("%s, signal: %d came, %d too early, %d bad", what, came, early, bad);
    close(fd);
}

/* Writes and syncs in turn; each sync covers all that was queued before it. */
static void in_a_row(const char *what, int flags) {
    static struct aiocb cbs[MANY];
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int i = 0; i < MANY; i++) {
        bool sync = i % 8 == 6 || i % 8 == 7;
        cbs[i] = request(fd, memory, 65536, (off_t)i * 65536);
        bad += (sync ? aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &cbs[i]) : aio_write(&cbs[i])) != 0;
    }
    for (int i = 7; i < MANY; i += 8) {
        bad += finish(&cbs[i]) != 0;
        early += in_progress(cbs, i) != 0;
    }
    for (int i = 0; i < MANY; i++)
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (i % 8 < 6 ? 65536 : 0);
    say("%s, in a row: %d too early, %d bad", what, early, bad);
    close(fd);
}

/* Eight writes, then forty syncs. */
static bool is_sync(int number) {
    return number % 48 >= 8;
}

/* Is a sync over although an earlier request is not? Of those from first to last. */
static bool overtook(const struct aiocb *cbs, int first, int last) {
    int sync = last, earlier = first;
    while (sync > first && !(is_sync(sync) && aio_error(&cbs[sync % MANY]) == 0)) sync--;
    while (earlier < sync && aio_error(&cbs[earlier % MANY]) != EINPROGRESS) earlier++;
    return earlier < sync;
}

/* Half of MANY are always in progress: a sync ends while others are held, of which it covers some.
 */
static void in_turn(const char *what, int flags) {
    static struct aiocb cbs[MANY];
    enum { ALL = 2400, DEPTH = MANY / 2 };
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int i = 0; i < ALL + DEPTH; i++) {
        int oldest = i - DEPTH, newest = i < ALL ? i : ALL - 1;
        if (i < ALL) {
            cbs[i % MANY] = request(fd, memory, 4096, (off_t)(i % 500) * 4096);
            bad += is_sync(i) ? aio_fsync(O_DSYNC, &cbs[i % MANY]) : aio_write(&cbs[i % MANY]);
        }
        if (oldest < 0) continue;
        early += overtook(cbs, oldest, newest);
        bad += finish(&cbs[oldest % MANY]) != 0;
        bad += aio_return(&cbs[oldest % MANY]) != (is_sync(oldest) ? 0 : 4096);
    }
    say("%s, in turn: %d too early, %d bad", what, early, bad);
    close(fd);
}

/* A sync straight behind a list that is larger than the context. */
static void behind_list(const char *what, int flags) {
    static struct aiocb cbs[ITEMS], *list[ITEMS];
    int fd = scratch(O_RDWR | flags, 0), bad = 0, early = 0;
    for (int round = 0; round < 6; round++) {
        struct aiocb sync = request(fd, NULL, 0, 0);
        bool by_call = round % 3 == 2 && is_shim(); /* glibc's fsync() does not know about them */
        for (int i = 0; i < ITEMS; i++) {
            cbs[i] = request(fd, memory, 4096, (off_t)(i * 7 % ITEMS) * 4096);
            cbs[i].aio_lio_opcode = LIO_WRITE;
            list[i] = &cbs[i];
        }
        bad += lio_listio(LIO_NOWAIT, list, ITEMS, NULL) != 0;
        if (by_call) bad += (round % 2 ? fsync(fd) : fdatasync(fd)) != 0;
        else bad += aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &sync) != 0 || finish(&sync) != 0;
        early += in_progress(cbs, ITEMS) != 0;
        for (int i = 0; i < ITEMS; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != 4096;
    }
    say("%s, behind a list of %d: %d too early, %d bad", what, ITEMS, early, bad);
    close(fd);
}

/* O_APPEND comes and goes by fcntl(), also after requests of the same descriptor. */
static void append_later(const char *what, int flags) {
    static struct aiocb cbs[ITEMS];
    char *buf = pages(ITEMS * 4096), *back = pages(4096);
    int fd = scratch(O_RDWR | flags, 4096), bad = 0, wrong = 0;
    for (int round = 0; round < 2; round++) {
        bool append = round == 0;
        need(fcntl(fd, F_SETFL, flags | (append ? O_APPEND : 0)) == 0, "F_SETFL");
        off_t end = lseek(fd, 0, SEEK_END);
        for (int i = 0; i < ITEMS; i++) {
            memset(buf + i * 4096, i + round, 4096);
            cbs[i] = request(fd, buf + i * 4096, 4096, append ? 0 : i * 4096);
            bad += aio_write(&cbs[i]) != 0;
        }
        for (int i = 0; i < ITEMS; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != 4096;
        for (int i = 0; i < ITEMS; i++)
            wrong += pread(fd, back, 4096, (append ? end : 0) + i * 4096) != 4096 ||
                     memcmp(back, buf + i * 4096, 4096) != 0;
    }
    say("%s, O_APPEND later: %d bad, %d in the wrong place, size %ld", what, bad, wrong,
        (long)lseek(fd, 0, SEEK_END));
    close(fd);
    free(buf);
    free(back);
}

static void other_files(void) {
    int fds[2];
    char c;
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[1], NULL, 0, 0);
    answered("aio_fsync of a pipe", aio_fsync(O_SYNC, &cb));
    report("pipe", &cb);
    cb = request(fds[0], NULL, 0, 0);
    answered("aio_fsync of its reading end", aio_fsync(O_SYNC, &cb));
    report("reading end", &cb);
    close(fds[0]);
    close(fds[1]);
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    cb = request(fds[0], NULL, 0, 0);
    answered("aio_fsync of a socket", aio_fsync(O_DSYNC, &cb));
    report("socket", &cb);
    struct aiocb read = request(fds[0], &c, 1, 0);
    aio_read(&read);
    answered("behind a waiting read", aio_fsync(O_DSYNC, &cb));
    settle();
    say("waits: %s", name(aio_error(&cb)));
    need(write(fds[1], "x", 1) == 1, "write");
    report("read", &read);
    report("socket", &cb);
    close(fds[0]);
    close(fds[1]);
    int fd = open("/dev/null", O_RDWR);
    cb = request(fd, NULL, 0, 0);
    answered("aio_fsync of /dev/null", aio_fsync(O_SYNC, &cb));
    report("/dev/null", &cb);
    close(fd);
    fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    cb = request(fd, NULL, 0, 0);
    answered("aio_fsync in memory", aio_fsync(O_SYNC, &cb));
    report("memory", &cb);
    close(fd);
    fd = open(".", O_RDONLY);
    cb = request(fd, NULL, 0, 0);
    answered("aio_fsync of a directory", aio_fsync(O_SYNC, &cb));
    report("directory", &cb);
    close(fd);
    fd = scratch(O_RDONLY, 4096);
    cb = request(fd, NULL, 0, 0);
    answered("aio_fsync of a file open for reading", aio_fsync(O_DSYNC, &cb));
    report("open for reading", &cb);
    close(fd);
}

/* Every record holds its number. The offset is not to matter. */
static void append(const char *what, int flags, size_t size, bool use_list) {
    static struct aiocb cbs[RECORDS];
    struct aiocb *list[RECORDS];
    char *buf = pages(RECORDS * size), *back = pages(size);
    int fd = scratch(O_RDWR | O_APPEND | flags, 0), bad = 0, wrong = 0;
    for (int i = 0; i < RECORDS; i++) {
        memset(buf + (size_t)i * size, i, size);
        memcpy(buf + (size_t)i * size, &i, sizeof i);
        cbs[i] = request(fd, buf + (size_t)i * size, size, (off_t)(RECORDS - i) * 4096);
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
        if (!use_list) bad += aio_write(&cbs[i]) != 0;
    }
    if (use_list) bad += lio_listio(LIO_NOWAIT, list, RECORDS, NULL) != 0;
    for (int i = 0; i < RECORDS; i++)
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)size;
    for (int i = 0; i < RECORDS; i++)
        wrong += pread(fd, back, size, (off_t)size * i) != (ssize_t)size ||
                 memcmp(back, buf + (size_t)i * size, size) != 0;
    say("%s: %d writes, %d bad, %d in the wrong place, more %zd", what, RECORDS, bad, wrong,
        pread(fd, back, size, (off_t)size * RECORDS));
    close(fd);
    free(buf);
    free(back);
}

/* Syncs that wait together fail one by one. */
static void failing(void) {
    struct aiocb cbs[20];
    int fds[2], failed = 0;
    need(pipe(fds) == 0, "pipe");
    for (int i = 0; i < 20; i++) {
        cbs[i] = request(fds[0], NULL, 0, 0);
        need(aio_fsync(O_SYNC, &cbs[i]) == 0, "aio_fsync");
    }
    for (int i = 0; i < 20; i++) failed += finish(&cbs[i]) == EINVAL && aio_return(&cbs[i]) == -1;
    say("of a pipe: %d failed", failed);
    close(fds[0]);
    close(fds[1]);
}

/* Its thread sleeps before it has ever had a request in the kernel. */
static void *syncs_behind(void *cb) {
    const struct aiocb *list[] = {cb};
    need(aio_fsync(O_SYNC, (struct aiocb *)cb) == 0, "aio_fsync");
    need(aio_suspend(list, 1, NULL) == 0, "aio_suspend");
    return NULL;
}

/* The sync of one thread waits for the write of another, which comes when that thread is asleep. */
static void by_another_thread(void) {
    int fd = scratch(O_RDWR, 0), direct = scratch(O_RDWR | O_DIRECT, 4096);
    struct aiocb write = request(fd, memory, WRITES * LARGE, 0), sync = request(fd, NULL, 0, 0),
                 read;
    pthread_t thread;
    for (int i = 0; i < 80; i++) { /* past the first few */
        read = request(direct, memory, 4096, 0);
        need(aio_read(&read) == 0 && finish(&read) == 0, "aio_read");
    }
    need(aio_write(&write) == 0, "aio_write");
    need(pthread_create(&thread, NULL, syncs_behind, &sync) == 0, "thread");
    finish(&write);
    uint64_t began = now_us();
    pthread_join(thread, NULL);
    bool late = now_us() - began > quiet_us(700000);
    say("by another thread: %s, %s", name(aio_error(&sync)), late ? "late" : "in time");
    close(fd);
    close(direct);
}

static void test(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    memory = pages((size_t)WRITES * LARGE);
    memset(memory, 'm', (size_t)WRITES * LARGE);
    /* the first: no thread has ended yet whose eventfd it would get */
    CASE("by-another-thread") by_another_thread();
    CASE("after-writes") {
        after_writes("buffered", 0, false);
        after_writes("buffered, spinning", 0, true);
        after_writes("direct", O_DIRECT, false);
    }
    CASE("after-priorities") {
        after_priorities("buffered", 0);
        after_priorities("direct", O_DIRECT);
    }
    CASE("after-reads") after_reads("reads, direct", O_DIRECT);
    CASE("by-program") {
        by_program("buffered", 0);
        by_program("direct", O_DIRECT);
    }
    CASE("pipe-by-program") pipe_by_program();
    CASE("by-signal") {
        by_signal("buffered", 0);
        by_signal("direct", O_DIRECT);
    }
    CASE("in-a-row") {
        in_a_row("buffered", 0);
        in_a_row("direct", O_DIRECT);
    }
    CASE("in-turn") {
        in_turn("buffered", 0);
        in_turn("direct", O_DIRECT);
    }
    CASE("behind-list") {
        behind_list("buffered", 0);
        behind_list("direct", O_DIRECT);
    }
    CASE("append-later") {
        append_later("buffered", 0);
        append_later("direct", O_DIRECT);
    }
    CASE("other-files") other_files();
    CASE("failing") failing();
    CASE("append") {
        append("append", 0, 100, false);
        append("append, large", 0, 16384, false);
        append("append, list", 0, 100, true);
        append("append, direct", O_DIRECT, 4096, false);
        append("append, direct, list", O_DIRECT, 4096, true);
    }
}
