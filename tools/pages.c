/* SPDX-License-Identifier: MIT */
/* pages.c - reading the files of KAIO_STATS=live and =DIRECTORY (shim/observe/share.c), and their
 * sum as text. They are read, not mapped: nothing that their owner does to them can stop the
 * reader.
 */
#include "early.h"

#include "files.h"
#include "pages.h"
#include "printable.h"
#include "units.h"

#include <dirent.h>
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
static struct files *files;
static size_t ncommands, nrows;
static ull processes, contexts;
static struct page_row *rows;

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

static void add_row(const struct kaio_counts *page) {
    struct page_row *more = realloc(rows, (nrows + 1) * sizeof *more);
    if (!more) return;
    rows = more;
    more += nrows++;
    *more = (struct page_row){.pid = page->pid,
                              .mode = page->mode,
                              .elapsed_us = (double)(page->end_ns - page->start_ns) / 1e3,
                              .requests = total(page->requests, KAIO_STATS_OPS),
                              .bytes = page->bytes[0] + page->bytes[1],
                              .p50_us = (double)kaio_hist_share(&page->latency, 0.5) / 1e3,
                              .p99_us = (double)kaio_hist_share(&page->latency, 0.99) / 1e3};
    strcpy(more->command, page->command);
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++)
        for (int op = 0; op < KAIO_STATS_OPS; op++)
            more->lanes[lane] += kaio_hist_count(&page->completion[lane][op]);
}

void pages_add(const struct kaio_counts *page) {
    kaio_count *to = (kaio_count *)((char *)&sum + KAIO_COUNTS_BEGIN);
    const kaio_count *from = (const kaio_count *)((const char *)page + KAIO_COUNTS_BEGIN);
    ull peak = sum.worker_peak > page->worker_peak ? sum.worker_peak : page->worker_peak;
    for (size_t i = 0; i < KAIO_COUNTS_WORDS; i++) to[i] += from[i];
    sum.worker_peak = peak; /* the largest: they need not have been at the same time */
    if (page->setup < 0) sum.setup = page->setup;
    files = files_add(files, page);
    contexts += page->setup > 0;
    processes++;
    add_row(page);
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
    files_print(out, files, INT_MAX);
}

const struct kaio_counts *pages_sum(void) {
    return &sum;
}

const struct page_row *pages_rows(size_t *n) {
    *n = nrows;
    return rows;
}

const char *pages_command(void) {
    qsort(commands, ncommands, sizeof *commands, by_requests);
    return ncommands ? commands->name : "";
}

void pages_table(FILE *out) {
    static const char *const heads[] = {"REQUESTS", "BYTES", "P50", "P99", "KERN", "WORK", "CALL"};
    static const int widths[] = {9, 8, 7, 7, 4, 4, 4};
    fprintf(out, "\n%7s %-13s %8s", "PID", "COMMAND", "TIME");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) put_right(out, heads[i], widths[i]);
    fputs("\n", out);
    for (const struct page_row *r = rows; r < rows + nrows; r++) {
        double done = (double)(r->lanes[0] + r->lanes[1] + r->lanes[2]);
        fprintf(out, "%7u ", r->pid);
        int used = printable(out, r->command, 13);
        fprintf(out, "%*s", 13 - used, "");
        put_right(out, unit_time(r->elapsed_us), 8);
        put_right(out, unit_count((double)r->requests), widths[0]);
        put_right(out, unit_bytes((double)r->bytes), widths[1]);
        put_right(out, unit_time(r->p50_us), widths[2]);
        put_right(out, unit_time(r->p99_us), widths[3]);
        for (int lane = 0; lane < KAIO_STATS_LANES; lane++)
            fprintf(out, " %3.0f%%", done > 0 ? 100 * (double)r->lanes[lane] / done : 0);
        fputs("\n", out);
    }
}

/* Of the files of a directory those that may be pages. */
static int is_page(const struct dirent *entry) {
    return !strncmp(entry->d_name, KAIO_PAGE_PREFIX, sizeof KAIO_PAGE_PREFIX - 1);
}

/* False: it was no page, and that has been said. */
static bool read_one(int dir, const char *name, const char *shown,
                     void (*use)(const struct kaio_counts *)) {
    static struct kaio_counts page;
    if (page_read(dir, name, NULL, &page)) return use(&page), true;
    int err = errno;
    fputs("kaio: ", stderr);
    printable(stderr, shown, INT_MAX);
    fprintf(stderr, err ? ": %s\n" : " holds no figures that this version of libkaio wrote\n",
            strerror(err));
    return false;
}

bool pages_read(const char *path, void (*use)(const struct kaio_counts *)) {
    struct dirent **names;
    struct stat st;
    if (kaio_stat(path, &st) || !S_ISDIR(st.st_mode)) return read_one(AT_FDCWD, path, path, use);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int n =
        dir < 0 ? -1 : scandir(path, &names, is_page, versionsort); /* by process, then by time */
    if (n < 0) return read_one(AT_FDCWD, path, path, use);
    bool good = true;
    for (int i = 0; i < n; i++) {
        good &= read_one(dir, names[i]->d_name, names[i]->d_name, use);
        free(names[i]);
    }
    free(names);
    close(dir);
    return good;
}
