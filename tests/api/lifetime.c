/* SPDX-License-Identifier: MIT */
/* How long an aiocb must live, and no longer: it is unmapped in the instant that its status turns
 * or its notification comes, lies on the stack of a thread that has ended, or is used again at once
 * for something else. And a program that never calls aio_return() does not grow. */
#include "test.h"

#include <semaphore.h>
#include <sys/mman.h>

enum { BLOCK = 4096, BLOCKS = 16, ROUNDS = 500, STACK = 256 << 10, LINKS = 1000 };

enum kind { DIRECT, APPEND, PIPE, MEMORY, SYNC, KINDS };
static int fds[KINDS], feed_fd, cached_fd;
static char *buf;
static sem_t ended;
static int bad;

static void add_bad(bool is) {
    if (is) __atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
}

static void feed(void) {
    need(write(feed_fd, buf, BLOCK) == BLOCK, "pipe");
}

static void prepare(struct aiocb *cb, enum kind kind, int round) {
    *cb = request(fds[kind], buf, kind == SYNC ? 0 : BLOCK, kind == APPEND ? 0 : round % 8 * BLOCK);
    if (kind == SYNC) cb->aio_buf = NULL;
    cb->aio_lio_opcode = kind == APPEND ? LIO_WRITE : LIO_READ;
}

/* *cb may be gone when the call returns. */
static void submit(struct aiocb *cb, enum kind kind) {
    int res = kind == APPEND ? aio_write(cb) : kind == SYNC ? aio_fsync(O_SYNC, cb) : aio_read(cb);
    need(res == 0, "submission");
}

/* Data of a pipe comes first or last in turns. */
static void start(struct aiocb *cb, enum kind kind, int round) {
    bool first = round / 2 % 2;
    if (kind == PIPE && first) feed();
    submit(cb, kind);
    if (kind == PIPE && !first) feed();
}

/* An aiocb on a page of its own. */
static struct aiocb *page(void) {
    void *p = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED, "memory");
    return p;
}

/* Every second page can no longer be accessed for a while, the others are gone at once. */
static void take_away(struct aiocb *cb) {
    static struct aiocb *kept[64];
    static unsigned count;
    unsigned i = __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    struct aiocb *old = cb;
    if (i % 2) {
        need(mprotect(cb, BLOCK, PROT_NONE) == 0, "mprotect");
        old = __atomic_exchange_n(&kept[i % 64], cb, __ATOMIC_RELAXED);
    }
    if (old) munmap(old, BLOCK);
}

static struct aiocb *watched; /* NULL: nothing to do */
static volatile sig_atomic_t signals;

static void count_signal(int signo) {
    (void)signo;
    signals++;
}

static void *spin(void *unused) {
    struct aiocb *cb;
    int err;
    for (;;) {
        while (!(cb = __atomic_load_n(&watched, __ATOMIC_ACQUIRE))) continue;
        if (cb == (void *)&watched) return unused;
        __atomic_store_n(&watched, NULL, __ATOMIC_RELAXED);
        while ((err = aio_error(cb)) == EINPROGRESS) continue;
        take_away(cb);
        add_bad(err != 0);
        sem_post(&ended);
    }
}

/* The watcher looks from before the call on, so its status is set by hand. */
static void watch(enum kind kind, bool by_signal) {
    signals = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb *cb = page();
        prepare(cb, kind, i);
        if (by_signal) cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        if (by_signal) cb->aio_sigevent.sigev_signo = SIGRTMIN + 1;
        cb->__error_code = EINPROGRESS;
        __atomic_store_n(&watched, cb, __ATOMIC_RELEASE);
        start(cb, kind, i);
        while (sem_wait(&ended)) continue;
    }
    for (int i = 0; by_signal && i < 3000 && signals < ROUNDS; i++) usleep(1000);
    add_bad(signals != (by_signal ? ROUNDS : 0));
}

