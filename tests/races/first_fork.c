/* SPDX-License-Identifier: MIT */
/* A process is forked while another thread makes its very first request, at each system call under
 * which that thread may hold a lock: the child can use AIO at once. For races.sh. */
#include "test.h"
#include "hold.h"

#include <sys/mman.h>

static int fd, bad, children;

/* A write for a worker, and a read of a pipe, which needs the kernel's context. */
static bool use_aio(void) {
    char byte = 0;
    int pipes[2];
    struct aiocb cb = request(fd, "x", 1, 0);
    if (aio_write(&cb) || finish(&cb) || aio_return(&cb) != 1 || pipe(pipes)) return false;
    cb = request(pipes[0], &byte, 1, 0);
    return aio_read(&cb) == 0 && write(pipes[1], "y", 1) == 1 && finish(&cb) == 0 && byte == 'y';
}

static void fork_by(pid_t (*make)(void), const char *name, const char *where) {
    int status = -1;
    pid_t child = make();
    need(child >= 0, "fork");
    if (child == 0) _exit(use_aio() ? 0 : 1);
    children++;
    for (int ms = 0; ms < 5000 && waitpid(child, &status, WNOHANG) == 0; ms++) sleep_ms(1);
    if (status < 0) { /* it waits for the lock, all signals blocked */
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    if (status == 0) return;
    bad++;
    say("%s %s: status %#x", name, where, (unsigned)status);
}

static void fork_each_way(const char *where) {
    fork_by(fork, "fork()", where);
    fork_by(_Fork, "_Fork()", where);
}

static long at_call(const struct call *call) {
    if (call->nr == SYS_madvise && call->args[2] != MADV_WIPEONFORK) return GO_ON;
    bool marks = call->nr == SYS_madvise;
    fork_each_way(marks ? "before madvise" : "before getpid");
    long r = perform(call);
    fork_each_way(marks ? "after madvise" : "after getpid");
    return r;
}

static void test(void) {
    const long calls[] = {SYS_madvise, SYS_getpid}; /* the second is made under the lock */
    fd = scratch(O_RDWR, 4096);
    hold(calls, 2);
    if (!use_aio()) say("the parent cannot use AIO");
    say("%d children, %d bad", children, bad);
    if (bad || children < 8) exit(1);
}
