/* SPDX-License-Identifier: MIT */
/* processes.c - PROCESSES processes, each of which reads with more than the library's first few
 * requests, at the same time: none ends before all have read. processes.sh looks at what the
 * library reports of each. */
#include "test.h"

enum { WARM = 80, READS = 128, SIZE = 4096 };

static void read_all(int fd) {
    static struct aiocb cbs[READS];
    char *buf = pages(READS * SIZE);
    for (int i = 0; i < WARM; i++) {
        cbs[0] = request(fd, buf, SIZE, i % READS * SIZE);
        need(aio_read(&cbs[0]) == 0 && finish(&cbs[0]) == 0, "read");
    }
    memset(buf, 0, READS * SIZE);
    for (int i = 0; i < READS; i++) {
        cbs[i] = request(fd, buf + i * SIZE, SIZE, i * SIZE);
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    for (int i = 0; i < READS; i++)
        need(finish(&cbs[i]) == 0 && aio_return(&cbs[i]) == SIZE, "read");
    for (int i = 0; i < READS; i++) need(is_pattern(buf + i * SIZE, SIZE, i * SIZE), "data");
}

/* The gate opens when the parent closes the pipe. */
static void test(void) {
    const char *number = getenv("PROCESSES");
    int n = number ? atoi(number) : 256, gate[2], ready[2], bad = 0, status;
    int fd = scratch(O_RDONLY | O_DIRECT, READS * SIZE);
    char byte;
    need(pipe(gate) == 0 && pipe(ready) == 0, "pipe");
    for (int i = 0; i < n; i++) {
        pid_t child = fork();
        need(child >= 0, "fork");
        if (child > 0) continue;
        close(gate[1]);
        read_all(fd);
        need(write(ready[1], "x", 1) == 1, "write");
        need(read(gate[0], &byte, 1) == 0, "gate");
        exit(0);
    }
    close(ready[1]);
    int there = 0;
    while (there < n && read(ready[0], &byte, 1) == 1) there++;
    close(gate[1]);
    while (wait(&status) > 0) bad += status != 0;
    say("%d processes at once, %d bad", there, bad);
    if (there != n || bad) exit(1);
}
