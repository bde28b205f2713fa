/* SPDX-License-Identifier: MIT */
/* Descriptors that are closed, replaced and used again under requests; and what the library does
 * with descriptors of its own. */
#include "test.h"

#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { WRITES = 64, BLOCK = 65536, MANY_FDS = 2048 };

extern char **environ;

enum way { CLOSE, DUP2, DUP3 };
static const char *const ways[] = {"close", "dup2", "dup3"};

/* Makes the number mean another open file. Answers 0 if it does. */
static int replace(enum way way, int fd, const char *path) {
    if (way == CLOSE && close(fd)) return 1;
    int other = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (way == CLOSE) return other != fd;
    int res = way == DUP2 ? dup2(other, fd) : dup3(other, fd, O_CLOEXEC);
    close(other);
    return res != fd;
}

static bool holds(int fd, char c, off_t at) {
    static char back[BLOCK];
    if (pread(fd, back, BLOCK, at) != BLOCK) return false;
    for (int i = 0; i < BLOCK; i++)
        if (back[i] != c) return false;
    return true;
}

/* Writes that are queued, some held up by an aio_fsync() between them, when the number changes. */
static int file_round(enum way way, int flags, bool sync) {
    static struct aiocb cbs[WRITES], syncs[WRITES];
    char *buf = pages(WRITES * BLOCK);
    int fd = open("old", O_RDWR | O_CREAT | O_TRUNC | flags, 0600), old = open("old", O_RDONLY);
    int bad = 0;
    need(fd >= 0 && old >= 0, "open");
    for (int i = 0; i < WRITES; i++) {
        memset(buf + (size_t)i * BLOCK, 'A' + i, BLOCK);
        cbs[i] = request(fd, buf + (size_t)i * BLOCK, BLOCK, (off_t)i * BLOCK);
        bad += aio_write(&cbs[i]) != 0;
        syncs[i] = request(fd, NULL, 0, 0);
        if (sync && i % 16 == 8) bad += aio_fsync(O_DSYNC, &syncs[i]) != 0;
    }
    bad += replace(way, fd, "new");
    for (int i = 0; i < WRITES; i++) {
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK;
        if (sync && i % 16 == 8) bad += finish(&syncs[i]) != 0;
        bad += !holds(old, (char)('A' + i), (off_t)i * BLOCK);
    }
    struct stat st;
    bad += fstat(fd, &st) != 0 || st.st_size != 0; /* the new file */
    struct aiocb cb = request(fd, buf, 100, 0);
    bad += aio_write(&cb) != 0 || finish(&cb) != 0 || fstat(fd, &st) != 0 || st.st_size != 100;
    close(fd);
    close(old);
    free(buf);
    return bad;
}

static void files(void) {
    for (enum way way = CLOSE; way <= DUP3; way++) {
        int bad = 0;
        /* glibc's requests go to the new file (bug 14942), to which end depends on the moment */
        for (int i = 0; i < 5 && is_shim(); i++)
            bad += file_round(way, 0, false) + file_round(way, 0, true) +
                   file_round(way, O_DIRECT, false) + file_round(way, O_DIRECT, true);
        say("%s with queued writes: %d bad", ways[way], bad);
    }
}

/* A sync that is held behind a read that waits: nobody comes for either. */
static void held_sync(void) {
    int fds[2];
    char byte = 0;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    struct aiocb cb = request(fds[0], &byte, 1, 0), sync = request(fds[0], NULL, 0, 0);
    answered("aio_read", aio_read(&cb));
    answered("aio_fsync", aio_fsync(O_SYNC, &sync));
    sleep_ms(10);
    close(fds[0]);
    differs("closed, the read", "EINPROGRESS", "ECANCELED", name(aio_error(&cb)));
    differs("the sync behind it", "EINPROGRESS", "ECANCELED", name(aio_error(&sync)));
    if (!is_shim()) need(write(fds[1], "x", 1) == 1, "write");
    finish(&cb);
    finish(&sync);
    close(fds[1]);
}

