/* SPDX-License-Identifier: MIT */
/* dup2() onto numbers that the library may have for itself: it takes nothing from the program's
 * files there, and puts nothing into them. */
#include "test.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { BLOCK = 4096, MANY = 1500, LOWEST = 40, HIGHEST = 400 };

static int ends[2];
static struct aiocb waited;
static _Atomic pid_t sleeper;
static char *data;

static void on_signal(int signo) {
    (void)signo;
}

/* Past the first few, so that the thread has an eventfd. */
static void read_some(void) {
    int fd = scratch(O_RDONLY | O_DIRECT, BLOCK);
    for (int i = 0; i < 80; i++) {
        struct aiocb cb = request(fd, data, BLOCK, 0);
        need(aio_read(&cb) == 0 && finish(&cb) == 0, "aio_read");
    }
    close(fd);
}

static void *waits(void *unused) {
    static char byte;
    const struct aiocb *list[] = {&waited};
    read_some();
    waited = request(ends[0], &byte, 1, 0);
    need(aio_read(&waited) == 0, "aio_read");
    sleeper = gettid();
    answered("aio_suspend", aio_suspend(list, 1, NULL));
    say("%s", name(aio_error(&waited)));
    return unused;
}

/* From above, so that each of the library's moves but once. */
static void take(int fd) {
    for (int i = HIGHEST; i >= LOWEST; i--) need(dup2(fd, i) == i, "dup2");
}

/* While a thread sleeps on one of them, and is interrupted. */
static void sleeping(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    char bytes[16] = "";
    int fds[2];
    pthread_t thread;
    sigaction(SIGUSR1, &action, NULL);
    need(pipe(fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "pipe");
    need(pthread_create(&thread, NULL, waits, NULL) == 0, "thread");
    while (!sleeper) sleep_ms(1);
    until_asleep(sleeper);
    take(fds[0]);
    need(write(fds[1], "what it has read", 16) == 16, "write");
    until_asleep(sleeper);
    pthread_kill(thread, SIGUSR1);
    settle();
    until_asleep(sleeper);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    ssize_t n = read(fds[0], bytes, 16);
    say("of the pipe: %zd bytes, %.16s", n, bytes);
    need(write(ends[1], "x", 1) == 1, "write");
    pthread_join(thread, NULL);
}

/* While many requests are on their way, more than the kernel takes at once. */
static void waiting_for_room(void) {
    static struct aiocb cbs[MANY], *list[MANY];
    int fd = scratch(O_RDONLY | O_DIRECT, 64 * BLOCK), bad = 0, mine = eventfd(0, EFD_NONBLOCK);
    read_some();
    for (int i = 0; i < MANY; i++) {
        list[i] = &cbs[i];
        cbs[i] = request(fd, data, BLOCK, i % 64 * BLOCK);
        cbs[i].aio_lio_opcode = LIO_READ;
    }
    need(lio_listio(LIO_NOWAIT, list, MANY, NULL) == 0, "lio_listio");
    take(mine);
    for (int i = 0; i < MANY; i++) bad += finish(&cbs[i]) || aio_return(&cbs[i]) != BLOCK;
    say("waiting for room: %d bad", bad);
    close(mine);
}

static void test(void) {
    alarm(20);
    data = pages(BLOCK);
    CASE("waiting-for-room") waiting_for_room();
    CASE("sleeping") sleeping();
}
