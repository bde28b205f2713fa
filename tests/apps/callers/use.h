/* SPDX-License-Identifier: MIT */
/* use.h - for the C helpers of callers.sh: use_aio() makes requests of every kind at whatever
 * moment it is called, checks them and prints one line. */
#ifndef USE_H
#define USE_H

#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 16, BLOCK = 4096 };

static bool ended(struct aiocb *cb, ssize_t n) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_error(cb) == 0 && aio_return(cb) == n;
}

static struct aiocb request(int fd, void *buf, size_t n, off_t offset) {
    struct aiocb cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = n, .aio_offset = offset};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    cb.aio_lio_opcode = LIO_READ;
    return cb;
}

/* Writes blocks of a's, b's, ... and syncs. */
static bool wrote(int fd) {
    static char blocks[BLOCKS][BLOCK];
    struct aiocb cbs[BLOCKS], sync = request(fd, NULL, 0, 0);
    bool good = true;
    for (int i = 0; i < BLOCKS; i++) {
        memset(blocks[i], 'a' + i, BLOCK);
        cbs[i] = request(fd, blocks[i], BLOCK, (off_t)i * BLOCK);
        good &= aio_write(&cbs[i]) == 0;
    }
    good &= aio_fsync(O_SYNC, &sync) == 0 && ended(&sync, 0) && fsync(fd) == 0;
    for (int i = 0; i < BLOCKS; i++) good &= ended(&cbs[i], BLOCK);
    return good;
}

static bool listed(int fd) {
    static char blocks[BLOCKS][BLOCK];
    struct aiocb cbs[BLOCKS], *list[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        cbs[i] = request(fd, blocks[i], BLOCK, (off_t)i * BLOCK);
        list[i] = &cbs[i];
    }
    bool good = lio_listio(LIO_WAIT, list, BLOCKS, NULL) == 0;
    for (int i = 0; i < BLOCKS; i++)
        good &= ended(&cbs[i], BLOCK) && blocks[i][0] == 'a' + i &&
                !memcmp(blocks[i], blocks[i] + 1, BLOCK - 1);
    return good;
}

/* The callback is sem_post() itself: one in a plug-in could be returning while that is unloaded. */
static bool called(int fd) {
    static sem_t sem;
    char c = 0;
    struct aiocb cb = request(fd, &c, 1, BLOCK);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_value.sival_ptr = &sem;
    cb.aio_sigevent.sigev_notify_function = (void (*)(union sigval))(void *)sem_post;
    sem_init(&sem, 0, 0);
    if (aio_read(&cb)) return false;
    while (sem_wait(&sem)) continue;
    return ended(&cb, 1) && c == 'b';
}

static bool streamed(void) {
    int fds[2];
    char c = 0;
    if (pipe(fds)) return false;
    struct aiocb cb = request(fds[0], &c, 1, 0);
    bool good = aio_read(&cb) == 0 && aio_error(&cb) == EINPROGRESS && write(fds[1], "x", 1) == 1 &&
                ended(&cb, 1) && c == 'x';
    close(fds[0]);
    close(fds[1]);
    return good;
}

static __attribute__((unused)) void use_aio(const char *who) {
    char path[] = "use.XXXXXX", c;
    int fd = mkstemp(path);
    unlink(path);
    for (int i = 0; getenv("TEST_WARM") && i < 80; i++) {
        struct aiocb cb = request(fd, &c, 1, 0);
        if (aio_read(&cb) || !ended(&cb, 0)) printf("%s: no warm-up\n", who);
    }
    const char *bad = !wrote(fd)    ? "writes"
                      : !listed(fd) ? "a list"
                      : !called(fd) ? "a callback"
                      : !streamed() ? "a pipe"
                      : close(fd)   ? "close"
                                    : "nothing";
    printf("%s: %s is bad\n", who, bad);
    fflush(stdout);
}

#endif
