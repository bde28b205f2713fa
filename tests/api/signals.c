/* SPDX-License-Identifier: MIT */
/* Many signals: a thousand queued at once, for handlers, sigwaitinfo() and signalfd(); blocked for
 * long; more than RLIMIT_SIGPENDING allows. Each must come once, from AIO, with its own value. */
#include "test.h"

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

enum { MANY = 1000, BLOCK = 512, FDS = 4, ROOM = 300 };

static struct aiocb cbs[MANY];
static int fds[FDS], signo; /* a file, a direct one, a pipe, a socket; real-time, blocked */
static int ends[FDS];       /* to feed the streams */
static char *memory;

static int times[MANY], bad_info, early;

static void seen(int code, pid_t pid, uid_t uid, void *value) {
    struct aiocb *cb = value;
    bad_info += code != SI_ASYNCIO || pid != getpid() || uid != getuid();
    if (cb < cbs || cb >= cbs + MANY) bad_info++;
    else times[cb - cbs]++, early += aio_error(cb) != 0 || aio_return(cb) != BLOCK;
}

static volatile sig_atomic_t calls;

static void handler(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    seen(info->si_code, info->si_pid, info->si_uid, info->si_value.sival_ptr);
    calls++;
}

static bool wait_for(int value, volatile sig_atomic_t *counter) {
    uint64_t end = now_us() + quiet_us(20000000);
    while (*counter < value && now_us() < end) usleep(1000);
    return *counter == value;
}

/* All requests; those of streams wait until fed. */
static void submit(void) {
    memset(times, 0, sizeof times);
    bad_info = early = 0;
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(fds[i % FDS], memory + i * BLOCK, BLOCK, i % 64 * BLOCK);
        cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cbs[i].aio_sigevent.sigev_signo = signo;
        cbs[i].aio_sigevent.sigev_value.sival_ptr = &cbs[i];
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    for (int i = 0; i < MANY; i++)
        if (ends[i % FDS] >= 0) need(write(ends[i % FDS], memory, BLOCK) == BLOCK, "feed");
}

static void result(const char *what, bool all_came) {
    int wrong = 0, bad = 0;
    for (int i = 0; i < MANY; i++) {
        wrong += times[i] != 1;
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK;
    }
    say("%s: all came %d, %d not once, %d before the result, %d wrong, %d bad", what, all_came,
        wrong, early, bad_info, bad);
}

static bool take(int ms) {
    siginfo_t info;
    sigset_t set;
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000l};
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (sigtimedwait(&set, &info, &limit) < 0) return false;
    seen(info.si_code, info.si_pid, info.si_uid, info.si_value.sival_ptr);
    return true;
}

static void finish_all(void) {
    for (int i = 0; i < MANY; i++) finish(&cbs[i]);
}

/* All are queued before the first is taken. */
static void queued(void) {
    int came = 0;
    submit();
    finish_all();
    for (int i = 0; i < MANY; i++) came += take(20000);
    result("queued", came == MANY);
    say("one more %d", take(20));
}

static void by_descriptor(void) {
    struct signalfd_siginfo info[100];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    int fd = signalfd(-1, &set, SFD_CLOEXEC), came = 0;
    need(fd >= 0, "signalfd");
    submit();
    while (came < MANY) {
        ssize_t n = read(fd, info, sizeof info);
        if (n <= 0) break;
        for (size_t i = 0; i < (size_t)n / sizeof *info; i++, came++)
            seen(info[i].ssi_code, (pid_t)info[i].ssi_pid, info[i].ssi_uid,
                 (void *)(uintptr_t)info[i].ssi_ptr);
    }
    result("signalfd", came == MANY);
    close(fd);
}

/* The handler runs while the requests are made, or for all at once when they are unblocked. */
static void by_handler(const char *what, bool blocked) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t set;
    sigaction(signo, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, signo);
    calls = 0;
    if (!blocked) pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    submit();
    if (blocked) {
        finish_all();
        say("while blocked: %d", (int)calls);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
    bool came = wait_for(MANY, &calls);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    result(what, came);
}

/* The first ROOM are queued; the others cannot be, and that becomes the result of their requests,
 * a moment later in glibc. */
static void too_many(const char *what, int fd) {
    struct rlimit old, limit;
    int failed = 0, fine = 0, came = 0, lost = 0;
    getrlimit(RLIMIT_SIGPENDING, &old);
    limit = old;
    limit.rlim_cur = ROOM;
    setrlimit(RLIMIT_SIGPENDING, &limit);
    memset(times, 0, sizeof times);
    for (int i = 0; i < 2 * ROOM; i++) {
        cbs[i] = request(fd, memory + i * BLOCK, BLOCK, i % 64 * BLOCK);
        cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cbs[i].aio_sigevent.sigev_signo = signo;
        cbs[i].aio_sigevent.sigev_value.sival_ptr = &cbs[i];
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    for (int i = 0; i < 2 * ROOM; i++) finish(&cbs[i]);
    sleep_ms(100);
    for (int i = 0; i < 2 * ROOM; i++) failed += aio_error(&cbs[i]) == EAGAIN;
    for (int i = 0; i < 2 * ROOM; i++)
        fine += aio_error(&cbs[i]) == 0 && aio_return(&cbs[i]) == BLOCK;
    setrlimit(RLIMIT_SIGPENDING, &old);
    while (take(0)) came++;
    for (int i = 0; i < 2 * ROOM; i++) lost += times[i] != (aio_error(&cbs[i]) == 0);
    say("%s, more than fit: some came %d, some failed %d, %d neither, %d came or not wrongly", what,
        came > 0 && came <= ROOM, failed > 0, 2 * ROOM - fine - failed, lost);
}

static void test(void) {
    struct rlimit limit;
    sigset_t set;
    int pair[2];
    /* the limit is the user's: other processes shall not count */
    (void)!setresuid(100000 + (uid_t)getpid(), (uid_t)-1, (uid_t)-1);
    getrlimit(RLIMIT_SIGPENDING, &limit);
    if (limit.rlim_cur < MANY + 100) skip("RLIMIT_SIGPENDING is too low");
    signo = SIGRTMIN + 3;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    memory = pages(MANY * BLOCK);
    fds[0] = scratch(O_RDONLY, 64 * BLOCK), ends[0] = -1;
    fds[1] = scratch(O_RDONLY | O_DIRECT, 64 * BLOCK), ends[1] = -1;
    need(pipe(pair) == 0, "pipe");
    fds[2] = pair[0], ends[2] = pair[1];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    fds[3] = pair[0], ends[3] = pair[1];
    CASE("queued") queued();
    CASE("by-descriptor") by_descriptor();
    CASE("by-handler") {
        by_handler("handler", false);
        by_handler("handler, blocked for long", true);
    }
    CASE("too-many") {
        too_many("buffered", fds[0]);
        too_many("direct", fds[1]);
    }
}
