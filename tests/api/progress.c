/* SPDX-License-Identifier: MIT */
/* Programs that make progress in only one way: they only spin on aio_error(), only sleep in
 * aio_suspend(), only wait for signals, only try aio_return() now and then, or leave everything to
 * callbacks. All requests must end, whatever their kind: each kind alone, then all at once, in
 * which somebody who looks after one might help another. And the same again while the thread that
 * has submitted them is asleep in something unrelated. Each round is a process of its own: a worker
 * or a reaper left from the one before would look around after an idle second, and so end what
 * nobody looks after. */
#include "test.h"

#include <semaphore.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
    BLOCK = 4096,
    PART = 64 << 10,
    LARGE = 1 << 20,
    PIPE = 4096,
    LIST = 300, /* fills the context; half of it does not */
    MOST = LIST + 40,
    LIMIT_S = 15
};

enum way { SPIN, SUSPEND, SIGNALS, RETURN, CALLBACKS, WAYS };
static const char *const ways[] = {"only aio_error", "only aio_suspend", "only sigwaitinfo",
                                   "only aio_return after usleep", "only callbacks"};

enum op { READ, WRITE, SYNC, DSYNC, IN_LIST, STREAM, INTO_STREAM };

struct item {
    struct aiocb cb;
    const char *kind;
    enum op op;
    ssize_t expected;
    bool quiet; /* no notification of its own */
    int times;  /* notified of */
};

static struct item items[MOST];
static int nitems, fds[MOST], nfds, list_times;
static enum way way;
static bool by_other; /* submitted by another thread */
static bool has_list;
static int feed_fds[4], nfeeds, drain_fd; /* -1: none */
static pthread_t feeder;
static sem_t called, submitted;

/* The status without a call, for the ways that have no other; aio_return() alone cannot tell a
 * request in progress from an empty transfer. */
static bool in_progress(const struct item *item) {
    return __atomic_load_n(&item->cb.__error_code, __ATOMIC_ACQUIRE) == EINPROGRESS;
}

static void hangs(int signo) {
    (void)signo;
    const char *last = "";
    printf("%s, submitted by %s: hangs; in progress:", ways[way], by_other ? "other" : "itself");
    for (int i = 0; i < nitems; i++) {
        if (!in_progress(&items[i]) || items[i].kind == last) continue;
        printf(" %s,", last = items[i].kind);
    }
    printf(" the rest has ended\n");
    fflush(stdout);
    _exit(1);
}

static void callback(union sigval value) {
    __atomic_fetch_add((int *)value.sival_ptr, 1, __ATOMIC_RELAXED);
    sem_post(&called);
}

static struct sigevent notification(int *times) {
    struct sigevent sigev;
    memset(&sigev, 0, sizeof sigev);
    sigev.sigev_notify = way == SIGNALS     ? SIGEV_SIGNAL
                         : way == CALLBACKS ? SIGEV_THREAD
                                            : SIGEV_NONE;
    sigev.sigev_value.sival_ptr = times;
    if (way == SIGNALS) sigev.sigev_signo = SIGRTMIN + 1;
    if (way == CALLBACKS) sigev.sigev_notify_function = callback;
    return sigev;
}

static int file(int flags, size_t size) {
    return fds[nfds++] = scratch(flags, size);
}

static struct item *add(const char *kind, enum op op, int fd, size_t n, off_t offset) {
    need(nitems < MOST, "items");
    struct item *item = &items[nitems++];
    *item = (struct item){.kind = kind, .op = op, .expected = (ssize_t)n};
    item->cb = request(fd, n ? pages(n) : NULL, n, offset);
    item->cb.aio_sigevent = notification(&item->times);
    return item;
}

/* Only the notification of another, which comes later, tells of its end. */
static void quieten(struct item *item) {
    item->quiet = true;
    item->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
}

static void buffered_reads(void) {
    int cached = file(O_RDONLY, 2 * BLOCK), uncached = file(O_RDONLY, LARGE);
    add("cached read", READ, cached, BLOCK, BLOCK);
    posix_fadvise(uncached, 0, 0, POSIX_FADV_DONTNEED);
    add("uncached read", READ, uncached, PART, LARGE / 2);
    add("large read", READ, file(O_RDONLY, LARGE), LARGE, 0);
}

