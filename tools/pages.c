/* SPDX-License-Identifier: MIT */
/* pages.c - reading the files of KAIO_STATS=live and =DIRECTORY (shim/observe/share.c), and their
 * sum as text. They are read, not mapped: nothing that their owner does to them can stop the
 * reader.
 */
#include "early.h"

#include "pages.h"
#include "printable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long long ull;

static struct command {
    char name[sizeof((struct kaio_counts *)0)->command];
    ull processes, requests;
} * commands;

static struct kaio_counts sum;
static size_t ncommands;
static ull processes, contexts;

bool page_read(int dir, const char *name, const uid_t *owner, struct kaio_counts *page) {
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = kaio_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                (!owner || st.st_uid == *owner) &&
                pread(fd, page, sizeof *page, 0) == (ssize_t)sizeof *page &&
                page->magic == KAIO_PAGE_MAGIC && page->size == sizeof *page &&
                page->mode < KAIO_STATS_MODES;
    close(fd);
    page->command[sizeof page->command - 1] = 0;
    errno = 0;
    return good;
}

static ull total(const kaio_count counts[], int n) {
    ull all = 0;
    for (int i = 0; i < n; i++) all += counts[i];
    return all;
}

static struct command *command_of(const char *name) {
    for (size_t i = 0; i < ncommands; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    struct command *more = realloc(commands, (ncommands + 1) * sizeof *more);
    if (!more) return NULL;
    commands = more;
    more += ncommands++;
    *more = (struct command){.processes = 0};
    strcpy(more->name, name);
    return more;
}

/* The one that asked for most comes first. */
static int by_requests(const void *a, const void *b) {
    const struct command *x = a, *y = b;
    return x->requests == y->requests ? strcmp(x->name, y->name)
                                      : (x->requests < y->requests) - (x->requests > y->requests);
}

void pages_add(const struct kaio_counts *page) {
    kaio_count *to = (kaio_count *)((char *)&sum + KAIO_COUNTS_BEGIN);
    const kaio_count *from = (const kaio_count *)((const char *)page + KAIO_COUNTS_BEGIN);
    ull peak = sum.worker_peak > page->worker_peak ? sum.worker_peak : page->worker_peak;
    for (size_t i = 0; i < KAIO_COUNTS_WORDS; i++) to[i] += from[i];
    sum.worker_peak = peak; /* the largest: they need not have been at the same time */
    if (page->setup < 0) sum.setup = page->setup;
    contexts += page->setup > 0;
    processes++;
    struct command *command = command_of(page->command);
    if (!command) return;
    command->processes++;
    command->requests += total(page->requests, KAIO_STATS_OPS);
}

static void put(FILE *out, const char *what, ull n) {
    fprintf(out, "  %-28s %12llu\n", what, n);
}

static void put_command(FILE *out, const struct command *c) {
    char *name = NULL;
    size_t n;
    FILE *text = open_memstream(&name, &n);
    if (!text) return;
    fputs("of ", text);
    printable(text, c->name, INT_MAX);
    if (c->processes > 1) fprintf(text, " (%llu processes)", c->processes);
    fclose(text);
    put(out, name, c->requests);
    free(name);
}

static void put_times(FILE *out, const char *what, const struct kaio_hist *h) {
    double p50 = (double)kaio_hist_share(h, 0.5) / 1e3,
           p99 = (double)kaio_hist_share(h, 0.99) / 1e3;
    fprintf(out, "  %-26s p50 %.1f us, p99 %.1f us, max %.1f us\n", what, p50, p99,
            (double)kaio_hist_share(h, 1) / 1e3);
}

static void put_lanes(FILE *out) {
    static const char *const lanes[] = {"by the kernel", "by workers", "by the calling thread"};
    static const char *const whys[] = KAIO_NAMES_WHYS;
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        ull n = 0;
        for (int op = 0; op < KAIO_STATS_OPS; op++) n += kaio_hist_count(&sum.completion[lane][op]);
        put(out, lanes[lane], n);
    }
    put(out, "waits for a stream", sum.streams);
    for (int i = 0; i < KAIO_STATS_WHYS; i++) {
        char label[64];
        snprintf(label, sizeof label, "declined: %s", whys[i]);
        for (char *c = label; (c = strchr(c, '_'));) *c = ' ';
        if (sum.whys[i]) put(out, label, sum.whys[i]);
    }
}

void pages_print(FILE *out, const char *started) {
    fprintf(out, "libkaio: %llu requests", total(sum.requests, KAIO_STATS_OPS));
    if (processes == 0) {
        fputs(" of ", out);
        printable(out, started, INT_MAX);
        fputs(" or what it started\n", out);
        return;
    }
    putc('\n', out);
    qsort(commands, ncommands, sizeof *commands, by_requests);
    for (size_t i = 0; i < ncommands; i++) put_command(out, &commands[i]);
    put_lanes(out);
    fprintf(out, "  io_submit %llu times for %llu iocbs; workers at once %llu\n", (ull)sum.submits,
            (ull)sum.submitted, (ull)sum.worker_peak);
    fprintf(out, "  a context in %llu of %llu processes%s%s\n", contexts, processes,
            sum.setup ? "; refused: " : "", sum.setup ? strerror(-sum.setup) : "");
    fprintf(out,
            "  asked for: %llu reads of %llu bytes, %llu writes of %llu, %llu syncs; depth %llu\n",
            (ull)sum.requests[0], (ull)sum.bytes[0], (ull)sum.requests[1], (ull)sum.bytes[1],
            total(sum.requests + 2, 2),
            (ull)kaio_hist_lower(kaio_hist_index(kaio_hist_share(&sum.depth, 1))));
    put_times(out, "until its end was seen", &sum.latency);
    put_times(out, "inside the calls", &sum.call);
}