/* A read that waits when its number gets another meaning must not take the new pipe's data. */
static void pipe_round(enum way way) {
    int fds[2], more[2];
    char byte = 0, second = 0;
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], &byte, 1, 0), queued = request(fds[0], &second, 1, 0);
    answered("aio_read", aio_read(&cb));
    aio_read(&queued);
    sleep_ms(10);
    need(pipe(more) == 0, "pipe");
    if (way == CLOSE) {
        close(fds[0]);
        need(dup(more[0]) == fds[0], "the same number");
    } else {
        need((way == DUP2 ? dup2(more[0], fds[0]) : dup3(more[0], fds[0], 0)) == fds[0], "dup");
    }
    close(more[0]);
    for (int i = 0; i < 50 && aio_error(&cb) == EINPROGRESS; i++) usleep(1000);
    differs(ways[way], "EINPROGRESS", "ECANCELED", name(aio_error(&cb)));
    need(write(more[1], "n", 1) == 1, "write");
    if (is_shim()) {
        sleep_ms(10);
        char got = 0;
        fcntl(fds[0], F_SETFL, O_NONBLOCK);
        if (read(fds[0], &got, 1) != 1 || got != 'n' || byte || second) say("the data is gone");
    }
    signal(SIGPIPE, SIG_IGN); /* the old pipe may have no reader any more */
    struct pollfd gone = {.fd = fds[1]};
    if (is_shim() && poll(&gone, 1, 3000) != 1) say("the old pipe is still open");
    if (write(fds[1], "o", 1) == 1 && is_shim()) say("and can be written to");
    finish(&cb);
    finish(&queued);
    signal(SIGPIPE, SIG_DFL);
    close(fds[0]);
    close(fds[1]);
    close(more[1]);
}

/* The peer must see the end although a request waits on the socket: a read, or a write for which
 * there is no room. */
static void peer(enum way way, bool write_waits) {
    static char filler[1 << 20];
    int fds[2];
    char text[60];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    struct aiocb cb = request(fds[0], filler, sizeof filler, 0);
    need((write_waits ? aio_write(&cb) : aio_read(&cb)) == 0, "request");
    sleep_ms(10);
    if (way == CLOSE) close(fds[0]);
    else need(replace(way, fds[0], "new") == 0, "replace");
    struct pollfd end = {.fd = fds[1], .events = POLLRDHUP};
    bool came = poll(&end, 1, is_shim() ? 3000 : 50) == 1 && end.revents & POLLRDHUP;
    snprintf(text, sizeof text, "peer, %s, %s waits", ways[way], write_waits ? "write" : "read");
    differs(text, "nothing", "end of file", came ? "end of file" : "nothing");
    close(fds[1]); /* ends glibc's */
    finish(&cb);
    if (way != CLOSE) close(fds[0]);
}

/* A thread that waits for a read of a pipe. */
struct waiter {
    struct aiocb cb;
    bool list;
    _Atomic pid_t tid;
    int answer;
    _Atomic bool back;
};

static void *wait_for_read(void *arg) {
    struct waiter *w = arg;
    struct aiocb *items[] = {&w->cb};
    const struct aiocb *one[] = {&w->cb};
    w->tid = gettid();
    w->answer = w->list ? lio_listio(LIO_WAIT, items, 1, NULL) : aio_suspend(one, 1, NULL);
    if (w->answer) w->answer = errno;
    w->back = true;
    return NULL;
}

/* Another thread takes the descriptor away. The wait ends; glibc's not before the data comes. */
static void waiter(enum way way, bool list) {
    int fds[2];
    char byte = 0, text[60];
    pthread_t thread;
    need(pipe(fds) == 0, "pipe");
    int reader = dup(fds[0]); /* glibc's data must have somewhere to go, and no SIGPIPE */
    struct waiter w = {.cb = request(fds[0], &byte, 1, 0), .list = list};
    w.cb.aio_lio_opcode = LIO_READ;
    if (!list) need(aio_read(&w.cb) == 0, "read");
    need(reader >= 0 && pthread_create(&thread, NULL, wait_for_read, &w) == 0, "thread");
    while (!w.tid) sleep_ms(1);
    until_asleep(w.tid);
    if (way == CLOSE) close(fds[0]);
    else need(replace(way, fds[0], "new") == 0, "replace");
    for (int i = 0; i < (is_shim() ? 5000 : 50) && !w.back; i++) sleep_ms(1);
    snprintf(text, sizeof text, "%s under %s", ways[way], list ? "LIO_WAIT" : "aio_suspend");
    differs(text, "waits", list ? "EIO, ECANCELED" : "0, ECANCELED",
            !w.back                         ? "waits"
            : aio_error(&w.cb) != ECANCELED ? name(aio_error(&w.cb))
            : w.answer == EIO               ? "EIO, ECANCELED"
            : w.answer == 0                 ? "0, ECANCELED"
                                            : name(w.answer));
    need(write(fds[1], "x", 1) == 1, "write");
    pthread_join(thread, NULL);
    finish(&w.cb);
    if (way != CLOSE) close(fds[0]);
    close(fds[1]);
    close(reader);
}

/* The copy goes, the request stays. */
static void copies(void) {
    int fds[2];
    char byte = 0;
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], &byte, 1, 0);
    need(aio_read(&cb) == 0, "read");
    sleep_ms(10);
    answered("close of a copy", close(dup(fds[0])));
    answered("close of the other end's copy", close(dup(fds[1])));
    sleep_ms(10);
    say("still waits: %s", name(aio_error(&cb)));
    need(write(fds[1], "x", 1) == 1, "write");
    report("read", &cb);
    say("data %d", byte == 'x');
    close(fds[0]);
    close(fds[1]);
}

