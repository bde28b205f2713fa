/* SPDX-License-Identifier: MIT */
/* A program's time limits hold, its idle workers take no processor time, and it ends with its last
 * thread: for faked_clock.sh, which preloads a library that fakes the clocks. So this one asks the
 * kernel. */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(clockid_t clock) {
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void rest(long s) {
    struct timespec t = {s, 0};
    syscall(SYS_nanosleep, &t, NULL);
}

static int finish(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_error(cb);
}

int main(void) {
    char byte = 'x';
    int fds[2], file = open("file", O_RDWR | O_CREAT, 0600);
    if (file < 0 || pipe(fds)) return 99;
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = {.aio_fildes = file, .aio_buf = &byte, .aio_nbytes = 1};
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        if (aio_write(&cb) || finish(&cb)) return 1;
    }
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    rest(2);
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;

    struct aiocb cb = {.aio_fildes = fds[0], .aio_buf = &byte, .aio_nbytes = 1};
    const struct aiocb *list[] = {&cb};
    struct timespec limit = {0, 300000000};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_read(&cb)) return 2;
    double began = now(CLOCK_MONOTONIC);
    int answer = aio_suspend(list, 1, &limit), err = errno;
    double took = now(CLOCK_MONOTONIC) - began;
    if (write(fds[1], "x", 1) != 1 || finish(&cb)) return 3;
    printf("idle: %s; limit: %s, %s\n", cpu < 0.5 ? "yes" : "no",
           answer == -1 && err == EAGAIN ? "EAGAIN" : "?",
           took < 0.3 ? "too early"
           : took > 3 ? "too late"
                      : "in time");
    fflush(stdout);
    pthread_exit(NULL);
}
