/* SPDX-License-Identifier: MIT */
/* scarce thread|memory: requests while there are no more threads, or no more memory; for
 * refused.sh, which takes them away from the getppid() call on. Each must end well or get EAGAIN,
 * wherever. "thread": only such as glibc and the shim both need a thread for; prints what comes of
 * them. */
#include "test.h"

enum { N = 100, SIZE = 4096 };

static char buf[2 * N * SIZE] __attribute__((aligned(4096)));

static int at_once(int res) {
    return res < 0 ? errno : 0;
}

/* What aio_return() says of a request that was refused is an accident. */
static void ends(const char *what, struct aiocb *cb) {
    say("%s: %s", what, name(finish(cb)));
}

static void threads(int fd) {
    struct aiocb cbs[3], *list[3];
    for (int i = 0; i < 3; i++) {
        cbs[0] = request(fd, buf, SIZE, 0);
        say("write: at once %s", name(at_once(aio_write(&cbs[0]))));
        ends("write", &cbs[0]);
        say("sync: at once %s", name(at_once(aio_fsync(O_SYNC, &cbs[0]))));
        ends("sync", &cbs[0]);
    }
    for (int mode = 0; mode < 2; mode++) {
        for (int i = 0; i < 3; i++) {
            cbs[i] = request(fd, buf, SIZE, i * SIZE);
            cbs[i].aio_lio_opcode = LIO_WRITE;
            list[i] = &cbs[i];
        }
        say("list: at once %s", name(at_once(lio_listio(mode, list, 3, NULL))));
        for (int i = 0; i < 3; i++) ends("item", &cbs[i]);
    }
}

/* Did it end well, or with EAGAIN if it may? */
static bool is_bad(int error, struct aiocb *cb) {
    int err = finish(cb);
    if (error) return error != EAGAIN;
    return err == 0 ? aio_return(cb) != (ssize_t)cb->aio_nbytes : err != EAGAIN;
}

static void everything(int fd, int direct, int pipes[2]) {
    static struct aiocb cbs[N], *list[N];
    static int errors[N];
    int bad = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            cbs[i] = request(i % 2 ? fd : direct, buf + i * SIZE, SIZE, i * SIZE);
            if (i == 3) cbs[i] = request(pipes[0], buf, 1, 0);
            cbs[i].aio_lio_opcode = i % 2 && i != 3 ? LIO_WRITE : LIO_READ;
            list[i] = &cbs[i];
            errors[i] = 0;
            if (round == 0)
                errors[i] = at_once(cbs[i].aio_lio_opcode == LIO_WRITE ? aio_write(&cbs[i])
                                                                       : aio_read(&cbs[i]));
        }
        if (round == 1) lio_listio(LIO_NOWAIT, list, N, NULL);
        need(write(pipes[1], "x", 1) == 1, "write");
        for (int i = 0; i < N; i++) bad += is_bad(errors[i], &cbs[i]);
        cbs[0] = request(fd, NULL, 0, 0);
        bad += is_bad(at_once(aio_fsync(O_SYNC, &cbs[0])), &cbs[0]);
    }
    say("%d bad", bad);
    if (bad) exit(1);
}

static void test(void) {
    int pipes[2], fd = scratch(O_RDWR, N * SIZE), direct = scratch(O_RDWR | O_DIRECT, N * SIZE);
    const char *what = getenv("SCARCE");
    need(what && pipe(pipes) == 0, "SCARCE");
    alarm(20);
    say("begin"); /* stdout has its memory */
    getppid();    /* from here on */
    if (!strcmp(what, "thread")) threads(fd);
    else everything(fd, direct, pipes);
}
