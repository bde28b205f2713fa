/* SPDX-License-Identifier: MIT */
/* How long does aio_cancel() take at worst beside a thread that never sleeps? For turn.sh, which
 * gives them one CPU: prints how many calls have taken more than a millisecond.
 */
#include "test.h"

#include <pthread.h>

enum { BYTES = 60000, LONG_US = 1000, TIME_US = 1500000 };

static int ends[2];

/* The data is there when it is read: so nothing waits, and each request takes the lock. */
static void *read_on(void *unused) {
    static char buf[BYTES];
    for (;;) {
        need(write(ends[1], buf, BYTES) == BYTES, "write");
        struct aiocb cb = request(ends[0], buf, BYTES, 0);
        need(aio_read(&cb) == 0, "aio_read");
        if (finish(&cb)) need(read(ends[0], buf, BYTES) == BYTES, "read what a cancel left");
    }
    return unused;
}

static void test(void) {
    int calls = 0;
    pthread_t thread;
    need(pipe(ends) == 0, "pipe");
    need(pthread_create(&thread, NULL, read_on, NULL) == 0, "pthread_create");
    for (uint64_t end = now_us() + TIME_US; now_us() < end;) {
        struct timespec moment = {0, 300000};
        nanosleep(&moment, NULL);
        uint64_t begin = now_us();
        aio_cancel(ends[0], NULL);
        calls += now_us() - begin > LONG_US;
    }
    printf("%d\n", calls);
    fflush(stdout);
    _exit(0);
}
