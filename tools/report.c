/* SPDX-License-Identifier: MIT */
/* report.c - kaio report: one page of HTML of what processes left in KAIO_STATS=DIRECTORY: what the
 * job did, what to change, where time went. It holds its pictures, which gnuplot draws as SVG; the
 * page's style gives what is black in them the colour of its text, for it has a dark scheme, too.
 */
#include "early.h"

#include "kaio.h"
#include "pages.h"
#include "printable.h"
#include "units.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const char *const ops[] = KAIO_NAMES_OPS, *const modes[] = KAIO_NAMES_MODES;
static const char *const lanes[] = {"the kernel", "workers", "the calling thread"};
static const char *const colours[] = {"#2a7fd4", "#e0702a", "#3c9f5f", "#9a62c9"};
static const char *const whys[] = {
    "one of the first 64 of a process, for which no context is made",
    "there was no kernel context",
    "the kernel would have had to wait, mostly for data that is not cached",
    "the file cannot take the operation without waiting",
    "an error that a worker confirmed",
    "a large copy, to overlap with the program's computation",
    "O_APPEND, which lands in call order",
    "the rest of a partly served request",
};
/* In the order of enum kaio_reason. */
enum { FEW, CONTEXT, WOULD_WAIT, UNSUPPORTED, ERROR, LARGE, APPEND, SHORT };

static FILE *page;
static const struct kaio_counts *sum;
static double requests, done, by_lane[KAIO_STATS_LANES];

static void put_text(const char *text) {
    char *clean = NULL;
    size_t size;
    FILE *out = open_memstream(&clean, &size);
    if (!out) return;
    printable(out, text, INT_MAX);
    fclose(out);
    for (const char *c = clean; c && *c; c++) {
        if (*c == '<') fputs("&lt;", page);
        else if (*c == '&') fputs("&amp;", page);
        else putc(*c, page);
    }
    free(clean);
}

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d5dbe3;--paper:#fff;"
    "--box:#f4f6f9}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--soft:#9aa6b5;--line:#39434f;"
    "--paper:#14181d;--box:#1d232a}}\n"
    "body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--paper);color:var(--ink);"
    "font:1rem/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;margin:.5rem 0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 "
    ".5rem}\n"
    "p{max-width:46rem}.soft{color:var(--soft)}\n"
    "li{max-width:46rem;margin:.4rem 0}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;"
    "white-space:nowrap}\n"
    "th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}\n"
    "td.name{text-align:left;max-width:20rem;white-space:normal;overflow-wrap:anywhere}\n"
    ".plots{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr)"
    ");"
    "margin:1rem 0}\n"
    "figure{margin:0;padding:.75rem;background:var(--box);border-radius:.5rem;min-width:0}\n"
    "figcaption{font-size:.9rem;color:var(--soft)}\n"
    "svg{display:block;width:100%;height:auto}svg [stroke=black]{stroke:var(--soft)}\n"
    "svg [fill=black]{fill:var(--ink)}svg [color]{color:var(--soft)}\n"
    "svg .gridline{stroke:var(--line)}\n"
    ".bar{display:flex;height:1.4rem;max-width:46rem;border-radius:.3rem;overflow:hidden;"
    "background:var(--line)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.4rem 0 "
    "1rem;padding:0;list-style:none}\n"
    ".key li{margin:0}.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;"
    "margin-right:.4rem}\n";

/* Runs gnuplot with the script, and puts what it draws into the page. */
static void draw(FILE *script, const char *caption) {
    int ends[2], status = 0;
    char *line = NULL;
    size_t size = 0;
    bool inside = false, skip = false;
    rewind(script);
    if (pipe(ends)) kaio_fail(KAIO_FAILED, "pipe: %m");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(script), 0);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("gnuplot", "gnuplot", "-", (char *)NULL);
        _exit(KAIO_MISSING);
    }
    close(ends[1]);
    FILE *drawn = fdopen(ends[0], "r");
    fputs("<figure>\n", page);
    while (drawn && getline(&line, &size, drawn) > 0) {
        if (strstr(line, "<svg")) inside = true;
        if (strstr(line, "<defs>")) skip = true; /* of points, which there are none of */
        if (inside && !skip) fputs(line, page);
        if (strstr(line, "</defs>")) skip = false;
    }
    free(line);
    if (drawn) fclose(drawn);
    fprintf(page, "<figcaption>%s</figcaption></figure>\n", caption);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == KAIO_MISSING)
        kaio_fail(KAIO_FAILED, "gnuplot is missing; as root: apt-get install gnuplot-nox");
    if (pid < 0 || status || !inside) kaio_fail(KAIO_FAILED, "gnuplot could not draw: %s", caption);
    fclose(script);
}

