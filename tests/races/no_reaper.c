/* The reaper cannot be started, so whoever waits for what the kernel polls looks again and again; a
 * signal has the same effect there as on one long sleep, whenever it comes: a handler ends the
 * wait, but for one installed with SA_RESTART where there is no time limit; what is ignored or
 * blocked does not. For races.sh; also of a wait for another thread's request. */
#include "test.h"
#include "hold.h"

enum { ROUNDS = 12 };
enum disposition { PLAIN, RESTART, IGNORED, BLOCKED };
static const char *const dispositions[] = {"handler", "SA_RESTART", "ignored", "blocked"};

static pid_t waiter;
static struct aiocb cb;
static int pipes[2];
static sem_t go, asked;
static _Atomic int failed, handled;
static _Atomic bool ends, back; /* the wait shall end, has ended */

static long at_call(const struct call *call) {
    (void)call;
    failed++;
    return -EAGAIN;
}

static void on_signal(int signo) {
    (void)signo;
    handled++;
}

/* Each time: signals the waiter in its sleep, at any moment of it, and feeds the pipe once the wait
 * has ended, or has had time to. */
static void *signaler(void *unused) {
    unsigned seed = 1;
    for (;;) {
        while (sem_wait(&go)) continue;
        until_asleep(waiter);
        usleep((useconds_t)rand_r(&seed) % 1000);
        tgkill(getpid(), waiter, SIGUSR1);
        for (int ms = 0; ends ? !back && ms < 5000 : ms < 5; ms++) sleep_ms(1);
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

static void dispose(enum disposition how) {
    struct sigaction action = {.sa_handler = how == IGNORED ? SIG_IGN : on_signal,
                               .sa_flags = how == RESTART ? SA_RESTART : 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    pthread_sigmask(how == BLOCKED ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* Asked for by this thread, or by another; answers what aio_suspend() says. */
static int interrupted(enum disposition how, bool limited, bool by_another) {
    const struct aiocb *list[] = {&cb};
    const struct timespec minute = {60, 0};
    char byte;
    dispose(how);
    ends = how == PLAIN || (how == RESTART && limited);
    back = false;
    cb = request(pipes[0], &byte, 1, 0);
    if (by_another) {
        sem_post(&asked);
        while (aio_error(&cb) != EINPROGRESS) sleep_ms(1);
    } else {
        need(aio_read(&cb) == 0, "aio_read");
        sem_post(&go);
    }
    int answer = aio_suspend(list, 1, limited ? &minute : NULL) ? errno : 0;
    back = true;
    while (aio_error(&cb) == EINPROGRESS) sleep_ms(1);
    need(aio_return(&cb) == 1, "aio_return");
    dispose(PLAIN); /* what was blocked comes now */
    return answer;
}

/* Answers whether all rounds went as expected. */
static bool rounds(enum disposition how, bool limited, bool another) {
    int wrong = 0, before = handled;
    for (int i = 0; i < ROUNDS; i++)
        wrong += interrupted(how, limited, another) != (ends ? EINTR : 0);
    int calls = handled - before, expected = how == IGNORED ? 0 : ROUNDS;
    say("%s%s%s: %d wrong, handler called %d times", dispositions[how],
        limited ? ", time limit" : "", another ? ", another's" : "", wrong, calls);
    return wrong == 0 && calls == expected;
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
    for (int i = 0; i < 16; i++) good &= rounds((enum disposition)(i / 4), i & 1, i & 2);
    need(failed > 0, "clone3");
    if (!good) exit(1);
}
