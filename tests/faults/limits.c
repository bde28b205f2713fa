/* SPDX-License-Identifier: MIT */
/* limits.c - requests of every kind (workload.h) in processes that may have so few
 * descriptors, threads or so little memory, from nothing more than they have, in small steps.
 * Without descriptors none may notice; without threads or memory EAGAIN is allowed, as under glibc.
 * Or fs.aio-max-nr is used up while a process runs. For limits.sh. LIMIT: nofile, nproc, as, none
 * or during; STEPS: how many.
 */
#include "test.h"
#include "workload.h"

#include <libaio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { NOBODY = 54321, PAGES = 16 };

static bool scarce;

static bool may_fail(const struct item *item, int err) {
    (void)item;
    return scarce && err == EAGAIN;
}

static bool may_be_unnotified(void) {
    return scarce;
}

static bool is_done_all_the_same(const struct item *item) {
    (void)item;
    return false;
}

static rlim_t next_descriptor(void) {
    int fd = dup(0);
    need(fd >= 0 && close(fd) == 0, "dup");
    return (rlim_t)fd;
}

static rlim_t address_space(void) {
    unsigned long n = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    need(file && fscanf(file, "%lu", &n) == 1 && fclose(file) == 0, "statm");
    return n * BLOCK;
}

static void limit(const char *what, rlim_t step) {
    struct rlimit limit;
    int kind = !strcmp(what, "as")      ? RLIMIT_AS
               : !strcmp(what, "nproc") ? RLIMIT_NPROC
                                        : RLIMIT_NOFILE;
    if (!strcmp(what, "none")) return;
    limit.rlim_cur = kind == RLIMIT_AS      ? address_space() + step * step * PAGES * BLOCK
                     : kind == RLIMIT_NPROC ? step + 1
                                            : next_descriptor() + step;
    limit.rlim_max = limit.rlim_cur;
    need(setrlimit(kind, &limit) == 0, "setrlimit");
    /* root has no such limit */
    if (kind == RLIMIT_NPROC) need(setresuid(NOBODY, NOBODY, NOBODY) == 0, "setresuid");
}

/* Answers whether it went well. */
static bool in_child(const char *what, int step) {
    fflush(stdout);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        alarm(20);
        work_open();
        limit(what, (rlim_t)step);
        _exit(work() ? 1 : 0);
    }
    int status;
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    if (status) say("%s, step %d: status %x", what, step, (unsigned)status);
    return status == 0;
}

/* As hog.c, but that it comes later, and answers once nothing is left. */
static pid_t start_hog(void) {
    int ends[2];
    char byte;
    need(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int size = 65536; size > 0; size /= 2) {
            io_context_t ctx = 0;
            while (io_setup(size, &ctx) == 0) ctx = 0;
        }
        need(write(ends[1], "x", 1) == 1, "write");
        for (;;) pause();
    }
    close(ends[1]);
    need(read(ends[0], &byte, 1) == 1, "hog");
    close(ends[0]);
    return pid;
}

/* Who has a context keeps it, who needs one then goes without, and later it is there again. */
static bool during(void) {
    bool is_right = work_again() == 0;
    pid_t hog = start_hog();
    is_right &= work_again() == 0;
    is_right &= in_child("none", 1);
    kill(hog, SIGKILL);
    need(waitpid(hog, NULL, 0) == hog, "waitpid");
    return in_child("none", 2) && is_right;
}

static void test(void) {
    const char *what = getenv("LIMIT"), *steps = getenv("STEPS");
    int failures = 0, n = steps ? atoi(steps) : 1;
    need(what != NULL, "LIMIT");
    bool later = !strcmp(what, "during");
    scarce = strcmp(what, "nofile") && strcmp(what, "none") && !later;
    work_begin();
    alarm(300);
    if (later) failures = !during();
    else
        for (int step = 0; step < n; step++) failures += !in_child(what, step);
    if (failures) exit(1);
}
