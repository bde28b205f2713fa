/* SPDX-License-Identifier: MIT */
/* files.c - which files the requests were for: the places of one page, or of several, with those of
 * the same file added up (shim/observe/files.c counts). For kaio --stats, kaio top and its report.
 */
#include "files.h"
#include "pages.h"
#include "printable.h"

#include <stdlib.h>
#include <string.h>

#define FILES_SHOWN 10

typedef unsigned long long ull;

struct files {
    size_t n;
    ull requests; /* of all files, those without a place, too */
    struct kaio_file_counts file[];
};

static const char *const lanes[] = KAIO_NAMES_LANES, *const whys[] = KAIO_NAMES_WHYS,
                         *const ops[] = KAIO_NAMES_OPS;

static ull total(const kaio_count counts[], int n) {
    ull all = 0;
    for (int i = 0; i < n; i++) all += counts[i];
    return all;
}

static ull requests_of(const struct kaio_file_counts *f) {
    ull n = 0;
    for (unsigned op = 0; op < KAIO_STATS_OPS; op++) n += kaio_file_requests(f, op);
    return n;
}

/* What one count holds for all. */
struct figures {
    kaio_count requests[KAIO_STATS_OPS], sequential[2], sizes[KAIO_FILE_SIZES];
};

static void figures_of(const struct kaio_file_counts *f, struct figures *g) {
    memset(g, 0, sizeof *g);
    for (unsigned op = 0; op < KAIO_STATS_OPS; op++) g->requests[op] = kaio_file_requests(f, op);
    for (int op = 0; op < 2; op++) {
        g->sequential[op] = total(f->sizes[op][1], KAIO_FILE_SIZES);
        for (int i = 0; i < KAIO_FILE_SIZES; i++)
            g->sizes[i] += f->sizes[op][0][i] + f->sizes[op][1][i];
    }
}

static bool is_same(const struct kaio_file_counts *a, const struct kaio_file_counts *b) {
    return a->inode == b->inode && a->device == b->device && a->born_ns == b->born_ns;
}

static void add_file(struct files *sum, const struct kaio_file_counts *from) {
    struct kaio_file_counts *to = sum->file, *end = to + sum->n;
    while (to < end && !is_same(to, from)) to++;
    if (to == end) {
        *to = *from;
        to->path[sizeof to->path - 1] = 0;
        sum->n++;
        return;
    }
    kaio_count *words = (kaio_count *)((char *)to + KAIO_FILE_BEGIN);
    const kaio_count *more = (const kaio_count *)((const char *)from + KAIO_FILE_BEGIN);
    to->before += from->before;
    for (size_t i = 0; i < KAIO_FILE_WORDS; i++) words[i] += more[i];
}

static int by_requests(const void *a, const void *b) {
    const struct kaio_file_counts *x = a, *y = b;
    ull nx = requests_of(x), ny = requests_of(y);
    return nx == ny ? strcmp(x->path, y->path) : (nx < ny) - (nx > ny);
}

struct files *files_add(struct files *sum, const struct kaio_counts *page) {
    size_t n = sum ? sum->n : 0;
    struct files *more = realloc(sum, sizeof *more + (n + KAIO_STATS_FILES) * sizeof more->file[0]);
    if (!more) return sum;
    if (!sum) memset(more, 0, sizeof *more);
    more->requests += total(page->requests, KAIO_STATS_OPS);
    for (int i = 0; i < KAIO_STATS_FILES; i++)
        if (page->files[i].id > 1 && requests_of(&page->files[i])) add_file(more, &page->files[i]);
    qsort(more->file, more->n, sizeof more->file[0], by_requests);
    return more;
}

void files_free(struct files *sum) {
    free(sum);
}

static size_t shown(const struct files *sum) {
    return sum->n < FILES_SHOWN ? sum->n : FILES_SHOWN;
}

