/* SPDX-License-Identifier: MIT */
/* overlap.c - does a program's computation go on beside its I/O? The time of a read with a
 * computation of equal length beside it, over the longer of the two alone: 1 is perfect, 2 is one
 * after the other. The read alone is the library's own, so a quick one makes this figure worse; the
 * other is the time of both itself, the computation as long as a plain pread().
 */
#include "bench.h"

#define ROUNDS 200

enum mode { DIRECT, CACHED, UNCACHED };

static const char *const mode_names[] = {"direct", "cached", "uncached"};
static const struct {
    const char *name;
    size_t bytes;
} sizes[] = {{"64 KiB", 64 << 10}, {"1 MiB", 1 << 20}, {"8 MiB", 8 << 20}, {"64 MiB", 64 << 20}};

static char *buffer;

static void compute(double rounds) {
    static volatile uint64_t sink;
    uint64_t x = sink;
    for (uint64_t n = (uint64_t)rounds; n > 0; n--) x = x * 6364136223846793005u + n;
    sink = x;
}

/* Reads with so many rounds of computation beside it, and answers the time of both. */
static double both(int fd, enum mode mode, size_t bytes, double rounds) {
    struct aiocb cb = request(fd, LIO_READ, buffer, bytes, anywhere(bytes));
    if (mode == UNCACHED) drop(fd);
    double begin = now_ns();
    start(&cb);
    compute(rounds);
    finish(&cb);
    return now_ns() - begin;
}

static double plain(int fd, enum mode mode, size_t bytes) {
    off_t offset = anywhere(bytes);
    if (mode == UNCACHED) drop(fd);
    double begin = now_ns();
    need(pread(fd, buffer, bytes, offset) == (ssize_t)bytes, "pread");
    return now_ns() - begin;
}

static double alone(double rounds) {
    double begin = now_ns();
    compute(rounds);
    return now_ns() - begin;
}

/* Rounds of computation in a nanosecond. */
static double speed(void) {
    double trial = 1e6;
    return trial / alone(trial);
}

static void measure_time(int fd, enum mode mode, size_t size) {
    static double together[ROUNDS];
    size_t bytes = sizes[size].bytes;
    double per_ns = speed();
    int n = 0;
    for (; n < 9; n++) together[n] = plain(fd, mode, bytes);
    double rounds = per_ns * quantile(together, n, 0.5);
    n = 0;
    for (double end = now_ns() + span_ns(0.3); n < ROUNDS && (n < 4 || now_ns() < end); n++)
        together[n] = both(fd, mode, bytes, rounds);
    char name[64];
    snprintf(name, sizeof name, "computation and %s read of %s", mode_names[mode],
             sizes[size].name);
    figure(name, "us", "lower", quantile(together, n, 0.5) / 1000);
}

static void measure_overlap(int fd, enum mode mode, size_t size) {
    static double io[ROUNDS], computing[ROUNDS], together[ROUNDS];
    size_t bytes = sizes[size].bytes;
    double per_ns = speed();
    int n = 0;
    for (; n < 4; n++) io[n] = both(fd, mode, bytes, 0);
    double rounds = per_ns * quantile(io, n, 0.5);
    n = 0;
    for (double end = now_ns() + span_ns(0.3); n < ROUNDS && (n < 4 || now_ns() < end); n++) {
        io[n] = both(fd, mode, bytes, 0);
        computing[n] = alone(rounds);
        together[n] = both(fd, mode, bytes, rounds);
    }
    double one = quantile(io, n, 0.5), other = quantile(computing, n, 0.5);
    char name[64];
    snprintf(name, sizeof name, "overlap %s read %s", mode_names[mode], sizes[size].name);
    figure(name, "x", "lower", quantile(together, n, 0.5) / (one > other ? one : other));
}

int main(void) {
    buffer = pages(64 << 20);
    warm_up();
    alone(1e8); /* the processor's clock goes up */
    for (enum mode mode = DIRECT; mode <= UNCACHED; mode++) {
        int fd = data_file(O_RDONLY | (mode == DIRECT ? O_DIRECT : 0));
        if (mode == CACHED) load(fd);
        for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
            measure_overlap(fd, mode, size);
            measure_time(fd, mode, size);
        }
        close(fd);
    }
    return 0;
}
