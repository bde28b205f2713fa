/* SPDX-License-Identifier: MIT */
/* lio_listio() with lists of all sizes, also beyond the context's depth, of mixed kinds: files,
 * direct I/O, memory, pipes, sockets, LIO_NOP, NULL and items that fail; items and list notified
 * together, by signal and by thread, the list last; several lists at once, from several threads. */
#include "test.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { MOST = 4096, BLOCK = 1024, THREADS = 4, ROUNDS = 10, SOME = 257, FEW = 36 };

/* Item i is of the kind i % KINDS. What OUT and TO_PEER write, the next item reads. */
enum kind { BUFFERED, DIRECT, MEMORY, OUT, IN, TO_PEER, FROM_PEER, NOTHING, FAILS, KINDS };

struct list {
    int fds[KINDS], n, id;
    struct aiocb cbs[MOST], *items[MOST];
    char *memory; /* a block for each item */
};

static int first_signal; /* real-time and blocked, this and those that follow */
static sem_t called;

static struct sigevent by_thread(void (*function)(union sigval), void *value) {
    struct sigevent sigev;
    memset(&sigev, 0, sizeof sigev);
    sigev.sigev_notify = SIGEV_THREAD;
    sigev.sigev_notify_function = function;
    sigev.sigev_value.sival_ptr = value;
    return sigev;
}

static struct list *list_new(int n, int id) {
    int pair[2];
    size_t size = (size_t)n * BLOCK;
    struct list *l = calloc(1, sizeof *l);
    need(l != NULL, "memory");
    l->n = n, l->id = id;
    l->memory = pages(size);
    l->fds[BUFFERED] = scratch(O_RDWR, size);
    l->fds[DIRECT] = scratch(O_RDWR | O_DIRECT, size);
    l->fds[MEMORY] = memfd_create("memory", 0);
    need(ftruncate(l->fds[MEMORY], (off_t)size) == 0, "ftruncate");
    need(pipe(pair) == 0, "pipe");
    l->fds[IN] = pair[0], l->fds[OUT] = pair[1];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    l->fds[FROM_PEER] = pair[0], l->fds[TO_PEER] = pair[1];
    l->fds[NOTHING] = l->fds[FAILS] = -1;
    return l;
}

static void list_free(struct list *l) {
    for (int i = 0; i < NOTHING; i++) close(l->fds[i]);
    free(l->memory);
    free(l);
}

static bool writes(int i) {
    enum kind kind = i % KINDS;
    return kind == OUT || kind == TO_PEER || (kind <= MEMORY && i / KINDS % 2 == 0);
}

static char content(const struct list *l, int i) {
    return (char)(1 + (l->id * 31 + i) % 100);
}

static void fill(struct list *l, bool failing) {
    for (int i = 0; i < l->n; i++) {
        enum kind kind = i % KINDS;
        char *buf = l->memory + (size_t)i * BLOCK;
        memset(buf, writes(i) ? content(l, i) : 0, BLOCK);
        l->cbs[i] = request(l->fds[kind], buf, BLOCK, (off_t)i * BLOCK);
        l->cbs[i].aio_lio_opcode = writes(i) ? LIO_WRITE : LIO_READ;
        l->items[i] = &l->cbs[i];
        if (kind == NOTHING || (kind == FAILS && !failing)) l->cbs[i].aio_lio_opcode = LIO_NOP;
        if (kind == NOTHING && i % 2) l->items[i] = NULL;
    }
}

static bool is_request(const struct list *l, int i) {
    return l->items[i] && l->items[i]->aio_lio_opcode != LIO_NOP;
}

static bool all(const char *buf, char c) {
    return buf[0] == c && !memcmp(buf, buf + 1, BLOCK - 1);
}

static bool is_right(struct list *l, int i) {
    static _Thread_local char back[BLOCK] __attribute__((aligned(4096)));
    enum kind kind = i % KINDS;
    struct aiocb *cb = &l->cbs[i];
    const char *buf = l->memory + (size_t)i * BLOCK;
    if (!is_request(l, i)) return aio_error(cb) == 0;
    if (kind == FAILS) return aio_error(cb) == EBADF && aio_return(cb) == -1;
    if (aio_error(cb) != 0 || aio_return(cb) != BLOCK) return false;
    if (kind == IN || kind == FROM_PEER) return all(buf, content(l, i - 1));
    if (kind == OUT || kind == TO_PEER) return true;
    if (!writes(i)) return kind == MEMORY ? all(buf, 0) : is_pattern(buf, BLOCK, cb->aio_offset);
    return pread(cb->aio_fildes, back, BLOCK, cb->aio_offset) == BLOCK && all(back, content(l, i));
}

