/* SPDX-License-Identifier: MIT */
/* process.c - start to exit of a short-lived process: one that makes 1, 8 or 64 requests at once,
 * and /bin/true, which makes none. Called with arguments ("direct" or "cached", count) it is that
 * process.
 */
#include "bench.h"
#include <spawn.h>
#include <sys/wait.h>

#define ROUNDS 50
#define MOST   64

static int child(bool direct, int n) {
    static struct aiocb cbs[MOST];
    int fd = data_file(O_RDONLY | (direct ? O_DIRECT : 0));
    char *buffer = pages(MOST * BLOCK);
    for (int i = 0; i < n; i++) {
        cbs[i] = request(fd, LIO_READ, buffer + i * BLOCK, BLOCK, i * BLOCK);
        start(&cbs[i]);
    }
    for (int i = 0; i < n; i++) finish(&cbs[i]);
    return 0;
}

/* The median time of the command, in microseconds. */
static double lifetime(char *const argv[]) {
    extern char **environ;
    double samples[ROUNDS];
    int rounds = getenv("BENCH_QUICK") ? 5 : ROUNDS;
    for (int i = 0; i < rounds; i++) {
        pid_t pid;
        int status;
        double begin = now_ns();
        need(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) == 0, "posix_spawn");
        need(waitpid(pid, &status, 0) == pid && status == 0, "the process");
        samples[i] = (now_ns() - begin) / 1000;
    }
    return quantile(samples, rounds, 0.5);
}

int main(int argc, char **argv) {
    if (argc == 3) return child(!strcmp(argv[1], "direct"), atoi(argv[2]));
    static char *const counts[] = {"1", "8", "64"}, *const modes[] = {"direct", "cached"};
    int fd = data_file(O_RDONLY);
    for (int mode = 0; mode < 2; mode++) {
        if (mode == 0) drop(fd);
        else load(fd);
        for (int i = 0; i < 3; i++) {
            char name[64];
            snprintf(name, sizeof name, "process of %s %s reads", counts[i], modes[mode]);
            figure(name, "us", "lower",
                   lifetime((char *[]){"/proc/self/exe", modes[mode], counts[i], NULL}));
        }
    }
    figure("process without requests (/bin/true)", "us", "lower",
           lifetime((char *[]){"/bin/true", NULL}));
    return 0;
}