static void direct_reads(void) {
    int fd = file(O_RDONLY | O_DIRECT, 4 * PART);
    for (int i = 0; i < 4; i++) add("direct read", READ, fd, PART, i * PART);
}

static void extending(void) {
    add("extending direct write", WRITE, file(O_RDWR | O_DIRECT, BLOCK), BLOCK, BLOCK);
}

static void appending(void) {
    int fd = file(O_WRONLY | O_APPEND, BLOCK);
    for (int i = 0; i < 3; i++) add("append write", WRITE, fd, BLOCK, 0);
}

/* Submitted by another thread, only the sync tells, which is held behind the writes. Of what is
 * cached the kernel would decline direct writes. */
static void writes_and_sync(const char *kind, int flags, enum op sync) {
    int fd = file(O_RDWR | flags, 4 * PART);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < 4; i++) {
        struct item *item = add(kind, WRITE, fd, PART, i * PART);
        if (by_other) quieten(item);
    }
    add(kind, sync, fd, 0, 0);
}

static void buffered_sync(void) {
    writes_and_sync("buffered writes and sync", 0, SYNC);
}

static void direct_sync(void) {
    writes_and_sync("direct writes and sync", O_DIRECT, DSYNC);
}

/* Requests that wait for room would start the reaper. */
static int list_length(void) {
    return by_other ? LIST / 2 : LIST;
}

/* Of every second one, or of all, only the list's own notification tells. */
static void list(void) {
    has_list = true;
    int fd = file(O_RDONLY | O_DIRECT, LIST * BLOCK);
    for (int i = 0; i < list_length(); i++) {
        struct item *item = add("list of direct reads", IN_LIST, fd, BLOCK, i * BLOCK);
        if (by_other || i % 2) quieten(item);
    }
}

static void piped(void) {
    int pipes[2];
    need(pipe(pipes) == 0, "pipe");
    add("first pipe read", STREAM, pipes[0], 4, 0);
    add("second pipe read", STREAM, pipes[0], 4, 0);
    fds[nfds++] = pipes[0];
    feed_fds[nfeeds++] = fds[nfds++] = pipes[1];
}

/* The pipe is full. */
static void pipe_write(void) {
    static char filler[PIPE];
    int pipes[2];
    need(pipe(pipes) == 0 && fcntl(pipes[1], F_SETPIPE_SZ, PIPE) == PIPE, "pipe");
    need(write(pipes[1], filler, PIPE) == PIPE, "fill the pipe");
    add("pipe write", INTO_STREAM, pipes[1], BLOCK, 0);
    drain_fd = fds[nfds++] = pipes[0];
    fds[nfds++] = pipes[1];
}

static void socket_read(const char *kind, bool limited) {
    const struct timeval minute = {60, 0};
    int pair[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    if (limited)
        need(!setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute), "SO_RCVTIMEO");
    add(kind, STREAM, pair[0], 4, 0);
    fds[nfds++] = pair[0];
    feed_fds[nfeeds++] = fds[nfds++] = pair[1];
}

static void socket_reads(void) {
    socket_read("socket read", false);
    socket_read("socket read with SO_RCVTIMEO", true);
}

/* The kernel's AIO cannot wait for it. */
static void fifo_read(void) {
    char path[30];
    snprintf(path, sizeof path, "fifo.%d", getpid());
    need(mkfifo(path, 0600) == 0, "mkfifo");
    int fifo = open(path, O_RDWR), to = open(path, O_WRONLY);
    need(fifo >= 0 && to >= 0 && unlink(path) == 0, "fifo");
    add("O_RDWR FIFO read", STREAM, fifo, 4, 0);
    fds[nfds++] = fifo;
    feed_fds[nfeeds++] = fds[nfds++] = to;
}

/* The last page is not yet on the disk, so the kernel declines what touches it; of the second read
 * that may be known only when somebody looks for its event, and there is no worker then. */
