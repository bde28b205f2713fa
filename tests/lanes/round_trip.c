/* SPDX-License-Identifier: MIT */
/* CPU time of the whole process for a round trip, while many other threads wait for a stream each;
 * for crowd.sh. A byte comes through a socketpair, and the main thread waits for the aio_read() of
 * it. THREADS: how many others. FOREIGN: another thread has made the requests that are waited for,
 * the others' too. Prints ns, the median of some rounds. */
#include "crowd.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { ROUNDS = 5, TRIPS = 400, MOST = 2000 };

struct other {
    struct aiocb cb;
    char byte;
    int ends[2];
};

static struct other others[MOST];
static struct aiocb cb;
static char byte;
static int data[2], calls[2]; /* calls: of main, and the echo's answers */
static bool foreign;
static atomic_int waiting;

static void make(struct other *other) {
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, other->ends) == 0, "socketpair");
    other->cb = request(other->ends[0], &other->byte, 1, 0);
    need(aio_read(&other->cb) == 0, "aio_read");
}

static void *waits(void *arg) {
    struct other *other = arg;
    if (!foreign) make(other);
    waiting++;
    finish(&other->cb);
    return NULL;
}

static void submit(void) {
    cb = request(data[0], &byte, 1, 0);
    need(aio_read(&cb) == 0, "aio_read");
}

static void *echo(void *unused) {
    char call;
    for (;;) {
        need(read(calls[1], &call, 1) == 1, "read");
        if (foreign) submit();
        need(write(calls[1], "s", 1) == 1 && read(calls[1], &call, 1) == 1, "handshake");
        need(write(data[1], "x", 1) == 1, "write");
    }
    return unused;
}

static void trip(void) {
    char answer;
    if (!foreign) submit();
    need(write(calls[0], "c", 1) == 1 && read(calls[0], &answer, 1) == 1, "handshake");
    byte = 0;
    need(write(calls[0], "c", 1) == 1, "write");
    if (finish(&cb) || aio_return(&cb) != 1 || byte != 'x') say("wrong"), exit(1);
}

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int less(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test(void) {
    int n = atoi(getenv("THREADS"));
    struct rlimit files = {2 * MOST + 100, 2 * MOST + 100};
    uint64_t took[ROUNDS];
    foreign = getenv("FOREIGN");
    need(n <= MOST && setrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, data) == 0, "socketpair");
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, calls) == 0, "socketpair");
    for (int i = 0; foreign && i < n; i++) make(&others[i]);
    for (int i = 0; i < n; i++) start(waits, &others[i]);
    start(echo, NULL);
    while (waiting < n) sleep_ms(1);
    sleep_ms(200); /* all sleep */
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t begin = cpu_ns();
        for (int j = 0; j < TRIPS; j++) trip();
        took[i] = (cpu_ns() - begin) / TRIPS;
    }
    qsort(took, ROUNDS, sizeof *took, less);
    printf("%lu\n", took[ROUNDS / 2]);
}