static FILE *begin_plot(const char *name) {
    FILE *script = tmpfile();
    if (!script) kaio_fail(KAIO_FAILED, "no scratch file in /tmp: %m");
    fprintf(script,
            "set encoding utf8\nset terminal svg size 440,260 dynamic noenhanced name '%s' font "
            "'sans-serif,13'\n"
            "set border 3\nset tics nomirror\nset grid ytics lt 1 lc rgb 'gray'\n"
            "set format y '%%g %%%%'\nset yrange [0:]\nset key below Left reverse maxcols 2\n",
            name);
    return script;
}

/* The share of requests that took no longer, by time. */
static void curve(FILE *script, const char *name, const struct kaio_hist *h) {
    double all = (double)kaio_hist_count(h), so_far = 0;
    fprintf(script, "$%s << EOD\n", name);
    for (unsigned i = 0; i < KAIO_HIST_BUCKETS; i++) {
        if (!h->bucket[i]) continue;
        double us = (double)kaio_hist_upper(i) / 1e3;
        if (so_far == 0) fprintf(script, "%g 0\n", us > 0.01 ? us : 0.01);
        so_far += (double)h->bucket[i];
        fprintf(script, "%g %g\n", us > 0.01 ? us : 0.01, 100 * so_far / all);
    }
    fprintf(script, "EOD\n");
}

static void plot_times(struct kaio_hist of_lane[]) {
    static const char *const names[] = {"kernel", "workers", "caller"};
    if (!kaio_hist_count(&sum->latency) && done == 0) return;
    FILE *script = begin_plot("times");
    fprintf(script, "set logscale x\nset yrange [0:100]\nset format x '%%g'\nset xlabel 'µs'\n");
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++)
        if (by_lane[lane] > 0) curve(script, names[lane], &of_lane[lane]);
    bool seen = kaio_hist_count(&sum->latency);
    if (seen) curve(script, "seen", &sum->latency);
    const char *comma = "plot";
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        if (by_lane[lane] == 0) continue;
        fprintf(script, "%s $%s with steps lw 2 lc rgb '%s' title '%s'", comma, names[lane],
                colours[lane], lanes[lane]);
        comma = ",";
    }
    if (seen)
        fprintf(script, "%s $seen with steps lw 2 dt 2 lc rgb '%s' title 'seen by the program'",
                comma, colours[3]);
    fprintf(script, "\n");
    draw(script,
         "Share of requests that took no longer than this, from the call to the end, by who "
         "did them; and until the program knew.");
}

/* Bars, by powers of two: shares[i] is that of what is labelled 2^i. */
static void bars(const char *name, const double shares[], int n, bool sizes, const char *caption) {
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    int first = 0, last = n - 1;
    while (first < n && shares[first] == 0) first++;
    while (last > first && shares[last] == 0) last--;
    if (first == n) return;
    FILE *script = begin_plot(name);
    fprintf(script,
            "set boxwidth 0.8\nset style fill solid\nset xtics rotate by 45 right\nunset key\n"
            "$bars << EOD\n");
    for (int i = first; i <= last; i++)
        fprintf(script, "\"%llu%s\" %g\n", 1ull << (sizes ? i % 10 : i), sizes ? units[i / 10] : "",
                shares[i]);
    fprintf(script, "EOD\nplot [-0.6:%d.6] $bars using 0:2:xtic(1) with boxes lc rgb '%s'\n",
            last - first, colours[0]);
    draw(script, caption);
}