/* What is not shown. */
static ull others(const struct files *sum) {
    ull n = 0;
    for (size_t i = 0; i < shown(sum); i++) n += requests_of(&sum->file[i]);
    return sum->requests > n ? sum->requests - n : 0; /* they were not read at one moment */
}

/* ns */
static uint64_t share_of(const struct kaio_file_counts *f, double share) {
    double wanted = share * (double)total(f->latency, KAIO_FILE_TIMES);
    ull sum = 0;
    for (unsigned i = 0; i < KAIO_FILE_TIMES; i++) {
        sum += f->latency[i];
        if (sum > 0 && (double)sum >= wanted) return kaio_step_upper(i, 2);
    }
    return 0;
}

/* The index of the largest. */
static int most(const kaio_count counts[], int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (counts[i] > counts[best]) best = i;
    return best;
}

/* A count or, with kilo 1024, bytes, in five columns at most. */
static const char *number(char text[8], ull n, unsigned kilo) {
    static const char *const units[] = {"", "K", "M", "G", "T", "P", "E"};
    int unit = 0;
    unsigned tenths = 0;
    while (n >= (kilo == 1024 ? kilo : 100000)) {
        tenths = (unsigned)(n % kilo * 10 / kilo);
        n /= kilo;
        unit++;
    }
    if (n < 10 && tenths) snprintf(text, 8, "%u.%u%s", (unsigned)n, tenths, units[unit]);
    else snprintf(text, 8, "%u%s", (unsigned)n, units[unit]);
    return text;
}

/* The same. */
static const char *duration(char text[8], ull ns) {
    static const char *const units[] = {"ns", "us", "ms", "s"};
    int unit = 0;
    unsigned tenths = 0;
    for (; ns >= 1000 && unit < 3; ns /= 1000, unit++) tenths = (unsigned)(ns % 1000 / 100);
    if (unit && ns < 10) snprintf(text, 8, "%u.%u%s", (unsigned)ns, tenths, units[unit]);
    else snprintf(text, 8, "%u%s", (unsigned)(ns > 9999 ? 9999 : ns), units[unit]);
    return text;
}

/* What it is for the most part, and if it is not so for all, for how many in a hundred. */
static void put_share(FILE *out, int columns, const char *name, ull n, ull all) {
    char text[32];
    if (n >= all) snprintf(text, sizeof text, "%s", n ? name : "-");
    else snprintf(text, sizeof text, "%s %u%%", name, (unsigned)(n * 100 / all));
    for (char *c = text; (c = strchr(c, '_'));) *c = ' ';
    fprintf(out, " %-*s", columns, text);
}

static void put_largest(FILE *out, int columns, const char *const names[],
                        const kaio_count counts[], int n, ull all) {
    int best = most(counts, n);
    put_share(out, columns, counts[best] ? names[best] : "-", counts[best], counts[best] ? all : 0);
}

static void put_order(FILE *out, const struct kaio_file_counts *f, const struct figures *g) {
    ull all = f->stream ? 0 : g->requests[0] + g->requests[1];
    ull in_order = g->sequential[0] + g->sequential[1];
    if (in_order * 2 < all) put_share(out, 10, "random", all - in_order, all);
    else put_share(out, 10, in_order == all ? "sequential" : "seq.", in_order, all);
}

static int columns_of(const char *text) {
    char *copy = NULL;
    size_t n;
    FILE *out = open_memstream(&copy, &n);
    if (!out) return 0;
    int used = printable(out, text, INT_MAX);
    fclose(out);
    free(copy);
    return used;
}

/* The end of a path tells more than its beginning: of one that is too long whole directories go. */
static void put_path(FILE *out, const struct kaio_file_counts *f, int columns) {
    const char *path = f->path, *next;
    if (!*path) {
        fprintf(out, "inode %llu of device %llu:%llu", (ull)f->inode, (ull)(f->device >> 32),
                (ull)(f->device & UINT32_MAX));
        return;
    }
    int room = columns;
    while (columns_of(path) > room && (next = strchr(path + 1, '/'))) {
        path = next;
        room = columns - 3;
    }
    if (path != f->path) fputs("...", out);
    printable(out, path, room);
}

