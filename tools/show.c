/* SPDX-License-Identifier: MIT */
/* show.c - what kaio top shows: as text, as JSON, on the screen. */
#include "printable.h"
#include "files.h"
#include "pages.h"
#include "top.h"
#include "units.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define COMMAND_COLUMNS 15

struct top_view top_view = {.interval_s = 1};

typedef unsigned long long ull;

static const char *const ops[] = KAIO_NAMES_OPS, *const lanes[] = KAIO_NAMES_LANES,
                         *const modes[] = KAIO_NAMES_MODES, *const whys[] = KAIO_NAMES_WHYS;

static const char *const orders[] = {"pid", "requests", "bytes", "pending", "p99"};
static const char order_keys[] = "prbwt";

bool top_set_order(const char *name) {
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (!strcmp(name, orders[i])) return top_view.order = (enum top_order)i, true;
    return false;
}

/* What happened between the two readings, and how long that was. Gauges stay. */
static void subtract(const struct process *p, struct kaio_counts *d, double *seconds) {
    *d = p->now;
    kaio_count *to = (kaio_count *)((char *)d + KAIO_COUNTS_BEGIN);
    const kaio_count *then = (const kaio_count *)((const char *)&p->then + KAIO_COUNTS_BEGIN);
    for (size_t i = 0; i < KAIO_COUNTS_WORDS; i++) to[i] -= then[i];
    d->in_progress = p->now.in_progress;
    d->workers = p->now.workers;
    *seconds = (double)(p->at_ns - p->since_ns) / 1e9;
    if (*seconds < 1e-3) *seconds = 1;
}

static const struct kaio_counts *between(const struct process *p, double *seconds) {
    static struct kaio_counts d;
    subtract(p, &d, seconds);
    return &d;
}

static double us(const struct kaio_hist *h, double share) {
    return (double)kaio_hist_share(h, share) / 1e3;
}

static double requests_in(const struct kaio_counts *d) {
    double n = 0;
    for (int op = 0; op < KAIO_STATS_OPS; op++) n += (double)d->requests[op];
    return n;
}

/* Of one kind of request; bytes and times where they are known. */
static void text_row(FILE *out, const char *lane, const char *op, double per_s, double bytes_per_s,
                     const struct kaio_hist *h) {
    fprintf(out, "    %-8s %-11s", lane, op);
    put_right(out, unit_count(per_s), 9);
    if (h) {
        put_right(out, bytes_per_s >= 0 ? unit_bytes(bytes_per_s) : "", 8);
        put_right(out, unit_time(us(h, 0.5)), 7);
        put_right(out, unit_time(us(h, 0.99)), 7);
    }
    putc('\n', out);
}

static void text_rows(FILE *out, const struct kaio_counts *d, double s) {
    text_row(out, "all", "", requests_in(d) / s, (double)(d->bytes[0] + d->bytes[1]) / s,
             &d->latency);
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) {
        for (int op = 0; op < KAIO_STATS_OPS; op++) {
            const struct kaio_hist *h = &d->completion[lane][op];
            double n = (double)kaio_hist_count(h);
            if (n > 0) text_row(out, lanes[lane], ops[op], n / s, -1, h);
        }
    }
    for (int i = 0; i < KAIO_STATS_WHYS; i++)
        if (d->whys[i]) text_row(out, "declined", whys[i], (double)d->whys[i] / s, -1, NULL);
}

static void text_head(FILE *out, const char *name, const char *mode, ull pending, ull workers) {
    int used = printable(out, name, COMMAND_COLUMNS);
    fprintf(out, "%*s %-6s", COMMAND_COLUMNS - used, "", mode);
    put_right(out, unit_count((double)pending), 12);
    put_right(out, unit_count((double)workers), 7);
    putc('\n', out);
}

static void text_process(FILE *out, const struct process *p) {
    double s;
    const struct kaio_counts *d = between(p, &s);
    fprintf(out, "%7d ", (int)p->pid);
    text_head(out, p->now.command, modes[p->now.mode], d->in_progress, d->workers);
    text_rows(out, d, s);
}

/* Of all, as if the intervals were one; the times as those of all requests together. */
static void text_total(FILE *out, const struct process *processes) {
    static struct kaio_counts sum, d;
    char name[32];
    int n = 0;
    double s, longest = 0;
    memset(&sum, 0, sizeof sum);
    kaio_count *to = (kaio_count *)((char *)&sum + KAIO_COUNTS_BEGIN);
    const kaio_count *from = (const kaio_count *)((const char *)&d + KAIO_COUNTS_BEGIN);
    for (const struct process *p = processes; p; p = p->next, n++) {
        subtract(p, &d, &s);
        if (s > longest) longest = s;
        for (size_t i = 0; i < KAIO_COUNTS_WORDS; i++) to[i] += from[i];
    }
    snprintf(name, sizeof name, "%d process%s", n, n == 1 ? "" : "es");
    fprintf(out, "%7s ", "total");
    text_head(out, name, "", sum.in_progress, sum.workers);
    text_row(out, "all", "", requests_in(&sum) / longest,
             (double)(sum.bytes[0] + sum.bytes[1]) / longest, &sum.latency);
}

