/* SPDX-License-Identifier: MIT */
/* TCP and UDP by the loopback: ends of a connection of every kind, half-closed ones, resets, time
 * that a connection takes, datagrams that are empty, too long or refused. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { LARGE = 4 << 20 };

static char *buf;

/* Ended within five seconds? Then prints what came of it. */
static void ends(const char *what, struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    struct timespec limit = {quiet_s(5), 0};
    if (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, &limit);
    int err = aio_error(cb);
    say("%s: %s, %zd", what, name(err), err == EINPROGRESS ? -2 : aio_return(cb));
    if (err == EINPROGRESS) _exit(1); /* it refers to our stack */
}

static void reads(const char *what, int fd, size_t n) {
    struct aiocb cb = request(fd, buf, n, 0);
    need(aio_read(&cb) == 0, "aio_read");
    ends(what, &cb);
}

static void writes(const char *what, int fd, size_t n) {
    struct aiocb cb = request(fd, buf, n, 0);
    need(aio_write(&cb) == 0, "aio_write");
    ends(what, &cb);
}

/* Long enough for a request that does not wait to have ended. */
static void waits(const char *what, struct aiocb *cb) {
    settle();
    say("%s: %s", what, name(aio_error(cb)));
}

static struct sockaddr_in bound(int fd) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    need(getsockname(fd, (struct sockaddr *)&at, &n) == 0, "getsockname");
    return at;
}

static void connection(int fds[2]) {
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = bound(server);
    need(listen(server, 1) == 0, "listen");
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(fds[0], (struct sockaddr *)&at, sizeof at) == 0, "connect");
    fds[1] = accept(server, NULL, NULL);
    need(fds[1] >= 0, "accept");
    close(server);
}

static void put(int fd, const char *text) {
    need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static void reset(int fd) {
    struct linger now = {1, 0};
    need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "SO_LINGER");
    close(fd);
}

/* A read waits when the connection ends. */
static void ends_of_reads(void) {
    static const char *const ways[] = {"close", "shutdown by the peer", "reset",
                                       "shutdown by itself", "data and close"};
    for (int way = 0; way < 5; way++) {
        int fds[2];
        connection(fds);
        struct aiocb cbs[2] = {request(fds[0], buf, 10, 0), request(fds[0], buf + 10, 10, 0)};
        need(aio_read(&cbs[0]) == 0 && aio_read(&cbs[1]) == 0, "aio_read");
        waits(ways[way], &cbs[0]);
        if (way == 4) put(fds[1], "data");
        if (way == 1) shutdown(fds[1], SHUT_WR);
        else if (way == 2) reset(fds[1]);
        else if (way == 3) shutdown(fds[0], SHUT_RD);
        else close(fds[1]);
        for (int i = 0; i < 2; i++) ends(ways[way], &cbs[i]);
        if (way == 1) writes("half closed, the other direction", fds[0], 100);
        if (way == 1) say("it came %d", (int)recv(fds[1], buf, 100, MSG_WAITALL));
        close(fds[0]);
        if (way == 1 || way == 3) close(fds[1]);
    }
}

/* Until it takes no more, also when what the peer has got is acknowledged. */
static void fill(int fd) {
    for (int times = 0; times < 3; times++, settle())
        while (send(fd, buf, LARGE, MSG_DONTWAIT) > 0) times = 0;
}

/* A write waits when the connection ends; SIGPIPE has its default action. */
static void ends_of_writes(void) {
    static const char *const ways[] = {"reset", "shutdown by itself"};
    for (int way = 0; way < 2; way++) {
        int fds[2];
        connection(fds);
        struct aiocb cb = request(fds[0], buf, LARGE, 0);
        fill(fds[0]);
        need(aio_write(&cb) == 0, "aio_write");
        waits(ways[way], &cb);
        if (way == 0) reset(fds[1]);
        else shutdown(fds[0], SHUT_WR);
        ends(ways[way], &cb);
        writes("write after that", fds[0], 10);
        close(fds[0]);
        if (way == 1) close(fds[1]);
    }
    int fds[2];
    connection(fds); /* a part has been written: the error is the next one's */
    struct aiocb cb = request(fds[0], buf, 4 * LARGE, 0);
    need(aio_write(&cb) == 0, "aio_write");
    waits("a part is written", &cb);
    reset(fds[1]);
    int err = finish(&cb);
    ssize_t n = aio_return(&cb);
    say("reset: %s, a part %d", name(err), n > 0 && n < 4 * LARGE);
    writes("the next write", fds[0], 10);
    writes("the one after that", fds[0], 10);
    close(fds[0]);
    connection(fds);
    close(fds[1]);
    writes("first write to a closed peer", fds[0], 10);
    settle(); /* its reset comes back */
    writes("second write to a closed peer", fds[0], 10);
    close(fds[0]);
    connection(fds); /* data that nobody has read: the close is a reset */
    put(fds[0], "unread");
    close(fds[1]);
    settle();
    reads("read after a reset", fds[0], 10);
    reads("read after that", fds[0], 10);
    close(fds[0]);
}