/* glibc reads the aiocb's sigevent after its status has turned, so there it may crash. */
static void at_status(void) {
    pthread_t thread;
    sigset_t set, old;
    signal(SIGRTMIN + 1, count_signal);
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, &old);
    need(pthread_create(&thread, NULL, spin, NULL) == 0, "thread");
    sigprocmask(SIG_SETMASK, &old, NULL);
    for (enum kind kind = 0; is_shim() && kind < KINDS; kind++) {
        watch(kind, false);
        watch(kind, true);
    }
    __atomic_store_n(&watched, (void *)&watched, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    say("gone when the status turns: %d bad", bad);
}

static void callback(union sigval value) {
    take_away(value.sival_ptr);
    sem_post(&ended);
}

/* Until SIGRTMIN + 2 comes without a pointer. */
static void *take_signals(void *unused) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    for (;;) {
        need(sigwaitinfo(&set, &info) == SIGRTMIN + 2, "sigwaitinfo");
        if (!info.si_value.sival_ptr) return unused;
        callback(info.si_value);
    }
}

static void notify(struct aiocb *cb, bool by_signal) {
    struct sigevent *sigev = &cb->aio_sigevent;
    sigev->sigev_notify = by_signal ? SIGEV_SIGNAL : SIGEV_THREAD;
    sigev->sigev_value.sival_ptr = cb;
    if (by_signal) sigev->sigev_signo = SIGRTMIN + 2;
    else sigev->sigev_notify_function = callback;
}

/* Who is notified knows that the request has ended, and need not ask. */
static void alone(bool by_signal) {
    for (int i = 0; i < ROUNDS * KINDS; i++) {
        enum kind kind = i / ROUNDS;
        struct aiocb *cb = page();
        prepare(cb, kind, i);
        notify(cb, by_signal);
        start(cb, kind, i);
        while (sem_wait(&ended)) continue;
    }
    say("gone when the notification comes: %d bad", bad);
}

/* The list of pointers stays; what they point to ends one by one. */
static void in_list(int mode, bool by_signal) {
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb *list[8];
        for (int j = 0; j < 8; j++) {
            enum kind kind = j % SYNC;
            list[j] = page();
            prepare(list[j], kind, i + j);
            notify(list[j], by_signal);
            if (kind == PIPE) feed();
        }
        add_bad(lio_listio(mode, list, 8, NULL) != 0);
        for (int j = 0; j < 8; j++)
            while (sem_wait(&ended)) continue;
    }
}

/* glibc reads the results of an item after its notification if somebody waits for the list. */
static void at_notification(bool by_signal) {
    pthread_t thread;
    if (by_signal) need(pthread_create(&thread, NULL, take_signals, NULL) == 0, "thread");
    alone(by_signal);
    in_list(LIO_NOWAIT, by_signal);
    say("in a list: %d bad", bad);
    if (is_shim()) in_list(LIO_WAIT, by_signal);
    say("in a list that is waited for: %d bad", bad);
    if (by_signal) need(kill(getpid(), SIGRTMIN + 2) == 0, "kill");
    if (by_signal) pthread_join(thread, NULL);
}

/* And was it done as asked? */
static void check(struct aiocb *cb, enum kind kind) {
    add_bad(aio_error(cb) != 0 || aio_return(cb) != (kind == SYNC ? 0 : BLOCK));
}

static void spin_for(struct aiocb *cb, enum kind kind) {
    while (aio_error(cb) == EINPROGRESS) continue;
    check(cb, kind);
}

static void *read_and_end(void *arg) {
    int round = *(int *)arg;
    enum kind kind = round % KINDS;
    struct aiocb cb;
    prepare(&cb, kind, round);
    start(&cb, kind, round);
    add_bad(finish(&cb) != 0);
    return NULL;
}

static struct aiocb left[KINDS];

