/* SPDX-License-Identifier: MIT */
/* Requests for files whose figures are known, for files.sh: files WHAT, in an empty directory. */
#define _GNU_SOURCE
#include "../../shim/observe/stats.h"
#include "plain.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE    (256 << 10)
#define THREADS 8

static void need(bool ok, const char *what) {
    if (ok) return;
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static int make(const char *name) {
    static char content[SIZE];
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    need(fd >= 0 && pwrite(fd, content, SIZE, 0) == SIZE, name);
    return fd;
}

static void finish(struct aiocb *cb) {
    need(ended(cb) == 0 && aio_return(cb) == (ssize_t)cb->aio_nbytes, "a request");
}

static void read_at(int fd, size_t n, off_t offset) {
    char buf[8192];
    struct aiocb cb = request(fd, buf, n, offset);
    need(aio_read(&cb) == 0, "aio_read");
    finish(&cb);
}

static void reads(int fd, int n) {
    for (int i = 0; i < n; i++) read_at(fd, 4096, i % 64 * 4096);
}

static void sync_file(int fd, int op) {
    struct aiocb cb = request(fd, NULL, 0, 0);
    need(aio_fsync(op, &cb) == 0, "aio_fsync");
    finish(&cb);
}

/* One from front to back, one from back to front, one written; a pipe; and what is refused. */
static void kinds(void) {
    char buf[8192] = "";
    int fd = make("sequential"), ends[2];
    reads(fd, 64);
    fd = make("random");
    for (int i = 60; i > 0; i--) read_at(fd, 512, i * 1000);
    struct aiocb cb = request(fd, buf, 512, 1512);
    cb.aio_reqprio = -1;
    need(aio_read(&cb) == -1 && errno == EINVAL, "bad priority");
    fd = make("written");
    for (int i = 0; i < 10; i++) {
        cb = request(fd, buf, sizeof buf, i * (off_t)sizeof buf);
        need(aio_write(&cb) == 0, "aio_write");
        finish(&cb);
    }
    sync_file(fd, O_SYNC);
    sync_file(fd, O_SYNC);
    sync_file(fd, O_DSYNC);
    need(pipe(ends) == 0, "pipe");
    cb = request(ends[0], buf, 1, 0);
    need(aio_read(&cb) == 0, "aio_read");
    usleep(30000);
    need(write(ends[1], "x", 1) == 1, "write");
    finish(&cb);
}

/* One number, several files: what the library sees, and what it does not. */
static void reused(void) {
    int other = make("by-dup2"), fd = make("first");
    reads(fd, 3);
    close(fd);
    need(make("by-close") == fd, "the same number");
    reads(fd, 5);
    need(dup2(other, fd) == fd, "dup2");
    reads(fd, 7);
    need(close_range((unsigned)fd, (unsigned)fd, 0) == 0, "close_range");
    FILE *file = fopen("first", "r");
    need(file && fileno(file) == fd, "the same number");
    reads(fd, 9);
    fclose(file);
    need(make("by-fclose") == fd, "the same number");
    reads(fd, 100);
    need(rename("by-fclose", "renamed") == 0 && open("renamed", O_RDONLY) == fd + 1, "renamed");
    reads(fd + 1, 11);
}

static void many(void) {
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "many.%d", i);
        int fd = make(name);
        reads(fd, 1);
        close(fd);
    }
    reads(make("busy"), 50);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "many.%d", i);
        int fd = open(name, O_RDONLY);
        reads(fd, 1);
        close(fd);
    }
}

static void forked(void) {
    int fd = make("shared");
    reads(fd, 10);
    pid_t child = fork();
    if (child == 0) {
        reads(fd, 5);
        exit(0);
    }
    waitpid(child, NULL, 0);
}

static void *member(void *barrier) {
    char name[32] = "shared";
    int fd = open(name, O_RDONLY);
    pthread_barrier_wait(barrier);
    reads(fd, 100);
    return NULL;
}

static void threads(void) {
    static pthread_barrier_t barrier;
    pthread_t thread[THREADS];
    make("shared");
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&thread[i], NULL, member, &barrier) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
}

static void histogram(void) {
    for (uint64_t v = 0; v < 1ull << 40; v += 1 + v / 1000) {
        unsigned i = kaio_step_index(v, 2);
        uint64_t upper = kaio_step_upper(i, 2);
        need(i < KAIO_FILE_TIMES && v <= upper && (upper - v) * 4 <= v,
             "an error of more than 1/4");
    }
}

int main(int argc, char *argv[]) {
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"kinds", kinds},   {"reused", reused},   {"many", many},
                 {"forked", forked}, {"threads", threads}, {"histogram", histogram}};
    for (size_t i = 0; argc == 2 && i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(parts[i].name, argv[1])) return parts[i].run(), 0;
    return 2;
}