/* SO_RCVLOWAT: a blocking read waits for so many bytes. */
static void low_water(const char *what, const int fds[2]) {
    int least = 8;
    need(!setsockopt(fds[0], SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least), "SO_RCVLOWAT");
    for (int before = 0; before < 2; before++) {
        struct aiocb cb = request(fds[0], buf, 20, 0);
        if (before) put(fds[1], "one");
        need(aio_read(&cb) == 0, "aio_read");
        if (!before) waits(what, &cb);
        if (!before) put(fds[1], "one");
        waits(what, &cb);
        put(fds[1], "two four");
        ends(what, &cb);
        say("it is %.11s", buf);
    }
    put(fds[1], "end");
    struct aiocb cb = request(fds[0], buf, 20, 0);
    need(aio_read(&cb) == 0, "aio_read");
    waits(what, &cb);
    close(fds[1]);
    ends(what, &cb);
    close(fds[0]);
}

static void low_waters(void) {
    int fds[2];
    connection(fds);
    low_water("low water, TCP", fds);
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    low_water("low water, UNIX", fds);
}

static void *drain(void *arg) {
    int fd = *(int *)arg;
    char part[65536];
    size_t got = 0, bad = 0;
    ssize_t n;
    while ((n = read(fd, part, sizeof part)) > 0) {
        for (ssize_t i = 0; i < n; i++) bad += part[i] != (char)((got + (size_t)i) / 1000);
        got += (size_t)n;
    }
    return (void *)(intptr_t)(bad ? -1l : (long)got);
}

static void large(void) {
    int fds[2];
    pthread_t thread;
    void *got;
    connection(fds);
    for (size_t i = 0; i < LARGE; i++) buf[i] = (char)(i / 1000);
    struct aiocb cb = request(fds[0], buf, LARGE, 0);
    need(aio_write(&cb) == 0, "aio_write");
    settle();
    need(pthread_create(&thread, NULL, drain, &fds[1]) == 0, "thread");
    ends("4 MiB", &cb);
    shutdown(fds[0], SHUT_WR);
    pthread_join(thread, &got);
    say("received %ld", (long)(intptr_t)got);
    close(fds[0]);
    close(fds[1]);
}

/* Not connected (yet). */
static void unconnected(void) {
    int server = socket(AF_INET, SOCK_STREAM, 0), fd;
    struct sockaddr_in at = bound(server);
    need(listen(server, 1) == 0, "listen");
    reads("listening socket, read", server, 10);
    writes("listening socket, write", server, 10);
    close(server);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(fd, (struct sockaddr *)&at, sizeof at) < 0, "a port that nobody listens on");
    reads("refused, read", fd, 10);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fd, (struct sockaddr *)&at, sizeof at);
    settle();
    reads("refused, non-blocking, read", fd, 10);
    reads("refused, non-blocking, once more", fd, 10);
    close(fd);
}

static void datagrams(void) {
    int from = socket(AF_INET, SOCK_DGRAM, 0), to = socket(AF_INET, SOCK_DGRAM, 0), lone;
    struct sockaddr_in at = bound(to);
    need(connect(from, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    writes("unconnected datagram", to, 10);
    writes("too long", from, 70000);
    writes("empty", from, 0);
    writes("ten", from, 10);
    say("pending %d", poll(&(struct pollfd){.fd = to, .events = POLLIN}, 1, 1000));
    reads("the empty one", to, 100);
    reads("ten", to, 100);
    struct aiocb cb = request(to, buf, 100, 0);
    need(aio_read(&cb) == 0, "aio_read");
    waits("nothing there", &cb);
    writes("empty", from, 0);
    ends("empty, waited for", &cb);
    writes("ten", from, 10);
    reads("cut off", to, 4);
    writes("ten", from, 10);
    reads("ten", to, 100);
    close(to); /* from now on the port refuses */
    lone = socket(AF_INET, SOCK_DGRAM, 0);
    need(connect(lone, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    cb = request(lone, buf, 100, 0);
    need(aio_read(&cb) == 0, "aio_read");
    waits("before it is refused", &cb);
    need(send(lone, "x", 1, 0) == 1, "send");
    ends("refused", &cb);
    close(lone);
    close(from);
}

/* Another reader takes what a request waits for: it waits on. */
static void taken_by_others(void) {
    int fds[2];
    char byte[2];
    connection(fds);
    struct aiocb cb = request(fds[0], buf, 1, 0);
    need(aio_read(&cb) == 0, "aio_read");
    waits("nothing", &cb);
    for (int i = 0; i < 20; i++) { /* glibc's thread, or the kernel's poll, may be faster */
        put(fds[1], "x");
        if (recv(fds[0], byte, 1, MSG_DONTWAIT) != 1) break;
    }
    put(fds[1], "yz");
    ends("a byte", &cb);
    close(fds[0]);
    close(fds[1]);
}

/* Datagrams of a pipe. */
static void packets_of_a_pipe(void) {
    int fds[2];
    need(pipe2(fds, O_DIRECT) == 0, "pipe2");
    struct aiocb cb = request(fds[0], buf, 100, 0);
    need(aio_read(&cb) == 0, "aio_read");
    put(fds[1], "first");
    put(fds[1], "second");
    ends("packet", &cb);
    reads("cut off", fds[0], 2);
    writes("packet", fds[1], 10);
    writes("packet", fds[1], 20);
    reads("ten", fds[0], 100);
    reads("twenty", fds[0], 100);
    close(fds[0]);
    close(fds[1]);
}

static void test(void) {
    buf = pages(4 * LARGE);
    CASE("ends-of-reads") ends_of_reads();
    CASE("ends-of-writes") ends_of_writes();
    CASE("low-waters") low_waters();
    CASE("large") large();
    CASE("unconnected") unconnected();
    CASE("datagrams") datagrams();
    CASE("taken-by-others") taken_by_others();
    CASE("packets-of-a-pipe") packets_of_a_pipe();
}
