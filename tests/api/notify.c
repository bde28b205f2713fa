/* SPDX-License-Identifier: MIT */
/* Notification: none, signals (handler, sigwaitinfo, signalfd; what cannot be delivered), threads
 * and their attributes. The result is there before the notification, and each comes once. */
#include "test.h"

#include <dirent.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

enum { MANY = 100, CHAIN = 50, STACK = 300 << 10 };

static int data_fd, direct_fd;
static char *memory;

static sem_t called; /* posted by callbacks */

/* Callbacks that never come must not hang the test. */
static bool wait_call(int quiet_ms) {
    struct timespec end;
    long ms = quiet_ms * (long)quiet_s(1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += ms % 1000 * 1000000l;
    if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
    int res;
    while ((res = sem_clockwait(&called, CLOCK_MONOTONIC, &end)) && errno == EINTR) continue;
    return res == 0;
}

static struct aiocb by_signal(int fd, int signo, int value) {
    struct aiocb cb = request(fd, memory, 4096, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = signo;
    cb.aio_sigevent.sigev_value.sival_int = value;
    return cb;
}

static struct aiocb by_thread(int fd, void (*function)(union sigval), void *value) {
    struct aiocb cb = request(fd, memory, 4096, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_signo = 99; /* not used: garbage */
    cb.aio_sigevent.sigev_notify_function = function;
    cb.aio_sigevent.sigev_value.sival_ptr = value;
    return cb;
}

static bool take(int signo, siginfo_t *info, int ms) {
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000l};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    memset(info, 0, sizeof *info);
    int res;
    while ((res = sigtimedwait(&set, info, &limit)) < 0 && errno == EINTR) continue;
    return res == signo;
}

static void say_info(const char *what, const siginfo_t *info) {
    say("%s: code %s, own pid %d, own uid %d, value %d", what,
        info->si_code == SI_ASYNCIO ? "SI_ASYNCIO" : "other", info->si_pid == getpid(),
        info->si_uid == getuid(), info->si_value.sival_int);
}

static void none(void) {
    struct aiocb cb = request(data_fd, memory, 4096, 0);
    memset(&cb.aio_sigevent, 0xa5, sizeof cb.aio_sigevent);
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    answered("SIGEV_NONE and garbage", aio_read(&cb));
    report("read", &cb);
    cb = request(data_fd, memory, 4096, 0);
    memset(&cb.aio_sigevent, 0, sizeof cb.aio_sigevent);
    answered("zeroed sigevent", aio_read(&cb));
    report("read", &cb);
    cb = request(data_fd, memory, 4096, 0);
    cb.aio_sigevent.sigev_notify = 17;
    cb.aio_sigevent.sigev_signo = SIGKILL;
    answered("unknown sigev_notify", aio_read(&cb));
    report("read", &cb);
}

static struct aiocb handled;
static siginfo_t handler_info;
static volatile sig_atomic_t handler_error, handler_calls;

static void handler(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    handler_info = *info;
    handler_error = aio_error(&handled);
    handler_calls++;
}

/* The program does nothing but to wait for the handler. */
static void in_handler(const char *what, int fd) {
    handler_calls = 0;
    handled = by_signal(fd, SIGUSR1, 7);
    answered(what, aio_read(&handled));
    for (int i = 0; i < 3000 && handler_calls == 0; i++) usleep(1000);
    say("calls %d, aio_error %s, aio_return %zd", (int)handler_calls, name(handler_error),
        aio_return(&handled));
    say_info("handler", &handler_info);
}

static void handlers(void) {
    struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &act, NULL);
    in_handler("buffered", data_fd);
    in_handler("direct", direct_fd);
    posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
    in_handler("buffered, not cached", data_fd);
    in_handler("bad descriptor", -1);
    signal(SIGUSR1, SIG_DFL);
}

static void waited(const char *what, int fd, int ready) {
    siginfo_t info;
    struct aiocb cb = by_signal(fd, SIGRTMIN + 1, 1234567);
    answered(what, aio_read(&cb));
    if (ready >= 0) {
        sleep_ms(10);
        need(write(ready, "x", 1) == 1, "write");
    }
    bool came = take(SIGRTMIN + 1, &info, 3000);
    say("came %d: %s, %zd", came, name(aio_error(&cb)), aio_return(&cb));
    say_info("sigwaitinfo", &info);
}

/* The program does nothing but to wait for signals. */
static void waiting(void) {
    int fds[2];
    siginfo_t info;
    waited("buffered", data_fd, -1);
    waited("direct", direct_fd, -1);
    posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
    waited("buffered, not cached", data_fd, -1);
    waited("bad descriptor", -1, -1);
    need(pipe(fds) == 0, "pipe");
    waited("pipe", fds[0], fds[1]);
    waited("pipe, not for reading", fds[1], -1);
    say("one more: %d", take(SIGRTMIN + 1, &info, 20));
    close(fds[0]);
    close(fds[1]);
}

static void by_descriptor(void) {
    sigset_t set;
    struct signalfd_siginfo info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    need(fd >= 0, "signalfd");
    struct aiocb cb = by_signal(direct_fd, SIGRTMIN + 2, -5);
    cb.aio_sigevent.sigev_value.sival_ptr = &cb;
    answered("signalfd", aio_read(&cb));
    need(read(fd, &info, sizeof info) == sizeof info, "signalfd");
    say("signo %d, code %d, pid %d, uid %d, value %d", (int)info.ssi_signo - SIGRTMIN,
        info.ssi_code == SI_ASYNCIO, info.ssi_pid == (uint32_t)getpid(), info.ssi_uid == getuid(),
        info.ssi_ptr == (uint64_t)(uintptr_t)&cb);
    report("read", &cb);
    close(fd);
}

/* glibc overwrites the result when the signal cannot be sent, a moment after it was set. */
static void undeliverable(const char *what, int fd, int signo, int expected) {
    struct aiocb cb = by_signal(fd, signo, 1);
    answered(what, aio_read(&cb));
    for (int i = 0; i < 500 && aio_error(&cb) != expected; i++) usleep(1000);
    say("ends as %s, %zd", name(aio_error(&cb)), aio_return(&cb));
}

/* Of the other operations; and garbage where this way of notification does not look. */
static void other_operations(void) {
    int fd = scratch(O_RDWR, 4096);
    for (int way = 0; way < 3; way++) {
        struct aiocb cb = by_signal(fd, way == 2 ? SIGRTMIN + 1 : 99, 44);
        siginfo_t info;
        memset(&cb.aio_sigevent._sigev_un, 0xa5, sizeof cb.aio_sigevent._sigev_un);
        answered(way ? "fsync" : "write", way ? aio_fsync(O_SYNC, &cb) : aio_write(&cb));
        for (int i = 0; i < 500 && aio_error(&cb) != (way == 2 ? 0 : EINVAL); i++) usleep(1000);
        say("ends as %s, %zd", name(aio_error(&cb)), aio_return(&cb));
        if (way < 2) continue;
        say("came %d", take(SIGRTMIN + 1, &info, 3000));
        say_info("fsync", &info);
    }
    close(fd);
}

/* Nobody hears of what aio_read() itself has answered. */
static void at_once(void) {
    siginfo_t info;
    struct aiocb cb = by_signal(data_fd, SIGRTMIN + 1, 1);
    cb.aio_reqprio = -1;
    answered("bad priority", aio_read(&cb));
    answered("bad fsync", aio_fsync(12345, &cb));
    cb = by_signal(-1, SIGRTMIN + 1, 1);
    answered("fsync of nothing", aio_fsync(O_SYNC, &cb));
    say("signal %d", take(SIGRTMIN + 1, &info, 20));
}

static void list(const char *what, int mode, const struct sigevent *item, struct sigevent *all) {
    struct aiocb cbs[2], *items[] = {&cbs[0], &cbs[1]};
    siginfo_t info;
    int expected = item && item->sigev_signo == 99 ? EINVAL : 0;
    for (int i = 0; i < 2; i++) {
        cbs[i] = request(i ? direct_fd : data_fd, memory + i * 4096, 4096, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        if (item && i) cbs[i].aio_sigevent = *item;
    }
    answered(what, lio_listio(mode, items, 2, all));
    for (int i = 0; i < 500 && aio_error(&cbs[1]) != expected; i++) usleep(1000);
    for (int i = 0; i < 2; i++) report("item", &cbs[i]);
    if (!take(SIGRTMIN + 1, &info, all && all->sigev_signo == SIGRTMIN + 1 ? 3000 : 20)) return;
    say_info("signal", &info);
    say("one more: %d", take(SIGRTMIN + 1, &info, 0));
}

static void lists(void) {
    struct sigevent good = by_signal(0, SIGRTMIN + 1, 66).aio_sigevent, bad = good, odd = good;
    memset(&good._sigev_un, 0xa5, sizeof good._sigev_un);
    bad.sigev_signo = 99;
    odd.sigev_notify = 17;
    list("list", LIO_NOWAIT, NULL, &good);
    list("list, bad signal of an item", LIO_NOWAIT, &bad, &good);
    list("waiting list, bad signal of an item", LIO_WAIT, &bad, NULL);
    list("list, unknown sigev_notify of an item", LIO_WAIT, &odd, NULL);
    list("list, bad signal", LIO_NOWAIT, NULL, &bad);
    bad.sigev_signo = -1;
    list("list, signal -1", LIO_NOWAIT, NULL, &bad);
    odd.sigev_signo = 0;
    list("list, unknown sigev_notify", LIO_NOWAIT, NULL, &odd);
}

/* The second of a pipe's reads has not begun. */
static void cancelled(void) {
    int fds[2];
    siginfo_t info;
    need(pipe(fds) == 0, "pipe");
    struct aiocb first = request(fds[0], memory, 1, 0), cb = by_signal(fds[0], SIGRTMIN + 1, 77);
    need(aio_read(&first) == 0 && aio_read(&cb) == 0, "read");
    say("cancelled %d", aio_cancel(fds[0], &cb) == AIO_CANCELED);
    say("came %d", take(SIGRTMIN + 1, &info, 3000));
    say_info("cancelled", &info);
    need(write(fds[1], "x", 1) == 1, "write");
    report("first", &first);
    close(fds[0]);
    close(fds[1]);
}

/* glibc does nothing about such an event, whatever it names: so it never fails. */
static void to_nobody(const char *what, int fd, int signo, pid_t tid) {
    siginfo_t info;
    struct aiocb cb = by_signal(fd, signo, 1), *items[] = {&cb};
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
    cb.aio_sigevent._sigev_un._tid = tid;
    cb.aio_lio_opcode = LIO_READ;
    struct sigevent all = cb.aio_sigevent;
    for (int way = 0; way < 3; way++) {
        if (way == 0) answered(what, aio_read(&cb));
        if (way == 1) answered("in a list", lio_listio(LIO_WAIT, items, 1, NULL));
        if (way == 2) cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        if (way == 2) answered("the list's own", lio_listio(LIO_NOWAIT, items, 1, &all));
        finish(&cb);
        sleep_ms(2); /* for whoever would overwrite the result */
        report("read", &cb);
    }
    say("a signal %d", take(SIGRTMIN + 1, &info, 0));
}

static void *own_tid(void *tid) {
    *(pid_t *)tid = gettid();
    return NULL;
}

static void to_nobodies(void) {
    pthread_t thread;
    pid_t dead = 0;
    need(pthread_create(&thread, NULL, own_tid, &dead) == 0, "thread");
    pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++) {
        int fd = i ? direct_fd : data_fd;
        to_nobody("to a dead thread", fd, SIGRTMIN + 1, dead);
        to_nobody("to thread 0", fd, SIGRTMIN + 1, 0);
        to_nobody("signal 99 to this thread", fd, 99, gettid());
        to_nobody("signal -1 to a dead thread", fd, -1, dead);
    }
}

static void undeliverables(void) {
    struct rlimit old, limit;
    to_nobodies();
    undeliverable("signal 99", data_fd, 99, EINVAL);
    undeliverable("signal 99, direct", direct_fd, 99, EINVAL);
    undeliverable("signal -1", data_fd, -1, EINVAL);
    undeliverable("signal 99, bad descriptor", -1, 99, EINVAL);
    undeliverable("signal 0", data_fd, 0, 0);
    getrlimit(RLIMIT_SIGPENDING, &old);
    limit = old;
    limit.rlim_cur = 0;
    setrlimit(RLIMIT_SIGPENDING, &limit);
    undeliverable("no room for the signal", data_fd, SIGRTMIN + 3, EAGAIN);
    undeliverable("no room for the signal, direct", direct_fd, SIGRTMIN + 3, EAGAIN);
    setrlimit(RLIMIT_SIGPENDING, &old);
}

/* What the callback of a notification found. */
struct seen {
    struct aiocb cb;
    pthread_t thread;
    pid_t tid;
    bool masked, detached;
    size_t stack, guard;
    void *base;
    int error;
    ssize_t result;
    void (*end)(void);
};

static void look_around(union sigval value) {
    struct seen *seen = value.sival_ptr;
    sigset_t mask;
    pthread_attr_t attr;
    int state;
    seen->thread = pthread_self();
    seen->tid = gettid();
    seen->error = aio_error(&seen->cb);
    seen->result = aio_return(&seen->cb);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen->masked = !sigisemptyset(&mask);
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getdetachstate(&attr, &state);
    seen->detached = state == PTHREAD_CREATE_DETACHED;
    pthread_attr_getstack(&attr, &seen->base, &seen->stack);
    pthread_attr_getguardsize(&attr, &seen->guard);
    pthread_attr_destroy(&attr);
    void (*end)(void) = seen->end; /* *seen may be gone after the sem_post() */
    sem_post(&called);
    if (end) end();
}

static void leave(void) {
    pthread_exit(&called);
}

static void in_thread(const char *what, int fd, pthread_attr_t *attr, void (*end)(void)) {
    struct seen seen = {.end = end};
    void *res = NULL;
    seen.cb = by_thread(fd, look_around, &seen);
    seen.cb.aio_sigevent.sigev_notify_attributes = attr;
    answered(what, aio_read(&seen.cb));
    bool came = wait_call(3000);
    say("called %d: %s, %zd", came, name(seen.error), seen.result);
    say("own thread %d, signals blocked %d, detached %d", seen.tid && seen.tid != gettid(),
        seen.masked, seen.detached);
    if (attr) say("stack as given %d", seen.stack == STACK);
    if (!seen.tid || seen.detached) return;
    int err = pthread_join(seen.thread, &res);
    say("joined: %s, result %s", name(err), res == &called ? "its own" : res ? "other" : "NULL");
}

static void threads(void) {
    pthread_attr_t attr;
    in_thread("thread", data_fd, NULL, NULL);
    in_thread("thread, direct", direct_fd, NULL, NULL);
    in_thread("thread, bad descriptor", -1, NULL, NULL);
    in_thread("thread that exits", direct_fd, NULL, leave);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    in_thread("joinable thread", data_fd, &attr, NULL);
    in_thread("joinable thread, direct, exits", direct_fd, &attr, leave);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    in_thread("detached thread", direct_fd, &attr, NULL);
    pthread_attr_destroy(&attr);
}

/* For a list; and with a stack of the program's own. */
static void list_in_thread(void) {
    struct seen seen = {0};
    struct aiocb *items[] = {&seen.cb};
    pthread_attr_t attr;
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(stack != MAP_FAILED, "memory");
    pthread_attr_init(&attr);
    pthread_attr_setguardsize(&attr, 64 << 10);
    for (int way = 0; way < 2; way++) {
        seen.cb = by_thread(direct_fd, look_around, &seen);
        seen.cb.aio_lio_opcode = LIO_READ;
        struct sigevent sigev = seen.cb.aio_sigevent;
        sigev.sigev_signo = 99; /* not looked at */
        sigev.sigev_notify_attributes = &attr;
        seen.cb.aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_NONE};
        answered("list by thread", lio_listio(LIO_NOWAIT, items, 1, &sigev));
        bool came = wait_call(3000);
        say("called %d: %s, %zd", came, name(seen.error), seen.result);
        say("joined: %s", name(pthread_join(seen.thread, NULL)));
        if (way == 0) say("guard as given %d", seen.guard == 64 << 10);
        else say("stack as given %d", seen.base == stack && seen.stack == STACK);
        pthread_attr_setstack(&attr, stack, STACK);
    }
    pthread_attr_destroy(&attr);
    munmap(stack, STACK);
}

