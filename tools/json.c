/* SPDX-License-Identifier: MIT */
/* json.c - a process's figures as one object on one line: of each page that `kaio top --report` or
 * kaio --stats=FILE.json is shown. The keys are documented in docs/statistics.md and stay.
 */
#include "files.h"
#include "pages.h"

#include <stdbool.h>
#include <string.h>

typedef unsigned long long ull;

static const char *const ops[] = KAIO_NAMES_OPS, *const lanes[] = KAIO_NAMES_LANES,
                         *const modes[] = KAIO_NAMES_MODES, *const whys[] = KAIO_NAMES_WHYS;

/* "%f" would write a comma where the program's locale does. */
#define THOUSANDTHS(n) (ull)(n) / 1000, (ull)(n) % 1000

/* The bytes of the UTF-8 character at s; 0: they are none. No short form of another is one, nor a
 * half of a UTF-16 pair, nor what lies beyond U+10FFFF. */
static int utf8_length(const unsigned char *s, uint32_t *c) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int n = *s < 0x80 ? 1 : *s < 0xc0 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf8 ? 4 : 0;
    *c = n > 1 ? *s & (0x7fu >> n) : *s;
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0; /* the end, too */
        *c = *c << 6 | (s[i] & 0x3f);
    }
    bool good = *c >= least[n] && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff);
    return good ? n : 0;
}

/* Control characters, also those of C1, are escaped: a terminal may see it. */
void json_string(FILE *out, const char *text) {
    putc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        uint32_t c;
        int n = utf8_length(s, &c);
        if (n == 0) fputs("\\ufffd", out);
        else if (c < ' ' || (c >= 0x7f && c < 0xa0)) fprintf(out, "\\u%04x", c);
        else fprintf(out, "%s%.*s", c == '"' || c == '\\' ? "\\" : "", n, (const char *)s);
        s += n ? n : 1;
    }
    putc('"', out);
}

/* "key":{"name":n,...}, */
void json_named(FILE *out, const char *key, const char *const names[], const kaio_count counts[],
                int n) {
    fprintf(out, "\"%s\":{", key);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s\"%s\":%llu", i ? "," : "", names[i], (ull)counts[i]);
    fprintf(out, "},");
}

/* [[bound,count],...] of what is not 0: upper bounds of times, in microseconds, or lower bounds. */
static void put_buckets(FILE *out, const char *key, const struct kaio_hist *h, bool times) {
    const char *comma = "";
    fprintf(out, "\"%s\":[", key);
    for (unsigned i = 0; i < KAIO_HIST_BUCKETS; i++) {
        if (!h->bucket[i]) continue;
        if (times) fprintf(out, "%s[%llu.%03llu", comma, THOUSANDTHS(kaio_hist_upper(i)));
        else fprintf(out, "%s[%llu", comma, (ull)kaio_hist_lower(i));
        fprintf(out, ",%llu]", (ull)h->bucket[i]);
        comma = ",";
    }
    putc(']', out);
}

static void put_shares(FILE *out, const struct kaio_hist *h) {
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    fprintf(out, "\"count\":%llu", (ull)kaio_hist_count(h));
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        fprintf(out, ",\"%s\":%llu.%03llu", shares[i].name,
                THOUSANDTHS(kaio_hist_share(h, shares[i].share)));
}

static void put_times(FILE *out, const char *key, const struct kaio_hist *h) {
    fprintf(out, "\"%s\":{", key);
    put_shares(out, h);
    putc(',', out);
    put_buckets(out, "histogram", h, true);
    fprintf(out, "},");
}

static void put_sizes(FILE *out, const struct kaio_counts *c) {
    const char *comma = "";
    fprintf(out, "\"size_histogram\":[");
    for (int i = 0; i < KAIO_SIZE_BUCKETS; i++) {
        if (!c->sizes[i]) continue;
        fprintf(out, "%s[%llu,%llu]", comma, 1ull << i, (ull)c->sizes[i]);
        comma = ",";
    }
    fprintf(out, "],");
}

/* By lane: requests, bytes, and how long they took, by operation; and of all together. */
static void put_lanes(FILE *out, const struct kaio_counts *c) {
    static struct kaio_hist all;
    memset(&all, 0, sizeof all);
    fprintf(out, "\"lanes\":{");
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        uint64_t requests = 0;
        for (int op = 0; op < KAIO_STATS_OPS; op++) {
            requests += kaio_hist_count(&c->completion[lane][op]);
            for (int i = 0; i < KAIO_HIST_BUCKETS; i++)
                all.bucket[i] += c->completion[lane][op].bucket[i];
        }
        fprintf(out, "%s\"%s\":{\"requests\":%llu,\"bytes\":%llu,\"completion_us\":{",
                lane ? "," : "", lanes[lane], (ull)requests, (ull)c->lane_bytes[lane]);
        const char *comma = "";
        for (int op = 0; op < KAIO_STATS_OPS; op++) {
            if (!kaio_hist_count(&c->completion[lane][op])) continue;
            fprintf(out, "%s\"%s\":{", comma, ops[op]);
            put_shares(out, &c->completion[lane][op]);
            putc('}', out);
            comma = ",";
        }
        fprintf(out, "}}");
    }
    fprintf(out, "},");
    put_times(out, "completion_us", &all);
}

static const char *setup(const struct kaio_counts *c) {
    return c->setup > 0 ? "yes" : c->setup ? strerror(-c->setup) : "not needed";
}

void json_page(FILE *out, const struct kaio_counts *c) {
    fprintf(out, "{\"version\":1,\"pid\":%u,\"command\":", c->pid);
    json_string(out, c->command);
    fprintf(out, ",\"mode\":\"%s\",\"elapsed_s\":%llu.%03llu,", modes[c->mode],
            THOUSANDTHS((c->end_ns - c->start_ns) / 1000000));
    json_named(out, "requests", ops, c->requests, KAIO_STATS_OPS);
    json_named(out, "bytes", ops, c->bytes, 2);
    put_sizes(out, c);
    put_lanes(out, c);
    json_named(out, "declined", whys, c->whys, KAIO_STATS_WHYS);
    put_buckets(out, "depth_histogram", &c->depth, false);
    fprintf(out, ",\"batches\":{\"io_submit\":%llu,\"iocbs\":%llu},\"stream_waits\":%llu,",
            (ull)c->submits, (ull)c->submitted, (ull)c->streams);
    fprintf(out, "\"workers_peak\":%llu,\"io_setup\":", (ull)c->worker_peak);
    json_string(out, setup(c));
    putc(',', out);
    put_times(out, "latency_us", &c->latency);
    put_times(out, "call_us", &c->call);
    fprintf(out, "\"unseen\":%llu,\"in_progress\":%llu,", (ull)c->unseen, (ull)c->in_progress);
    files_json(out, c);
    fputs("}\n", out);
}
