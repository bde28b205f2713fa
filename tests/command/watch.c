/* SPDX-License-Identifier: MIT */
/* Requests whose figures are known, for stats.sh and record.sh: watch WHAT FILE (of 1 MiB). */
#define _GNU_SOURCE
#include "../../shim/observe/stats.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CROWD 8
#define MANY  20000 /* more than the library has room to time */

static int fd;
static char buf[1 << 20];

static struct aiocb request(int from, size_t n) {
    struct aiocb cb = {.aio_fildes = from, .aio_buf = buf, .aio_nbytes = n};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static void need(bool ok, const char *what) {
    if (ok) return;
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static void finish(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    aio_return(cb);
}

static void reads(int n, size_t nbytes) {
    for (int i = 0; i < n; i++) {
        struct aiocb cb = request(fd, nbytes);
        need(aio_read(&cb) == 0, "aio_read");
        finish(&cb);
    }
}

/* The child ends before its parent, so its report comes first. */
static void forked(void) {
    reads(10, 4096);
    struct aiocb cb = request(fd, 4096); /* in progress, as far as the parent knows */
    need(aio_read(&cb) == 0, "aio_read");
    pid_t child = fork();
    if (child == 0) {
        reads(5, 512);
        exit(0);
    }
    waitpid(child, NULL, 0);
    finish(&cb);
}

static void rejected(void) {
    struct aiocb cb = request(fd, 4096);
    cb.aio_reqprio = -1;
    need(aio_read(&cb) == -1 && errno == EINVAL, "bad priority");
    need(aio_fsync(O_RDONLY, &cb) == -1, "bad operation");
    struct aiocb *list[] = {&cb};
    need(lio_listio(99, list, 1, NULL) == -1, "bad mode");
}

/* Never asked for its end, and used again. */
static void unseen(void) {
    struct aiocb cb = request(fd, 4096), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_READ;
    for (int i = 0; i < 3; i++) need(lio_listio(LIO_WAIT, list, 1, NULL) == 0, "lio_listio");
}

/* 50 ms between the call and its end. */
static void slow(void) {
    int ends[2];
    need(pipe(ends) == 0, "pipe");
    struct aiocb cb = request(ends[0], 1);
    need(aio_read(&cb) == 0, "aio_read");
    need(aio_error(&cb) == EINPROGRESS, "it waits");
    usleep(50000);
    need(write(ends[1], "x", 1) == 1, "write");
    finish(&cb);
}

static void many(void) {
    int ends[2];
    need(pipe(ends) == 0, "pipe");
    struct aiocb *cbs = calloc(MANY, sizeof *cbs);
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(ends[0], 1);
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    close(ends[1]); /* end of file for all of them */
    for (int i = 0; i < MANY; i++) finish(&cbs[i]);
}

/* Goes on until its standard input ends. */
static void running(void) {
    char c;
    fcntl(0, F_SETFL, O_NONBLOCK);
    while (read(0, &c, 1) < 0) {
        reads(1, 4096);
        usleep(1000);
    }
}

/* More files than record.c has room for, each read twice. */
static void files(void) {
    char name[32];
    for (int i = 0; i < 2200; i++) {
        snprintf(name, sizeof name, "many.%d", i / 2);
        fd = open(name, O_RDWR | O_CREAT, 0600);
        need(fd >= 0 && pwrite(fd, buf, 4096, 0) == 4096, name);
        reads(1, 4096);
        close(fd);
    }
}

/* Two programs in one process, the second time with the same number. */
static void executed(void) {
    reads(3, 4096);
    execl("/proc/self/exe", "watch", "unseen", "data", NULL);
}

/* Ends that no destructor sees. */
static void quits(void) {
    reads(7, 4096);
    pid_t child = fork();
    if (child == 0) reads(5, 512);
    else waitpid(child, NULL, 0);
    _exit(0);
}

static void killed(void) {
    int ends[2];
    need(pipe(ends) == 0, "pipe");
    struct aiocb cb = request(ends[0], 1);
    need(aio_read(&cb) == 0, "aio_read"); /* for ever in progress */
    usleep(20000);
    reads(100, 4096);
    raise(SIGKILL);
}

/* The first requests of several threads at once. */
static void *member(void *barrier) {
    pthread_barrier_wait(barrier);
    reads(100, 4096);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void crowd(void) {
    static pthread_barrier_t barrier;
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, CROWD + 1);
    for (int i = 0; i < CROWD; i++)
        need(pthread_create(&thread, NULL, member, &barrier) == 0, "pthread_create");
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    _exit(0);
}

static void need_empty(int number) {
    struct stat st;
    need(fstat(number, &st) == 0 && st.st_size == 0, "the program's own file");
}

/* Numbers from 3 on are closed, by several ways, and some are files of the program's then. */
static void closes(void) {
    int own = open("own", O_RDWR | O_CREAT | O_EXCL, 0600), numbers[64], n = 0;
    need(own >= 0, "own");
    reads(1, 4096);
    close_range((unsigned)fd + 2, ~0u, 0);
    reads(2, 4096);
    for (int number = fd + 2; number < 256; number++) close(number);
    reads(3, 4096);
    for (int number = fd + 2; number < 100; number++) dup2(own, number);
    reads(4, 4096);
    syscall(SYS_close_range, fd + 2, ~0u, 0); /* seen by nobody */
    while (n < 64) need((numbers[n++] = dup(own)) >= 0, "dup");
    reads(5, 4096);
    while (n-- > 0) need_empty(numbers[n]);
}

/* Each time another file on the same number, and if the filesystem does so on the same inode; what
 * closes it is seen by nobody but the first time. */
static void renumbered(void) {
    char name[32];
    int number = fd;
    close(fd);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "re.%d", i);
        fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        need(fd == number && pwrite(fd, buf, 4096, 0) == 4096, name);
        reads(2, 4096);
        unlink(name);
        if (i % 3 == 0) close(fd);
        if (i % 3 == 1) syscall(SYS_close, fd);
        if (i % 3 == 2) fclose(fdopen(fd, "r+"));
    }
}

static void often(void) {
    reads(5000, 4096);
}

static void histogram(void) {
    for (uint64_t v = 0; v < 1ull << 40; v += 1 + v / 1000) {
        uint64_t upper = kaio_hist_upper(kaio_hist_index(v));
        uint64_t lower = kaio_hist_lower(kaio_hist_index(v));
        need(lower <= v && v <= upper, "a value outside its bucket");
        need((upper - v) * 16 <= upper, "an error of more than 1/16");
    }
    need(kaio_hist_index(UINT64_MAX) == KAIO_HIST_BUCKETS - 1, "the last bucket");
}

int main(int argc, char *argv[]) {
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"forked", forked},       {"rejected", rejected}, {"unseen", unseen},
                 {"slow", slow},           {"many", many},         {"running", running},
                 {"files", files},         {"often", often},       {"executed", executed},
                 {"histogram", histogram}, {"quits", quits},       {"killed", killed},
                 {"crowd", crowd},         {"closes", closes},     {"renumbered", renumbered}};
    if (argc != 3 || (fd = open(argv[2], O_RDONLY)) < 0) return 2;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(parts[i].name, argv[1])) return parts[i].run(), 0;
    return 2;
}
