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
    else top_text(stdout, processes, wanted);
    fflush(stdout);
}

int kaio_top(int argc, char *argv[]) {
    bool once = false, json = false, reports = false;
    pid_t wanted = 0;
    for (int c; (c = kaio_next_option("top", argc, argv)) != -1;) {
        if (c == '1') once = true;
        if (c == 'j') json = true;
        if (c == 'r') reports = true;
    }
    if (reports) return report(argv + optind, json);
    for (char *end; optind < argc; optind++)
        if ((wanted = (pid_t)strtol(argv[optind], &end, 10)) <= 0 || *end)
            return fail(argv[optind],
                        " is neither an option nor a process; 'kaio top --help' lists them");
    bool screen = !once && !json;
    if (screen && !(isatty(0) && isatty(1)))
        return fail("this is no terminal", "; 'kaio top --once' prints one second");
    scan(wanted);
    if (wanted && !processes)
        return fail("no such process publishes", "; start it with KAIO_STATS=live kaio COMMAND");
    if (screen) top_enter();
    if (screen) top_draw(processes, wanted);
    while ((once && !processes) || top_wait(screen)) {
        if (top_is_tick()) scan(wanted);
        if (screen) top_draw(processes, wanted);
        else print(wanted, json);
        if (once || (wanted && !processes)) break;
    }
    if (screen) top_leave();
    return 0;
}
