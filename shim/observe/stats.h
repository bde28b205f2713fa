/* SPDX-License-Identifier: MIT */
/* stats.h - the figures of one process, as the library counts them and as `kaio top` reads them
 * from the page that KAIO_STATS=live or =DIRECTORY publishes (share.c). Plain words: only counted
 * up, but for gauges.
 *
 * Histograms are log-linear, as HdrHistogram's: exact below 16, then 16 equal steps for each power
 * of two, so a value is at most 1/16 (6.25 %) below the upper bound that stands for it. Those of a
 * file have 4 steps: the bound is at most 25 % more than the value.
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
#define KAIO_PAGE_MAGIC   0x33306f69616bull /* "kaio03": changes with the layout */
#define KAIO_PAGE_PREFIX  "libkaio-"        /* share.c has the rest of the name */
#define KAIO_STATS_OPS    4                 /* read, write, fsync, fdatasync */
#define KAIO_STATS_LANES  3                 /* kernel, worker, caller */
#define KAIO_STATS_WHYS   8                 /* enum kaio_reason */
#define KAIO_STATS_MODES  3                 /* enum kaio_mode */
#define KAIO_STATS_FILES  64                /* that have figures of their own, at most; 2^n */
#define KAIO_FILE_SIZES   32                /* powers of two; the last takes more */
#define KAIO_FILE_TIMES   156               /* 4 steps for each, up to 2^40 ns */

typedef _Atomic uint64_t kaio_count;

static inline void kaio_count_add(kaio_count *count, uint64_t n) {
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static inline void kaio_count_set(kaio_count *count, uint64_t n) {
    atomic_store_explicit(count, n, memory_order_relaxed);
}

/* The bucket of a size among so many: powers of two, the last takes more. */
static inline unsigned kaio_size_index(uint64_t nbytes, unsigned buckets) {
    unsigned i = nbytes <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(nbytes - 1);
    return i < buckets ? i : buckets - 1;
}

struct kaio_hist {
    kaio_count bucket[KAIO_HIST_BUCKETS];
};

/* One file (files.c): whatever its names are, and however often it is opened. */
struct kaio_file_counts {
    _Atomic uint32_t id;               /* of the file in this place; 0: none, 1: being written */
    kaio_count device, inode, born_ns; /* born_ns: 0 if the filesystem does not know it */
    kaio_count stream;                 /* 1: it has no offsets */
    char path[256];                    /* when it was first met; "": unknown */
    kaio_count next[2];                /* where the last read and write end */
    kaio_count before;                 /* requests that the place has counted for other files */
    kaio_count syncs[2], bytes[2];
    /* reads and writes; [1]: began where the last of the same kind ended, or the first at 0. One
     * count for all three, as each takes time at every request */
    kaio_count sizes[2][2][KAIO_FILE_SIZES];
    kaio_count lanes[KAIO_STATS_LANES], whys[KAIO_STATS_WHYS], latency[KAIO_FILE_TIMES];
};
#define KAIO_FILE_BEGIN offsetof(struct kaio_file_counts, syncs) /* from here: words */
#define KAIO_FILE_WORDS ((sizeof(struct kaio_file_counts) - KAIO_FILE_BEGIN) / sizeof(kaio_count))

struct kaio_counts {
    uint64_t magic, size; /* of the struct; magic is written last */
    uint32_t pid, mode;
    uint64_t start_ns;     /* CLOCK_MONOTONIC */
    kaio_count end_ns;     /* of what is counted: the last call, or the report */
    _Atomic int32_t setup; /* 1: there is a context; 0: not needed; else why not: -errno */
    char command[256];
    struct kaio_file_counts files[KAIO_STATS_FILES];
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

/* Of a file: how many requests of an operation. */
static inline uint64_t kaio_file_requests(const struct kaio_file_counts *file, unsigned op) {
    uint64_t n = 0;
    if (op > 1) return file->syncs[op - 2];
    for (int i = 0; i < KAIO_FILE_SIZES; i++) n += file->sizes[op][0][i] + file->sizes[op][1][i];
    return n;
}

/* Buckets of a log-linear histogram with 2^bits steps for each power of two. */
static inline unsigned kaio_step_index(uint64_t v, unsigned bits) {
    if (v >> bits == 0) return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - bits;
    return ((shift + 1) << bits) + ((unsigned)(v >> shift) & ((1u << bits) - 1));
}

/* The largest value of a bucket. */
static inline uint64_t kaio_step_upper(unsigned i, unsigned bits) {
    if (i >> bits == 0) return i;
    unsigned shift = (i >> bits) - 1, step = i & ((1u << bits) - 1);
    return ((uint64_t)((1u << bits) + step + 1) << shift) - 1;
}

static inline unsigned kaio_hist_index(uint64_t v) {
    unsigned i = kaio_step_index(v, 4);
    return i < KAIO_HIST_BUCKETS ? i : KAIO_HIST_BUCKETS - 1;
}

static inline uint64_t kaio_hist_upper(unsigned i) {
    return kaio_step_upper(i, 4);
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