static void *leave_requests(void *unused) {
    for (enum kind kind = 0; kind < KINDS; kind++) {
        prepare(&left[kind], kind, 0);
        submit(&left[kind], kind);
    }
    return unused;
}

/* Runs the function on a thread whose stack is unmapped when it has ended. */
static void on_stack(void *(*function)(void *), int *arg) {
    pthread_t thread;
    pthread_attr_t attr;
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(stack != MAP_FAILED, "memory");
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, STACK);
    need(pthread_create(&thread, &attr, function, arg) == 0, "thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    munmap(stack, STACK);
}

static void dead_threads(void) {
    struct aiocb cb;
    for (int i = 0; i < ROUNDS; i++) {
        enum kind kind = i % KINDS;
        on_stack(read_and_end, &i);
        add_bad(aio_cancel(fds[kind], NULL) != AIO_ALLDONE);
        prepare(&cb, kind, i);
        start(&cb, kind, i);
        spin_for(&cb, kind);
    }
    say("aiocb on the stack of a dead thread: %d bad", bad);
    for (int i = 0; i < ROUNDS / 2; i++) {
        on_stack(leave_requests, NULL);
        feed();
        for (enum kind kind = 0; kind < KINDS; kind++) {
            if (i % 2) add_bad(finish(&left[kind]) != 0);
            spin_for(&left[kind], kind);
        }
    }
    say("requests of a dead thread: %d bad", bad);
}

/* The same aiocb, again and again. */
static struct aiocb again;
static volatile sig_atomic_t links;
static bool stop;

/* Begins with links == -1. */
static void on_end(int signo) {
    if (links >= 0) check(&again, links % KINDS);
    if (++links == LINKS) return;
    prepare(&again, links % KINDS, links);
    again.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    again.aio_sigevent.sigev_signo = signo;
    start(&again, links % KINDS, links);
}

/* What it waits for may have ended and be something else by the time that it looks. */
static void *suspend(void *unused) {
    const struct aiocb *list[] = {&again};
    struct timespec soon = {0, 100000};
    for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
        add_bad(aio_suspend(list, 1, i % 2 ? &soon : NULL) != 0 && errno != EAGAIN);
    return unused;
}

static void chains(void) {
    pthread_t thread;
    sigset_t set, old;
    signal(SIGRTMIN + 3, on_end);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, &old);
    need(pthread_create(&thread, NULL, suspend, NULL) == 0, "thread");
    for (links = 0; links < LINKS; links++) {
        prepare(&again, links % KINDS, links);
        start(&again, links % KINDS, links);
        spin_for(&again, links % KINDS);
    }
    say("used again by the thread that spins: %d bad", bad);
    links = -1;
    raise(SIGRTMIN + 3);
    while (links < LINKS) sigsuspend(&old);
    say("used again by the handler: %d bad", bad);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static long resident(void) {
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    need(file && fscanf(file, "%ld %ld", &size, &pages) == 2, "statm");
    fclose(file);
    return pages * getpagesize();
}

/* Nobody asks for their results. On a slow machine, what can be done in 15 s, but at least 4,000;
 * with TEST_LONG all. */
static void never_return(long n) {
    static struct aiocb cbs[8], *list[8];
    bool soak = getenv("TEST_LONG") != NULL;
    uint64_t end = now_us() + 15000000;
    long i = 0;
    if (soak) alarm(800);
    for (; i < n && (soak || i < 4000 || now_us() < end); i += 8) {
        long turn = i / 8 % 100;
        enum kind kind = turn == 0 ? PIPE : turn == 1 ? SYNC : turn < 12 ? DIRECT : MEMORY;
        bool use_list = turn >= 90;
        for (int j = 0; j < 8; j++) {
            list[j] = &cbs[j];
            prepare(list[j], kind, j);
            if (j % 4 == 0 && kind == MEMORY) cbs[j].aio_fildes = cached_fd;
            if (!use_list) start(list[j], kind, j);
        }
        if (use_list) add_bad(lio_listio(i % 16 ? LIO_WAIT : LIO_NOWAIT, list, 8, NULL) != 0);
        for (int j = 0; j < 8; j++)
            while (aio_error(list[j]) == EINPROGRESS) continue;
    }
    note("%ld of %ld without aio_return()", i, n);
}

