/* SPDX-License-Identifier: MIT */
/* Streams asked for what cannot be: bad buffers (the data must stay), offsets, wrong access modes,
 * syncs; nothing to write; a time limit for sending; and large writes of the kinds that the kernel
 * does not poll. */
#include "test.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <termios.h>

enum { LARGE = 200000 };

static char *buf; /* LARGE bytes */

/* Ended within two seconds? Then prints what the call and the request answered. */
static void outcome(const char *what, const char *op, int res, struct aiocb *cb) {
    const char *at_once = res < 0 ? name(errno) : "0";
    const struct aiocb *list[] = {cb};
    struct timespec limit = {quiet_s(2), 0};
    if (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, &limit);
    int err = aio_error(cb);
    say("%s, %s: %s, %s, %zd", what, op, at_once, name(err),
        err == EINPROGRESS ? -2 : aio_return(cb));
    need(err != EINPROGRESS, "a request that hangs"); /* it refers to our stack */
}

static void reads(const char *what, int fd, void *at, size_t n, off_t offset) {
    struct aiocb cb = request(fd, at, n, offset);
    outcome(what, "read", aio_read(&cb), &cb);
}

static void writes(const char *what, int fd, void *at, size_t n, off_t offset) {
    struct aiocb cb = request(fd, at, n, offset);
    outcome(what, "write", aio_write(&cb), &cb);
}

static void syncs(const char *what, int fd) {
    struct aiocb cb = request(fd, NULL, 0, 0);
    outcome(what, "O_SYNC", aio_fsync(O_SYNC, &cb), &cb);
    outcome(what, "O_DSYNC", aio_fsync(O_DSYNC, &cb), &cb);
}

/* Data of a terminal come a moment after they are written. */
static void wait_for_data(int fd, int ms) {
    poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms);
}

/* How much is there to be read? It is thrown away. */
static int rest(int fd) {
    wait_for_data(fd, 20);
    int n = 0, all = 0;
    while (ioctl(fd, FIONREAD, &n) == 0 && n > 0 && read(fd, buf, LARGE) > 0) all += n;
    return all;
}

/* No memory is so large, and more is an error; except for a 32-bit program on a 64-bit kernel. */
enum { AN_ERROR = sizeof(size_t) == 8 };

/* What is written to `to` can be read from `from`. A terminal loses what it could not copy. */
static void bad_buffers(const char *what, int from, int to, bool keeps) {
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(hole != MAP_FAILED && mprotect(hole + 4096, 4096, PROT_NONE) == 0, "memory");
    const struct {
        const char *what;
        char *at;
        size_t n;
    } bad[] = {{"NULL", NULL, 10},
               {"PROT_NONE", hole + 4096, 10},
               {"SSIZE_MAX at NULL", NULL, SSIZE_MAX},
               {"SSIZE_MAX", buf, SSIZE_MAX},
               {"SSIZE_MAX + 1", buf, (size_t)SSIZE_MAX + 1},
               {"SIZE_MAX", buf, SIZE_MAX}};
    enum { BAD = sizeof bad / sizeof *bad };
    const int tried = AN_ERROR ? BAD : BAD - 3;
    say("-- %s", what);
    for (int i = 0; i < tried; i++) {
        if (i == 0 || !keeps) need(write(to, "0123456789", 10) == 10, "write");
        wait_for_data(from, 1000);
        reads(bad[i].what, from, bad[i].at, bad[i].n, 0);
        if (!keeps) rest(from);
    }
    if (keeps) memset(buf, 0, 16);
    if (keeps) reads("the data", from, buf, 16, 0);
    if (keeps) say("it is %.10s", buf);
    for (int i = 0; i < tried; i++) writes(bad[i].what, to, bad[i].at, bad[i].n, 0);
    memcpy(hole + 4086, "abcdefghij", 10);
    writes("partly bad", to, hole + 4086, 20, 0);
    say("%d left", rest(from));
    munmap(hole, 8192);
}

