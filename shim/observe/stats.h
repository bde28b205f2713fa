/* SPDX-License-Identifier: MIT */
/* stats.h - the figures of one process, as the library counts them and as `kaio top` reads them
 * from the page that KAIO_STATS=live or =DIRECTORY publishes (share.c). Plain words: only counted
 * up, but for gauges.
 *
 * Histograms are log-linear, as HdrHistogram's: exact below 16, then 16 equal steps for each power
 * of two, so a value is at most 1/16 (6.25 %) below the upper bound that stands for it.
 */
#ifndef KAIO_STATS_H
#define KAIO_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define KAIO_HIST_STEPS 16
#define KAIO_HIST_BUCKETS                                                                          \
    (37 * KAIO_HIST_STEPS)                  /* up to 2^40 ns, 18 minutes; the last takes more */
#define KAIO_SIZE_BUCKETS 48                /* powers of two, up to the address space */
#define KAIO_PAGE_MAGIC   0x32306f69616bull /* "kaio02": changes with the layout */
#define KAIO_PAGE_PREFIX  "libkaio-"        /* share.c has the rest of the name */
#define KAIO_STATS_OPS    4                 /* read, write, fsync, fdatasync */
#define KAIO_STATS_LANES  3                 /* kernel, worker, caller */
#define KAIO_STATS_WHYS   8                 /* enum kaio_reason */
#define KAIO_STATS_MODES  3                 /* enum kaio_mode */

typedef _Atomic uint64_t kaio_count;

struct kaio_hist {
    kaio_count bucket[KAIO_HIST_BUCKETS];
};

struct kaio_counts {
    uint64_t magic, size; /* of the struct; magic is written last */
    uint32_t pid, mode;
    uint64_t start_ns;     /* CLOCK_MONOTONIC */
    kaio_count end_ns;     /* of what is counted: the last call, or the report */
    _Atomic int32_t setup; /* 1: there is a context; 0: not needed; else why not: -errno */
    char command[256];
    /* watch.c, at the calls: in every mode */
    kaio_count requests[KAIO_STATS_OPS], bytes[2], sizes[KAIO_SIZE_BUCKETS];
    kaio_count in_progress; /* a gauge: asked for, and the end not seen by the program */
    kaio_count unseen;      /* ends that the program never asked for, or the table had no room */
    /* stats.c, by the library itself */
    kaio_count lane_bytes[KAIO_STATS_LANES], whys[KAIO_STATS_WHYS];
    kaio_count workers, worker_peak, submits, submitted, streams; /* workers: a gauge */
    /* ns; depth: requests */
    struct kaio_hist depth, latency, call, completion[KAIO_STATS_LANES][KAIO_STATS_OPS];
};
#define KAIO_COUNTS_BEGIN offsetof(struct kaio_counts, requests) /* from here: words */
#define KAIO_COUNTS_WORDS ((sizeof(struct kaio_counts) - KAIO_COUNTS_BEGIN) / sizeof(kaio_count))

static inline unsigned kaio_hist_index(uint64_t v) {
    if (v < KAIO_HIST_STEPS) return (unsigned)v;
    unsigned log2 = 63u - (unsigned)__builtin_clzll(v);
    unsigned i = (log2 - 3) * KAIO_HIST_STEPS + (unsigned)(v >> (log2 - 4) & (KAIO_HIST_STEPS - 1));
    return i < KAIO_HIST_BUCKETS ? i : KAIO_HIST_BUCKETS - 1;
}

/* The largest value of a bucket. */
static inline uint64_t kaio_hist_upper(unsigned i) {
    if (i < KAIO_HIST_STEPS) return i;
    unsigned shift = i / KAIO_HIST_STEPS - 1;
    return ((uint64_t)(KAIO_HIST_STEPS + i % KAIO_HIST_STEPS + 1) << shift) - 1;
}

/* The smallest; for depths, which are powers of two more often than one less. */
static inline uint64_t kaio_hist_lower(unsigned i) {
    return i == 0 ? 0 : kaio_hist_upper(i - 1) + 1;
}

static inline uint64_t kaio_hist_count(const struct kaio_hist *h) {
    uint64_t n = 0;
    for (unsigned i = 0; i < KAIO_HIST_BUCKETS; i++) n += h->bucket[i];
    return n;
}

/* The upper bound of what a share of all values does not exceed; share 1: of the largest. */
static inline uint64_t kaio_hist_share(const struct kaio_hist *h, double share) {
    double wanted = share * (double)kaio_hist_count(h);
    uint64_t sum = 0;
    for (unsigned i = 0; i < KAIO_HIST_BUCKETS; i++) {
        sum += h->bucket[i];
        if (sum > 0 && (double)sum >= wanted) return kaio_hist_upper(i);
    }
    return 0;
}

/* Names of lanes, operations and reasons in JSON: stable. */
#define KAIO_NAMES_OPS                                                                             \
    { "read", "write", "fsync", "fdatasync" }
#define KAIO_NAMES_LANES                                                                           \
    { "kernel", "worker", "caller" }
#define KAIO_NAMES_MODES                                                                           \
    { "auto", "worker", "off" }
#define KAIO_NAMES_WHYS                                                                            \
    { "first_few", "no_context", "would_wait", "unsupported", "error", "large", "append", "short" }

#endif
