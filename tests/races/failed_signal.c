/* SPDX-License-Identifier: MIT */
/* A signal that cannot be sent is the request's error, and that is the only end of the request that
 * anybody sees: while it is being sent, aio_error() and aio_return() must not tell the first one.
 * For races.sh, in the mode worker. */
#include "test.h"
#include "hold.h"

enum { ROUNDS = 10000, NO_SUCH_SIGNAL = 99 };

static pid_t main_tid;
static _Atomic bool published, told;

/* Whoever asks now has to wait for the thread that is held. */
static long at_call(const struct call *call) {
    published = true;
    while (!told && !sleeps(main_tid)) continue;
    return call->args[1] == NO_SUCH_SIGNAL ? GO_ON : -EAGAIN; /* as if the queue were full */
}

static void test(void) {
    const long calls[] = {SYS_rt_sigqueueinfo};
    int fd = scratch(O_RDWR, 4096), bad = 0;
    main_tid = gettid();
    hold(calls, 1);
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb cb = request(fd, "x", 1, 0);
        int expected = i % 2 ? EINVAL : EAGAIN, err = EINPROGRESS;
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = i % 2 ? NO_SUCH_SIGNAL : SIGRTMIN;
        published = told = false;
        need(aio_write(&cb) == 0, "aio_write");
        if (i % 4 < 2) {
            while (err == EINPROGRESS) err = aio_error(&cb);
        } else {
            while (!published) continue;
            err = aio_return(&cb) == -1 ? expected : 0;
        }
        told = true;
        bad += err != expected || finish(&cb) != expected || aio_return(&cb) != -1;
    }
    say("%d rounds, %d bad", ROUNDS, bad);
    if (bad) exit(1);
}