/* Reads what is there, at any offset. */
static void offsets(const char *what, int from, int to) {
    say("-- %s, offsets", what);
    off_t values[] = {100, -1, LONG_MIN, LONG_MAX};
    for (int i = 0; i < 4; i++) {
        writes("offset", to, "line\n", 5, values[i]);
        need(write(to, "more\n", 5) == 5, "write");
        reads("offset", from, buf, 5, values[i]);
        say("%d left", rest(from));
    }
}

static void nothing(const char *what, int to) {
    say("-- %s, nothing", what);
    writes("nothing", to, buf, 0, 0);
    writes("nothing at NULL", to, NULL, 0, 0);
    writes("nothing at offset -1", to, buf, 0, -1);
}

static void close_both(const int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

static void all_of(const char *what, const int fds[2], bool keeps) {
    offsets(what, fds[0], fds[1]);
    nothing(what, fds[1]);
    bad_buffers(what, fds[0], fds[1], keeps);
    close_both(fds);
}

/* False in a chroot without /dev/pts. */
static bool pseudo_terminal(int fds[2]) {
    struct termios mode;
    fds[0] = posix_openpt(O_RDWR | O_NOCTTY);
    if (fds[0] < 0) {
        say("skipped, terminal: no pseudo-terminals here: %s", strerror(errno));
        return false;
    }
    need(grantpt(fds[0]) == 0 && unlockpt(fds[0]) == 0, "pty");
    fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY);
    need(fds[1] >= 0 && tcgetattr(fds[1], &mode) == 0, "pty");
    cfmakeraw(&mode);
    tcsetattr(fds[1], TCSANOW, &mode);
    return true;
}

static void terminal_modes(void) {
    int fds[2];
    if (!pseudo_terminal(fds)) return;
    say("-- terminal, access mode");
    int out = open(ptsname(fds[0]), O_WRONLY | O_NOCTTY);
    int in = open(ptsname(fds[0]), O_RDONLY | O_NOCTTY);
    need(out >= 0 && in >= 0, "pty");
    reads("write-only", out, buf, 10, 0);
    writes("read-only", in, buf, 10, 0);
    writes("write-only", out, "out", 3, 0);
    reads("read-write", fds[0], buf, 3, 0);
    close(in);
    close(out);
    close_both(fds);
}

/* More than a transfer may be. */
static void devices(void) {
    static const char *const paths[] = {"/dev/zero", "/dev/null", "/dev/full", "/dev/urandom"};
    const size_t sizes[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX};
    say("-- devices");
    for (int i = 0; AN_ERROR && i < 8; i++) {
        int fd = open(paths[i / 2], O_RDWR);
        need(fd >= 0, paths[i / 2]);
        reads(paths[i / 2], fd, buf, sizes[i % 2], 0);
        writes(paths[i / 2], fd, buf, sizes[i % 2], 0);
        close(fd);
    }
}

static void no_syncs(void) {
    int fds[2], fd = open(".", O_PATH);
    say("-- syncs");
    syncs("O_PATH", fd);
    close(fd);
    fd = open("/proc/self/status", O_RDONLY);
    syncs("/proc/self/status", fd);
    close(fd);
    fd = eventfd(0, 0);
    syncs("eventfd", fd);
    close(fd);
    if (!pseudo_terminal(fds)) return;
    syncs("terminal", fds[1]);
    close_both(fds);
}

/* A blocking write of such a socket ends with what it could send, or EAGAIN. */
static void send_timeout(void) {
    int fds[2], size = 32768;
    struct timeval tv = {0, 50000};
    say("-- SO_SNDTIMEO");
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    struct aiocb cb = request(fds[0], buf, LARGE, 0);
    answered("aio_write", aio_write(&cb));
    int err = finish(&cb);
    ssize_t n = aio_return(&cb), got = recv(fds[1], buf, LARGE, MSG_DONTWAIT);
    say("more than fits: %s, a part %d, it can be read %d", name(err), n > 0 && n < LARGE,
        got == n);
    while (send(fds[0], buf, LARGE, MSG_DONTWAIT) > 0) continue;
    writes("full", fds[0], buf, 10, 0);
    close_both(fds);
}

