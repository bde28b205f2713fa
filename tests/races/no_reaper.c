/* SPDX-License-Identifier: MIT */
/* No thread can be started. What would wait for the reaper is refused in the call, and nothing is
 * left of it: no notification comes later, and nothing waits. What needs no thread goes on, and all
 * does once there are threads again. For races.sh. */
#include "test.h"
#include "hold.h"

enum { N = 20, BLOCK = 4096 };

static _Atomic bool refuse;
static _Atomic int failed;
static int pipes[2], fd, signo;
static char *memory;

static long at_call(const struct call *call) {
    (void)call;
    if (!refuse) return GO_ON;
    failed++;
    return -EAGAIN;
}

static bool is_refused(struct aiocb *cb, int res) {
    return res == -1 && errno == EAGAIN && aio_error(cb) == EAGAIN;
}

static bool has_signal(void) {
    static const struct timespec now = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return sigtimedwait(&set, NULL, &now) == signo;
}

static struct aiocb waiting_read(void) {
    static char byte;
    struct aiocb cb = request(pipes[0], &byte, 1, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = signo;
    cb.aio_lio_opcode = LIO_READ;
    return cb;
}

static int streams(void) {
    int bad = 0;
    for (int i = 0; i < N; i++) {
        struct aiocb cb = waiting_read(), *list[] = {&cb};
        bad += !is_refused(&cb, aio_read(&cb));
        cb = waiting_read();
        bad += !is_refused(&cb, lio_listio(LIO_NOWAIT, list, 1, NULL));
    }
    return bad + has_signal();
}

/* Each well, and then with its signal, or not at all. */
static int direct_reads(void) {
    int bad = 0;
    for (int i = 0; i < N; i++) {
        struct aiocb cb = request(fd, memory, BLOCK, 0);
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = signo;
        int res = aio_read(&cb);
        if (res == 0) bad += finish(&cb) != 0 || aio_return(&cb) != BLOCK || !has_signal();
        else bad += !is_refused(&cb, res) || has_signal();
    }
    return bad;
}

/* The pipe is empty: nothing that was refused reads from it. */
static int stream_read(void) {
    struct aiocb cb = waiting_read();
    need(aio_read(&cb) == 0, "aio_read");
    sleep_ms(5);
    need(write(pipes[1], "x", 1) == 1, "write");
    return finish(&cb) != 0 || aio_return(&cb) != 1 || !has_signal();
}

static void test(void) {
    const long calls[] = {SYS_clone3};
    sigset_t set;
    signo = SIGRTMIN + 1;
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_BLOCK, &set, NULL);
    need(pipe(pipes) == 0, "pipe");
    fd = scratch(O_RDONLY | O_DIRECT, BLOCK);
    memory = pages(BLOCK);
    hold(calls, 1);
    refuse = true;
    int bad = streams() + direct_reads();
    need(failed > 0, "clone3");
    say("without threads: %d bad", bad);
    refuse = false;
    bad += stream_read() + direct_reads();
    say("with threads: %d bad", bad);
    refuse = true;
    bad += stream_read(); /* the reaper is there */
    if (bad) exit(1);
}
