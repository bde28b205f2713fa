/* SPDX-License-Identifier: MIT */
/* The wall and the CPU time of small cached requests, for busy.sh: writes, or with READS=1 three
 * reads to a write, DEPTH of them at once, waited for by aio_suspend(). Prints the nanoseconds of a
 * request. DEPTH=0: the microseconds of a system call.
 */
#include "test.h"

#include <sys/resource.h>

enum { BLOCK = 4096, BLOCKS = 4096, MOST = 32 };

static uint64_t cpu_ns(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000u;
}

static void run(int fd, char *data, int depth, bool reads, int n) {
    static struct aiocb cbs[MOST];
    const struct aiocb *list[MOST] = {NULL};
    unsigned seed = 1;
    for (int made = 0, ended = 0; ended < n;) {
        for (int i = 0; i < depth; i++) {
            if (list[i] || made == n) continue;
            int op = reads && rand_r(&seed) % 4 ? LIO_READ : LIO_WRITE;
            cbs[i] = request(fd, data + i * BLOCK, BLOCK, rand_r(&seed) % BLOCKS * BLOCK);
            need((op == LIO_READ ? aio_read(&cbs[i]) : aio_write(&cbs[i])) == 0, "request");
            list[i] = &cbs[i];
            made++;
        }
        need(aio_suspend(list, depth, NULL) == 0, "aio_suspend");
        for (int i = 0; i < depth; i++) {
            if (!list[i] || aio_error(list[i]) == EINPROGRESS) continue;
            need(aio_return(&cbs[i]) == BLOCK, "count");
            list[i] = NULL;
            ended++;
        }
    }
}

static void test(void) {
    int depth = atoi(getenv("DEPTH"));
    if (depth == 0) {
        enum { CALLS = 100000 };
        uint64_t since = now_us();
        for (int i = 0; i < CALLS; i++) syscall(SYS_getppid);
        printf("%.3f\n", (double)(now_us() - since) / CALLS);
        return;
    }
    bool reads = atoi(getenv("READS"));
    int n = atoi(getenv("REQUESTS"));
    int fd = scratch(O_RDWR, (size_t)BLOCKS * BLOCK);
    char *data = pages(MOST * BLOCK);
    uint64_t cpu = cpu_ns(), wall = now_us();
    run(fd, data, depth, reads, n);
    printf("%lu %lu\n", (now_us() - wall) * 1000 / (unsigned)n, (cpu_ns() - cpu) / (unsigned)n);
    close(fd);
    free(data);
}
