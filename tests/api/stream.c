/* SPDX-License-Identifier: MIT */
/* Streams: pipes, sockets, FIFOs, terminals, eventfds. Waiting, order, ends of file, partial
 * counts, full pipes, errors; and what a waiting request must not hold up. */
#include "test.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>

enum { IDLE = 200, FILE_READS = 100, LARGE = 1 << 20, PIPE_SIZE = 65536 };

static void sockets(int type, int fds[2]) {
    need(socketpair(AF_UNIX, type, 0, fds) == 0, "socketpair");
}

static void pipes(int fds[2]) {
    need(pipe(fds) == 0, "pipe");
    need(fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE) == PIPE_SIZE, "pipe of 64 KiB"); /* else 16 pages */
}

static void put(int fd, const void *data, size_t n) {
    need(write(fd, data, n) == (ssize_t)n, "write");
}

static void both_close(const int fds[2]) {
    close(fds[0]);
    close(fds[1]);
}

/* The status after some time: long enough for a request that does not wait to have ended. */
static void settled(const char *what, struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    uint64_t us = quiet_us(30000);
    struct timespec limit = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    if (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, &limit);
    say("%s: %s", what, name(aio_error(cb)));
}

/* A request that would wait for ever must not hang the test. */
static bool ends_within(struct aiocb *cb, int ms) {
    const struct aiocb *list[] = {cb};
    uint64_t end = now_us() + quiet_us((uint64_t)ms * 1000);
    while (aio_error(cb) == EINPROGRESS && now_us() < end) {
        struct timespec limit = {0, 5000000};
        aio_suspend(list, 1, &limit);
    }
    return aio_error(cb) != EINPROGRESS;
}

/* Reads wait, are served in call order, take what is there, and end when the writer goes. */
static void reads(const char *what, int from, int to) {
    struct aiocb cbs[10];
    char buf[10][16] = {{0}}, text[11] = {0};
    say("-- %s", what);
    cbs[0] = request(from, buf[0], 16, 0);
    answered("aio_read", aio_read(&cbs[0]));
    settled("empty", &cbs[0]);
    put(to, "abc", 3);
    report("partial", &cbs[0]);
    say("data %.3s", buf[0]);
    cbs[0] = request(from, buf[0], 2, 12345);
    put(to, "defg", 4);
    aio_read(&cbs[0]);
    report("data is there, with an offset", &cbs[0]);
    cbs[1] = request(from, buf[1], 16, 0);
    aio_read(&cbs[1]);
    report("the rest", &cbs[1]);
    say("data %.2s %.2s", buf[0], buf[1]);

    for (int i = 0; i < 10; i++) {
        cbs[i] = request(from, buf[i], 1, 0);
        aio_read(&cbs[i]);
    }
    for (int i = 0; i < 10; i++) put(to, &"0123456789"[i], 1);
    for (int i = 0; i < 10; i++) {
        need(finish(&cbs[i]) == 0 && aio_return(&cbs[i]) == 1, "a byte each");
        text[i] = buf[i][0];
    }
    say("ten reads, byte by byte: %s", text);
    for (int i = 0; i < 10; i++) {
        cbs[i] = request(from, buf[i], 16, 0);
        aio_read(&cbs[i]);
    }
    int early = 0;
    for (int i = 0; i < 10; i++) {
        put(to, "wxyz", 4);
        need(finish(&cbs[i]) == 0 && aio_return(&cbs[i]) == 4, "four bytes each");
        for (int k = i + 1; k < 10; k++) early += aio_error(&cbs[k]) != EINPROGRESS;
    }
    say("ten reads, one after the other: %d early", early);
    for (int i = 0; i < 3; i++) {
        cbs[i] = request(from, buf[i], 16, 0);
        aio_read(&cbs[i]);
    }
    settled("before the end", &cbs[0]);
    close(to);
    for (int i = 0; i < 3; i++) report("end of file", &cbs[i]);
    close(from);
}