static struct aiocb chained;
static int links;

/* Each callback makes the next request out of the same aiocb. */
static void next_link(union sigval value) {
    (void)value;
    if (aio_error(&chained) == 0 && aio_return(&chained) == 4096) links++;
    if (links < CHAIN && aio_read(&chained) == 0) return;
    sem_post(&called);
}

static sem_t hold;

static void sleeper(union sigval value) {
    (void)value;
    while (sem_wait(&hold)) continue;
    sem_post(&called);
}

static void quick(union sigval value) {
    (void)value;
    sem_post(&called);
}

/* No room for its stack: nothing is called, and the result stays. */
static void no_thread(void) {
    const size_t stack = (size_t)(sizeof stack == 8 ? 1ull << 46 : 3ull << 30);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    need(pthread_attr_setstacksize(&attr, stack) == 0, "stack size");
    for (int i = 0; i < 2; i++) {
        struct aiocb cb = by_thread(i ? direct_fd : data_fd, quick, NULL), *items[] = {&cb};
        struct sigevent sigev;
        cb.aio_sigevent.sigev_notify_attributes = &attr;
        cb.aio_lio_opcode = LIO_READ;
        sigev = cb.aio_sigevent;
        answered("thread that cannot start", aio_read(&cb));
        report("read", &cb);
        sleep_ms(10);
        say("then %s, %zd", name(aio_error(&cb)), aio_return(&cb));
        answered("likewise, list", lio_listio(LIO_NOWAIT, items, 1, &sigev));
        report("read", &cb);
        answered("likewise, waiting list", lio_listio(LIO_WAIT, items, 1, NULL));
        say("called %d", wait_call(10));
    }
    pthread_attr_destroy(&attr);
}

