/* SPDX-License-Identifier: MIT */
/* bound.c - as many requests as the library has room for are in progress: 262,144 reads that wait
 * at a pipe. The next ones are refused with EAGAIN and cost nothing, a list that does not fit has
 * its first items served, and once all are cancelled there is room again. bound.sh runs it. */
#include "test.h"

#include <sys/resource.h>

enum { BOUND = 262144, LISTED = 8, FIT = 3, REFUSED = 1000, BLOCK = 4096, SPARE_KIB = 256 };

static struct aiocb *cbs;
static char *bytes;
static int ends[2], file, bad;

static void expect(bool ok, const char *what) {
    if (!ok) say("%s: %s", what, strerror(errno));
    bad += !ok;
}

static long value_of(const char *path, const char *key) {
    char line[200];
    long value = -1;
    FILE *f = fopen(path, "r");
    need(f != NULL, path);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) value = atol(line + strlen(key));
    fclose(f);
    return value;
}

static void skip_without_memory(void) {
    static const int kinds[] = {RLIMIT_AS, RLIMIT_DATA};
    const rlim_t wanted = 512 << 20;
    struct rlimit limit;
    for (int i = 0; i < 2; i++)
        if (getrlimit(kinds[i], &limit) == 0 && limit.rlim_cur < wanted)
            skip("a limit of memory below 512 MiB");
    if (value_of("/proc/meminfo", "MemAvailable:") < (long)wanted >> 10)
        skip("less than 512 MiB of memory available");
}

static bool begin(int i) {
    cbs[i] = request(ends[0], &bytes[i], 1, 0);
    return aio_read(&cbs[i]) == 0;
}

/* The places from `from` on; all but `left`. */
static void fill(int from, int left) {
    int i = from;
    while (i < BOUND - left && begin(i)) i++;
    expect(i == BOUND - left, "not all accepted");
}

/* One place is left: the first is done, the second refused. */
static void waiting_list(void) {
    char *buf = pages(2 * BLOCK);
    struct aiocb two[2], *list[] = {&two[0], &two[1]};
    for (int i = 0; i < 2; i++) {
        two[i] = request(file, buf + i * BLOCK, BLOCK, i * BLOCK);
        two[i].aio_lio_opcode = LIO_READ;
    }
    expect(lio_listio(LIO_WAIT, list, 2, NULL) == -1 && errno == EAGAIN, "LIO_WAIT");
    expect(aio_error(&two[0]) == 0 && aio_return(&two[0]) == BLOCK, "LIO_WAIT, first");
    expect(is_pattern(buf, BLOCK, 0), "LIO_WAIT, data");
    expect(aio_error(&two[1]) == EAGAIN && aio_return(&two[1]) == -1, "LIO_WAIT, second");
    free(buf);
}

/* FIT places are left; the list's items are the last of cbs. */
static void list_across(void) {
    struct aiocb *list[LISTED];
    struct sigevent sigev = sigevent_signal(SIGRTMIN, 7);
    for (int i = 0; i < LISTED; i++) {
        list[i] = &cbs[BOUND - FIT + i];
        *list[i] = request(ends[0], &bytes[BOUND - FIT + i], 1, 0);
        list[i]->aio_lio_opcode = LIO_READ;
    }
    expect(lio_listio(LIO_NOWAIT, list, LISTED, &sigev) == -1 && errno == EAGAIN, "LIO_NOWAIT");
    for (int i = 0; i < LISTED; i++)
        expect(aio_error(list[i]) == (i < FIT ? EINPROGRESS : EAGAIN), "LIO_NOWAIT, item");
}

static void refused(void) {
    struct aiocb cb = request(ends[0], bytes, 1, 0);
    long before = value_of("/proc/self/status", "VmRSS:");
    for (int i = 0; i < REFUSED; i++) {
        expect(aio_read(&cb) == -1 && errno == EAGAIN, "aio_read");
        expect(aio_error(&cb) == EAGAIN && aio_return(&cb) == -1, "aio_read, refused");
    }
    long grown = value_of("/proc/self/status", "VmRSS:") - before;
    expect(grown <= SPARE_KIB, "memory has grown");
    expect(fsync(file) == 0, "fsync");
}

static void cancel_all(void) {
    int cancelled = 0;
    expect(aio_cancel(ends[0], NULL) == AIO_CANCELED, "aio_cancel");
    for (int i = 0; i < BOUND; i++)
        cancelled += aio_error(&cbs[i]) == ECANCELED && aio_return(&cbs[i]) == -1;
    expect(cancelled == BOUND, "not all cancelled");
}

static void is_usable(void) {
    need(write(ends[1], "x", 1) == 1, "write");
    expect(begin(0) && finish(&cbs[0]) == 0 && aio_return(&cbs[0]) == 1 && bytes[0] == 'x', "read");
    long before = value_of("/proc/self/status", "VmRSS:");
    fill(0, 0);
    expect(!begin(BOUND) && errno == EAGAIN, "one too many");
    expect(value_of("/proc/self/status", "VmRSS:") - before <= SPARE_KIB, "has grown");
    cancel_all();
}

static void test(void) {
    sigset_t set;
    skip_without_memory();
    cbs = calloc(BOUND + LISTED, sizeof *cbs);
    bytes = calloc(BOUND + LISTED, 1);
    need(cbs && bytes && pipe(ends) == 0, "memory, pipe");
    file = scratch(O_RDWR, 2 * BLOCK);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fill(0, 1);
    waiting_list();
    for (int i = 0; i < FIT - 1; i++)
        expect(aio_cancel(ends[0], &cbs[BOUND - 2 - i]) == AIO_CANCELED, "aio_cancel of one");
    list_across();
    refused();
    expect(next_signal(SIGRTMIN, 0) == NO_SIGNAL, "the list's signal, too early");
    cancel_all();
    expect(next_signal(SIGRTMIN, 5) == 7, "the list's signal");
    is_usable();
    if (bad) exit(1);
}
