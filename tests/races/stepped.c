/* SPDX-License-Identifier: MIT */
/* Forks at each instruction of the short way of a direct request (direct.c), in a signal handler,
 * as a profiler might: for races.sh. The thread is stepped through the call (the trap flag, SIGTRAP
 * after each instruction) until the library blocks signals or the call is over. The child first
 * makes no request, one, or more than it takes until it has a context of its own, in the handler;
 * it goes on in the call, makes another request, and ends by itself. x86-64. */
#include "test.h"
#include "replace.h"
#include "step.h"

enum { BLOCK = 4096, BLOCKS = 64, FEW = 70, MOST = 100 };

static int fd;
static char *buf, *own;
static struct aiocb cb;
static long step, fork_at; /* instructions of the library in this call */
static bool over;
static int before; /* requests that the child makes in the handler */
static pid_t child;

static long at_call(const struct call *call) {
    (void)call;
    return GO_ON;
}

static bool read_block(int i) {
    struct aiocb mine = request(fd, own, BLOCK, i % BLOCKS * BLOCK);
    const struct aiocb *list[] = {&mine};
    memset(own, 0, BLOCK);
    if (aio_read(&mine)) return false;
    while (aio_error(&mine) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return aio_return(&mine) == BLOCK && is_pattern(own, BLOCK, mine.aio_offset);
}

static void fork_here(void) {
    child = fork();
    if (child) return;
    alarm(30);
    for (int i = 0; i < before; i++)
        if (!read_block(i)) _exit(3);
}

static void on_trap(int signo, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)regs[REG_RIP];
    (void)signo, (void)info;
    if (at >= library_begin && at < library_end && step++ == fork_at) {
        fork_here();
        over = true;
    }
    if (over || blocks_signals(regs)) regs[REG_EFL] &= ~TRAP_FLAG;
}

static void clear_trap_flag(void) {
    __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
}

/* It is polled for: that takes a context and the reaper, which stays as long as anything is
 * counted.
 */
static bool read_pipe(void) {
    int ends[2];
    char byte = 0;
    need(pipe(ends) == 0, "pipe");
    struct aiocb mine = request(ends[0], &byte, 1, 0);
    if (aio_read(&mine) || write(ends[1], "x", 1) != 1) return false;
    return finish(&mine) == 0 && byte == 'x';
}

/* The call is over, in the child. Its request is the parent's, if it had been submitted before. */
static void end_child(void) {
    for (int i = 0; i < 2; i++)
        if (!read_block(i) || !read_pipe()) _exit(4);
    pthread_exit(NULL); /* nothing that was counted keeps the process */
}

/* Side by side, as each ends with a worker's idle second. */
static struct {
    pid_t pid;
    long at;
} children[MOST + 1];
static int running;

static void add_child(void) {
    int i = 0;
    while (children[i].pid) i++;
    children[i].pid = child;
    children[i].at = fork_at;
    running++;
}

static int wait_for_children(int most) {
    int status, bad = 0;
    for (; running > most; running--) {
        pid_t pid = wait(&status);
        int i = 0;
        while (children[i].pid != pid) i++;
        children[i].pid = 0;
        if (status)
            say("instruction %ld, %d requests before: status %x", children[i].at, before, status);
        bad += status != 0;
    }
    return bad;
}

/* False: the call has fewer instructions. */
static bool try(int *bad) {
    pid_t self = getpid();
    cb = request(fd, buf, BLOCK, BLOCK);
    step = 0;
    over = false;
    child = 0;
    memset(buf, 0, BLOCK);
    set_trap_flag();
    int answer = aio_read(&cb);
    clear_trap_flag();
    if (getpid() != self) end_child();
    *bad += answer != 0 || finish(&cb) != 0 || !is_pattern(buf, BLOCK, BLOCK);
    if (!child) return false;
    add_child();
    *bad += wait_for_children(MOST);
    return true;
}

static void test(void) {
    static const int counts[] = {0, 1, FEW};
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    fd = scratch(O_RDWR | O_DIRECT, BLOCKS * BLOCK);
    buf = pages(BLOCK), own = pages(BLOCK);
    alarm(100);
    replace_begin();
    for (int i = 0; i < 100; i++) need(read_block(i), "read"); /* a context, and a stock */
    int bad = 0;
    long most = 0;
    for (int i = 0; i < 3; i++) {
        before = counts[i];
        /* a context of its own takes a child 30 ms: every seventh instruction */
        for (fork_at = 0; try(&bad) && bad < 5; fork_at += before == FEW ? 7 : 1) most = fork_at;
        bad += wait_for_children(0);
    }
    if (most < 100) say("only %ld instructions", most);
    if (bad) exit(1);
}
