/* SPDX-License-Identifier: MIT */
/* memory.c - resident memory per 1,000 outstanding requests, from 10,000 of them: reads that wait
 * on one pipe, and syncs that are held behind a read which waits. The requests' aiocbs and buffers
 * are not counted: they are touched before.
 */
#include "bench.h"
#include <sys/wait.h>

#define REQUESTS 10000

static struct aiocb cbs[REQUESTS];
static char bytes[REQUESTS];

static double resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    need(file && fscanf(file, "%*d %ld", &pages) == 1, "/proc/self/statm");
    fclose(file);
    return (double)(pages * sysconf(_SC_PAGESIZE));
}

static void measure(const char *name, bool syncs) {
    int fds[2], n = 0;
    need(pipe(fds) == 0, "pipe");
    for (int i = 0; i < REQUESTS; i++) cbs[i] = request(fds[0], LIO_READ, &bytes[i], 1, 0);
    memset(bytes, 1, sizeof bytes);
    double before = resident();
    start(&cbs[n++]);
    while (n < REQUESTS && (syncs ? aio_fsync(O_SYNC, &cbs[n]) : aio_read(&cbs[n])) == 0) n++;
    figure(name, "bytes", "lower", (resident() - before) / n * 1000);
}

/* What has been outstanding stays in use by its side, so each figure has a process of its own. */
int main(int argc, char **argv) {
    if (argc == 1) {
        pid_t pid = fork();
        if (pid == 0) _exit(execl("/proc/self/exe", argv[0], "syncs", NULL));
        waitpid(pid, NULL, 0);
    }
    warm_up();
    if (argc > 1) measure("memory of 1000 held syncs", true);
    else measure("memory of 1000 waiting pipe reads", false);
    _exit(0);
}