/* How many items have not ended as they should? Waits for none. */
static int check(struct list *l) {
    int bad = 0;
    for (int i = 0; i < l->n; i++) bad += !is_right(l, i);
    return bad;
}

/* The items' signals, and in the same queue the list's, which must be the last. */
static void take_signals(struct list *l, bool of_list) {
    static bool seen[MOST];
    int wanted = 0, bad = 0, early = 0;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < l->n; i++) wanted += is_request(l, i);
    for (int k = 0; k < wanted; k++) {
        int i = next_signal(first_signal, of_list ? 20 : 0);
        bool ok = i >= 0 && i < l->n && is_request(l, i) && !seen[i];
        if (ok) seen[i] = true, early += aio_error(&l->cbs[i]) == EINPROGRESS;
        else bad++;
    }
    say("signals of items: %d bad, %d before their status", bad, early);
    if (of_list) say("the list's is the last %d", next_signal(first_signal, 20) == MOST);
    say("no other signal %d", next_signal(first_signal, 0) == NO_SIGNAL);
}

static void size(int n, bool failing) {
    struct list *l = list_new(n, n);
    struct sigevent sigev = sigevent_signal(first_signal, MOST);
    say("-- %d items%s", n, failing ? ", some fail" : "");
    for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
        fill(l, failing);
        for (int i = 0; i < n; i++) l->cbs[i].aio_sigevent = sigevent_signal(first_signal, i);
        answered(mode == LIO_WAIT ? "wait" : "no wait", lio_listio(mode, l->items, n, &sigev));
        take_signals(l, mode == LIO_NOWAIT);
        say("%d bad", check(l));
        list_free(l);
        l = list_new(n, n); /* streams may hold what was written last and not read */
    }
    list_free(l);
}

static bool wait_call(void) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += quiet_s(20);
    return sem_clockwait(&called, CLOCK_MONOTONIC, &end) == 0;
}

static int items_called, early;

static void item_ends(union sigval value) {
    if (aio_error(value.sival_ptr) == EINPROGRESS) __atomic_fetch_add(&early, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&items_called, 1, __ATOMIC_RELAXED);
    sem_post(&called);
}

static void list_ends(union sigval value) {
    struct list *l = value.sival_ptr;
    for (int i = 0; i < l->n; i++)
        if (aio_error(&l->cbs[i]) == EINPROGRESS) __atomic_fetch_add(&early, 1, __ATOMIC_RELAXED);
    sem_post(&called);
}

/* Callbacks of items run on threads of their own, so only their number is compared. */
static void by_threads(bool items_too) {
    struct list *l = list_new(SOME, 1);
    struct sigevent sigev = by_thread(list_ends, l);
    int wanted = 0, came = 0;
    items_called = early = 0;
    fill(l, true);
    for (int i = 0; i < l->n && items_too; i++) {
        l->cbs[i].aio_sigevent = by_thread(item_ends, &l->cbs[i]);
        wanted += is_request(l, i);
    }
    say("-- list by thread%s", items_too ? ", items too" : "");
    answered("no wait", lio_listio(LIO_NOWAIT, l->items, l->n, &sigev));
    for (int i = 0; i <= wanted; i++) came += wait_call();
    settle(); /* for those that come too often */
    say("callbacks: %d missing, %d too many, %d early", wanted + 1 - came,
        sem_trywait(&called) == 0, early);
    say("of items: %d missing, list: %d bad", wanted - items_called, check(l));
    list_free(l);
}

/* Threads of this process that may run on one processor only: those of the callbacks of mixed().
 * Called by a handler, so without malloc(). */
