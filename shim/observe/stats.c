/* stats.c - counting inside the library, and the report at exit, for KAIO_STATS.
 *
 * kaio_stats_complete() and kaio_stats_update() are called under the lock, kaio_stats_copied()
 * anywhere; all only if kaio_stats_on. The report is made once, from the destructor, without the
 * lock: other threads may still be counting, and the figures are as good as the moment. json.c
 * writes the same for programs.
 */
#include "observe/watch.h"
#include "observe/stats.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX        (256 << 10)
#define PATIENCE_TENTHS 10 /* for a reader who is behind */

static const char *const reasons[KAIO_REASONS] = {
    [KAIO_R_FEW] = "first few of the process", [KAIO_R_CONTEXT] = "no kernel context",
    [KAIO_R_AGAIN] = "would have waited",      [KAIO_R_UNSUPP] = "not supported by the file",
    [KAIO_R_ERROR] = "error to be confirmed",  [KAIO_R_LARGE] = "large buffered copy",
    [KAIO_R_APPEND] = "O_APPEND write",        [KAIO_R_SHORT] = "rest of a short transfer",
};
_Static_assert(KAIO_REASONS == KAIO_STATS_WHYS, "stats.h has another number of reasons");
_Static_assert(KAIO_LANES - 1 == KAIO_STATS_LANES, "stats.h has another number of lanes");
_Static_assert(KAIO_OFF + 1 == KAIO_STATS_MODES, "stats.h has another number of modes");

static void add(kaio_count *count, uint64_t n) {
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void set(kaio_count *count, uint64_t n) {
    atomic_store_explicit(count, n, memory_order_relaxed);
}

void kaio_stats_complete(enum kaio_lane lane, enum kaio_op op, uint64_t start_ns, long res) {
    if (lane == KAIO_NOBODY || op == KAIO_INVALID || op == KAIO_BARRIER) return;
    struct kaio_counts *c = kaio_watch_counts();
    kaio_watch_time(&c->completion[lane - 1][kaio_watch_op(op)], kaio_now_ns() - start_ns);
    if (res > 0) add(&c->lane_bytes[lane - 1], (uint64_t)res);
}

void kaio_stats_copied(size_t nbytes) {
    kaio_stats_complete(KAIO_BY_CALLER, KAIO_READ, kaio_call_start_ns, (long)nbytes);
}

void kaio_stats_update(void) {
    struct kaio_counts *c = kaio_watch_counts();
    for (int i = 0; i < KAIO_REASONS; i++) set(&c->whys[i], kaio.declined[i]);
    set(&c->workers, kaio.workers);
    set(&c->worker_peak, kaio.worker_peak);
    set(&c->submits, kaio.submits);
    set(&c->submitted, kaio.submitted);
    set(&c->streams, kaio.by_stream);
    atomic_store_explicit(&c->setup, kaio.ctx ? 1 : kaio.setup_error, memory_order_relaxed);
}

static void put(FILE *out, const char *what, uint64_t n) {
    fprintf(out, "  %-28s %12llu\n", what, (unsigned long long)n);
}

/* The lanes, and why others were declined: what the library has done. */
static void put_lanes(FILE *out, const struct kaio_counts *c) {
    uint64_t copied = 0, requests = 0;
    for (struct kaio_thread *t = kaio_threads; t; t = t->next) copied += t->copied;
    for (int op = 0; op < KAIO_BARRIER; op++) requests += kaio.by_op[op];
    fprintf(out, "libkaio[%d]: %llu requests\n", (int)getpid(),
            (unsigned long long)(requests + copied));
    put(out, "by the kernel", kaio.by_lane[KAIO_BY_KERNEL]);
    put(out, "by workers", kaio.by_lane[KAIO_BY_WORKER]);
    put(out, "by the calling thread", kaio.by_lane[KAIO_BY_CALLER] + copied);
    put(out, "waits for a stream", kaio.by_stream);
    for (int i = 0; i < KAIO_REASONS; i++) {
        char label[64];
        snprintf(label, sizeof label, "declined: %s", reasons[i]);
        if (kaio.declined[i]) put(out, label, kaio.declined[i]);
    }
    fprintf(out, "  reads %llu, writes %llu, syncs %llu; io_submit %llu times for %llu iocbs\n",
            (unsigned long long)(kaio.by_op[KAIO_READ] + copied),
            (unsigned long long)kaio.by_op[KAIO_WRITE],
            (unsigned long long)(kaio.by_op[KAIO_FSYNC] + kaio.by_op[KAIO_FDSYNC]),
            (unsigned long long)kaio.submits, (unsigned long long)kaio.submitted);
    fprintf(out, "  workers at once %llu; context: %s\n", (unsigned long long)kaio.worker_peak,
            kaio_json_setup(c));
}

static void put_times(FILE *out, const char *what, const struct kaio_hist *h) {
    double p50 = (double)kaio_hist_share(h, 0.5) / 1e3,
           p99 = (double)kaio_hist_share(h, 0.99) / 1e3;
    fprintf(out, "  %-26s p50 %.1f us, p99 %.1f us, max %.1f us\n", what, p50, p99,
            (double)kaio_hist_share(h, 1) / 1e3);
}

/* What the program asked for and saw: the only figures where glibc does the work. */
static void put_calls(FILE *out, const struct kaio_counts *c) {
    fprintf(out,
            "  asked for: %llu reads of %llu bytes, %llu writes of %llu, %llu syncs; depth %llu\n",
            (unsigned long long)c->requests[0], (unsigned long long)c->bytes[0],
            (unsigned long long)c->requests[1], (unsigned long long)c->bytes[1],
            (unsigned long long)(c->requests[2] + c->requests[3]),
            (unsigned long long)kaio_hist_lower(kaio_hist_index(kaio_hist_share(&c->depth, 1))));
    put_times(out, "until its end was seen", &c->latency);
    put_times(out, "inside the calls", &c->call);
}

static bool is_json(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".json");
}

void kaio_stats_report(void) {
    if (!kaio_stats_on) return;
    struct kaio_counts *c = kaio_watch_now();
    kaio_stats_update();
    if (kaio_share_end()) return;
    char *text = kaio_alloc(TEXT_MAX);
    FILE *out = text ? fmemopen(text, TEXT_MAX - 1, "w") : NULL;
    if (!out) return;
    if (is_json(kaio_config.stats)) {
        kaio_json_write(out, c);
    } else {
        put_lanes(out, c);
        put_calls(out, c);
    }
    fclose(out);
    int err = kaio_output_write(kaio_config.stats, text, strlen(text), PATIENCE_TENTHS);
    if (err && strcmp(kaio_config.stats, "1"))
        kaio_say("the report cannot be written: %s: %s", kaio_config.stats, strerrordesc_np(-err));
}
