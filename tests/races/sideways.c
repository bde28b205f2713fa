/* SPDX-License-Identifier: MIT */
/* Waits that their thread leaves without returning from them, for sideways.sh: siglongjmp() or
 * pthread_exit() in a handler, cancellation. Afterwards the request ends well, the thread waits
 * again, and the process ends by itself with its last thread: nothing of the wait has stayed in the
 * books. Each case has a process of its own. A worker is held in its pread() meanwhile. */
#include "test.h"
#include "replace.h"

#include <setjmp.h>
#include <stdatomic.h>

enum { BLOCK = 4096 };
enum wait { SUSPEND, TIMED, FOREIGN, LIST, CLOSE, FSYNC, WAITS };
enum way { JUMP, JUMP_AND_CANCEL, EXIT, CANCEL, WAYS };
static const char *const waits[] = {"aio_suspend",
                                    "aio_suspend with a time limit",
                                    "aio_suspend, another thread's",
                                    "LIO_WAIT",
                                    "close",
                                    "fsync"};
static const char *const ways[] = {"siglongjmp", "siglongjmp, then cancelled", "pthread_exit",
                                   "cancelled"};

static atomic_bool held, inside, jumped, again;
static enum wait wait_kind;
static enum way way;
static int fd, ends[2];
static struct aiocb cb;
static char data[BLOCK];
static __thread sigjmp_buf out;

static long at_call(const struct call *call) {
    if (call->nr != SYS_pread64 || !held) return GO_ON;
    inside = true;
    while (held) sleep_ms(1);
    return GO_ON;
}

static void on_signal(int signo) {
    (void)signo;
    if (way == EXIT) pthread_exit(NULL);
    siglongjmp(out, 1);
}

static void submit(void) {
    cb = request(fd, data, BLOCK, 0);
    cb.aio_lio_opcode = LIO_READ;
    if (wait_kind != LIST) need(aio_read(&cb) == 0, "aio_read");
}

static void enter_wait(void) {
    static struct aiocb *items[1] = {&cb};
    const struct aiocb *list[1] = {&cb};
    const struct timespec limit = {10, 0};
    switch (wait_kind) {
    case LIST: lio_listio(LIO_WAIT, items, 1, NULL); break;
    case CLOSE: close(fd); break;
    case FSYNC: fsync(fd); break;
    default: aio_suspend(list, 1, wait_kind == TIMED ? &limit : NULL);
    }
}

/* Where the wait's variables were. */
static __attribute__((noinline)) void overwrite(int n) {
    volatile char space[512];
    memset((char *)space, 0x5a, sizeof space);
    if (n > 0) overwrite(n - 1);
}

/* What is waited for afterwards, while the first request is still in progress. */
static void wait_again(void) {
    char byte = 0;
    struct aiocb next = request(ends[0], &byte, 1, 0);
    need(aio_read(&next) == 0, "aio_read");
    again = true;
    if (finish(&next) || byte != 'x') _exit(4);
}

static void *leaves(void *unused) {
    if (wait_kind != FOREIGN) submit();
    if (sigsetjmp(out, 1) == 0) enter_wait();
    jumped = true;
    overwrite(40);
    if (way == JUMP_AND_CANCEL)
        for (;;) pause();
    wait_again();
    return unused;
}

static void run(void) {
    pthread_t thread;
    alarm(10);
    held = true;
    if (wait_kind == FOREIGN) submit();
    need(pthread_create(&thread, NULL, leaves, NULL) == 0, "thread");
    while (!inside) sleep_ms(1);
    sleep_ms(50); /* it sleeps by then; if not, it leaves from where it is */
    if (way == CANCEL) pthread_cancel(thread);
    else pthread_kill(thread, SIGUSR1);
    while (way <= JUMP_AND_CANCEL && !jumped) sleep_ms(1);
    if (way == JUMP_AND_CANCEL) pthread_cancel(thread);
    while (way == JUMP && !again) sleep_ms(1);
    need(write(ends[1], "x", 1) == 1, "write");
    need(pthread_join(thread, NULL) == 0, "join");
    held = false;
    if (finish(&cb) || aio_return(&cb) != BLOCK || !is_pattern(data, BLOCK, 0)) _exit(5);
    pthread_exit(NULL); /* the last of the program's: the process ends, if nothing keeps it */
}

/* Only aio_suspend() is a cancellation point. */
static bool exists(void) {
    return way != CANCEL || wait_kind <= FOREIGN;
}

static pid_t start(void) {
    pid_t pid = fork();
    if (pid == 0) run();
    need(pid > 0, "fork");
    return pid;
}

static void judge(pid_t pid) {
    int status;
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    if (status) say("%s, %s: status %x", waits[wait_kind], ways[way], status);
}

static void test(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    fd = scratch(O_RDWR, BLOCK);
    need(pipe(ends) == 0, "pipe");
    replace_begin();
    for (wait_kind = SUSPEND; wait_kind < WAITS; wait_kind++) {
        pid_t pids[WAYS]; /* side by side, as each ends with a worker's idle second */
        for (way = JUMP; way < WAYS; way++) pids[way] = exists() ? start() : 0;
        for (way = JUMP; way < WAYS; way++)
            if (pids[way]) judge(pids[way]);
    }
}
