/* SPDX-License-Identifier: MIT */
/* A process with requests in flight makes children in each way, and each makes requests of its own;
 * so does the parent afterwards. Prints how many children ended well. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 100, BLOCK = 4096 };

static int file, good;
static char *memory;

static int is_good(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    while (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_return(cb) == BLOCK && ((const char *)cb->aio_buf)[BLOCK - 1] == 'x';
}

static int requests(void) {
    static struct aiocb cbs[MOST];
    int bad = 0;
    memset(cbs, 0, sizeof cbs);
    memset(memory, 0, MOST * BLOCK);
    for (int i = 0; i < MOST; i++) {
        cbs[i].aio_fildes = file;
        cbs[i].aio_buf = memory + i * BLOCK;
        cbs[i].aio_nbytes = BLOCK;
        cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
        bad += aio_read(&cbs[i]) != 0;
    }
    for (int i = 0; i < MOST; i++) bad += !is_good(&cbs[i]);
    fsync(file);
    close(dup(file));
    return bad;
}

static void child(pid_t pid) {
    int status = 1;
    if (pid == 0) {
        alarm(30);
        _exit(requests() != 0);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0) good++;
    else printf("status %x\n", status);
}

static void handler(int signo) {
    (void)signo;
    child(fork());
}

int main(void) {
    int sockets[2];
    char byte;
    struct aiocb waiting;
    alarm(100);
    memset(&waiting, 0, sizeof waiting);
    if (posix_memalign((void **)&memory, BLOCK, MOST * BLOCK) || pipe(sockets)) return 1;
    file = open("data", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    memset(memory, 'x', BLOCK);
    if (file < 0 || write(file, memory, BLOCK) != BLOCK || requests()) return 1;
    waiting.aio_fildes = sockets[0];
    waiting.aio_buf = &byte;
    waiting.aio_nbytes = 1;
    aio_read(&waiting);
    child(fork());
    child((pid_t)syscall(SYS_clone, (long)SIGCHLD, 0l, 0l, 0l, 0l)); /* no handler is told */
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    pid_t pid = vfork();
    if (pid == 0) {
        close(sockets[1]); /* its own copy */
        _exit(0);
    }
    child(pid);
    if (requests() || aio_error(&waiting) != EINPROGRESS) return 1;
    if (write(sockets[1], "x", 1) != 1) return 1;
    const struct aiocb *list[] = {&waiting};
    while (aio_error(&waiting) == EINPROGRESS) aio_suspend(list, 1, NULL);
    printf("%d children, byte %c\n", good, byte);
    return 0;
}
