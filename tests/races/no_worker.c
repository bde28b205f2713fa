/* SPDX-License-Identifier: MIT */
/* No worker can be started, for two calls at a time: the first call returns while the other thread
 * may yet get one, so its request ends with EAGAIN and is notified; the call that finds that there
 * is none fails with EAGAIN itself, and its own request is not notified. For races.sh, in the mode
 * worker. */
#include "test.h"
#include "hold.h"

enum { ITEMS = 2, LIST = 10, SIGNAL = 40 };

struct caller {
    int id;
    bool list;
    struct aiocb cbs[ITEMS], *items[ITEMS];
    int res, err;
    _Atomic bool returned;
};

static struct caller first, second;
static sem_t go_first, go_second;
static _Atomic bool scarce;
static _Atomic int stops;

static long at_call(const struct call *call) {
    (void)call;
    if (!scarce) return GO_ON;
    if (stops++ == 0) { /* the first caller's */
        sem_post(&go_second);
        while (!another_is_held()) sleep_ms(1);
    } else {
        while (!first.returned) sleep_ms(1);
    }
    return -EAGAIN;
}

static void notify_by(struct sigevent *sigev, int value) {
    sigev->sigev_notify = SIGEV_SIGNAL;
    sigev->sigev_signo = SIGNAL;
    sigev->sigev_value.sival_int = value;
}

static void call(struct caller *c) {
    struct sigevent sigev;
    memset(&sigev, 0, sizeof sigev);
    notify_by(&sigev, c->id + LIST);
    errno = 0;
    c->res = c->list ? lio_listio(LIO_NOWAIT, c->items, ITEMS, &sigev) : aio_write(c->items[0]);
    c->err = errno;
    c->returned = true;
}

static void *call_second(void *unused) {
    while (sem_wait(&go_second)) continue;
    call(&second);
    return unused;
}

static void *call_first(void *unused) {
    while (sem_wait(&go_first)) continue;
    call(&first);
    return unused;
}

static void prepare(struct caller *c, int id, bool list, const int fds[ITEMS]) {
    memset(c, 0, sizeof *c);
    c->id = id;
    c->list = list;
    for (int i = 0; i < ITEMS; i++) {
        c->cbs[i] = request(fds[i], "x", 1, 0);
        c->cbs[i].aio_lio_opcode = LIO_WRITE;
        c->items[i] = &c->cbs[i];
        notify_by(&c->cbs[i].aio_sigevent, id + i);
    }
}

/* How many signals of this value have come? *others: how many of another. */
static int signals(const int values[], int n, int *others) {
    sigset_t set;
    siginfo_t info;
    struct timespec now = {0, 0};
    int found = 0;
    *others = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    while (sigtimedwait(&set, &info, &now) == SIGNAL) {
        bool is_one = false;
        for (int i = 0; i < n; i++) is_one |= info.si_value.sival_int == values[i];
        found += is_one;
        *others += !is_one;
    }
    return found;
}

static bool all_failed(struct caller *c) {
    bool failed = true;
    for (int i = 0; i < (c->list ? ITEMS : 1); i++)
        failed &= aio_error(c->items[i]) == EAGAIN && aio_return(c->items[i]) == -1;
    return failed;
}

static bool is_good(void) {
    const int values[] = {100, 101, 100 + LIST};
    int expected = first.list ? 3 : 1, others;
    int found = signals(values, expected, &others);
    bool good = stops >= 2 && first.res == 0 && second.res == -1 && second.err == EAGAIN &&
                all_failed(&first) && all_failed(&second) && found == expected &&
                others == second.list; /* a list that could not be enqueued says so, as in glibc */
    say("%s, then %s: %s", first.list ? "list" : "request", second.list ? "list" : "request",
        good ? "good" : "bad");
    if (!good)
        say("%d stops, first %d, second %d %s, failed %d %d, %d and %d signals", stops, first.res,
            second.res, name(second.err), all_failed(&first), all_failed(&second), found, others);
    return good;
}

static void test(void) {
    const long calls[] = {SYS_clone3};
    int fds[2 * ITEMS];
    bool good = true;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 2 * ITEMS; i++) fds[i] = scratch(O_RDWR, 4096);
    hold(calls, 1);
    for (int round = 0; round < 4; round++) {
        pthread_t threads[2];
        prepare(&first, 100, round & 1, fds);
        prepare(&second, 200, round & 2, fds + ITEMS);
        sem_init(&go_first, 0, 0);
        sem_init(&go_second, 0, 0);
        scarce = false;
        stops = 0;
        need(pthread_create(&threads[0], NULL, call_first, NULL) == 0, "thread");
        need(pthread_create(&threads[1], NULL, call_second, NULL) == 0, "thread");
        scarce = true;
        sem_post(&go_first);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        good &= is_good();
    }
    if (!good) exit(1);
}