static int pinned(void) {
    static char buf[16384];
    int n = 0, dir = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
    cpu_set_t cpus;
    ssize_t size = getdents64(dir, buf, sizeof buf);
    for (ssize_t at = 0; at < size; at += ((struct dirent64 *)(buf + at))->d_reclen) {
        pid_t tid = atoi(((struct dirent64 *)(buf + at))->d_name);
        n += tid && sched_getaffinity(tid, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1;
    }
    close(dir);
    return n;
}

static sem_t go;
static volatile int seen; /* when the list was told of */

static void stays(union sigval unused) {
    (void)unused;
    while (sem_wait(&go)) continue;
    sem_post(&called);
}

static void on_list(int signo) {
    (void)signo;
    seen = pinned();
    sem_post(&called);
}

/* Each item has its thread before the list's signal comes, or the call returns. Callbacks' threads
 * block nothing, so one of them gets the signal. */
static void threads_then_signal(int mode) {
    struct list *l = list_new(FEW, 2);
    struct sigaction action = {.sa_handler = on_list};
    struct sigevent sigev = sigevent_signal(first_signal, 0);
    pthread_attr_t attr;
    cpu_set_t cpus;
    int wanted = 0, came = 0, cpu = 0;
    need(sched_getaffinity(0, sizeof cpus, &cpus) == 0, "affinity");
    if (CPU_COUNT(&cpus) == 1) say("skipped, callbacks' threads: they cannot be told here");
    while (!CPU_ISSET(cpu, &cpus)) cpu++;
    bool can_tell = CPU_COUNT(&cpus) > 1;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setaffinity_np(&attr, sizeof cpus, &cpus);
    sigaction(first_signal, &action, NULL);
    fill(l, true);
    for (int i = 0; i < l->n; i++) {
        l->cbs[i].aio_sigevent = by_thread(stays, NULL);
        l->cbs[i].aio_sigevent.sigev_notify_attributes = &attr;
        wanted += is_request(l, i);
    }
    while (pinned() && can_tell) sleep_ms(1); /* the last list's */
    answered(mode == LIO_WAIT ? "wait" : "no wait", lio_listio(mode, l->items, l->n, &sigev));
    if (mode == LIO_WAIT) seen = pinned();
    else say("the list's signal %d", wait_call());
    say("items without a thread then: %d", can_tell ? wanted - seen : 0);
    for (int i = 0; i < wanted; i++) sem_post(&go);
    for (int i = 0; i < wanted; i++) came += wait_call();
    say("callbacks: %d missing, list: %d bad", wanted - came, check(l));
    list_free(l);
}

static int signals;

static void on_item(int signo) {
    (void)signo;
    __atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

static void list_sees(union sigval unused) {
    (void)unused;
    seen = __atomic_load_n(&signals, __ATOMIC_RELAXED);
    sem_post(&called);
}

/* Only the list's callback does not block the items' signals, which it gets before it begins. */
static void signals_then_thread(void) {
    struct list *l = list_new(SOME, 3);
    struct sigaction action = {.sa_handler = on_item};
    struct sigevent sigev = by_thread(list_sees, NULL);
    int wanted = 0;
    sigaction(first_signal, &action, NULL);
    fill(l, true);
    for (int i = 0; i < l->n; i++) {
        l->cbs[i].aio_sigevent = sigevent_signal(first_signal, i);
        wanted += is_request(l, i);
    }
    answered("no wait", lio_listio(LIO_NOWAIT, l->items, l->n, &sigev));
    say("the list's callback %d", wait_call());
    say("signals of items that came later: %d, list: %d bad", wanted - seen, check(l));
    list_free(l);
}

/* Two lists of each thread are under way at once, and one thread's are independent of another's. */
static void *make_lists(void *arg) {
    int id = *(int *)arg, signo = first_signal + id, bad = 0;
    struct list *a = list_new(SOME, id), *b = list_new(SOME, id + THREADS);
    for (int round = 0; round < ROUNDS; round++) {
        struct sigevent sigev = sigevent_signal(signo, round);
        fill(a, round % 2);
        fill(b, round % 3 == 0);
        bad += lio_listio(LIO_NOWAIT, a->items, a->n, &sigev) != 0;
        int res = lio_listio(LIO_WAIT, b->items, b->n, NULL);
        bad += round % 3 ? res != 0 : res != -1 || errno != EIO;
        bad += check(b);
        bad += next_signal(signo, 20) != round;
        bad += check(a);
        bad += next_signal(signo, 0) != NO_SIGNAL;
    }
    list_free(a);
    list_free(b);
    return (void *)(intptr_t)bad;
}

static void several(void) {
    pthread_t threads[THREADS];
    int ids[THREADS];
    say("-- several threads");
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        need(pthread_create(&threads[i], NULL, make_lists, &ids[i]) == 0, "thread");
    }
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        say("thread %d: %d bad", i, (int)(intptr_t)bad);
    }
}

static void test(void) {
    static const int sizes[] = {1, 2, 255, 256, 257, 1000, 4096};
    sigset_t set;
    first_signal = SIGRTMIN + 1;
    sigemptyset(&set);
    for (int i = 0; i < THREADS; i++) sigaddset(&set, first_signal + i);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sem_init(&called, 0, 0);
    sem_init(&go, 0, 0);
    CASE("sizes")
        for (int i = 0; i < 7; i++) {
            size(sizes[i], false);
            size(sizes[i], true);
        }
    CASE("several") several();
    CASE("signals-then-thread") signals_then_thread();
    CASE("threads-then-signal") {
        threads_then_signal(LIO_WAIT);
        threads_then_signal(LIO_NOWAIT);
    }
    CASE("by-threads") {
        by_threads(false);
        by_threads(true);
    }
}