static void callbacks(void) {
    static struct aiocb slow[3], cbs[20];
    chained = by_thread(direct_fd, next_link, NULL);
    answered("chain", aio_read(&chained));
    bool ended = wait_call(5000);
    say("ended %d, %d links", ended, links);
    int n = 0;
    for (int i = 0; i < 3; i++) {
        slow[i] = by_thread(i == 1 ? data_fd : direct_fd, sleeper, NULL);
        aio_read(&slow[i]);
    }
    for (int i = 0; i < 20; i++) {
        cbs[i] = by_thread(i % 2 ? data_fd : direct_fd, quick, NULL);
        aio_read(&cbs[i]);
    }
    for (int i = 0; i < 20; i++) n += wait_call(3000);
    say("callbacks while three others sleep: %d", n);
    for (int i = 0; i < 3; i++) sem_post(&hold);
    for (int i = n = 0; i < 3; i++) n += wait_call(3000);
    say("sleepers: %d", n);
}

static struct aiocb cbs[MANY];
static int times[MANY], not_done;

static void count(union sigval value) {
    __atomic_fetch_add(&times[value.sival_int], 1, __ATOMIC_RELAXED);
    if (aio_error(&cbs[value.sival_int])) __atomic_fetch_add(&not_done, 1, __ATOMIC_RELAXED);
    sem_post(&called);
}