/* What close() and dup2() answer does not change, and failing ones do not touch requests. */
static void answers(void) {
    int fds[2];
    char byte;
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], &byte, 1, 0);
    aio_read(&cb);
    sleep_ms(10);
    answered("close of nothing", close(-1));
    answered("dup2 of nothing", dup2(-1, fds[0]));
    answered("dup3 of nothing", dup3(1000, fds[0], 0));
    answered("dup3 onto itself", dup3(fds[0], fds[0], 0));
    say("dup2 onto itself: %d", dup2(fds[0], fds[0]) == fds[0]);
    answered("dup3 with bad flags", dup3(fds[1], fds[0], O_APPEND));
    say("still waits: %s", name(aio_error(&cb)));
    need(write(fds[1], "x", 1) == 1, "write");
    report("read", &cb);
    answered("close", close(fds[0]));
    answered("close again", close(fds[0]));
    close(fds[1]);
}

static int open_kind(int kind, int *peer) {
    int fds[2];
    *peer = -1;
    switch (kind) {
    case 0: return scratch(O_RDWR, 8192);
    case 1: return scratch(O_RDWR | O_DIRECT, 8192);
    case 2: return memfd_create("memory", 0);
    case 3: need(pipe(fds) == 0, "pipe"); break;
    default: need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    }
    *peer = fds[1];
    return fds[0];
}

/* What was learned about a number may be stale: closed behind the library's back, it becomes
 * another kind of file each time. */
static void changing(void) {
    int number = 100, bad = 0;
    char *buf = pages(4096);
    for (int i = 0; i < 60; i++) {
        int other, kind = i * 7 % 5, fd = open_kind(kind, &other);
        if (i % 2) need(syscall(SYS_dup3, fd, number, 0) == number, "dup3");
        else need(dup2(fd, number) == number, "dup2");
        close(fd);
        memset(buf, i, 4096);
        struct aiocb cb = request(number, buf, 4096, 0);
        if (other < 0) bad += aio_write(&cb) != 0 || finish(&cb) != 0 || aio_return(&cb) != 4096;
        else need(write(other, buf, 4096) == 4096, "write");
        memset(buf, 0, 4096);
        bad += aio_read(&cb) != 0 || finish(&cb) != 0 || aio_return(&cb) != 4096;
        bad += buf[0] != (char)i || buf[4095] != (char)i;
        if (other >= 0) close(other);
        if (i % 3 == 0) syscall(SYS_close, number);
    }
    say("changing kinds: %d bad", bad);
    close(number);
    free(buf);
}

/* A child asks: its own locks would not be in its way. */
static bool is_locked(int fd) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        _exit(fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK);
    }
    need(pid > 0 && waitpid(pid, &status, 0) == pid, "child");
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* Closing any descriptor of a file drops the process's locks on it, also one taken through another.
 */
static void locks(const char *what, int flags, bool through_other) {
    struct aiocb cbs[32], sync;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *buf = pages(32 * 4096);
    int fd = scratch(O_RDWR | flags, 32 * 4096), bad = 0;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int other = open(path, O_RDWR);
    need(other >= 0 && !is_locked(fd), "no lock");
    need(fcntl(through_other ? other : fd, F_SETLK, &lock) == 0 && is_locked(fd), "lock");
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < 32; i++) {
        cbs[i] = request(fd, buf + i * 4096, 4096, i * 4096);
        bad += (i % 3 ? aio_read(&cbs[i]) : aio_write(&cbs[i])) != 0;
    }
    sync = request(fd, NULL, 0, 0);
    bad += aio_fsync(O_SYNC, &sync) != 0 || fsync(fd) != 0 || finish(&sync) != 0;
    for (int i = 0; i < 32; i++) bad += finish(&cbs[i]) != 0;
    say("%s: locked %d, %d bad", what, is_locked(fd), bad);
    close(other);
    close(fd);
    free(buf);
}

static volatile sig_atomic_t signals;

/* A direct read is in the kernel when its number becomes another, longer file; it ends at the end
 * of its own. glibc's may not have begun, and then read the other: a matter of time. */
