/* SPDX-License-Identifier: MIT */
/* How long the library holds its lock and keeps signals blocked, whatever the program asks for: for
 * races.sh. The lock is a mutex, whose functions the loader finds here first, as it does the
 * mask's; CPU time counts, so other programs do not, but interrupts do, and what a busy host takes
 * from a virtual machine unsaid: what is long each time is the library's. So nine holds in ten are
 * to be short, and the longest of a try is not to be long each time.
 * Lists, cancellations, close(), syncs and waits with very many requests, in one go and pending. */
#include "test.h"
#include "replace.h"

#include <stdatomic.h>

enum { MANY = 20000, SYNCS = 4000, BLOCK = 4096, SHORT_US = 50, MOST_US = 1000, TRIES = 3 };

static int (*next_lock)(pthread_mutex_t *), (*next_trylock)(pthread_mutex_t *),
    (*next_unlock)(pthread_mutex_t *);
static int (*next_mask)(int, const sigset_t *, sigset_t *);
static __thread uint64_t held_since, blocked_since;
static _Atomic uint64_t holds, longer, worst, worst_blocked;
static atomic_bool held, inside;
static bool bad;
static struct aiocb *cbs, **list;
static char data[BLOCK];

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_library(void *caller) {
    return (uintptr_t)caller >= library_begin && (uintptr_t)caller < library_end;
}

static void begin(void *caller, int res) {
    if (res == 0 && is_library(caller)) held_since = cpu_ns();
}

/* ns since then; 0: it had not begun. */
static uint64_t end(uint64_t *since, _Atomic uint64_t *longest) {
    uint64_t ns = *since ? cpu_ns() - *since : 0, most = *longest;
    *since = 0;
    while (ns > most && !atomic_compare_exchange_weak(longest, &most, ns)) continue;
    return ns;
}

static void look_up(void) {
    if (next_unlock) return;
    next_lock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
    next_trylock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    next_mask = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
    next_unlock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    look_up();
    int res = next_lock(mutex);
    begin(__builtin_return_address(0), res);
    return res;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    look_up();
    int res = next_trylock(mutex);
    begin(__builtin_return_address(0), res);
    return res;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    uint64_t ns = end(&held_since, &worst);
    holds += ns > 0;
    longer += ns > quiet_us(SHORT_US) * 1000;
    look_up();
    return next_unlock(mutex);
}

/* The library blocks all, and gives the program's mask back, in which SIGUSR1 is open. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    look_up();
    bool ours = set && is_library(__builtin_return_address(0));
    bool blocks = ours && sigismember(set, SIGUSR1);
    if (ours && !blocks) end(&blocked_since, &worst_blocked);
    int res = next_mask(how, set, old);
    if (blocks && !blocked_since) blocked_since = cpu_ns();
    return res;
}

static long at_call(const struct call *call) {
    if (call->nr != SYS_pwrite64 || !held) return GO_ON;
    inside = true;
    while (held) sleep_ms(1);
    return GO_ON;
}

static void judge(const char *what) {
    uint64_t us = worst / 1000, blocked_us = worst_blocked / 1000, most = quiet_us(MOST_US);
    bool is_long = us > most || blocked_us > most || longer > holds / 10 + 10;
    char text[200];
    snprintf(text, sizeof text,
             "%s: %llu holds, %llu over %d us, %llu us at worst; signals blocked %llu us", what,
             (unsigned long long)holds, (unsigned long long)longer, SHORT_US,
             (unsigned long long)us, (unsigned long long)blocked_us);
    if (is_long) say("the lock was held, or signals blocked, for long: %s", text);
    else note("%s", text);
    bad |= is_long;
    holds = longer = worst = worst_blocked = 0;
}

static void make_list(int fd) {
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(fd, data, 1, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    need(lio_listio(LIO_NOWAIT, list, MANY, NULL) == 0, "lio_listio");
}

static void *suspend_all(void *unused) {
    const struct timespec limit = {0, 100000000};
    aio_suspend((const struct aiocb *const *)list, MANY, &limit);
    return unused;
}

static void of_stream(void) {
    int ends[2];
    pthread_t thread;
    for (int round = 0; round < 2; round++) {
        need(pipe(ends) == 0, "pipe");
        make_list(ends[0]);
        judge("a list of streams");
        need(pthread_create(&thread, NULL, suspend_all, NULL) == 0, "thread");
        pthread_join(thread, NULL);
        judge("aio_suspend of another thread's");
        if (round == 0) aio_cancel(ends[0], NULL);
        judge("aio_cancel of a stream's");
        close(ends[0]);
        judge("close of a stream's");
        for (int i = 0; i < MANY; i++) finish(&cbs[i]);
        close(ends[1]);
    }
}

/* Beside many requests of another file. */
static void of_direct(void) {
    int fd = scratch(O_RDWR | O_DIRECT, BLOCK), ends[2];
    char *buf = pages(BLOCK);
    need(pipe(ends) == 0, "pipe");
    make_list(ends[0]);
    holds = longer = worst = worst_blocked = 0;
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, buf, BLOCK, 0), sync = request(fd, NULL, 0, 0);
        need(aio_read(&cb) == 0 && aio_fsync(O_DSYNC, &sync) == 0, "requests");
        finish(&cb), finish(&sync);
    }
    fsync(fd);
    judge("syncs of a direct file");
    aio_cancel(fd, NULL);
    judge("aio_cancel of a direct file's");
    close(ends[0]);
    close(ends[1]);
    for (int i = 0; i < MANY; i++) finish(&cbs[i]);
    holds = longer = worst = worst_blocked = 0;
}

static void of_syncs(void) {
    int fd = scratch(O_RDWR | O_APPEND, BLOCK); /* a worker's */
    struct aiocb write = request(fd, data, 1, 0);
    inside = false;
    held = true;
    need(aio_write(&write) == 0, "aio_write");
    while (!inside) sleep_ms(1);
    for (int i = 0; i < SYNCS; i++) {
        cbs[i] = request(fd, NULL, 0, 0);
        need(aio_fsync(O_SYNC, &cbs[i]) == 0, "aio_fsync");
    }
    held = false;
    for (int i = 0; i < SYNCS; i++) finish(&cbs[i]);
    finish(&write);
    judge("syncs that end together");
}

static void test(void) {
    alarm(60);
    replace_begin();
    cbs = calloc(MANY, sizeof *cbs);
    list = calloc(MANY, sizeof *list);
    for (int i = 0; i < TRIES; i++) {
        bad = false;
        of_stream();
        of_direct();
        of_syncs();
        if (!bad) return;
    }
    exit(1);
}