struct drain {
    int fd;
    size_t want, got, bad;
    int delay_us;
};

/* What the writers send is a stream of blocks of 100,000 bytes: a, b, c, ... */
static void *drain(void *arg) {
    struct drain *d = arg;
    char *buf = malloc(PIPE_SIZE);
    while (buf && d->got < d->want) {
        ssize_t n = read(d->fd, buf, PIPE_SIZE);
        if (n <= 0) break;
        for (ssize_t i = 0; i < n; i++)
            d->bad += buf[i] != (char)('a' + (d->got + i) / 100000 % 26);
        d->got += (size_t)n;
        usleep((useconds_t)d->delay_us);
    }
    free(buf);
    return NULL;
}

static void fill(char *buf, size_t from, size_t n) {
    for (size_t i = 0; i < n; i++) buf[i] = (char)('a' + (from + i) / 100000 % 26);
}

/* A blocking write waits until all is written, and so must an asynchronous one. */
static void slow_reader(const char *what, int from, int to) {
    struct drain d = {.fd = from, .want = LARGE, .delay_us = 2000};
    pthread_t thread;
    char *buf = pages(LARGE);
    fill(buf, 0, LARGE);
    struct aiocb cb = request(to, buf, LARGE, 0);
    say("-- %s, slow reader", what);
    answered("aio_write", aio_write(&cb));
    settled("nobody reads", &cb);
    pthread_create(&thread, NULL, drain, &d);
    report("written", &cb);
    pthread_join(thread, NULL);
    say("read %zu, %zu bad", d.got, d.bad);

    struct aiocb cbs[10];
    for (size_t i = 0; i < 10; i++) {
        fill(buf + i * 100000, i * 100000, 100000);
        cbs[i] = request(to, buf + i * 100000, 100000, 0);
        aio_write(&cbs[i]);
    }
    d = (struct drain){.fd = from, .want = 1000000, .delay_us = 500};
    pthread_create(&thread, NULL, drain, &d);
    int bad = 0;
    for (int i = 0; i < 10; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != 100000;
    pthread_join(thread, NULL);
    say("ten writes in order: %d bad, read %zu, %zu bad", bad, d.got, d.bad);
    free(buf);
    close(from);
    close(to);
}

static void wait_until_full(int from) {
    int n = 0;
    while (ioctl(from, FIONREAD, &n) == 0 && n < PIPE_SIZE) usleep(1000);
}

/* SIGPIPE has its default action here: only the error may be seen. */
static void broken(void) {
    int fds[2];
    char *buf = pages(LARGE);
    say("-- broken");
    pipes(fds);
    close(fds[0]);
    struct aiocb cb = request(fds[1], buf, 100, 0);
    answered("aio_write", aio_write(&cb));
    report("no reader", &cb);
    cb = request(fds[1], buf, 0, 0);
    aio_write(&cb);
    report("nothing, no reader", &cb);
    close(fds[1]);

    pipes(fds);
    cb = request(fds[1], buf, LARGE, 0);
    aio_write(&cb);
    wait_until_full(fds[0]);
    close(fds[0]);
    report("the reader goes half way", &cb);
    close(fds[1]);

    pipes(fds);
    put(fds[1], buf, PIPE_SIZE);
    cb = request(fds[1], buf, 10, 0);
    aio_write(&cb);
    settled("full", &cb);
    close(fds[0]);
    report("the reader goes", &cb);
    close(fds[1]);

    sockets(SOCK_STREAM, fds);
    close(fds[0]);
    cb = request(fds[1], buf, 10, 0);
    aio_write(&cb);
    report("socket without peer, write", &cb);
    cb = request(fds[1], buf, 10, 0);
    aio_read(&cb);
    report("socket without peer, read", &cb);
    close(fds[1]);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    cb = request(fds[0], buf, 10, 0);
    aio_read(&cb);
    report("not connected, read", &cb);
    cb = request(fds[0], buf, 10, 0);
    aio_write(&cb);
    report("not connected, write", &cb);
    close(fds[0]);
    free(buf);
}

static void nonblocking(void) {
    int fds[2];
    char *buf = pages(LARGE);
    say("-- O_NONBLOCK");
    need(pipe2(fds, O_NONBLOCK) == 0, "pipe");
    struct aiocb cb = request(fds[0], buf, 10, 0);
    answered("aio_read", aio_read(&cb));
    report("empty pipe", &cb);
    cb = request(fds[1], buf, LARGE, 0);
    aio_write(&cb);
    report("larger than the pipe", &cb);
    cb = request(fds[1], buf, 10, 0);
    aio_write(&cb);
    report("full pipe", &cb);
    cb = request(fds[0], buf, 10, 0);
    aio_read(&cb);
    report("full pipe, read", &cb);
    both_close(fds);
    sockets(SOCK_STREAM | SOCK_NONBLOCK, fds);
    cb = request(fds[0], buf, 10, 77);
    aio_read(&cb);
    report("empty socket", &cb);
    cb = request(fds[1], buf, 10, 77);
    aio_write(&cb);
    report("socket, write", &cb);
    cb = request(fds[0], buf, 100, 77);
    aio_read(&cb);
    report("socket, read", &cb);
    both_close(fds);
    free(buf);
}

static void packets(const char *what, int type) {
    int fds[2];
    char buf[4][16] = {{0}};
    struct aiocb cbs[4];
    say("-- %s", what);
    sockets(type, fds);
    for (int i = 0; i < 4; i++) {
        cbs[i] = request(fds[0], buf[i], i == 1 ? 4 : 16, 0);
        aio_read(&cbs[i]);
    }
    struct aiocb cb = request(fds[1], "datagram", 8, 999);
    for (int i = 0; i < 2; i++) {
        aio_write(&cb);
        report("write with an offset", &cb);
    }
    put(fds[1], "", 0);
    put(fds[1], "last", 4);
    for (int i = 0; i < 4; i++) report("read", &cbs[i]);
    say("data %.8s %.4s %.4s", buf[0], buf[1], buf[3]);
    both_close(fds);
}

/* A receiver who has a name has no way back to the sender: then its queue is limited by number,
 * else by the sender's buffer. */
static void named_sockets(int fds[2]) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address;
    for (int i = 0; i < 2; i++) fds[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
    need(bind(fds[0], (struct sockaddr *)&address, sizeof address.sun_family) == 0, "bind");
    need(getsockname(fds[0], (struct sockaddr *)&address, &size) == 0, "getsockname");
    need(connect(fds[1], (struct sockaddr *)&address, size) == 0, "connect");
}

/* Writes wait while the peer's queue is full, and come whole and in order. */
static void full_queue(const char *what, const int fds[2]) {
    enum { LONG = 20000 };
    char *sent = pages(LONG), *got = pages(LONG + 1), last[9] = "";
    int queued = 0, bad = 0;
    say("-- %s, full queue", what);
    fill(sent, 90000, LONG); /* an a in it, and a b */
    while (send(fds[1], "first", 5, MSG_DONTWAIT) == 5) queued++;
    struct aiocb cbs[] = {request(fds[1], sent, LONG, 0), request(fds[1], "last", 4, 0)};
    for (int i = 0; i < 2; i++) answered("aio_write", aio_write(&cbs[i]));
    settled("full", &cbs[0]);
    for (int i = 0; i < queued; i++) bad += read(fds[0], got, LONG) != 5;
    say("queued: %d bad", bad);
    say("then %zd", read(fds[0], got, LONG + 1));
    say("data %d", !memcmp(sent, got, LONG));
    say("last %zd %s", read(fds[0], last, 8), last);
    for (int i = 0; i < 2; i++) report("write", &cbs[i]);
    both_close(fds);
    free(sent);
    free(got);
}

static void nothing(const char *what, int fd) {
    char buf[8];
    struct aiocb cb = request(fd, buf, 0, 0);
    aio_read(&cb);
    bool ended = ends_within(&cb, 1000);
    say("read nothing, %s: %s, %zd", what, name(aio_error(&cb)), ended ? aio_return(&cb) : -2);
}

static void nothings(void) {
    int fds[2], event = eventfd(0, 0);
    say("-- nothing");
    pipes(fds);
    nothing("pipe", fds[0]);
    both_close(fds);
    sockets(SOCK_STREAM, fds);
    nothing("socket", fds[0]);
    both_close(fds);
    nothing("eventfd", event);
    close(event);
}

static void events(void) {
    uint64_t got[2] = {0, 0}, value = 5;
    int fd = eventfd(0, 0);
    say("-- eventfd");
    struct aiocb cb = request(fd, got, 8, 0);
    answered("aio_read", aio_read(&cb));
    settled("zero", &cb);
    put(fd, &value, 8);
    report("read", &cb);
    say("value %llu", (unsigned long long)got[0]);
    value = UINT64_MAX - 1;
    cb = request(fd, &value, 8, 64);
    aio_write(&cb);
    report("write", &cb);
    uint64_t one = 1;
    cb = request(fd, &one, 8, 0);
    aio_write(&cb);
    settled("full", &cb);
    need(read(fd, got, 8) == 8, "read");
    report("room again", &cb);
    say("values %d", got[0] == UINT64_MAX - 1 && read(fd, got, 8) == 8 && got[0] == 1);
    cb = request(fd, &one, 4, 0);
    aio_write(&cb);
    report("too short", &cb);
    close(fd);
    fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec soon = {.it_value = {0, 20000000}};
    cb = request(fd, got, 8, 0);
    aio_read(&cb);
    timerfd_settime(fd, 0, &soon, NULL);
    report("timer", &cb);
    say("value %llu", (unsigned long long)got[0]);
    close(fd);
}

static void fifo(void) {
    unlink("fifo");
    need(mkfifo("fifo", 0600) == 0, "mkfifo");
    int to = open("fifo", O_RDWR), from = dup(to);
    need(to >= 0 && from >= 0, "open fifo");
    char buf[3][16] = {{0}};
    struct aiocb cbs[3];
    say("-- O_RDWR FIFO");
    for (int i = 0; i < 3; i++) {
        cbs[i] = request(from, buf[i], 4, 0);
        aio_read(&cbs[i]);
    }
    settled("empty", &cbs[0]);
    put(to, "one.two.thr", 11);
    for (int i = 0; i < 3; i++) report("read", &cbs[i]);
    say("data %s %s %s", buf[0], buf[1], buf[2]);
    cbs[0] = request(to, "fifo", 4, 0);
    cbs[1] = request(from, buf[0], 16, 0);
    aio_write(&cbs[0]);
    aio_read(&cbs[1]);
    report("write", &cbs[0]);
    report("read", &cbs[1]);
    close(to);
    close(from);
    unlink("fifo");
}

static void terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) { /* a chroot without /dev/pts */
        say("skipped, terminal: no pseudo-terminals here: %s", strerror(errno));
        return;
    }
    need(grantpt(master) == 0 && unlockpt(master) == 0, "pty");
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios mode;
    need(slave >= 0 && tcgetattr(slave, &mode) == 0, "pty");
    mode.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK | ECHONL);
    tcsetattr(slave, TCSANOW, &mode);
    char buf[2][32] = {{0}};
    say("-- terminal");
    struct aiocb cb = request(slave, buf[0], 32, 0), next = request(slave, buf[1], 32, 0);
    answered("aio_read", aio_read(&cb));
    aio_read(&next);
    settled("silent", &cb);
    put(master, "hal", 3);
    settled("half a line", &cb);
    put(master, "f\nnext\n", 7);
    report("a line", &cb);
    report("a line", &next);
    say("data %.4s %.4s", buf[0], buf[1]);
    cb = request(master, buf[0], 32, 0);
    aio_read(&cb);
    settled("no output", &cb);
    next = request(slave, "output", 6, 0);
    aio_write(&next);
    report("write", &next);
    report("read", &cb);
    say("data %.6s", buf[0]);
    cb = request(slave, buf[0], 32, 0);
    aio_read(&cb);
    until_begun(slave); /* who comes later finds an end of file */
    settled("silent", &cb);
    close(master);
    report("hung up", &cb);
    close(slave);
}