static void plot_depth(void) {
    double shares[40] = {0}, all = (double)kaio_hist_count(&sum->depth);
    for (unsigned i = 0; all > 0 && i < KAIO_HIST_BUCKETS; i++) {
        uint64_t depth = kaio_hist_lower(i);
        if (depth > 0)
            shares[63 - __builtin_clzll(depth)] += 100 * (double)sum->depth.bucket[i] / all;
    }
    bars("depth", shares, 40, false,
         "Requests in progress when one was made, itself included: the depth, from this to below "
         "the "
         "next.");
}

static void plot_sizes(void) {
    double shares[KAIO_SIZE_BUCKETS] = {0}, all = 0;
    for (int i = 0; i < KAIO_SIZE_BUCKETS; i++) all += (double)sum->sizes[i];
    for (int i = 0; all > 0 && i < KAIO_SIZE_BUCKETS; i++)
        shares[i] = 100 * (double)sum->sizes[i] / all;
    bars("sizes", shares, KAIO_SIZE_BUCKETS, true, "Bytes of a request, up to this.");
}

static int advices;

__attribute__((format(printf, 1, 2))) static void advise(const char *format, ...) {
    va_list args;
    fprintf(page, advices++ ? "<li>" : "<ul>\n<li>");
    va_start(args, format);
    vfprintf(page, format, args);
    va_end(args);
    fprintf(page, "</li>\n");
}

/* A reason worth a line: of one request in twenty. */
static bool often(int why) {
    return done > 0 && (double)sum->whys[why] >= done / 20;
}

static const char *share_of(int why) {
    return unit_share((double)sum->whys[why], done);
}

static void advise_on_reasons(void) {
    if (often(WOULD_WAIT))
        advise("%s of the requests would have made the kernel wait, mostly for data that is not "
               "cached, so workers did them. With <code>O_DIRECT</code> the kernel does them, "
               "in parallel and without a thread.",
               share_of(WOULD_WAIT));
    if (often(UNSUPPORTED))
        advise(
            "%s of the requests are of a kind that the file cannot take without waiting (buffered "
            "writes on ext4, FUSE, NFS), so workers did them, writes of one descriptor one at a "
            "time. Open the file with <code>O_DIRECT</code>, or move it; <code>kaio check "
            "PATH</code> tells what a filesystem can do.",
            share_of(UNSUPPORTED));
    if (often(APPEND))
        advise("%s of the requests were written with <code>O_APPEND</code>, in call order. Without "
               "it, at offsets of their own, they run in parallel.",
               share_of(APPEND));
    if (often(SHORT))
        advise(
            "%s of the requests were served in part, and a worker did the rest: reads that begin "
            "in what is cached, or reach past the end of a file.",
            share_of(SHORT));
}

static void advise_all(void) {
    double p50_depth = (double)kaio_hist_share(&sum->depth, 0.5);
    double most = (double)kaio_hist_lower(kaio_hist_index(kaio_hist_share(&sum->depth, 1)));
    if (requests == 0) {
        advise(
            "Nothing was asked for by POSIX AIO, so libkaio changes nothing here. <code>kaio check "
            "COMMAND</code> tells whether a program uses it.");
    } else if (done == 0) {
        advise(
            "These are glibc's figures: libkaio only watched (<code>KAIO_MODE=off</code>). Leave "
            "that out, and it does the work.");
    }
    if (sum->setup == -EAGAIN)
        advise("The host's AIO requests were used up, so there was no kernel context. As root: "
               "<code>sysctl -w fs.aio-max-nr=1048576</code>.");
    else if (sum->setup < 0)
        advise(
            "<code>io_setup</code> was refused (%s), as sandboxes do: allow io_setup, io_submit, "
            "io_getevents and io_cancel in its seccomp profile.",
            strerror(-sum->setup));
    if (done > 0) advise_on_reasons();
    if (requests >= 100 && p50_depth <= 1)
        advise(
            "Half of the requests or more were made when no other was in progress. More at once is "
            "where AIO gains: ask for the next before the last has ended.");
    if (most > 256 && by_lane[0] > done / 2)
        advise(
            "Up to %s requests were in progress, but the kernel takes 256 at once unless told: try "
            "<code>KAIO_DEPTH=%.0f</code>.",
            unit_count(most), most);
    if (sum->worker_peak >= 16 && by_lane[1] > done / 4)
        advise("%llu workers were busy at once. If the device has more to give, try "
               "<code>KAIO_WORKERS=%llu</code>.",
               (unsigned long long)sum->worker_peak, 2 * (unsigned long long)sum->worker_peak);
    if (advices) fprintf(page, "</ul>\n");
    else
        fprintf(page,
                "<p>Nothing that shows here: the kernel or the calling thread did %s of the "
                "requests, and no thread was woken for them.</p>\n",
                unit_share(by_lane[0] + by_lane[2], done));
}

