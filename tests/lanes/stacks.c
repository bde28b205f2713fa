/* SPDX-License-Identifier: MIT */
/* The library's threads have the stack that they need, whatever of it libc and the program's
 * thread-local data (-DTLS=bytes) take: it is painted before each starts, and afterwards at least
 * 24 of the 32 KiB of the library's own have their paint. Requests of every kind (workload.h) go
 * through workers, blockers and the reaper; setresuid() has each take a signal. For stacks.sh. */
#include "test.h"
#include "replace.h"
#include "faultless.h"

#ifndef TLS
#define TLS 1
#endif

enum { ROUNDS = 3, THREADS = 4000, PAINT = 0xa5, UNTOUCHED = 24 << 10, DEFAULT = 1 << 20 };

static __thread volatile char data[TLS];

static struct {
    unsigned char *low;
    size_t size;
} stacks[THREADS];
static _Atomic int nstacks;

/* Ours; those of notifications have the usual size. A page below is forbidden. */
static long create(void *(*run)(void *), void *arg, const pthread_attr_t *given) {
    pthread_attr_t attr;
    pthread_t thread;
    size_t size;
    pthread_attr_getstacksize(given, &size);
    int i = size < DEFAULT + TLS ? nstacks++ : THREADS;
    if (i >= THREADS) return GO_ON;
    char *low = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(low != MAP_FAILED && mprotect(low, 4096, PROT_NONE) == 0, "a stack");
    stacks[i].low = memset(low + 4096, PAINT, size);
    stacks[i].size = size;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstack(&attr, stacks[i].low, size);
    int err = pthread_create(&thread, &attr, run, arg);
    pthread_attr_destroy(&attr);
    return -err;
}

static long at_call(const struct call *call) {
    if (call->nr != SYS_clone3) return GO_ON;
    return create((void *(*)(void *))call->args[0], (void *)call->args[1], (void *)call->args[2]);
}

static size_t untouched(int i) {
    size_t n = 0;
    while (n < stacks[i].size && stacks[i].low[n] == PAINT) n++;
    return n;
}

static void test(void) {
    replace_begin();
    data[0] = 1;
    work_begin();
    for (int i = 0; i < ROUNDS; i++) {
        need(work_again() == 0, "work");
        need(setresuid(-1, -1, -1) == 0, "setresuid");
    }
    size_t least = SIZE_MAX, size = 0;
    int n = nstacks;
    need(n > 1 && n < THREADS, "threads of the library");
    for (int i = 0; i < n; i++) {
        if (untouched(i) < least) least = untouched(i), size = stacks[i].size;
    }
    say("%d threads; of a stack of %zu bytes at least %zu are untouched", n, size, least);
    if (least < UNTOUCHED) exit(1);
}