static void across_end(void) {
    int fd = file(O_RDWR | O_DIRECT, 4 * BLOCK);
    need(ftruncate(fd, 3 * BLOCK - 1000) == 0, "ftruncate");
    add("direct read before the end", READ, fd, BLOCK, 0);
    add("direct read across the end", READ, fd, 2 * BLOCK, 2 * BLOCK)->expected = BLOCK - 1000;
}

static const struct {
    const char *name;
    void (*add)(void);
} kinds[] = {{"direct reads", direct_reads},
             {"pipe reads", piped},
             {"list", list},
             {"buffered reads", buffered_reads},
             {"extending write", extending},
             {"buffered writes and sync", buffered_sync},
             {"direct writes and sync", direct_sync},
             {"append writes", appending},
             {"pipe write", pipe_write},
             {"socket reads", socket_reads},
             {"FIFO read", fifo_read},
             {"across the end", across_end}};
enum { KINDS = sizeof kinds / sizeof *kinds, ALL = KINDS, ROUNDS = 2 * WAYS, TOGETHER = 4 };

/* One kind, or all, forwards or backwards: each before and behind the list, which fills the
 * context. */
static void prepare(int which) {
    nitems = nfds = list_times = 0;
    has_list = false;
    nfeeds = 0;
    drain_fd = -1;
    for (int i = 0; i < KINDS; i++) {
        int kind = by_other ? KINDS - 1 - i : i;
        if (which == ALL || which == kind) kinds[kind].add();
    }
}

static void submit_list(struct item *first) {
    struct aiocb *cbs[LIST];
    struct sigevent sigev = notification(&list_times);
    int n = list_length();
    for (int i = 0; i < n; i++) {
        cbs[i] = &first[i].cb;
        cbs[i]->aio_lio_opcode = LIO_READ;
    }
    need(lio_listio(LIO_NOWAIT, cbs, n, &sigev) == 0, "lio_listio");
}

static void *feed(void *unused) {
    static char out[PIPE];
    for (int i = 0; i < 2; i++) { /* a second time for the second read of the pipe */
        sleep_ms(10);
        for (int k = 0; k < nfeeds; k++) need(write(feed_fds[k], "data", 4) == 4, "write");
        if (i == 1 && drain_fd >= 0) need(read(drain_fd, out, PIPE) > 0, "read");
    }
    return unused;
}

static void submit(void) {
    for (int i = 0; i < nitems; i++) {
        struct aiocb *cb = &items[i].cb;
        int res = 0;
        switch (items[i].op) {
        case READ:
        case STREAM: res = aio_read(cb); break;
        case INTO_STREAM:
        case WRITE: res = aio_write(cb); break;
        case SYNC: res = aio_fsync(O_SYNC, cb); break;
        case DSYNC: res = aio_fsync(O_DSYNC, cb); break;
        case IN_LIST:
            if (i == 0 || items[i - 1].op != IN_LIST) submit_list(&items[i]);
        }
        need(res == 0, items[i].kind);
    }
    if (nfeeds || drain_fd >= 0) need(pthread_create(&feeder, NULL, feed, NULL) == 0, "thread");
}

static void take_signal(void) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    need(sigwaitinfo(&set, &info) == SIGRTMIN + 1, "sigwaitinfo");
    ++*(int *)info.si_value.sival_ptr;
}

/* For any of those that have not ended; false: all have. */
static bool suspend(void) {
    const struct aiocb *pending[MOST];
    int n = 0;
    for (int i = 0; i < nitems; i++)
        if (in_progress(&items[i])) pending[n++] = &items[i].cb;
    if (n > 0) need(aio_suspend(pending, n, NULL) == 0, "aio_suspend");
    return n > 0;
}

/* Until all have ended. */
static void watch(void) {
    int notifications = has_list;
    for (int i = 0; i < nitems; i++) notifications += !items[i].quiet;
    for (int i = 0; way == SIGNALS && i < notifications; i++) take_signal();
    for (int i = 0; way == CALLBACKS && i < notifications; i++) sem_wait(&called);
    while (way == SUSPEND && suspend()) continue;
    for (int i = 0; i < nitems; i++) {
        struct item *item = &items[i];
        while (way == SPIN && aio_error(&item->cb) == EINPROGRESS) continue;
        while (way == RETURN && in_progress(item)) {
            usleep(500);
            aio_return(&item->cb);
        }
    }
}

