/* SPDX-License-Identifier: MIT */
/* streams.c - 10,000 reads wait, each for a pipe or socket of its own, without threads for them;
 * other requests go on. Then some are cancelled, and the others get their own byte. streams.sh runs
 * it. */
#include "test.h"
#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { READS = 10000, FILE_READS = 1000 };

static struct aiocb reads[READS];
static int senders[READS];
static char got[READS];
static int bad;

/* Sockets: both ends read, and so send as well. */
static void begin(void) {
    for (int i = 0; i < READS; i += 2) {
        int ends[2], more[2];
        if (i % 4 == 0) {
            need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
            reads[i] = request(ends[0], &got[i], 1, 0);
            reads[i + 1] = request(ends[1], &got[i + 1], 1, 0);
            senders[i] = ends[1], senders[i + 1] = ends[0];
        } else {
            need(pipe(ends) == 0 && pipe(more) == 0, "pipe");
            reads[i] = request(ends[0], &got[i], 1, 0);
            reads[i + 1] = request(more[0], &got[i + 1], 1, 0);
            senders[i] = ends[1], senders[i + 1] = more[1];
        }
        bad += aio_read(&reads[i]) != 0;
        bad += aio_read(&reads[i + 1]) != 0;
    }
    say("%d reads begun, %d not", READS, bad);
}

static int pending(void) {
    int n = 0;
    for (int i = 0; i < READS; i++) n += aio_error(&reads[i]) == EINPROGRESS;
    return n;
}

static int threads(void) {
    DIR *dir = opendir("/proc/self/task");
    int n = -2;
    need(dir != NULL, "/proc/self/task");
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}

/* Reads of a file and of one more pipe. */
static void go_on(void) {
    int fd = scratch(O_RDONLY | O_DIRECT, 64 * 4096), ends[2];
    char *buf = pages(4096), byte;
    need(pipe(ends) == 0, "pipe");
    for (int i = 0; i < FILE_READS; i++) {
        struct aiocb cb = request(fd, buf, 4096, i % 64 * 4096), stream;
        stream = request(ends[0], &byte, 1, 0);
        bad += aio_read(&cb) != 0 || aio_read(&stream) != 0;
        need(write(ends[1], "x", 1) == 1, "write");
        bad += finish(&cb) != 0 || !is_pattern(buf, 4096, i % 64 * 4096);
        bad += finish(&stream) != 0 || aio_return(&stream) != 1;
    }
    say("meanwhile: %d bad of %d", bad, FILE_READS);
}

static char letter(int i) {
    return (char)('A' + i * 7 % 50);
}

static void end(void) {
    for (int i = READS - 1; i >= 0; i--) {
        char c = letter(i);
        if (i % 5 == 0) {
            int r = aio_cancel(reads[i].aio_fildes, &reads[i]);
            bad += r != AIO_CANCELED || aio_error(&reads[i]) != ECANCELED;
        } else need(write(senders[i], &c, 1) == 1, "write");
    }
    for (int i = 0; i < READS; i++)
        if (i % 5 != 0)
            bad += finish(&reads[i]) != 0 || aio_return(&reads[i]) != 1 || got[i] != letter(i);
    say("a fifth cancelled, the others sent to: %d bad, %d pending", bad, pending());
}

static void test(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max = limit.rlim_max < 20000 ? 20000 : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) skip("no 20,000 descriptors to be had");
    begin();
    bad += pending() != READS;
    say("%d threads", threads());
    go_on();
    end();
    if (bad) exit(1);
}