/* Sum of all times, as the middles of the buckets have it, in µs. */
static double time_in(const struct kaio_hist *h) {
    double us = 0;
    for (unsigned i = 0; i < KAIO_HIST_BUCKETS; i++)
        us += (double)h->bucket[i] * (double)(kaio_hist_lower(i) + kaio_hist_upper(i)) / 2e3;
    return us;
}

static void cells(const struct kaio_hist *h) {
    static const double shares[] = {0.5, 0.99, 1};
    for (int i = 0; i < 3; i++)
        fprintf(page, "<td>%s</td>", unit_time((double)kaio_hist_share(h, shares[i]) / 1e3));
    fprintf(page, "<td>%s</td></tr>\n", unit_time(time_in(h)));
}

static void table_of_times(void) {
    fprintf(page, "<div class=wide><table><tr><th>who did it<th>what<th>requests<th>median<th>p99"
                  "<th>longest<th>together</tr>\n");
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        for (int op = 0; op < KAIO_STATS_OPS; op++) {
            const struct kaio_hist *h = &sum->completion[lane][op];
            double n = (double)kaio_hist_count(h);
            if (n == 0) continue;
            fprintf(page, "<tr><td>%s</td><td>%s</td><td>%s</td>", lanes[lane], ops[op],
                    unit_count(n));
            cells(h);
        }
    }
    fprintf(page, "<tr><td>until the program knew</td><td></td><td>%s</td>",
            unit_count((double)kaio_hist_count(&sum->latency)));
    cells(&sum->latency);
    fprintf(page, "<tr><td>inside the calls</td><td></td><td>%s</td>",
            unit_count((double)kaio_hist_count(&sum->call)));
    cells(&sum->call);
    fprintf(page, "</table></div>\n");
}

static void bar_of_lanes(void) {
    if (done == 0) return;
    fprintf(page, "<div class=bar>");
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++)
        fprintf(page, "<div style='flex:%.0f 0 0;background:%s'></div>", by_lane[lane],
                colours[lane]);
    fprintf(page, "</div>\n<ul class=key>");
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++)
        fprintf(page, "<li><i style='background:%s'></i>%s: %s requests, %s</li>", colours[lane],
                lanes[lane], unit_count(by_lane[lane]), unit_share(by_lane[lane], done));
    fprintf(page, "</ul>\n");
}

static void table_of_reasons(void) {
    bool any = false;
    for (int i = 0; i < KAIO_STATS_WHYS; i++) any |= sum->whys[i] > 0;
    if (!any) return;
    fprintf(page, "<h2>Why the kernel did not do the rest</h2>\n<div class=wide><table>"
                  "<tr><th>reason<th>requests<th>share</tr>\n");
    for (int i = 0; i < KAIO_STATS_WHYS; i++)
        if (sum->whys[i])
            fprintf(page, "<tr><td class=name>%s</td><td>%s</td><td>%s</td></tr>\n", whys[i],
                    unit_count((double)sum->whys[i]), share_of(i));
    fprintf(page, "</table></div>\n");
}

