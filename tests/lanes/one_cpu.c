/* SPDX-License-Identifier: MIT */
/* The CPU time of buffered writes, one at a time, once all threads of the process have to share one
 * CPU, as on a machine that is busy otherwise; for one_cpu.sh. Prints the microseconds of a
 * request.
 */
#include "test.h"

#include <sched.h>
#include <sys/resource.h>

enum { WARM = 500, REQUESTS = 5000, BLOCK = 4096 };

static void write_all(int fd, const char *data, int n) {
    for (int i = 0; i < n; i++) {
        struct aiocb cb = request(fd, (char *)data, BLOCK, i % 64 * BLOCK);
        need(aio_write(&cb) == 0 && finish(&cb) == 0, "write");
    }
}

static void share_one_cpu(void) {
    cpu_set_t may, one;
    int cpu = 0;
    struct dirent *task;
    DIR *tasks = opendir("/proc/self/task");
    need(tasks && sched_getaffinity(0, sizeof may, &may) == 0, "affinity");
    while (!CPU_ISSET(cpu, &may)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    while ((task = readdir(tasks)))
        if (atoi(task->d_name)) sched_setaffinity(atoi(task->d_name), sizeof one, &one);
    closedir(tasks);
}

static long cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec +
           used.ru_stime.tv_usec;
}

static void test(void) {
    int fd = scratch(O_RDWR, 64 * BLOCK);
    char *data = pages(BLOCK);
    write_all(fd, data, WARM);
    share_one_cpu();
    long before = cpu_us();
    write_all(fd, data, REQUESTS);
    printf("%ld\n", (cpu_us() - before) / REQUESTS);
    close(fd);
    free(data);
}
