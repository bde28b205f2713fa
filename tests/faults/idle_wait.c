/* Waiting takes no processor time, whatever is waited for and however; aio_error() alone sees the
 * end of a request, and one wake-up stands for any number of ends. For no_ring.sh. */
#include "test.h"

#include <sys/resource.h>

enum { LIST = 1000, SIZE = 4096 };

static int pipes[2];
static char byte;

static uint64_t cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void *feed_later(void *unused) {
    sleep_ms(500);
    need(write(pipes[1], "x", 1) == 1, "write");
    return unused;
}

static void *submit(void *cb) {
    need(aio_read(cb) == 0, "aio_read");
    return NULL;
}

static void timed(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    struct timespec limit = {10, 0};
    need(aio_read(cb) == 0, "aio_read");
    answered("timed", aio_suspend(list, 1, &limit));
}

static void untimed(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    need(aio_read(cb) == 0, "aio_read");
    answered("untimed", aio_suspend(list, 1, NULL));
}

/* The reaper watches for it. */
static void of_another_thread(struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    pthread_t thread;
    need(pthread_create(&thread, NULL, submit, cb) == 0, "thread");
    pthread_join(thread, NULL);
    answered("another thread's", aio_suspend(list, 1, NULL));
}

static void list(struct aiocb *cb) {
    cb->aio_lio_opcode = LIO_READ;
    answered("list", lio_listio(LIO_WAIT, &cb, 1, NULL));
}

/* More than are reaped in a few rounds. Answers the last. */
static struct aiocb *submit_many(int fd, char *buf) {
    static struct aiocb cbs[LIST], *list[LIST];
    for (int i = 0; i < LIST; i++) {
        cbs[i] = request(fd, buf, SIZE, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    need(lio_listio(LIO_NOWAIT, list, LIST, NULL) == 0, "lio_listio");
    return &cbs[LIST - 1];
}

static void many(int fd) {
    char *buf = pages(SIZE);
    struct aiocb *last = submit_many(fd, buf);
    sleep_ms(200); /* all have ended, and none is reaped but by this thread */
    const struct aiocb *list[] = {last};
    answered("waited for", aio_suspend(list, 1, NULL));
    report("the last", last);
}

/* A sync, for it has not ended when aio_fsync() returns. */
static void looked_at(int fd) {
    struct aiocb cb = request(fd, NULL, 0, 0);
    sleep_ms(1500); /* the workers are gone, which look for events, too */
    need(pwrite(fd, "x", 1, 0) == 1 && aio_fsync(O_SYNC, &cb) == 0, "aio_fsync");
    while (aio_error(&cb) == EINPROGRESS) continue;
    report("looked at", &cb);
}

static void test(void) {
    looked_at(scratch(O_RDWR, SIZE));
    many(scratch(O_RDONLY | O_DIRECT, SIZE));
    static void (*const ways[])(struct aiocb *) = {timed, untimed, of_another_thread, list};
    need(pipe(pipes) == 0, "pipe");
    for (int i = 0; i < 4; i++) {
        pthread_t feeder;
        struct aiocb cb = request(pipes[0], &byte, 1, 0);
        need(pthread_create(&feeder, NULL, feed_later, NULL) == 0, "thread");
        uint64_t begin = now_us(), used = cpu_us();
        ways[i](&cb);
        used = (cpu_us() - used) * 100 / (now_us() - begin);
        if (used < 20) say("idle");
        else say("takes %d %% of a processor", (int)used);
        report("read", &cb);
        pthread_join(feeder, NULL);
    }
}
