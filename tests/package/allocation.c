/* SPDX-License-Identifier: MIT */
/* Once the library has memory for as many requests, lists and threads as there are at once, nothing
 * that it does asks for more: neither a request's start nor its end, of whatever kind and however
 * notified (workload.h), signal handlers and threads of notifications included. Nor is any of the
 * process's memory both writable and executable then. For hardening.sh.
 *
 * mmap() is the one way: hardening.sh sees that the library does not know malloc(). What
 * pthread_create() takes for a stack is libc's. */
#include "test.h"
#include "replace.h"
#include "faultless.h"

enum { ROUNDS = 20, AT_ONCE = 600, THREADS = 40 };

static _Atomic unsigned maps;

static long at_call(const struct call *call) {
    maps += call->nr == SYS_mmap;
    return GO_ON;
}

static void wait_at_once(void) {
    static struct aiocb cbs[AT_ONCE];
    static char bytes[AT_ONCE];
    int ends[2];
    need(pipe(ends) == 0, "pipe");
    for (int i = 0; i < AT_ONCE; i++) {
        cbs[i] = request(ends[0], &bytes[i], 1, 0);
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    need(aio_cancel(ends[0], NULL) == AIO_CANCELED, "aio_cancel");
    close(ends[0]);
    close(ends[1]);
}

static void *take_part(void *all) {
    char byte = 'x';
    struct aiocb cb = request(memory, &byte, 1, 0);
    need(aio_write(&cb) == 0 && finish(&cb) == 0, "aio_write");
    pthread_barrier_wait(all);
    return NULL;
}

static void threads_at_once(void) {
    pthread_t threads[THREADS];
    pthread_barrier_t all;
    pthread_barrier_init(&all, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, take_part, &all) == 0, "thread");
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    /* as the workload's checks want it */
    char first[BLOCK] __attribute__((aligned(BLOCK)));
    need(pread(buffered, first, BLOCK, 0) == BLOCK && pwrite(memory, first, BLOCK, 0) == BLOCK, "");
}

/* Also of what was mapped since the start. */
static bool is_writable_code(void) {
    char line[400];
    bool found = false;
    FILE *file = fopen("/proc/self/maps", "r");
    need(file != NULL, "maps");
    while (fgets(line, sizeof line, file)) {
        char *rights = strchr(line, ' ');
        if (!rights || rights[2] != 'w' || rights[3] != 'x') continue;
        printf("writable and executable: %s", line);
        found = true;
    }
    fclose(file);
    return found;
}

static void test(void) {
    replace_begin();
    work_begin();
    wait_at_once();
    threads_at_once();
    need(work_again() == 0, "work");
    unsigned first = maps;
    need(first > 0, "no memory was asked for");
    for (int i = 0; i < ROUNDS; i++) need(work_again() == 0, "work");
    say("%u times before, %u in %d rounds of %d requests", first, maps - first, ROUNDS, nitems);
    if (maps != first || is_writable_code()) exit(1);
}
