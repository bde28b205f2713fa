/* SPDX-License-Identifier: MIT */
/* The reaper is stopped in its last leave, where it has dropped the lock: a thread that comes for
 * the first time must not get its record yet. The leave ends with the stock of requests of that
 * record (direct.c), which is its owner's alone: were it another thread's by now, the reaper would
 * fill it while the thread takes from it without the lock, and one request would serve two reads.
 * So the reaper goes on one instruction at a time (the trap flag), if it looks at an eventfd for
 * that at all, and the thread reads meanwhile. For retired.sh. x86-64. */
#include "test.h"
#include "replace.h"
#include "step.h"

#include <linux/futex.h>

enum { BLOCK = 4096, BLOCKS = 64, STEPS = 240 };
/* Of a stock of 16 the first half; while it is filled up again; and all that it holds then. */
enum { HALF = 8, MEANWHILE = 7, AFTER = 16, READS = HALF + MEANWHILE + AFTER };
enum { THREADS = 5 }; /* this, the reaper, the one that reads the FIFO, two that wait */

static struct aiocb polled, awaited, cbs[READS];
static char *buf;
static _Atomic pid_t reaper;
static _Atomic bool begun, ends, held, retires, goes_on, stepped;
static _Atomic int steps; /* instructions of the library */
static sem_t over, stopped, go_on;

static void wait_for(sem_t *sem) {
    while (sem_wait(sem)) continue;
}

static void step_from_here(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    set_trap_flag();
}

static void on_trap(int signo, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)regs[REG_RIP];
    (void)signo, (void)info;
    if (at >= library_begin && at < library_end) {
        nanosleep(&(struct timespec){0, 100000}, NULL);
        steps++;
    }
    if (steps == STEPS || blocks_signals(regs)) regs[REG_EFL] &= ~TRAP_FLAG;
}

/* What the reaper waits for; an idle second is not over before the other is held. */
static long wait_of_reaper(const struct call *call) {
    reaper = gettid();
    long r = perform(call);
    while (r == 0 && aio_error(&polled) != EINPROGRESS && !held) sleep_ms(1);
    return r;
}

/* Two threads wait for one request. Who ends it wakes the first and is held there, so the second is
 * left to the next that leaves: the reaper, in its last leave. */
static long at_call(const struct call *call) {
    bool by_reaper = gettid() == reaper;
    bool wakes = call->nr == SYS_futex && call->args[1] == FUTEX_WAKE_PRIVATE && ends;
    begun |= call->nr == SYS_ppoll;
    if (call->nr == SYS_epoll_pwait) return wait_of_reaper(call);
    if (call->nr == SYS_close && by_reaper) retires = true; /* its set */
    if (wakes && !by_reaper) {
        held = true;
        wait_for(&over);
    } else if (wakes && retires && !goes_on) {
        sem_post(&stopped);
        wait_for(&go_on);
        goes_on = true;
    } else if (call->nr == SYS_fcntl && by_reaper && goes_on && !stepped) {
        stepped = true;
        step_from_here();
    }
    return GO_ON;
}

static void *waiter(void *tid) {
    const struct aiocb *list[] = {&awaited};
    *(_Atomic pid_t *)tid = gettid();
    while (aio_error(&awaited) == EINPROGRESS) aio_suspend(list, 1, NULL);
    return NULL;
}

static void begin_read(int fd, int i) {
    cbs[i] = request(fd, buf + i * BLOCK, BLOCK, i * BLOCK);
    need(aio_read(&cbs[i]) == 0, "aio_read");
}

/* Comes when the reaper has been stopped. */
static void *reader(void *unused) {
    int fd = scratch(O_RDONLY | O_DIRECT, BLOCKS * BLOCK), i = 0;
    struct aiocb first = request(fd, buf, BLOCK, 0);
    need(aio_read(&first) == 0 && finish(&first) == 0, "the first read");
    while (i < HALF) begin_read(fd, i++);
    sem_post(&go_on);
    for (int n = 1; n <= MEANWHILE; begin_read(fd, i++), n++)
        while (task_state(reaper) != 'X' && steps < n * STEPS / (MEANWHILE + 1)) sleep_ms(1);
    while (i < READS) begin_read(fd, i++);
    return unused;
}

static pthread_t start(void *(*run)(void *), void *arg) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, run, arg) == 0, "thread");
    return thread;
}

/* How many have ended, and read what is there? */
static int good_reads(void) {
    int good = 0;
    for (int i = 0; i < READS; i++) {
        const struct aiocb *list[] = {&cbs[i]};
        const struct timespec limit = {quiet_s(1), 0};
        if (aio_error(&cbs[i]) == EINPROGRESS) aio_suspend(list, 1, &limit);
        good += aio_error(&cbs[i]) == 0 && is_pattern(buf + i * BLOCK, BLOCK, i * BLOCK);
    }
    return good;
}

static void test(void) {
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    pthread_t waiters[2];
    _Atomic pid_t tids[2] = {0, 0};
    char bytes[2];
    int pipes[2], fifo;
    sigaction(SIGTRAP, &action, NULL);
    buf = pages(READS * BLOCK);
    need(pipe(pipes) == 0 && mkfifo("fifo", 0600) == 0, "pipes");
    need((fifo = open("fifo", O_RDWR)) >= 0, "fifo");
    replace_begin();
    polled = request(pipes[0], &bytes[0], 1, 0);
    need(aio_read(&polled) == 0, "aio_read"); /* which starts the reaper */
    awaited = request(fifo, &bytes[1], 1, 0);
    need(aio_read(&awaited) == 0, "aio_read"); /* the kernel polls for none of these: a thread */
    while (!begun) sleep_ms(1);
    for (int i = 0; i < 2; i++) {
        waiters[i] = start(waiter, (void *)&tids[i]);
        while (!tids[i]) sleep_ms(1);
        until_asleep(tids[i]);
    }
    while (entries("/proc/self/task") > THREADS) sleep_ms(10); /* workers end, and look around */
    need(write(pipes[1], "x", 1) == 1 && finish(&polled) == 0, "pipe");
    until_asleep(reaper);
    ends = true;
    need(write(fifo, "x", 1) == 1, "fifo");
    wait_for(&stopped); /* after an idle second */
    pthread_join(start(reader, NULL), NULL);
    int good = good_reads();
    sem_post(&over);
    for (int i = 0; i < 2; i++) pthread_join(waiters[i], NULL);
    say("%d of %d reads are good", good, READS);
    if (good < READS) exit(1);
}