static void *swallow(void *arg) {
    int null = open("/dev/null", O_WRONLY), *from = arg;
    while (splice(*from, NULL, null, NULL, 1 << 20, 0) > 0) continue;
    close(null);
    return NULL;
}

/* No call transfers more than MAX_RW_COUNT bytes, and a request is one call. */
static void most(void) {
    size_t n = (2ul << 30) + (1 << 20);
    void *zeros = mmap(NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int pipes[2];
    pthread_t thread;
    need(zeros != MAP_FAILED && pipe(pipes) == 0, "2 GiB");
    need(pthread_create(&thread, NULL, swallow, &pipes[0]) == 0, "thread");
    struct aiocb cb = request(pipes[1], zeros, n, 0);
    need(aio_write(&cb) == 0, "aio_write");
    report("more than 2 GiB to a pipe", &cb);
    close(pipes[1]);
    pthread_join(thread, NULL);
    close(pipes[0]);
    munmap(zeros, n);
}

struct drain {
    int fd;
    size_t got, bad;
};

static char byte_at(size_t i) {
    return (char)('a' + i / 1000 % 26);
}

static void *drain(void *arg) {
    struct drain *d = arg;
    char part[4096];
    while (d->got < LARGE + 4) {
        ssize_t n = read(d->fd, part, sizeof part);
        if (n <= 0) break;
        for (ssize_t i = 0; i < n; i++)
            if (d->got + (size_t)i < LARGE) d->bad += part[i] != byte_at(d->got + (size_t)i);
        d->got += (size_t)n;
        usleep(200);
    }
    d->bad += d->got < 4 || d->got != LARGE + 4;
    return NULL;
}

/* All of it is written, then the next request's. */
static void slow_reader(const char *what, int from, int to) {
    struct drain d = {.fd = from};
    struct timespec limit = {0, 20000000};
    pthread_t thread;
    for (size_t i = 0; i < LARGE; i++) buf[i] = byte_at(i);
    struct aiocb cb = request(to, buf, LARGE, 0), last = request(to, "last", 4, 0);
    const struct aiocb *list[] = {&cb};
    answered("aio_write", aio_write(&cb));
    answered("aio_write", aio_write(&last));
    aio_suspend(list, 1, &limit);
    say("%s, nobody reads: %s", what, name(aio_error(&cb)));
    need(pthread_create(&thread, NULL, drain, &d) == 0, "thread");
    report("large", &cb);
    report("last", &last);
    pthread_join(thread, NULL);
    say("read %zu, %zu bad", d.got, d.bad);
}

static void slow_readers(void) {
    int fds[2];
    say("-- slow readers");
    need(mkfifo("fifo", 0600) == 0, "mkfifo");
    fds[0] = open("fifo", O_RDWR);
    fds[1] = open("fifo", O_RDWR);
    need(fds[0] >= 0 && fds[1] >= 0, "fifo");
    slow_reader("O_RDWR FIFO", fds[0], fds[1]);
    close_both(fds);
    unlink("fifo");
    if (!pseudo_terminal(fds)) return;
    slow_reader("terminal", fds[0], fds[1]);
    close_both(fds);
}

static void test(void) {
    int fds[2];
    buf = pages(LARGE);
    CASE("pipe") {
        need(pipe(fds) == 0, "pipe");
        all_of("pipe", fds, true);
    }
    CASE("socket") {
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
        all_of("socket", fds, true);
    }
    CASE("packets") {
        need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0, "socketpair");
        offsets("packets", fds[0], fds[1]);
        close_both(fds);
    }
    CASE("send-timeout") send_timeout();
    CASE("terminal") {
        if (pseudo_terminal(fds)) all_of("terminal", fds, false);
    }
    CASE("terminal-modes") terminal_modes();
    CASE("devices") devices();
    CASE("no-syncs") no_syncs();
    CASE("slow-readers") slow_readers();
    if (getenv("TEST_LONG")) { /* a second each */
        CASE("most") most();
    }
}