/* Notifications are compared as a set: only glibc ends the requests of a descriptor in order. */
static void once_each(const char *what, bool use_threads) {
    siginfo_t info;
    int bad = 0, came = 0, wrong = 0;
    memset(times, 0, sizeof times);
    for (int i = 0; i < MANY; i++) {
        int fd = i % 3 ? direct_fd : data_fd;
        cbs[i] = use_threads ? by_thread(fd, count, NULL) : by_signal(fd, SIGRTMIN + 4, 0);
        cbs[i].aio_sigevent.sigev_value.sival_int = i;
        cbs[i].aio_buf = memory + i * 4096;
        cbs[i].aio_offset = i * 4096;
        bad += aio_read(&cbs[i]) != 0;
    }
    for (int i = 0; i < MANY; i++) {
        if (use_threads) {
            came += wait_call(3000);
        } else if (take(SIGRTMIN + 4, &info, 3000) && (unsigned)info.si_value.sival_int < MANY) {
            came++;
            count(info.si_value);
            need(sem_trywait(&called) == 0, "semaphore");
        }
    }
    settle(); /* for those that come too often */
    for (int i = 0; i < MANY; i++) wrong += times[i] != 1;
    for (int i = 0; i < MANY; i++) bad += finish(&cbs[i]) != 0;
    say("%s: %d requests, %d came, %d not once, %d before the result, %d bad", what, MANY, came,
        wrong, not_done, bad);
    say("one more: %d", use_threads ? sem_trywait(&called) == 0 : take(SIGRTMIN + 4, &info, 0));
}

