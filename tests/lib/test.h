/* SPDX-License-Identifier: MIT */
/* test.h - for the programs of tests/api: plain <aio.h> programs, run under glibc's AIO and under
 * the shim. tests/run compares what the two print, line by line; so print results, never addresses,
 * times or descriptor numbers. Programs of other rooms use it, too.
 *
 * A program defines test(). main() is here: it prepares a scratch directory (the working
 * directory), makes some requests first if TEST_WARM is set (the shim serves the first few of a
 * process by workers), runs test() and prints "done". alarm() ends a program that hangs.
 */
#ifndef TEST_H
#define TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__ /* TSan knows the other calls of semaphores */
void __tsan_acquire(void *);
#define sem_clockwait(sem, clock, end)                                                             \
    (sem_clockwait(sem, clock, end) ? -1 : (__tsan_acquire(sem), 0))
#endif

static void test(void);

/* Seconds of a quiet machine: with other work on it, they are more (tests/run). */
static inline unsigned quiet_s(unsigned seconds) {
    const char *slow = getenv("TEST_SLOW");
    return slow ? seconds * (unsigned)atoi(slow) : seconds;
}
static inline uint64_t quiet_us(uint64_t us) {
    return us * quiet_s(1);
}
#define alarm(seconds) alarm(quiet_s(seconds))

/* Prints one line of the output that is compared. */
static inline void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* One line that tests/run shows with TEST_LONG, and does not compare. */
#define note(...) (getenv("TEST_NOTES") ? say("note: " __VA_ARGS__) : (void)0)

/* A part of the test with a name: CASE("name") statement. A failure names the last one that began.
 * With TEST_CASE, which tests/run sets, only that one runs; so each prepares what it needs, or
 * test() does before the first. */
#define CASE(name) if (case_begins(name))

static const char *case_only; /* TEST_CASE */
static bool case_ran;
static char cases_left_out[2000];

static inline bool case_begins(const char *name) {
    bool begins = !case_only || !strcmp(case_only, name);
    size_t used = strlen(cases_left_out);
    if (begins) say("CASE %s", name);
    else snprintf(cases_left_out + used, sizeof cases_left_out - used, " %s", name);
    case_ran |= begins;
    return begins;
}

/* Ends the program for a reason that is not the subject of the test (no memory, no scratch file).
 */
static inline void need(bool ok, const char *what) {
    if (ok) return;
    printf("broken test: %s: %s\n", what, strerror(errno));
    exit(99);
}

/* Ends the program as skipped. */
static inline void skip(const char *reason) {
    printf("skipped: %s\n", reason);
    exit(77);
}

/* Under the shim? For the differences that DESIGN 3.7 allows, and only for those. */
static inline bool is_shim(void) {
    const char *side = getenv("TEST_SIDE");
    return side && !strcmp(side, "shim");
}

/* An allowed difference: `outcome` must be what is written for this side. Both sides then print the
 * same line. */
static inline void differs(const char *what, const char *glibc, const char *shim,
                           const char *outcome) {
    const char *expected = is_shim() ? shim : glibc;
    if (!strcmp(outcome, expected)) say("%s: differs as expected", what);
    else say("%s: %s, expected %s", what, outcome, expected);
}

#if !defined(__GLIBC__) || (__GLIBC__ == 2 && __GLIBC_MINOR__ < 32)
/* What the tests meet; any other is "?". */
static inline const char *strerrorname_np(int err) {
#define NAME(err) [err] = #err
    static const char *const names[] = {
        NAME(EPERM),      NAME(EINTR),    NAME(EIO),          NAME(ENXIO),       NAME(EBADF),
        NAME(EAGAIN),     NAME(ENOMEM),   NAME(EACCES),       NAME(EFAULT),      NAME(EISDIR),
        NAME(EINVAL),     NAME(EMFILE),   NAME(EFBIG),        NAME(ENOSPC),      NAME(ESPIPE),
        NAME(EPIPE),      NAME(ENOSYS),   NAME(EDESTADDRREQ), NAME(EOVERFLOW),   NAME(EOPNOTSUPP),
        NAME(ECONNRESET), NAME(ENOTCONN), NAME(ETIMEDOUT),    NAME(EINPROGRESS), NAME(ECANCELED)};
#undef NAME
    return (size_t)err < sizeof names / sizeof *names ? names[err] : NULL;
}
#endif

#if __GLIBC__ == 2 && __GLIBC_MINOR__ < 34
static inline pid_t _Fork(void) {
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0l, 0l, 0l, 0l);
}
#endif

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* The name of an errno, or "0". */
static inline const char *name(int err) {
    return err == 0 ? "0" : strerrorname_np(err) ? strerrorname_np(err) : "?";
}

/* A scratch file of the given size, filled with a pattern, open with the flags; already unlinked.
 */
static inline int scratch(int flags, size_t size) {
    char path[] = "scratch.XXXXXX";
    int fd = mkstemp(path);
    need(fd >= 0, "scratch file");
    for (size_t at = 0; at < size; at += 4096) {
        char block[4096];
        for (size_t i = 0; i < sizeof block; i++) block[i] = (char)((at + i) / 512 * 7 + i);
        size_t n = size - at < sizeof block ? size - at : sizeof block;
        need(pwrite(fd, block, n, (off_t)at) == (ssize_t)n, "fill");
    }
    fsync(fd);
    int again = open(path, flags);
    need(again >= 0, "open");
    close(fd);
    unlink(path);
    return again;
}

/* Does the buffer hold what scratch() wrote at this offset? */
static inline bool is_pattern(const char *buf, size_t n, off_t offset) {
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)offset + i;
        if (buf[i] != (char)(at / 512 * 7 + at % 4096)) return false;
    }
    return true;
}