static double key_of(const struct process *p) {
    double s;
    const struct kaio_counts *d = between(p, &s);
    switch (top_view.order) {
    case BY_REQUESTS: return requests_in(d) / s;
    case BY_BYTES: return (double)(d->bytes[0] + d->bytes[1]) / s;
    case BY_PENDING: return (double)d->in_progress;
    case BY_P99: return us(&d->latency, 0.99);
    default: return -(double)p->pid;
    }
}

struct keyed {
    const struct process *process;
    double key;
};

static int larger(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return x->process->pid - y->process->pid;
}

static void text_processes(FILE *out, const struct process *processes) {
    size_t n = 0, i = 0;
    for (const struct process *p = processes; p; p = p->next) n++;
    struct keyed *keyed = calloc(n + 1, sizeof *keyed);
    if (!keyed) return;
    for (const struct process *p = processes; p; p = p->next)
        keyed[i++] = (struct keyed){p, key_of(p)};
    qsort(keyed, n, sizeof *keyed, larger);
    for (i = 0; i < n; i++) text_process(out, keyed[i].process);
    free(keyed);
}

void top_text(FILE *out, const struct process *processes, const struct idle *idle, pid_t wanted) {
    fprintf(out, "%7s %-*s %-6s", "PID", COMMAND_COLUMNS, "COMMAND", "MODE");
    put_right(out, "PENDING", 12);
    put_right(out, "WORKERS", 7);
    fprintf(out, "\n    %-8s %-11s", "LANE", "OPERATION");
    put_right(out, "REQUEST/S", 9);
    put_right(out, "BYTES/S", 8);
    put_right(out, "P50", 7);
    put_right(out, "P99", 7);
    putc('\n', out);
    text_processes(out, processes);
    if (processes && processes->next) text_total(out, processes);
    if (!processes && wanted) fprintf(out, "%7d has ended\n", (int)wanted);
    else if (!processes)
        fputs("No process publishes. Start one with\nKAIO_STATS=live kaio COMMAND.\n", out);
    for (; idle; idle = idle->next) {
        fprintf(out, "%7d ", (int)idle->pid);
        int used = printable(out, idle->command, COMMAND_COLUMNS);
        fprintf(out, "%*s %s\n", COMMAND_COLUMNS - used, "", idle->why);
    }
}

static void json_counts(FILE *out, const char *key, const char *const names[],
                        const kaio_count *counts, int n, double s) {
    fprintf(out, "\"%s\":{", key);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s\"%s\":%.1f", i ? "," : "", names[i], (double)counts[i] / s);
    fputs("},", out);
}

static void json_times(FILE *out, const char *key, const struct kaio_hist *h) {
    fprintf(out, "\"%s\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f},", key, us(h, 0.5), us(h, 0.99),
            us(h, 1));
}

static void json_lane(FILE *out, const struct kaio_counts *d, int lane, double s) {
    const char *comma = "";
    fprintf(out, "%s\"%s\":{", lane ? "," : "", lanes[lane]);
    for (int op = 0; op < KAIO_STATS_OPS; op++) {
        const struct kaio_hist *h = &d->completion[lane][op];
        uint64_t n = kaio_hist_count(h);
        if (n == 0) continue;
        fprintf(out, "%s\"%s\":{\"per_s\":%.1f,\"p50_us\":%.3f,\"p99_us\":%.3f}", comma, ops[op],
                (double)n / s, us(h, 0.5), us(h, 0.99));
        comma = ",";
    }
    putc('}', out);
}

static void json_process(FILE *out, const struct process *p) {
    double s;
    const struct kaio_counts *d = between(p, &s);
    fprintf(out, "{\"pid\":%d,\"command\":", (int)p->pid);
    json_string(out, p->now.command);
    fprintf(out, ",\"mode\":\"%s\",\"interval_s\":%.3f,", modes[p->now.mode], s);
    fprintf(out, "\"in_flight\":%llu,\"workers\":%llu,", (ull)d->in_progress, (ull)d->workers);
    json_counts(out, "requests", ops, p->now.requests, KAIO_STATS_OPS, 1);
    json_counts(out, "requests_per_s", ops, d->requests, KAIO_STATS_OPS, s);
    json_counts(out, "bytes_per_s", ops, d->bytes, 2, s);
    json_counts(out, "declined_per_s", whys, d->whys, KAIO_STATS_WHYS, s);
    json_times(out, "latency_us", &d->latency);
    json_times(out, "call_us", &d->call);
    fputs("\"lanes\":{", out);
    for (int lane = 0; lane < KAIO_STATS_LANES; lane++) json_lane(out, d, lane, s);
    fputs("}}", out);
}