static int cut_short(void) {
    enum { ASKED = 4 << 20, SIZE = ASKED - 6384, ROUNDS = 4 };
    int bad = 0, longer = scratch(O_RDONLY, 2 * ASKED);
    char *buf = pages(ASKED);
    for (int i = 0; is_shim() && i < ROUNDS; i++) {
        int fd = scratch(O_RDWR | O_DIRECT, ASKED);
        need(ftruncate(fd, SIZE) == 0 && fsync(fd) == 0, "ftruncate");
        struct aiocb cb = request(fd, buf, ASKED, 0);
        bad += aio_read(&cb) != 0;
        if (i % 2) bad += dup2(longer, fd) != fd;
        else bad += close(fd) != 0 || fcntl(longer, F_DUPFD, fd) != fd;
        bad += finish(&cb) != 0 || aio_return(&cb) != SIZE;
        close(fd);
    }
    close(longer);
    free(buf);
    return bad;
}

static void handler(int signo) {
    (void)signo;
    signals++;
}

/* Everything that may make the library open something; 0 if all went well. */
static int use_all(int file, int direct, const int fds[2]) {
    char *buf = pages(4096), byte = 0;
    int bad = 0;
    for (int i = 0; i < 40; i++) {
        struct aiocb cb = request(i % 2 ? file : direct, buf, 4096, 0);
        bad += aio_read(&cb) != 0 || finish(&cb) != 0;
    }
    struct aiocb cb = request(fds[0], &byte, 1, 0), sync = request(file, NULL, 0, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    bad += aio_read(&cb) != 0 || aio_fsync(O_SYNC, &sync) != 0 || finish(&sync) != 0;
    sleep_ms(10);
    bad += write(fds[1], "x", 1) != 1;
    for (int i = 0; i < 2000 && !signals; i++) usleep(1000);
    bad += signals != 1 || finish(&cb) != 0 || byte != 'x';
    free(buf);
    return bad;
}

/* In a program of its own, whose first requests these are. Its status tells what was found. Where
 * the limit allows, the library's are numbered 40 and up. */
static void look_at_own(bool few) {
    const struct rlimit limit = {40, 4096};
    int least = few ? 3 : 40, own = 0;
    static bool before[MANY_FDS];
    int fds[2], low = 0, open_to_exec = 0, file = scratch(O_RDWR, 4096);
    int direct = scratch(O_RDWR | O_DIRECT, 4096), high = fcntl(file, F_DUPFD, 10);
    int high_direct = fcntl(direct, F_DUPFD, 10);
    need(pipe(fds) == 0 && high >= 0 && high_direct >= 0, "descriptors");
    int from = fcntl(fds[0], F_DUPFD, 10), to = fcntl(fds[1], F_DUPFD, 10);
    if (few) need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    signal(SIGUSR1, handler);
    for (int i = 0; i < 10; i++) close(i);
    for (int i = 0; i < MANY_FDS; i++) before[i] = fcntl(i, F_GETFD) >= 0;
    int bad = use_all(high, high_direct, (int[2]){from, to});
    for (int i = 0; i < MANY_FDS; i++) {
        int flags = fcntl(i, F_GETFD);
        if (flags < 0 || before[i]) continue;
        own++;
        low += i < least;
        open_to_exec += !(flags & FD_CLOEXEC);
    }
    bool lowest = open("/dev/null", O_RDWR) == 0;
    _exit(bad ? 1 : low ? 2 : open_to_exec ? 3 : !lowest ? 4 : is_shim() && !own ? 5 : 42);
}

static void own_descriptors(const char *limit) {
    char *const args[] = {"program", NULL};
    char *warm = getenv("TEST_WARM");
    int status;
    pid_t pid;
    unsetenv("TEST_WARM");
    setenv("TEST_OWN", limit, 1);
    need(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ) == 0, "posix_spawn");
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    say("the library's own descriptors, %s: %d", limit,
        WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    unsetenv("TEST_OWN");
    if (warm) setenv("TEST_WARM", "1", 1);
}

static void test(void) {
    const char *limit = getenv("TEST_OWN");
    if (limit) look_at_own(!strcmp(limit, "few"));
    CASE("files") files();
    CASE("pipes")
        for (enum way way = CLOSE; way <= DUP3; way++) pipe_round(way);
    CASE("held-sync") held_sync();
    CASE("peers")
        for (enum way way = CLOSE; way <= DUP3; way++) peer(way, false), peer(way, true);
    CASE("waiters")
        for (enum way way = CLOSE; way <= DUP3; way++) waiter(way, false), waiter(way, true);
    CASE("copies") copies();
    CASE("answers") answers();
    CASE("changing") changing();
    CASE("locks") {
        locks("locks", 0, false);
        locks("locks, direct", O_DIRECT, false);
        locks("locks by another descriptor", 0, true);
        locks("locks by another descriptor, direct", O_DIRECT, true);
    }
    CASE("cut-short") say("cut short: %d bad", cut_short());
    CASE("own-descriptors") {
        own_descriptors("many");
        own_descriptors("few");
    }
}