static void *target(void *arg) {
    siginfo_t info;
    __atomic_store_n((pid_t *)arg, gettid(), __ATOMIC_RELEASE);
    bool came = take(SIGRTMIN + 5, &info, is_shim() ? 3000 : 100);
    bool right = info.si_code == SI_ASYNCIO && info.si_pid == getpid() && info.si_uid == getuid() &&
                 info.si_value.sival_int == 55;
    return !came ? "nothing" : right ? "delivered" : "wrong";
}

static void to_thread(const char *what, int fd) {
    pthread_t thread;
    pid_t tid = 0;
    void *outcome;
    siginfo_t info;
    need(pthread_create(&thread, NULL, target, &tid) == 0, "thread");
    while (!__atomic_load_n(&tid, __ATOMIC_ACQUIRE)) usleep(100);
    struct aiocb cb = by_signal(fd, SIGRTMIN + 5, 55);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
    cb.aio_sigevent._sigev_un._tid = tid;
    answered(what, aio_read(&cb));
    pthread_join(thread, &outcome);
    differs(what, "nothing", "delivered", outcome);
    report("read", &cb);
    say("to another thread: %d", take(SIGRTMIN + 5, &info, 0));
}

/* How many threads are there besides this one, and do they block every signal? */
static int others(bool *blocking) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    uint64_t all = ~0ull, can_not[] = {SIGKILL, SIGSTOP, 32, 33}; /* 32, 33: glibc's own */
    int n = 0;
    need(tasks != NULL, "/proc/self/task");
    *blocking = true;
    for (int i = 0; i < 4; i++) all &= ~(1ull << (can_not[i] - 1));
    while ((task = readdir(tasks))) {
        char path[100], line[200];
        unsigned long long mask;
        if (atoi(task->d_name) == 0 || atoi(task->d_name) == gettid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", task->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            if (sscanf(line, "SigBlk: %llx", &mask) != 1) continue;
            n++;
            *blocking = *blocking && (mask & all) == all;
        }
        if (file) fclose(file);
    }
    closedir(tasks);
    return n;
}

