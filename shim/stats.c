/* stats.c - the report at exit, for KAIO_STATS. Runs once, from the destructor, without the lock:
 * other threads may still be counting, and the figures are as good as the moment. */
#include "kaio.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const reasons[KAIO_REASONS] = {
    [KAIO_R_FEW] = "first few of the process", [KAIO_R_CONTEXT] = "no kernel context",
    [KAIO_R_AGAIN] = "would have waited",      [KAIO_R_UNSUPP] = "not supported by the file",
    [KAIO_R_ERROR] = "error to be confirmed",  [KAIO_R_LARGE] = "large buffered copy",
    [KAIO_R_APPEND] = "O_APPEND write",        [KAIO_R_SHORT] = "rest of a short transfer",
};

static void put(FILE *out, const char *what, uint64_t n) {
    fprintf(out, "  %-28s %12llu\n", what, (unsigned long long)n);
}

void kaio_stats_report(void) {
    char text[4096] = "";
    int fd = kaio_output_open(kaio_config.stats);
    FILE *out = fd >= 0 ? fmemopen(text, sizeof text - 1, "w") : NULL;
    if (!out) return;
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
            kaio.ctx           ? "yes"
            : kaio.setup_error ? strerror(-kaio.setup_error)
                               : "not needed");
    fclose(out);
    syscall(SYS_write, fd, text, strlen(text));
    syscall(SYS_close, fd);
}
