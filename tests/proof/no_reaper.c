/* The reaper cannot be started, so whoever waits for what the kernel polls looks again and again: a
 * handler installed with SA_RESTART never ends that wait; one without does, and when there is a
 * time limit, both do, unless the signal comes between two looks. For races.sh; the same for a wait
 * for another thread's request. */
#include "../api/test.h"
#include "hold.h"

enum { TRIES = 8 };

static pid_t waiter;
static struct aiocb cb;
static int pipes[2];
static sem_t go, asked;
static _Atomic int failed, handled;

static long at_call(const struct call *call) {
    (void)call;
    failed++;
    return -EAGAIN;
}

static void on_signal(int signo) {
    (void)signo;
    handled++;
}

/* Each time: signals the waiter in its sleep, and feeds the pipe when it sleeps again, or is back.
 */
static void *signaler(void *unused) {
    for (;;) {
        while (sem_wait(&go)) continue;
        until_asleep(waiter);
        int before = handled;
        syscall(SYS_tgkill, getpid(), waiter, SIGUSR1);
        while (handled == before) sleep_ms(1);
        sleep_ms(20);
        need(write(pipes[1], "x", 1) == 1, "write");
    }
    return unused;
}

static void *asker(void *unused) {
    for (;;) {
        while (sem_wait(&asked)) continue;
        need(aio_read(&cb) == 0, "aio_read");
        sem_post(&go);
    }
    return unused;
}

/* Asked for by this thread, or by another; answers what aio_suspend() says. */
static int interrupted(int flags, bool limited, bool by_another) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    const struct aiocb *list[] = {&cb};
    const struct timespec minute = {60, 0};
    char byte;
    sigaction(SIGUSR1, &action, NULL);
    cb = request(pipes[0], &byte, 1, 0);
    if (by_another) {
        sem_post(&asked);
        while (aio_error(&cb) != EINPROGRESS) sleep_ms(1);
    } else {
        need(aio_read(&cb) == 0, "aio_read");
        sem_post(&go);
    }
    int answer = aio_suspend(list, 1, limited ? &minute : NULL) ? errno : 0;
    while (aio_error(&cb) == EINPROGRESS) sleep_ms(1);
    need(aio_return(&cb) == 1, "aio_return");
    return answer;
}

static void test(void) {
    const long calls[] = {SYS_clone3};
    pthread_t threads[2];
    bool good = true;
    waiter = gettid();
    sem_init(&go, 0, 0);
    sem_init(&asked, 0, 0);
    need(pipe(pipes) == 0, "pipe");
    need(pthread_create(&threads[0], NULL, signaler, NULL) == 0, "thread");
    need(pthread_create(&threads[1], NULL, asker, NULL) == 0, "thread");
    hold(calls, 1);
    for (int i = 0; i < 8; i++) {
        bool restart = i & 1, limited = i & 2, another = i & 4, goes_on = restart && !limited;
        int answer, tries = 0;
        do answer = interrupted(restart ? SA_RESTART : 0, limited, another);
        while (++tries < TRIES && (goes_on ? answer == 0 : answer != EINTR));
        bool as_said = answer == (goes_on ? 0 : EINTR);
        say("%s%s%s: %s", restart ? "SA_RESTART" : "plain", limited ? ", time limit" : "",
            another ? ", another's" : "", name(answer));
        good &= as_said;
    }
    need(failed > 0, "clone3");
    if (!good) exit(1);
}
