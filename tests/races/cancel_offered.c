/* SPDX-License-Identifier: MIT */
/* aio_cancel() meets the head of a stream's line while another thread is offering it, and that
 * thread has no CPU: it is stopped in preadv2() here. The call ends all the same, and does not wait
 * for the other direction; the request then ends by itself, without data. For races.sh. */
#include "test.h"
#include "replace.h"

#include <stdatomic.h>
#include <sys/socket.h>

static atomic_bool stops, stopped;
static int pair[2];

/* Of the thread that offers again, the reaper or a blocker: what it finds has gone meanwhile. */
static long at_call(const struct call *call) {
    if (call->nr != SYS_preadv2 || call->args[0] != pair[0] || !stops) return GO_ON;
    stopped = true;
    while (stops) sleep_ms(1);
    return -EAGAIN;
}

static const char *answer_of(int res) {
    return res == AIO_CANCELED ? "cancelled" : res == AIO_NOTCANCELED ? "not cancelled" : "?";
}

/* fd: of all its requests; or of that one */
static void cancel(const char *what, struct aiocb *cb, int expected) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int res = aio_cancel(pair[0], cb);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (res != expected) say("%s: %s", what, answer_of(res));
    if (end.tv_sec - begin.tv_sec > 2) say("%s: took %ld s", what, end.tv_sec - begin.tv_sec);
    if (res != expected || end.tv_sec - begin.tv_sec > 2) exit(1);
}

static void fill(int fd) {
    static char data[4096];
    while (send(fd, data, sizeof data, MSG_DONTWAIT) > 0) continue;
}

/* limited: reads have a time limit, and so a blocker. */
static void round_of(bool all, bool limited) {
    struct timeval limit = {60, 0};
    char byte = 0, out = 'o', later;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    if (limited) setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    fill(pair[0]);
    struct aiocb in = request(pair[0], &byte, 1, 0), writes = request(pair[0], &out, 1, 0),
                 next = request(pair[0], &later, 1, 0);
    need(aio_read(&in) == 0 && aio_write(&writes) == 0 && aio_read(&next) == 0, "requests");
    sleep_ms(20);
    stopped = false;
    stops = true;
    need(write(pair[1], "x", 1) == 1, "write");
    while (!stopped) sleep_ms(1);
    if (!all) cancel("the other direction", &writes, AIO_CANCELED);
    if (!all) cancel("the one behind", &next, AIO_CANCELED);
    cancel(all ? "all" : "the one", all ? NULL : &in, AIO_NOTCANCELED);
    stops = false;
    if (finish(&in) != ECANCELED || finish(&writes) != ECANCELED || finish(&next) != ECANCELED) {
        say("ends as %s, %s, %s", name(aio_error(&in)), name(aio_error(&writes)),
            name(aio_error(&next)));
        exit(1);
    }
    need(recv(pair[0], &byte, 1, MSG_DONTWAIT) == 1, "the byte is still there");
    close(pair[0]);
    close(pair[1]);
}

static void test(void) {
    alarm(20);
    replace_begin();
    for (int i = 0; i < 4; i++) round_of(i % 2, i / 2);
}