static void table_of_processes(void) {
    size_t n;
    const struct page_row *rows = pages_rows(&n);
    if (!n) return;
    fprintf(page, "<h2>Processes</h2>\n<div class=wide><table><tr><th>command<th>process<th>mode"
                  "<th>time<th>requests<th>bytes<th>median<th>p99</tr>\n");
    for (const struct page_row *r = rows; r < rows + n; r++) {
        fprintf(page, "<tr><td class=name>");
        put_text(r->command);
        fprintf(page,
                "</td><td>%u</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td>"
                "</tr>\n",
                r->pid, modes[r->mode], unit_time(r->elapsed_us), unit_count((double)r->requests),
                unit_bytes((double)r->bytes), unit_time(r->p50_us), unit_time(r->p99_us));
    }
    fprintf(page, "</table></div>\n");
}

static void put_summary(void) {
    size_t n;
    const struct page_row *rows = pages_rows(&n);
    double longest_us = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].elapsed_us > longest_us) longest_us = rows[i].elapsed_us;
    fprintf(page, "<p>%s %s asked for %s reads of %s, ", unit_count((double)n),
            n == 1 ? "process" : "processes", unit_count((double)sum->requests[0]),
            unit_bytes((double)sum->bytes[0]));
    fprintf(page, "%s writes of %s and %s syncs; the one that lived longest took %s.</p>\n",
            unit_count((double)sum->requests[1]), unit_bytes((double)sum->bytes[1]),
            unit_count((double)(sum->requests[2] + sum->requests[3])), unit_time(longest_us));
}

static void put_page(void) {
    static struct kaio_hist of_lane[KAIO_STATS_LANES];
    for (int op = 0; op < KAIO_STATS_OPS; op++) requests += (double)sum->requests[op];
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        for (int op = 0; op < KAIO_STATS_OPS; op++)
            for (int i = 0; i < KAIO_HIST_BUCKETS; i++)
                of_lane[lane].bucket[i] += sum->completion[lane][op].bucket[i];
        by_lane[lane] = (double)kaio_hist_count(&of_lane[lane]);
        done += by_lane[lane];
    }
    fprintf(page, "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
                  "<meta name=viewport content='width=device-width,initial-scale=1'>\n<title>");
    put_text(pages_command());
    fprintf(page, " and AIO</title>\n<style>\n%s</style>\n<h1>What ", style);
    if (*pages_command()) put_text(pages_command());
    else fputs("nobody", page);
    fprintf(page, " asked of AIO</h1>\n");
    put_summary();
    fprintf(page, "<h2>What to change</h2>\n");
    advise_all();
    fprintf(page, "<h2>Who did it, and where time went</h2>\n");
    bar_of_lanes();
    if (requests > 0) table_of_times();
    fprintf(page, "<div class=plots>\n");
    plot_times(of_lane);
    plot_depth();
    plot_sizes();
    fprintf(page, "</div>\n");
    table_of_reasons();
    table_of_processes();
    fprintf(page,
            "<p class=soft>Times are from the call to the end; at most 6 %% more than they "
            "were, for they are counted in steps. &ldquo;Together&rdquo; adds what went on at "
            "the same time. Made by kaio report, libkaio " KAIO_VERSION ".</p>\n</html>\n");
}

int kaio_report(int argc, char *argv[]) {
    const char *path = "report.html";
    char *text = NULL;
    size_t size, n;
    while (kaio_next_option("report", argc, argv) != -1) path = optarg;
    if (optind == argc)
        kaio_fail(KAIO_FAILED,
                  "no directory; name that of KAIO_STATS=DIRECTORY, in which processes "
                  "have left their figures");
    bool good = true;
    for (int i = optind; i < argc; i++) good &= pages_read(argv[i], pages_add);
    pages_rows(&n);
    if (!n && !good) return KAIO_FAILED;
    sum = pages_sum();
    page = open_memstream(&text, &size);
    if (!page) kaio_fail(KAIO_FAILED, "out of memory");
    put_page();
    fclose(page);
    FILE *out = fopen(path, "we");
    if (!out || fwrite(text, 1, size, out) != size || fclose(out))
        kaio_fail(KAIO_FAILED, "%s cannot be written: %m", path);
    free(text);
    return good ? 0 : KAIO_FAILED;
}