static int total, left, bad, wrong, odd;

static void check(void) {
    bool notified = way == SIGNALS || way == CALLBACKS;
    for (int i = 0; i < nitems; i++) {
        struct item *item = &items[i];
        struct aiocb *cb = &item->cb;
        char *buf = (char *)cb->aio_buf;
        total++;
        left += aio_error(cb) == EINPROGRESS;
        bad += finish(cb) || aio_return(cb) != item->expected;
        if (item->op == STREAM) wrong += memcmp(buf, "data", 4) != 0;
        if (item->op == READ || item->op == IN_LIST)
            wrong += !is_pattern(buf, (size_t)item->expected, cb->aio_offset);
        odd += item->times != (notified && !item->quiet);
        free(buf);
    }
    odd += list_times != (notified && has_list);
    if (nfeeds || drain_fd >= 0) pthread_join(feeder, NULL);
    for (int i = 0; i < nfds; i++) close(fds[i]);
}

static int gate[2];

static void *submit_and_sleep(void *unused) {
    char byte;
    submit();
    sem_post(&submitted);
    need(read(gate[0], &byte, 1) == 1, "read");
    return unused;
}

static void round_of(int which) {
    pthread_t thread;
    prepare(which);
    if (by_other) {
        need(pthread_create(&thread, NULL, submit_and_sleep, NULL) == 0, "thread");
        sem_wait(&submitted);
    } else {
        submit();
    }
    alarm(LIMIT_S);
    watch();
    alarm(0);
    check();
    if (!by_other) return;
    need(write(gate[1], "", 1) == 1, "write");
    pthread_join(thread, NULL);
}

/* The first few requests go to workers, which end after an idle second. When they end they look
 * around, and might find what nobody else looks after. */
static void workers_end(void) {
    char buf[100];
    int fd = scratch(O_RDONLY, BLOCK);
    for (int i = 0; i < 16; i++) {
        struct aiocb cb = request(fd, buf, sizeof buf, 0);
        need(aio_read(&cb) == 0 && finish(&cb) == 0, "read");
    }
    close(fd);
    sleep_ms(1200);
}

static const char *name_of(int which) {
    return which == ALL ? "all together" : kinds[which].name;
}

/* In the program that start_round() has started. */
static void own_round(int round) {
    sigset_t set;
    need(pipe(gate) == 0, "pipe");
    sem_init(&called, 0, 0);
    sem_init(&submitted, 0, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGALRM, hangs);
    way = round % WAYS;
    by_other = round / WAYS % 2;
    workers_end();
    round_of(round / ROUNDS);
    if (!left && !bad && !wrong && !odd) _exit(0);
    say("%s, %s, submitted by %s: of %d requests %d left, %d bad, %d wrong data, %d not notified "
        "of as asked",
        name_of(round / ROUNDS), ways[way], by_other ? "other" : "itself", total, left, bad, wrong,
        odd);
    _exit(1);
}

static pid_t start_round(int round) {
    char *const args[] = {"progress", NULL};
    char text[20];
    pid_t pid;
    snprintf(text, sizeof text, "%d", round);
    setenv("TEST_ROUND", text, 1);
    need(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) == 0, "spawn");
    return pid;
}

/* All ways of several kinds at once, since each round begins with a sleep. */
static void test(void) {
    const char *own = getenv("TEST_ROUND");
    if (own) own_round(atoi(own));
    CASE("rounds")
        for (int first = 0; first <= ALL; first += TOGETHER) {
            pid_t pids[TOGETHER * ROUNDS];
            int n = first + TOGETHER <= ALL ? TOGETHER : ALL + 1 - first;
            for (int i = 0; i < n * ROUNDS; i++) pids[i] = start_round(first * ROUNDS + i);
            for (int k = 0; k < n; k++) {
                int failed = 0, status;
                for (int i = 0; i < ROUNDS; i++) {
                    need(waitpid(pids[k * ROUNDS + i], &status, 0) > 0, "waitpid");
                    failed += status != 0;
                }
                say("%s: %d rounds, %d failed", name_of(first + k), ROUNDS, failed);
            }
        }
}
