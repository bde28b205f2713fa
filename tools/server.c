/* SPDX-License-Identifier: MIT */
/* server.c - see server.h. What a server starts stays below this process, which adopts what loses
 * its parent (PR_SET_CHILD_SUBREAPER). All is read from proc(5) when it is asked for. One thread.
 */
#include "early.h"

#include "server.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNIX_LISTENS 0x10000 /* __SO_ACCEPTCON, among the flags of proc(5)'s net/unix */
#define TCP_LISTENS  0x0a

struct process {
    pid_t pid, parent;
    char state;
    bool is_below;
};

static struct process *processes;
static size_t nprocesses, room;
static pid_t *told;
static size_t ntold;

int server_signal_of(const char *name) {
    static const struct {
        const char *name;
        int sig;
    } known[] = {{"TERM", SIGTERM}, {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"HUP", SIGHUP},
                 {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"KILL", SIGKILL}, {"WINCH", SIGWINCH},
                 {"PWR", SIGPWR},   {"ALRM", SIGALRM}, {"ABRT", SIGABRT}};
    char *end;
    if (!strncasecmp(name, "SIG", 3)) name += 3;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(name, known[i].name)) return known[i].sig;
    long first = strncasecmp(name, "RTMIN+", 6) ? 0 : SIGRTMIN;
    long sig = first + strtol(first ? name + 6 : name, &end, 10);
    return end != name && !*end && sig > 0 && sig <= SIGRTMAX ? (int)sig : 0;
}

static bool read_process(const char *pid, struct process *process) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[n] = 0;
    const char *behind = strrchr(text, ')'); /* the name may hold anything */
    *process = (struct process){.pid = atoi(pid)};
    return behind && sscanf(behind + 1, " %c %d", &process->state, &process->parent) == 2;
}

static bool is_below(pid_t parent) {
    if (parent == getpid()) return true;
    for (size_t i = 0; i < nprocesses; i++)
        if (processes[i].pid == parent) return processes[i].is_below;
    return false;
}

/* Which are below: a child may have a smaller number than its parent. */
static void mark(void) {
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < nprocesses; i++) {
            if (processes[i].is_below || !is_below(processes[i].parent)) continue;
            processes[i].is_below = more = true;
        }
    }
}

static void look(void) {
    DIR *proc = opendir("/proc");
    nprocesses = 0;
    if (!proc) return;
    for (struct dirent *entry; (entry = readdir(proc));) {
        if (!isdigit((unsigned char)*entry->d_name)) continue;
        if (nprocesses == room) {
            struct process *larger = realloc(processes, (room + 256) * sizeof *processes);
            if (!larger) break;
            processes = larger;
            room += 256;
        }
        nprocesses += read_process(entry->d_name, &processes[nprocesses]);
    }
    closedir(proc);
    mark();
}

static bool is_child(const struct process *process) {
    return process->parent == getpid() && process->state != 'Z';
}

int server_children(pid_t but) {
    int n = 0;
    look();
    for (size_t i = 0; i < nprocesses; i++) n += is_child(&processes[i]) && processes[i].pid != but;
    return n;
}

/* The inode that a line of proc(5)'s net/tcp or net/unix tells of, if that socket listens; or 0. */
static unsigned long listening(const char *line, bool is_unix) {
    unsigned long flags, inode;
    unsigned state;
    if (is_unix)
        return sscanf(line, "%*s %*s %*s %lx %*s %*s %lu", &flags, &inode) == 2 &&
                       flags & UNIX_LISTENS
                   ? inode
                   : 0;
    return sscanf(line, "%*d: %*s %*s %x %*s %*s %*s %*s %*s %lu", &state, &inode) == 2 &&
                   state == TCP_LISTENS
               ? inode
               : 0;
}

static bool has_socket(pid_t pid, unsigned long inode) {
    char path[64], wanted[64], link[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *fds = opendir(path);
    for (struct dirent *entry; fds && !found && (entry = readdir(fds));) {
        ssize_t n = readlinkat(dirfd(fds), entry->d_name, link, sizeof link - 1);
        if (n > 0) link[n] = 0;
        found = n > 0 && !strcmp(link, wanted);
    }
    if (fds) closedir(fds);
    return found;
}

/* A process may have a network of its own. */
static bool listens(pid_t pid) {
    static const char *const tables[] = {"unix", "tcp", "tcp6"};
    char path[64], line[512];
    bool found = false;
    for (int i = 0; i < 3 && !found; i++) {
        snprintf(path, sizeof path, "/proc/%d/net/%s", pid, tables[i]);
        FILE *table = fopen(path, "re");
        while (table && !found && fgets(line, sizeof line, table)) {
            unsigned long inode = listening(line, i == 0);
            found = inode && has_socket(pid, inode);
        }
        if (table) fclose(table);
    }
    return found;
}

bool server_listens(void) {
    look();
    for (size_t i = 0; i < nprocesses; i++)
        if (processes[i].is_below && listens(processes[i].pid)) return true;
    return false;
}

static bool tell(pid_t pid) {
    for (size_t i = 0; i < ntold; i++)
        if (told[i] == pid) return false;
    pid_t *larger = realloc(told, (ntold + 1) * sizeof *told);
    if (!larger) return false;
    told = larger;
    told[ntold++] = pid;
    return true;
}

void server_tell(int sig) {
    look();
    for (size_t i = 0; i < nprocesses; i++)
        if (is_child(&processes[i]) && tell(processes[i].pid)) kill(processes[i].pid, sig);
}

int server_kill(void) {
    int n = 0;
    look();
    for (size_t i = 0; i < nprocesses; i++)
        if (processes[i].is_below && processes[i].state != 'Z')
            n += kill(processes[i].pid, SIGKILL) == 0;
    return n;
}
