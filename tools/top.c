/* SPDX-License-Identifier: MIT */
/* top.c - kaio top: what the processes under libkaio.so do, second by second.
 *
 * It reads the files that KAIO_STATS=live publishes (shim/observe/share.c, shim/observe/stats.h)
 * once a second and shows the differences (pages.c reads them). Those of processes that are gone
 * are removed.
 * --report prints what KAIO_STATS=DIRECTORY left (json.c).
 *
 * The screen is drawn with a dozen escape sequences that every terminal of this century knows:
 * curses would spare some twenty lines and cost a library.
 */
#include "../shim/observe/stats.h"
#include "kaio.h"
#include "pages.h"
#include "printable.h"
#include "top.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct process *processes;
static struct idle *idle;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Does the process have the file mapped? If not, it is what a process that had its number left, or
 * what it was itself before execve(). What cannot be looked at is taken to be alive. */
static bool is_mapped(pid_t pid, const char *name) {
    char path[64], *line = NULL;
    size_t size = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    if (!maps) return errno != ENOENT;
    while (!found && getline(&line, &size, maps) > 0) found = strstr(line, name);
    free(line);
    fclose(maps);
    return found; /* of a zombie the file is empty */
}

static struct process *find(pid_t pid) {
    struct process *p = processes;
    while (p && p->pid != pid) p = p->next;
    return p;
}

static struct process *add(pid_t pid) {
    struct process *p = calloc(1, sizeof *p), **at = &processes;
    if (!p) exit(125);
    while (*at && (*at)->pid < pid) at = &(*at)->next;
    p->pid = pid;
    p->next = *at;
    *at = p;
    return p;
}

/* Only files of the user who is in the name: in /dev/shm anybody may make one. */
static void look_at(int dir, const char *name, pid_t wanted) {
    unsigned uid;
    int pid, n = 0;
    static struct kaio_counts page;
    if (sscanf(name, KAIO_PAGE_PREFIX "%u-%d%n", &uid, &pid, &n) != 2 || name[n] || pid <= 0)
        return;
    if ((geteuid() && uid != geteuid()) || (wanted && pid != wanted)) return;
    struct process *p = find(pid);
    bool good = page_read(dir, name, &uid, &page);
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): both are copies, without padding */
    bool works = p && good && memcmp(&p->now.requests, &page.requests, sizeof page.requests);
    if (!works && !is_mapped(pid, name)) {
        unlinkat(dir, name, 0);
        return;
    }
    if (!good) return;
    if (!p) p = add(pid);
    bool same = p->at_ns && p->now.start_ns == page.start_ns; /* not after execve() */
    p->then = same ? p->now : page;
    p->since_ns = same ? p->at_ns : now_ns();
    p->now = page;
    p->at_ns = now_ns();
    p->seen = true;
}

static void scan_directory(const char *path, pid_t wanted) {
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) look_at(dirfd(dir), entry->d_name, wanted);
    closedir(dir);
}

/* wanted: one process; 0: all. */
static void scan(pid_t wanted) {
    for (struct process *p = processes; p; p = p->next) p->seen = false;
    const char *own = getenv("XDG_RUNTIME_DIR");
    if (own && strcmp(own, "/dev/shm")) scan_directory(own, wanted);
    scan_directory("/dev/shm", wanted);
    DIR *users = geteuid() ? NULL : opendir("/run/user"); /* root sees everybody's */
    for (struct dirent *entry; users && (entry = readdir(users));) {
        char path[300];
        snprintf(path, sizeof path, "/run/user/%s", entry->d_name);
        if (*entry->d_name != '.' && (!own || strcmp(own, path))) scan_directory(path, wanted);
    }
    if (users) closedir(users);
    for (struct process **at = &processes, *p; (p = *at);) {
        if (p->seen) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        free(p);
    }
}

static void forget_idle(void) {
    while (idle) {
        struct idle *next = idle->next;
        free(idle);
        idle = next;
    }
}

static bool is_library(const char *line) {
    const char *path = strchr(line, '/');
    return path && kaio_part_of(path) == KAIO_LIBRARY;
}

static bool is_live(const char *variable) {
    return !strcmp(variable, "KAIO_STATS=live");
}