void top_json(FILE *out, const struct process *processes) {
    putc('[', out);
    for (const struct process *p = processes; p; p = p->next) {
        json_process(out, p);
        if (p->next) putc(',', out);
    }
    fputs("]\n", out);
}

/* The screen. Signals are let through only while it waits. */
static struct termios before;
static volatile sig_atomic_t ended, stopped;
static sigset_t outside;
static int64_t tick_ns; /* when the interval is over */
static bool ticked;

static void on_signal(int sig) {
    if (sig == SIGTSTP) stopped = 1;
    else if (sig != SIGWINCH) ended = sig;
}

static void say(const char *text, size_t n) {
    while (n > 0) {
        ssize_t r = write(1, text, n);
        if (r < 0) {
            if (errno == EINTR) continue;
            return;
        }
        text += r;
        n -= (size_t)r;
    }
}

static void on(void) {
    static const char sequence[] = "\033[?1049h\033[?25l"; /* the other screen, no cursor */
    struct termios raw;
    tcgetattr(0, &before);
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0; /* read() never waits */
    raw.c_cc[VTIME] = 0;
    tcsetattr(0, TCSANOW, &raw);
    say(sequence, sizeof sequence - 1);
}

static void off(void) {
    static const char sequence[] = "\033[?25h\033[?1049l";
    say(sequence, sizeof sequence - 1);
    tcsetattr(0, TCSAFLUSH, &before);
}

void top_enter(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ours;
    sigemptyset(&ours);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
        sigaddset(&ours, signals[i]);
    }
    sigprocmask(SIG_BLOCK, &ours, &outside);
    on();
}

/* Ends as its parent expects of a program that was told to. */
void top_leave(void) {
    off();
    if (!ended) return;
    signal(ended, SIG_DFL);
    sigprocmask(SIG_SETMASK, &outside, NULL);
    raise(ended);
}

static const char help[] = "  q quit      h this help      + - interval, twice or half\n"
                           "  sort by: p PID, r requests, b bytes, w pending, t P99\n"
                           "  f the files with the most requests, since their process began\n";

static void put_files(FILE *out, const struct process *processes, int columns) {
    struct files *sum = NULL;
    for (const struct process *p = processes; p; p = p->next) sum = files_add(sum, &p->now);
    files_print(out, sum, columns);
    files_free(sum);
}

void top_draw(const struct process *processes, const struct idle *idle, pid_t wanted) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char *text = NULL, *screen = NULL, clock[32];
    size_t n, m;
    time_t now = time(NULL);
    FILE *out = open_memstream(&text, &n);
    if (!out) return;
    strftime(clock, sizeof clock, "%H:%M:%S", localtime(&now));
    fprintf(out, "kaio top   %s   %g s   by %s   h: help\n%s\n", clock, top_view.interval_s,
            orders[top_view.order], top_view.help ? help : "");
    ioctl(1, TIOCGWINSZ, &size);
    if (top_view.files) put_files(out, processes, size.ws_col ? size.ws_col : 80);
    else top_text(out, processes, idle, wanted);
    fclose(out);
    if (!text || !(out = open_memstream(&screen, &m))) goto done;
    fputs("\033[H", out);
    int rows = size.ws_row ? size.ws_row : 24, columns = size.ws_col ? size.ws_col : 80;
    for (char *line = text, *end; rows > 0 && (end = strchr(line, '\n')); line = end + 1, rows--) {
        *end = 0;
        printable(out, line, columns);
        fprintf(out, "\033[K%s", end[1] && rows > 1 ? "\r\n" : "");
    }
    fputs("\033[J", out);
    fclose(out);
    if (screen) say(screen, m);
done:
    free(screen);
    free(text);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

bool top_is_tick(void) {
    return ticked;
}

/* False: it ends. */
static bool press(char key) {
    const char *order = key ? strchr(order_keys, key) : NULL;
    if (order) top_view.order = (enum top_order)(order - order_keys);
    if (key == 'h' || key == '?') top_view.help = !top_view.help;
    if (key == 'f') top_view.files = !top_view.files;
    if (key == '+' && top_view.interval_s < 60) top_view.interval_s *= 2;
    if (key == '-' && top_view.interval_s > 0.2) top_view.interval_s /= 2;
    return key != 'q' && key != 'Q';
}

bool top_wait(bool screen) {
    char key;
    struct pollfd keys = {.fd = 0, .events = POLLIN};
    int64_t now = now_ns();
    if (tick_ns == 0 || ticked) tick_ns = now + (int64_t)(top_view.interval_s * 1e9);
    int64_t left = tick_ns > now ? tick_ns - now : 0;
    struct timespec limit = {left / 1000000000, left % 1000000000};
    ticked = ppoll(&keys, screen, &limit, screen ? &outside : NULL) == 0;
    if (stopped) {
        stopped = 0;
        off();
        raise(SIGSTOP);
        on();
    }
    if (ended) return false;
    if (!screen || !(keys.revents & (POLLIN | POLLHUP))) return true;
    return read(0, &key, 1) == 1 && press(key);
}