static volatile pid_t handler_tid;

static void note_thread(int signo) {
    (void)signo;
    handler_tid = gettid();
}

/* One of each kind of thread that a library may have, started while this one blocks nothing. */
static void helpers(void) {
    struct sigaction act = {.sa_handler = note_thread};
    int pipes[2], large = scratch(O_RDONLY, 1 << 20);
    char *buf = pages(1 << 20), bytes[2];
    bool blocking;
    sigset_t set;
    sigaction(SIGRTMIN + 1, &act, NULL);
    need(pipe(pipes) == 0 && mkfifo("fifo", 0600) == 0, "pipe, fifo");
    int fifo = open("fifo", O_RDWR);
    need(fifo >= 0 && unlink("fifo") == 0, "fifo");
    struct aiocb cbs[] = {request(pipes[0], &bytes[0], 1, 0), request(fifo, &bytes[1], 1, 0),
                          by_signal(direct_fd, SIGRTMIN + 1, 0), request(large, buf, 1 << 20, 0)};
    for (int i = 0; i < 4; i++) need(aio_read(&cbs[i]) == 0, "read");
    report("direct", &cbs[2]);
    report("large", &cbs[3]);
    for (int i = 0; i < 3000 && !handler_tid; i++) usleep(1000);
    say("handler on the main thread %d", handler_tid == gettid());
    settle();
    int n = others(&blocking);
    say("enough threads %d, they block everything %d", n >= 3, blocking);

    handler_tid = 0; /* to the process: only this thread may take it, once it does not block it */
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGRTMIN + 1);
    settle();
    say("while blocked: handled %d", handler_tid != 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    say("then: on the main thread %d", handler_tid == gettid());
    need(write(pipes[1], "x", 1) == 1 && write(fifo, "x", 1) == 1, "write");
    report("pipe", &cbs[0]);
    report("fifo", &cbs[1]);
    signal(SIGRTMIN + 1, SIG_DFL);
    close(pipes[0]), close(pipes[1]), close(fifo), close(large);
    free(buf);
}

static void test(void) {
    sigset_t set;
    sem_init(&called, 0, 0);
    sem_init(&hold, 0, 0);
    memory = pages(MANY * 4096);
    data_fd = scratch(O_RDONLY, MANY * 4096);
    direct_fd = scratch(O_RDONLY | O_DIRECT, MANY * 4096);
    helpers();
    sigemptyset(&set); /* SIGUSR2 shows whether callbacks inherit it */
    sigaddset(&set, SIGUSR2);
    for (int i = 1; i <= 5; i++) sigaddset(&set, SIGRTMIN + i);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CASE("none") none();
    CASE("handlers") handlers();
    CASE("waiting") waiting();
    CASE("by-descriptor") by_descriptor();
    CASE("undeliverables") undeliverables();
    CASE("other-operations") other_operations();
    CASE("at-once") at_once();
    CASE("lists") lists();
    CASE("cancelled") cancelled();
    CASE("once-each-signal") once_each("signals", false);
    CASE("to-thread") {
        to_thread("SIGEV_THREAD_ID", data_fd);
        to_thread("SIGEV_THREAD_ID, direct", direct_fd);
    }
    /* threads come last: those of callbacks block nothing, so signals would end the program */
    CASE("threads") threads();
    CASE("list-in-thread") list_in_thread();
    CASE("no-thread") no_thread();
    CASE("callbacks") callbacks();
    CASE("once-each-thread") once_each("threads", true);
}
