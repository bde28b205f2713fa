/* SPDX-License-Identifier: MIT */
/* The calls that are async-signal-safe allocate nothing and look nothing up, though they be the
 * first of their thread and all of libc's room for thread-specific values be taken: the program
 * makes keys before any library is loaded. Nor does the library's memory grow with threads that
 * have ended and made no other calls. For hardening.sh. */
#include "test.h"
#include "replace.h"

enum { KEYS = 40, THREADS = 500 };

static __thread bool inside;
static _Atomic int allocations, lookups, maps;

static long at_call(const struct call *call) {
    maps += call->nr == SYS_mmap;
    return GO_ON;
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);

void *malloc(size_t n) {
    allocations += inside;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    allocations += inside;
    return __libc_calloc(n, size);
}

/* What the library asks for is libc's. */
void *dlsym(void *restrict from, const char *restrict symbol) {
    static void *(*real)(void *, const char *);
    static void *libc;
    if (!real) {
        libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        *(void **)&real = dlvsym(libc, "dlsym", "GLIBC_2.2.5");
    }
    lookups += inside;
    return real(from == RTLD_NEXT ? libc : from, symbol);
}

static void make_keys(void) {
    pthread_key_t key;
    for (int i = 0; i < KEYS; i++) pthread_key_create(&key, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = make_keys;

static struct aiocb pending, ended;
static int file;

static void suspend(void) {
    const struct aiocb *list[] = {&pending};
    struct timespec limit = {0, 1000000};
    if (aio_suspend(list, 1, &limit) != -1 || errno != EAGAIN) abort();
}

static void look(void) {
    if (aio_error(&pending) != EINPROGRESS || aio_error(&ended)) abort();
}

static void take(void) {
    if (aio_return(&ended) != 1) abort();
}

static void sync_file(void) {
    if (fsync(file) || fdatasync(file)) abort();
}

static void close_file(void) {
    if (close(dup(file))) abort();
}

static void close_used(void) {
    if (close(file)) abort();
}

static void *call(void *function) {
    inside = true;
    ((void (*)(void))function)();
    inside = false;
    return NULL;
}

static void on_thread(void (*function)(void)) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, call, (void *)function) == 0, "thread");
    pthread_join(thread, NULL);
}

static void test(void) {
    static char bytes[2] = "xx";
    void (*const calls[])(void) = {suspend, look, take, sync_file, close_file, close_used};
    int pipes[2];
    replace_begin();
    need(pipe(pipes) == 0, "pipe");
    pending = request(pipes[0], &bytes[0], 1, 0);
    file = scratch(O_RDWR, 0);
    ended = request(file, &bytes[1], 1, 0);
    need(aio_read(&pending) == 0 && aio_write(&ended) == 0 && finish(&ended) == 0, "requests");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) on_thread(calls[i]);
    say("allocations: %d, lookups: %d", allocations, lookups);
    maps = 0;
    for (int i = 0; i < THREADS; i++) on_thread(suspend);
    say("%d threads: %d times more memory", THREADS, maps);
    if (allocations || lookups || maps > 1) exit(1);
}