/* A socket read that waits must not hold up a write of the same descriptor. */
static void both_directions(void) {
    int fds[2];
    char in[4], got[4];
    const char *order = getenv("KAIO_ORDER");
    bool one_at_a_time = order && !strcmp(order, "fd"); /* as glibc does */
    sockets(SOCK_STREAM, fds);
    say("-- both directions");
    struct aiocb r = request(fds[0], in, 4, 0), w = request(fds[0], "ping", 4, 0);
    aio_read(&r);
    answered("aio_write", aio_write(&w));
    struct pollfd peer = {.fd = fds[1], .events = POLLIN};
    int n = poll(&peer, 1, is_shim() && !one_at_a_time ? 5000 : 100);
    differs("a write while a read waits", "waits", one_at_a_time ? "waits" : "goes on",
            n == 1 ? "goes on" : "waits");
    put(fds[1], "pong", 4);
    report("read", &r);
    report("write", &w);
    say("data %d", read(fds[1], got, 4) == 4 && !memcmp(got, "ping", 4) && !memcmp(in, "pong", 4));
    both_close(fds);
}

/* glibc has 20 threads at most, and every waiting read takes one. */
static void idle(void) {
    static int fds[IDLE][2];
    static struct aiocb waiting[IDLE], cbs[FILE_READS];
    static char bytes[IDLE];
    char *buf = pages(FILE_READS * 4096);
    int fd = scratch(O_RDONLY, FILE_READS * 4096), bad = 0, late = 0;
    say("-- idle pipes");
    for (int i = 0; i < IDLE; i++) {
        pipes(fds[i]);
        waiting[i] = request(fds[i][0], &bytes[i], 1, 0);
        bad += aio_read(&waiting[i]) != 0;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < FILE_READS; i++) {
        cbs[i] = request(fd, buf + i * 4096, 4096, i * 4096);
        bad += aio_read(&cbs[i]) != 0;
    }
    uint64_t end = now_us() + (is_shim() ? quiet_us(5000000) : 100000);
    while (aio_error(&cbs[FILE_READS - 1]) == EINPROGRESS && now_us() < end) usleep(1000);
    for (int i = 0; i < FILE_READS; i++)
        late += is_shim() ? !ends_within(&cbs[i], 1000) : aio_error(&cbs[i]) == EINPROGRESS;
    differs("file reads while 200 pipe reads wait", "all late", "all done",
            late == 0            ? "all done"
            : late == FILE_READS ? "all late"
                                 : "some late");
    for (int i = 0; i < IDLE; i++) bad += aio_error(&waiting[i]) != EINPROGRESS;
    for (int i = IDLE - 1; i >= 0; i--) put(fds[i][1], &"pq"[i % 2], 1);
    for (int i = 0; i < IDLE; i++) {
        bad += finish(&waiting[i]) != 0 || aio_return(&waiting[i]) != 1 || bytes[i] != "pq"[i % 2];
        both_close(fds[i]);
    }
    for (int i = 0; i < FILE_READS; i++)
        bad += finish(&cbs[i]) != 0 || !is_pattern(buf + i * 4096, 4096, i * 4096);
    say("%d pipe reads, %d file reads, %d bad", IDLE, FILE_READS, bad);
    close(fd);
    free(buf);
}

