/* SPDX-License-Identifier: MIT */
/* 2,560 direct requests, up to 32 at a time, on blocks that exist: the data of each is checked. */
#include "test.h"

enum { DEPTH = 32, ROUNDS = 40, BLOCK = 4096 };

static char *buf[DEPTH];
static int fd;

/* Starts a request for each block, then waits for them in order; how many failed. */
static int all(int (*start)(struct aiocb *)) {
    struct aiocb cbs[DEPTH];
    int bad = 0;
    for (int i = 0; i < DEPTH; i++) {
        cbs[i] = request(fd, buf[i], BLOCK, (off_t)BLOCK * i);
        bad += start(&cbs[i]) != 0;
    }
    for (int i = 0; i < DEPTH; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK;
    return bad;
}

static void test(void) {
    int failed = 0, wrong = 0;
    fd = scratch(O_RDWR | O_DIRECT, (size_t)DEPTH * BLOCK);
    for (int i = 0; i < DEPTH; i++) buf[i] = pages(BLOCK);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < DEPTH; i++) memset(buf[i], round + i, BLOCK);
        failed += all(aio_write);
        for (int i = 0; i < DEPTH; i++) memset(buf[i], 0xff, BLOCK);
        failed += all(aio_read);
        for (int i = 0; i < DEPTH; i++)
            for (int at = 0; at < BLOCK; at++) wrong += buf[i][at] != (char)(round + i);
    }
    say("%d requests, %d failed, %d bytes wrong", 2 * ROUNDS * DEPTH, failed, wrong);
}
