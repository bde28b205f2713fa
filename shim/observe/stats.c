/* SPDX-License-Identifier: MIT */
/* stats.c - counting inside the library, for KAIO_STATS.
 *
 * kaio_stats_copied() and kaio_stats_stamp() are called anywhere, the rest under the lock; all only
 * if kaio_stats_on.
 */
#include "observe/watch.h"
#include "observe/stats.h"

_Static_assert(KAIO_REASONS == KAIO_STATS_WHYS, "stats.h has another number of reasons");
_Static_assert(KAIO_LANES - 1 == KAIO_STATS_LANES, "stats.h has another number of lanes");
_Static_assert(KAIO_OFF + 1 == KAIO_STATS_MODES, "stats.h has another number of modes");

struct kaio_counted kaio_counted KAIO_WIPED;

struct kaio_stamp kaio_stats_stamp(int fd) {
    return (struct kaio_stamp){kaio_call_start_ns, kaio_files_id(fd)};
}

void kaio_stats_complete(enum kaio_lane lane, enum kaio_op op, const struct kaio_stamp *stamp,
                         long res) {
    if (lane == KAIO_NOBODY || op == KAIO_INVALID || op == KAIO_BARRIER) return;
    struct kaio_counts *c = kaio_watch_counts();
    kaio_watch_time(&c->completion[lane - 1][kaio_watch_op(op)], kaio_now_ns() - stamp->start_ns);
    if (res > 0) kaio_count_add(&c->lane_bytes[lane - 1], (uint64_t)res);
    kaio_files_ended(c, stamp->file, lane);
}

void kaio_stats_copied(int fd, size_t nbytes) {
    struct kaio_stamp stamp = kaio_stats_stamp(fd);
    kaio_stats_complete(KAIO_BY_CALLER, KAIO_READ, &stamp, (long)nbytes);
}

void kaio_stats_declined(const struct kaio_stamp *stamp, enum kaio_reason reason) {
    kaio_files_declined(kaio_watch_counts(), stamp->file, reason);
}

void kaio_stats_update(void) {
    struct kaio_counts *c = kaio_watch_counts();
    for (int i = 0; i < KAIO_REASONS; i++) kaio_count_set(&c->whys[i], kaio_counted.declined[i]);
    kaio_count_set(&c->workers, kaio_counted.workers);
    kaio_count_set(&c->worker_peak, kaio_counted.worker_peak);
    kaio_count_set(&c->submits, kaio_counted.submits);
    kaio_count_set(&c->submitted, kaio_counted.submitted);
    kaio_count_set(&c->streams, kaio_counted.streams);
    atomic_store_explicit(&c->setup, kaio_context.ctx ? 1 : kaio_context.setup_error,
                          memory_order_relaxed);
}