static void post(union sigval value) {
    (void)value;
    sem_post(&ended);
}

static void never_return_notified(long n, int notify) {
    for (long i = 0; i < n; i++) {
        enum kind kind = i % 4 == 0 ? DIRECT : i % 4 == 1 ? PIPE : MEMORY;
        struct aiocb cb;
        prepare(&cb, kind, (int)i);
        cb.aio_sigevent.sigev_notify = notify;
        if (notify == SIGEV_SIGNAL) cb.aio_sigevent.sigev_signo = SIGRTMIN + 4;
        else cb.aio_sigevent.sigev_notify_function = post;
        start(&cb, kind, (int)i);
        while (sem_wait(&ended)) continue;
        add_bad(finish(&cb) != 0);
    }
}

static void never_return_signal(long n) {
    never_return_notified(n, SIGEV_SIGNAL);
}

static void never_return_thread(long n) {
    never_return_notified(n, SIGEV_THREAD);
}

static void post_for_signal(int signo) {
    (void)signo;
    sem_post(&ended);
}

/* Each makes a request and ends. */
static void short_threads(long n) {
    for (int i = 0; i < n; i++) {
        pthread_t thread;
        need(pthread_create(&thread, NULL, read_and_end, &i) == 0, "thread");
        pthread_join(thread, NULL);
    }
}

/* The first fifth of n may take what the rest uses again. */
static void grows(const char *what, void (*run)(long), long n) {
    run(n / 5);
    long before = resident();
    int open = open_descriptors();
    run(n / 5 * 4);
    long grown = resident() - before;
    int more = open_descriptors() - open;
    bool few = more < 5; /* the library opens some again when it has been idle */
    say("%s: %d bad, grown by less than 1 MiB %d, by few descriptors %d", what, bad,
        grown < 1 << 20, few);
    if (grown >= 1 << 20 || !few) say("by %ld bytes, %d descriptors", grown, more);
}

static void growth(void) {
    const char *mode = getenv("KAIO_MODE"); /* with workers for everything it takes a minute */
    signal(SIGRTMIN + 4, post_for_signal);
    bool all = is_shim() && (!mode || getenv("TEST_LONG"));
    grows("without aio_return()", never_return, all ? 250000 : 20000);
    grows("without aio_return(), signals", never_return_signal, 5000);
    grows("short-lived threads", short_threads, 1000);
}

static void test(void) {
    sigset_t set;
    int pipes[2];
    buf = pages(BLOCK);
    need(pipe(pipes) == 0, "pipe");
    feed_fd = pipes[1];
    fds[DIRECT] = scratch(O_RDONLY | O_DIRECT, BLOCKS * BLOCK);
    fds[APPEND] = scratch(O_WRONLY | O_APPEND, 0);
    fds[PIPE] = pipes[0];
    fds[MEMORY] = memfd_create("memory", MFD_CLOEXEC);
    fds[SYNC] = memfd_create("sync", MFD_CLOEXEC);
    cached_fd = scratch(O_RDONLY, BLOCKS * BLOCK);
    need(ftruncate(fds[MEMORY], BLOCKS * BLOCK) == 0, "memory file");
    sem_init(&ended, 0, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CASE("dead-threads") dead_threads();
    CASE("chains") chains();
    CASE("growth") growth();
    CASE("at-status") at_status();
    CASE("at-notification") at_notification(true);
    /* last: callbacks block no signals, which would end the program */
    CASE("at-notification-by-thread") at_notification(false);
    /* so many that a few bytes for each are seen */
    CASE("never-returned") grows("without aio_return(), threads", never_return_thread, 20000);
}