/* A blocking read of such a socket gives up after a while. */
static void receive_timeout(void) {
    int fds[2];
    char buf[8];
    struct timeval tv = {0, 50000};
    sockets(SOCK_STREAM, fds);
    say("-- SO_RCVTIMEO");
    setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    struct aiocb cb = request(fds[0], buf, 8, 0);
    aio_read(&cb);
    bool ended = ends_within(&cb, 1000);
    say("nothing comes: %s", name(aio_error(&cb)));
    if (!ended) put(fds[1], "late", 4);
    finish(&cb);
    both_close(fds);
}

/* Waiting requests of a pipe have their turn by priority; the first has begun, and keeps its
 * place. */
static void priorities(bool write) {
    enum { MANY = 6 };
    static const int values[MANY] = {3, 10, 0, 20, 10, 0};
    static char filler[PIPE_SIZE];
    struct aiocb cbs[MANY];
    char got[MANY + 1] = "";
    int fds[2];
    pipes(fds);
    if (write) put(fds[1], filler, PIPE_SIZE);
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(fds[write], write ? &"123456"[i] : &got[i], 1, 0);
        cbs[i].aio_reqprio = values[i];
        need((write ? aio_write(&cbs[i]) : aio_read(&cbs[i])) == 0, "request");
    }
    if (write) need(read(fds[0], filler, PIPE_SIZE) == PIPE_SIZE, "read");
    else put(fds[1], "123456", MANY);
    for (int i = 0; i < MANY; i++) need(finish(&cbs[i]) == 0 && aio_return(&cbs[i]) == 1, "end");
    if (write) need(read(fds[0], got, MANY) == MANY, "read");
    say("%s by priority: %s", write ? "writes" : "reads", got);
    both_close(fds);
}