/* A request without notification; memory for direct I/O comes from pages(). */
static inline struct aiocb request(int fd, void *buf, size_t n, off_t offset) {
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = buf;
    cb.aio_nbytes = n;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static inline void *pages(size_t n) {
    void *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
    need(p != NULL, "memory");
    memset(p, 0, n);
    return p;
}

/* The value of the next notification by this signal, which is blocked; -1: none came in time, -2:
 * it came from something else. */
static inline int signalled(int signo, int seconds) {
    siginfo_t info;
    struct timespec limit = {quiet_s((unsigned)seconds), 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (sigtimedwait(&set, &info, &limit) < 0) return -1;
    return info.si_code == SI_ASYNCIO ? info.si_value.sival_int : -2;
}

/* Waits for one request and answers its aio_error(). */
static inline int finish(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_error(cb);
}

/* Waits, then prints "what: errno, return value". */
static inline void report(const char *what, struct aiocb *cb) {
    int err = finish(cb);
    say("%s: %s, %zd", what, name(err), aio_return(cb));
}

/* Prints "what: errno" for a call that answered -1, else "what: value". */
static inline void answered(const char *what, int res) {
    if (res < 0) say("%s: -1 %s", what, name(errno));
    else say("%s: %d", what, res);
}

/* SIGEV_SIGNAL with a value. */
static inline struct sigevent sigevent_signal(int signo, int value) {
    struct sigevent sigev;
    memset(&sigev, 0, sizeof sigev);
    sigev.sigev_notify = SIGEV_SIGNAL;
    sigev.sigev_signo = signo;
    sigev.sigev_value.sival_int = value;
    return sigev;
}

enum { NO_SIGNAL = -1000, OTHER_SIGNAL = -2000 };

/* The value of the next such signal (which is blocked) within so many seconds, or NO_SIGNAL;
 * OTHER_SIGNAL: it is not from AIO. */
static inline int next_signal(int signo, int seconds) {
    sigset_t set;
    siginfo_t info;
    struct timespec limit = {quiet_s((unsigned)seconds), 0};
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (sigtimedwait(&set, &info, &limit) < 0) return NO_SIGNAL;
    return info.si_code == SI_ASYNCIO ? info.si_value.sival_int : OTHER_SIGNAL;
}

static inline void sleep_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000l};
    while (nanosleep(&t, &t)) continue;
}

/* Long enough for other threads to have come to where they wait. */
static inline void settle(void) {
    sleep_ms(30 * (int)quiet_s(1));
}

static inline uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What /proc says of a thread of this process: 'R', 'S', 'D'; 'X': it has ended. */
static inline char task_state(pid_t tid) {
    char path[50], line[200] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(path, "r");
    bool is_read = file && fgets(line, sizeof line, file);
    if (file) fclose(file);
    return is_read ? strrchr(line, ')')[2] : 'X';
}

static inline bool sleeps(pid_t tid) {
    return task_state(tid) == 'S';
}

/* How often has the thread gone to sleep? */
static inline long sleeps_of(pid_t tid) {
    char path[50], line[200];
    long n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "voluntary_ctxt_switches: %ld", &n);
    if (file) fclose(file);
    return n;
}

/* Returns once the thread has been found asleep for a while: it is in the call that blocks, and not
 * at a lock whose holder has no CPU. Or it looks around all the time, and sleeps in between. */
static inline void until_asleep(pid_t tid) {
    const long enough = sleeps_of(tid) + 50;
    for (unsigned seen = 0; seen < quiet_s(10) && task_state(tid) != 'X'; sleep_ms(2)) {
        seen = sleeps(tid) ? seen + 1 : 0;
        if (sleeps_of(tid) > enough) break;
    }
}

/* One line of the scheduler's files about a thread. */
static inline bool task_line(const char *task, const char *file, char line[200]) {
    char path[100];
    snprintf(path, sizeof path, "/proc/self/task/%.20s/%s", task, file);
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(line, 200, f);
    if (f) fclose(f);
    return ok;
}

static inline int entries(const char *path) {
    DIR *dir = opendir(path);
    int n = -2; /* "." and ".." */
    need(dir != NULL, path);
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

static inline int open_descriptors(void) {
    return entries("/proc/self/fd") - 1; /* that of the directory */
}

/* Does any thread sit in read(fd)? */
static inline bool is_read(int fd) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    bool found = false;
    need(tasks != NULL, "/proc/self/task");
    while ((task = readdir(tasks))) {
        char line[200];
        long call;
        unsigned long first;
        if (task->d_name[0] == '.' || !task_line(task->d_name, "syscall", line)) continue;
        if (sscanf(line, "%ld %lx", &call, &first) != 2) continue;
        found |= call == SYS_read && first == (unsigned long)fd;
    }
    closedir(tasks);
    return found;
}

/* What is answered may depend on whether a thread has begun with the request: wait for that. */
static inline void until_begun(int fd) {
    if (is_shim()) settle();
    else
        while (!is_read(fd)) sleep_ms(1);
}

int main(void) {
    alarm(60);
    case_only = getenv("TEST_CASE");
    if (getenv("TEST_WARM")) {
        int fd = scratch(O_RDONLY | O_DIRECT, 4096);
        char *buf = pages(4096);
        for (int i = 0; i < 80; i++) {
            struct aiocb cb = request(fd, buf, 4096, 0);
            need(aio_read(&cb) == 0 && finish(&cb) == 0, "warm up");
        }
        free(buf);
        close(fd);
    }
    test();
    if (case_only && !case_ran &&
        cases_left_out[0]) { /* one that is started for a part meets none */
        say("no case %s; there are:%s", case_only, cases_left_out);
        return 2;
    }
    say("done");
    return 0;
}

#endif