static void look_at_process(const char *pid, struct idle **at) {
    char path[64];
    if (!kaio_process_has(pid, "maps", '\n', is_library)) return;
    struct idle *one = calloc(1, sizeof *one);
    if (!one) exit(KAIO_FAILED);
    one->pid = (pid_t)atoi(pid);
    one->why = kaio_process_has(pid, "environ", 0, is_live) ? "live, no request yet"
                                                            : "not live (KAIO_STATS=live)";
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    FILE *comm = fopen(path, "re");
    if (comm && fgets(one->command, sizeof one->command, comm))
        one->command[strcspn(one->command, "\n")] = 0;
    if (comm) fclose(comm);
    *at = one;
}

static void look_for_idle(void) {
    struct idle **at = &idle;
    forget_idle();
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        if (entry->d_name[strspn(entry->d_name, "0123456789")]) continue;
        look_at_process(entry->d_name, at);
        if (*at) at = &(*at)->next;
    }
    if (proc) closedir(proc);
}

/* Processes that have the library and do not publish. Looking at all takes a while where there are
 * thousands: it is done again once a hundred times as long has gone. */
static void scan_idle(pid_t wanted) {
    static uint64_t next_ns;
    uint64_t began = now_ns();
    if (wanted) return;
    if (began >= next_ns) {
        look_for_idle();
        next_ns = now_ns() + 100 * (now_ns() - began);
    }
    for (struct idle **at = &idle, *one; (one = *at);) {
        if (!find(one->pid)) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
}

static int fail(const char *what, const char *hint) {
    fputs("kaio top: ", stderr);
    printable(stderr, what, INT_MAX);
    fprintf(stderr, "%s\n", hint);
    return 125;
}

static void put_json(const struct kaio_counts *page) {
    json_page(stdout, page);
}

static int report(char *paths[], bool json) {
    int status = 0;
    size_t n;
    if (!*paths)
        return fail("--report needs a file or directory", ", as KAIO_STATS=DIRECTORY has left it");
    for (char **path = paths; *path; path++)
        if (!pages_read(*path, json ? put_json : pages_add)) status = KAIO_FAILED;
    if (json) return status;
    pages_print(stdout, "these processes");
    pages_rows(&n);
    if (n) pages_table(stdout);
    return status;
}

static void print(pid_t wanted, bool json) {
    if (json) top_json(stdout, processes);
    else top_text(stdout, processes, idle, wanted);
    fflush(stdout);
}

static double number(const char *text, double least, double most, const char *what) {
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end || !(n >= least && n <= most))
        kaio_fail(KAIO_FAILED, "%s takes a number from %g to %g, not '%s'", what, least, most,
                  text);
    return n;
}

static int show(pid_t wanted, bool json, bool screen, long count) {
    scan(wanted);
    scan_idle(wanted);
    if (wanted && !processes)
        return fail("no such process publishes", "; start it with KAIO_STATS=live kaio COMMAND");
    if (screen) top_enter();
    if (screen) top_draw(processes, idle, wanted);
    while (top_wait(screen)) {
        bool tick = top_is_tick();
        if (tick) {
            scan(wanted);
            scan_idle(wanted);
        }
        if (screen) top_draw(processes, idle, wanted);
        else print(wanted, json);
        if ((tick && --count == 0) || (wanted && !processes)) break;
    }
    if (screen) top_leave();
    return 0;
}

int kaio_top(int argc, char *argv[]) {
    bool once = false, json = false, reports = false;
    pid_t wanted = 0;
    long count = 0;
    for (int c; (c = kaio_next_option("top", argc, argv)) != -1;) {
        if (c == '1') once = true;
        if (c == 'j') json = true;
        if (c == 'r') reports = true;
        if (c == 'd') top_view.interval_s = number(optarg, 0.1, 3600, "-d");
        if (c == 'n') count = (long)number(optarg, 1, 1e9, "-n");
        if (c == 's' && !top_set_order(optarg))
            kaio_fail(KAIO_FAILED, "--sort takes pid, requests, bytes, pending or p99, not '%s'",
                      optarg);
    }
    if (reports) return report(argv + optind, json);
    for (char *end; optind < argc; optind++)
        if ((wanted = (pid_t)strtol(argv[optind], &end, 10)) <= 0 || *end)
            return fail(argv[optind],
                        " is neither an option nor a process; 'kaio top --help' lists them");
    if (once) count = 1;
    bool terminal = isatty(0) && isatty(1), screen = terminal && !once && !json;
    if (!terminal && !json && !count)
        return fail("this is no terminal", "; 'kaio top --once' prints one second");
    return show(wanted, json, screen, count);
}
