/* SPDX-License-Identifier: MIT */
/* bench.h - for the programs of tests/bench: plain <aio.h> programs that scripts/bench runs under
 * glibc's AIO and under the shim. Each prints one line per figure, see figure(). They work in the
 * current directory, whose file bench.data the first of them lays out for all; its filesystem must
 * have O_DIRECT. With BENCH_QUICK in the environment each figure takes a fraction of the time.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK     4096
#define DATA_SIZE (256l << 20)

static inline void need(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One line of output: name, unit, which direction is better, value. */
static inline void figure(const char *name, const char *unit, const char *better, double value) {
    printf("%s\t%s\t%s\t%.6g\n", name, unit, better, value);
    fflush(stdout);
}

static inline double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* CPU time of all threads of this process, and of the children that it has waited for. */
static inline double cpu_ns(void) {
    static const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        struct rusage use;
        getrusage(whose[i], &use);
        sum += (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e9 +
               (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e3;
    }
    return sum;
}

/* The time that one figure may take, given its usual one. */
static inline double span_ns(double seconds) {
    return seconds * (getenv("BENCH_QUICK") ? 1e8 : 1e9);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values and answers the one at this share of them: 0.5 is the median, 1 the maximum. */
static inline double quantile(double *values, int n, double share) {
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return values[(int)(share * (n - 1))];
}

static inline void *pages(size_t n) {
    void *p = aligned_alloc(BLOCK, (n + BLOCK - 1) / BLOCK * BLOCK);
    need(p != NULL, "memory");
    memset(p, 1, n);
    return p;
}

/* The offset of a random piece of bench.data. */
static inline off_t anywhere(size_t size) {
    return (off_t)((size_t)random() % (DATA_SIZE / size) * size);
}

/* bench.data, laid out if it is not there, opened with the flags. */
static inline int data_file(int flags) {
    struct stat st;
    if (stat("bench.data", &st) < 0 || st.st_size != DATA_SIZE) {
        int fd = open("bench.data", O_WRONLY | O_CREAT | O_DIRECT, 0600);
        need(fd >= 0, "bench.data with O_DIRECT");
        char *buf = pages(1 << 20);
        for (off_t at = 0; at < DATA_SIZE; at += 1 << 20)
            need(pwrite(fd, buf, 1 << 20, at) == 1 << 20, "bench.data");
        free(buf);
        need(fsync(fd) == 0 && close(fd) == 0, "bench.data");
    }
    int fd = open("bench.data", flags);
    need(fd >= 0, "bench.data");
    return fd;
}

/* Takes the file out of the page cache. */
static inline void drop(int fd) {
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Reads bench.data into the page cache. */
static inline void load(int fd) {
    char *buf = pages(1 << 20);
    for (off_t at = 0; at < DATA_SIZE; at += 1 << 20)
        need(pread(fd, buf, 1 << 20, at) == 1 << 20, "bench.data");
    free(buf);
}

/* A request without notification. */
static inline struct aiocb request(int fd, int opcode, void *buf, size_t n, off_t offset) {
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_lio_opcode = opcode;
    cb.aio_buf = buf;
    cb.aio_nbytes = n;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static inline void start(struct aiocb *cb) {
    need((cb->aio_lio_opcode == LIO_READ ? aio_read(cb) : aio_write(cb)) == 0, "request");
}

/* Waits for a request, which must succeed. */
static inline void finish(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    errno = aio_error(cb);
    need(errno == 0 && aio_return(cb) == (ssize_t)cb->aio_nbytes, "result of a request");
}

/* The shim serves the first few requests of a process in another way: get past them. */
static inline void warm_up(void) {
    int fd = data_file(O_RDONLY | O_DIRECT);
    char *buf = pages(BLOCK);
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, LIO_READ, buf, BLOCK, 0);
        start(&cb);
        finish(&cb);
    }
    free(buf);
    close(fd);
}

/* Random 4 KiB reads per second with so many in flight. What has not ended a second after the time
 * is given up, with its memory. */
static inline double read_rate(int fd, int depth, double seconds) {
    struct aiocb *cbs = calloc((size_t)depth, sizeof *cbs);
    const struct aiocb **list = calloc((size_t)depth, sizeof *list);
    need(cbs && list, "memory");
    for (int i = 0; i < depth; i++) {
        list[i] = &cbs[i];
        cbs[i] = request(fd, LIO_READ, pages(BLOCK), BLOCK, anywhere(BLOCK));
        start(&cbs[i]);
    }
    double begin = now_ns(), end = begin + span_ns(seconds), took = end - begin;
    const struct timespec tick = {0, 100000000};
    for (int left = depth, count = 0;;) {
        aio_suspend(list, depth, &tick);
        double now = now_ns();
        for (int i = 0; i < depth; i++) {
            if (!list[i] || aio_error(&cbs[i]) == EINPROGRESS) continue;
            need(aio_return(&cbs[i]) == BLOCK, "read");
            if (now < end) {
                count++;
                cbs[i].aio_offset = anywhere(BLOCK);
                start(&cbs[i]);
            } else {
                list[i] = NULL;
                free((void *)cbs[i].aio_buf);
                left--;
            }
        }
        if (left && now < end + 1e9) continue;
        if (!left) {
            free(cbs);
            free(list);
        }
        return count / (took / 1e9);
    }
}

#endif