static void put_figures(FILE *out, const struct kaio_file_counts *f) {
    char text[8];
    struct figures g;
    figures_of(f, &g);
    fprintf(out, "%6s", number(text, g.requests[0], 1000));
    fprintf(out, " %5s", number(text, g.requests[1], 1000));
    fprintf(out, " %5s", number(text, total(g.requests + 2, 2), 1000));
    fprintf(out, " %5s", number(text, f->bytes[0] + f->bytes[1], 1024));
    bool sized = total(g.sizes, KAIO_FILE_SIZES) > 0;
    fprintf(out, " %4s", sized ? number(text, 1ull << most(g.sizes, KAIO_FILE_SIZES), 1024) : "-");
    put_order(out, f, &g);
    put_largest(out, 10, lanes, f->lanes, KAIO_STATS_LANES, total(f->lanes, KAIO_STATS_LANES));
    put_largest(out, 15, whys, f->whys, KAIO_STATS_WHYS, requests_of(f));
    fprintf(out, " %5s", duration(text, share_of(f, 0.5)));
    fprintf(out, " %5s\n", duration(text, share_of(f, 0.99)));
}

void files_print(FILE *out, const struct files *sum, int columns) {
    if (!sum || !sum->n) return;
    fprintf(out, "%6s %5s %5s %5s %4s %-10s %-10s %-15s %5s %5s\n", "reads", "write", "syncs",
            "bytes", "size", "order", "lane", "declined", "p50", "p99");
    for (size_t i = 0; i < shown(sum); i++) {
        fputs("  ", out);
        put_path(out, &sum->file[i], columns - 2);
        putc('\n', out);
        put_figures(out, &sum->file[i]);
    }
    if (others(sum)) fprintf(out, "  other files: %llu requests\n", others(sum));
}

static void json_file(FILE *out, const struct kaio_file_counts *f) {
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};
    const char *comma = "";
    struct figures g;
    figures_of(f, &g);
    fputs("{\"path\":", out);
    json_string(out, f->path);
    fprintf(out, ",\"device\":\"%llu:%llu\",\"inode\":%llu,", (ull)(f->device >> 32),
            (ull)(f->device & UINT32_MAX), (ull)f->inode);
    json_named(out, "requests", ops, g.requests, KAIO_STATS_OPS);
    json_named(out, "bytes", ops, f->bytes, 2);
    json_named(out, "sequential", ops, g.sequential, 2);
    fputs("\"size_histogram\":[", out);
    for (int i = 0; i < KAIO_FILE_SIZES; i++) {
        if (!g.sizes[i]) continue;
        fprintf(out, "%s[%llu,%llu]", comma, 1ull << i, (ull)g.sizes[i]);
        comma = ",";
    }
    fputs("],", out);
    json_named(out, "lanes", lanes, f->lanes, KAIO_STATS_LANES);
    json_named(out, "declined", whys, f->whys, KAIO_STATS_WHYS);
    fprintf(out, "\"latency_us\":{\"count\":%llu", total(f->latency, KAIO_FILE_TIMES));
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        ull ns = share_of(f, shares[i].share);
        fprintf(out, ",\"%s\":%llu.%03llu", shares[i].name, ns / 1000, ns % 1000);
    }
    fprintf(out, "},\"missed_at_most\":%llu}", (ull)f->before);
}

void files_json(FILE *out, const struct kaio_counts *page) {
    struct files *sum = files_add(NULL, page);
    fputs("\"files\":[", out);
    for (size_t i = 0; sum && i < shown(sum); i++) {
        if (i) putc(',', out);
        json_file(out, &sum->file[i]);
    }
    fprintf(out, "],\"other_files\":%llu",
            sum ? others(sum) : total(page->requests, KAIO_STATS_OPS));
    files_free(sum);
}
