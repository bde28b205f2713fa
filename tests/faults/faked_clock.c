/* SPDX-License-Identifier: MIT */
/* What a preloaded library may fake of time (clocks, sleeps, limits of waits) our library does not
 * call, whichever way it waits: here the program's own definitions answer with a clock that stands.
 * Time limits hold all the same, and threads end. For faked_clock.sh. */
#include "test.h"
#include "replace.h"

#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>

static _Atomic int asked;
static _Atomic bool no_descriptor;

static long at_call(const struct call *call) {
    return no_descriptor && call->nr == SYS_eventfd2 ? -EMFILE : GO_ON;
}

/* Does the library ask? */
#define OURS()                                                                                     \
    ({                                                                                             \
        uintptr_t caller = (uintptr_t)__builtin_return_address(0);                                 \
        bool ours = caller >= library_begin && caller < library_end;                               \
        if (ours) printf("the library calls %s()\n", __func__);                                    \
        asked += ours;                                                                             \
        ours;                                                                                      \
    })

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (!OURS()) return (int)syscall(SYS_clock_gettime, clock, t);
    *t = (struct timespec){1000, 0};
    return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    return OURS() ? 0 : (int)syscall(SYS_gettimeofday, t, zone);
}

time_t time(time_t *t) {
    return OURS() ? 1000 : (time_t)syscall(SYS_time, t);
}

int nanosleep(const struct timespec *limit, struct timespec *left) {
    return OURS() ? 0 : (int)syscall(SYS_nanosleep, limit, left);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left) {
    return OURS() || !syscall(SYS_clock_nanosleep, clock, flags, t, left) ? 0 : errno;
}

int usleep(useconds_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    return OURS() ? 0 : (int)syscall(SYS_nanosleep, &t, NULL);
}

int poll(struct pollfd *fds, nfds_t n, int ms) {
    return OURS() ? 0 : (int)syscall(SYS_poll, fds, n, (long)ms);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask) {
    struct timespec left = limit ? *limit : (struct timespec){0, 0};
    return OURS() ? 0 : (int)syscall(SYS_ppoll, fds, n, limit ? &left : NULL, mask, 8l);
}

int epoll_wait(int set, struct epoll_event *events, int n, int ms) {
    return OURS() ? 0 : (int)syscall(SYS_epoll_wait, set, events, (long)n, (long)ms);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *end) {
    need(OURS(), "not used here");
    (void)cond, (void)clock, (void)end;
    pthread_mutex_unlock(mutex);
    sched_yield();
    pthread_mutex_lock(mutex);
    return 0; /* no time has passed */
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict end) {
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, end);
}

static char byte;

static int threads(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    need(tasks != NULL, "tasks");
    for (struct dirent *entry; (entry = readdir(tasks));) n += *entry->d_name != '.';
    closedir(tasks);
    return n;
}

/* In time, and not before. */
static void limited(const char *what, int fd) {
    struct aiocb cb = request(fd, &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    struct timespec limit = {0, 300000000};
    need(aio_read(&cb) == 0, "aio_read");
    uint64_t begin = now_us();
    answered(what, aio_suspend(list, 1, &limit));
    uint64_t took = now_us() - begin;
    say("too early %d, too late %d", took<300000, took> 3000000);
    aio_cancel(fd, &cb);
    finish(&cb);
}

static void *limited_without(void *fd) {
    limited("no descriptor to sleep on", *(int *)fd);
    return NULL;
}

/* SO_RCVTIMEO: by a blocker. */
static void limited_socket(void) {
    int fds[2];
    struct timeval limit = {0, 300000};
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    need(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0, "SO_RCVTIMEO");
    struct aiocb cb = request(fds[0], &byte, 1, 0);
    uint64_t begin = now_us();
    need(aio_read(&cb) == 0, "aio_read");
    int err = finish(&cb);
    uint64_t took = now_us() - begin;
    say("socket with a limit: %s, too early %d, too late %d", name(err),
        took<300000, took> 3000000);
    close(fds[0]);
    close(fds[1]);
}

/* By a worker, notified of by the reaper's thread. */
static void work(void) {
    int fd = scratch(O_RDWR, 4096);
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, &byte, 1, i);
        cb.aio_sigevent.sigev_notify = i % 2 ? SIGEV_NONE : SIGEV_SIGNAL;
        need(aio_write(&cb) == 0 && finish(&cb) == 0, "aio_write");
    }
    close(fd);
}

static void test(void) {
    int fds[2];
    pthread_t thread;
    replace_begin();
    need(pipe(fds) == 0, "pipe");
    work();
    limited("a pipe", fds[0]);
    limited_socket();
    no_descriptor = true;
    need(pthread_create(&thread, NULL, limited_without, &fds[0]) == 0, "thread");
    pthread_join(thread, NULL);
    for (int i = 0; i < 100 && threads() > 1; i++) sleep_ms(100);
    say("threads at last: %d; clocks asked: %d", threads(), asked);
    if (asked) exit(1);
}