static void *read_one(void *cb) {
    need(aio_read(cb) == 0, "aio_read");
    return NULL;
}

/* aio_reqprio counts down from the priority of the thread that asks. */
static void thread_priority(void) {
    enum { MANY = 4 };
    struct sched_param param = {.sched_priority = 10};
    struct aiocb cbs[MANY];
    char got[MANY + 1] = "";
    pthread_attr_t attr;
    pthread_t thread;
    int fds[2];
    pipes(fds);
    pthread_attr_init(&attr);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &param);
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(fds[0], &got[i], 1, 0);
        if (i < MANY - 1) read_one(&cbs[i]);
        else if (pthread_create(&thread, &attr, read_one, &cbs[i]) == 0) pthread_join(thread, NULL);
        else read_one(&cbs[i]); /* without the right to it, on both sides */
    }
    put(fds[1], "1234", MANY);
    for (int i = 0; i < MANY; i++) need(finish(&cbs[i]) == 0 && aio_return(&cbs[i]) == 1, "end");
    say("the last from a real-time thread: %s", got);
    pthread_attr_destroy(&attr);
    both_close(fds);
}

static void test(void) {
    int fds[2];
    CASE("pipe") {
        pipes(fds);
        reads("pipe", fds[0], fds[1]);
    }
    CASE("socket") {
        sockets(SOCK_STREAM, fds);
        reads("socket", fds[0], fds[1]);
    }
    CASE("slow-reader") {
        pipes(fds);
        slow_reader("pipe", fds[0], fds[1]);
        sockets(SOCK_STREAM, fds);
        slow_reader("socket", fds[0], fds[1]);
    }
    CASE("broken") broken();
    CASE("nonblocking") nonblocking();
    CASE("packets") {
        packets("datagrams", SOCK_DGRAM);
        packets("packets", SOCK_SEQPACKET);
    }
    CASE("full-queue") {
        sockets(SOCK_DGRAM, fds);
        full_queue("datagrams", fds);
        named_sockets(fds);
        full_queue("datagrams by name", fds);
        sockets(SOCK_SEQPACKET, fds);
        full_queue("packets", fds);
    }
    CASE("nothings") nothings();
    CASE("events") events();
    CASE("fifo") fifo();
    CASE("terminal") terminal();
    CASE("both-directions") both_directions();
    CASE("idle") idle();
    CASE("receive-timeout") receive_timeout();
    CASE("priorities") {
        priorities(false);
        priorities(true);
    }
    CASE("thread-priority") thread_priority();
}
