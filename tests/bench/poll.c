/* SPDX-License-Identifier: MIT */
/* poll.c - what aio_error() costs while the request is pending: some programs do nothing else.
 */
#include "bench.h"

#define CALLS   100000
#define SAMPLES 1000

int main(void) {
    static double samples[SAMPLES];
    int fds[2], n = 0;
    warm_up();

    need(pipe(fds) == 0, "pipe");
    char *buffer = pages(4 << 20);
    struct aiocb cb = request(fds[0], LIO_READ, buffer, 1, 0);
    start(&cb);
    for (double end = now_ns() + span_ns(0.5); n < SAMPLES && now_ns() < end; n++) {
        double begin = now_ns();
        for (int i = 0; i < CALLS; i++) need(aio_error(&cb) == EINPROGRESS, "pending");
        samples[n] = (now_ns() - begin) / CALLS;
    }
    figure("poll aio_error, pipe read pending", "ns", "lower", quantile(samples, n, 0.5));
    need(write(fds[1], buffer, 1) == 1, "pipe");
    finish(&cb);

    int fd = data_file(O_RDONLY | O_DIRECT);
    n = 0;
    for (double end = now_ns() + span_ns(1); n < SAMPLES && (n < 3 || now_ns() < end);) {
        long calls = 0;
        cb = request(fd, LIO_READ, buffer, 4 << 20, anywhere(4 << 20));
        start(&cb);
        double begin = now_ns();
        while (aio_error(&cb) == EINPROGRESS) calls++;
        double took = now_ns() - begin;
        if (calls > 100) samples[n++] = took / (double)calls;
        finish(&cb);
    }
    figure("poll aio_error, direct read pending", "ns", "lower", quantile(samples, n, 0.5));
    return 0;
}
