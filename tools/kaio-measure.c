/* SPDX-License-Identifier: MIT */
/* kaio-measure - runs a command once, or a server and a load on it, and writes what it took, as a
 * line of JSON; for kaio ab.
 *
 *   kaio-measure [-e NAME=VALUE] ... RESULT COMMAND [ARGUMENT ...]
 *   kaio-measure [-e NAME=VALUE] ... -l LOAD [-r READY] [-p PREPARE] [-w SECONDS] [-s SIGNAL]
 *                [-g SECONDS] [-o FILE] RESULT SERVER [ARGUMENT ...]
 *     -e  set for COMMAND or SERVER only
 *     -l  a shell command; its time is the one that is written
 *     -r  a shell command that succeeds once the server is ready; else: once it has a socket that
 * listens -p  a shell command to run when it is ready -w  how long it may take until then -s  what
 * ends it; -g: after so long what is left of it is ended by SIGKILL -o  what it prints
 *
 * Times, memory and switches are wait4()'s: of the command and of the children it waited for; of
 * the server's processes all that this one waits for, which adopts those that daemons leave behind.
 * The threads that it and its children create are counted from the kernel's records of each fork
 * and clone (perf_event_open(2), a dummy event on each CPU), which do not slow it down; where these
 * are not allowed (perf_event_paranoid above 2, seccomp) there is no such figure. What the machine
 * did otherwise meanwhile: CPU time of other programs (all that /proc/stat has, but for interrupts,
 * less the command's) and stolen by the hypervisor, in seconds of one CPU; how long something
 * waited for a CPU (/proc/pressure/cpu). "problem" says why there is no load's figure. Exit status:
 * 0 if there is a RESULT, 125 if not.
 */
#include "early.h"

#include "server.h"

#include <errno.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE      4096u
#define RING      (32ul * PAGE) /* of records, on each CPU; emptied when half full */
#define CPUS_MOST 1024
#define UNCOUNTED (-1)

static struct perf_event_mmap_page *rings[CPUS_MOST];
static struct pollfd fds[CPUS_MOST + 1]; /* the rings', and one that tells of signals */
static int nrings;
static long threads;

static void (*on_int)(int), (*on_quit)(int), (*on_child)(int); /* as they are for the command */
static sigset_t outside;

#define ENVIRONMENT_MOST 16
static char *environment[ENVIRONMENT_MOST]; /* -e */
static int nenvironment;

static struct {
    const char *load, *ready, *prepare, *output;
    double wait_s, grace_s;
    int stop;
} options = {.wait_s = 30, .grace_s = 10, .stop = SIGTERM};

static struct {
    pid_t server, command; /* 0: not running */
    int server_end, command_end;
    double command_ended_s;
    int asked;                          /* SIGTERM or SIGHUP, which ends the run */
    struct rusage of_server, of_others; /* of those that have ended */
    char problem[128];
} state;

static int fail(const char *what) {
    fprintf(stderr, "kaio: %s: %s\n", what, strerror(errno));
    return 125;
}

static double seconds(const struct timeval *t) {
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct machine {
    double busy, steal, pressure; /* seconds; pressure: UNCOUNTED if the kernel does not tell */
};

static struct machine machine_now(void) {
    unsigned long long user = 0, nice = 0, system = 0, steal = 0, waited;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    FILE *file = fopen("/proc/stat", "re");
    if (file &&
        fscanf(file, "cpu %llu %llu %llu %*u %*u %*u %*u %llu", &user, &nice, &system, &steal) != 4)
        steal = 0;
    if (file) fclose(file);
    struct machine m = {(double)(user + nice + system) / ticks, (double)steal / ticks, UNCOUNTED};
    file = fopen("/proc/pressure/cpu", "re");
    if (file && fscanf(file, "some avg10=%*f avg60=%*f avg300=%*f total=%llu", &waited) == 1)
        m.pressure = (double)waited / 1e6;
    if (file) fclose(file);
    return m;
}

static void put_machine(FILE *out, const struct machine *then, const struct machine *now,
                        const struct rusage *usage) {
    double others = now->busy - then->busy - seconds(&usage->ru_utime) - seconds(&usage->ru_stime);
    fprintf(out, "\"cpus\":%ld,\"others_s\":%.3f,\"steal_s\":%.3f,", sysconf(_SC_NPROCESSORS_ONLN),
            others > 0 ? others : 0, now->steal - then->steal);
    if (then->pressure >= 0 && now->pressure >= 0)
        fprintf(out, "\"pressure_s\":%.6f,", now->pressure - then->pressure);
}

/* output: -1: as this one's. Where there is a gate the child waits for a byte there, so that
 * nothing of it is missed. */
static pid_t start(char *argv[], char *const variables[], int output, int *gate) {
    int ends[2] = {-1, -1};
    if (gate && pipe(ends)) return -1;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        char byte;
        close(ends[1]);
        signal(SIGINT, on_int);
        signal(SIGQUIT, on_quit);
        signal(SIGCHLD, on_child);
        sigprocmask(SIG_SETMASK, &outside, NULL);
        for (; *variables; variables++) putenv(*variables);
        if (options.load && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)) _exit(127);
        if (gate && read(ends[0], &byte, 1) < 0) _exit(127);
        close(ends[0]);
        if (output >= 0 && (dup2(output, 1) < 0 || dup2(output, 2) < 0)) _exit(127);
        execvp(*argv, argv);
        fail(*argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    if (gate) close(ends[0]), *gate = ends[1];
    return pid;
}

/* 0: no thread yet. */
static long watch(pid_t pid) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .config = PERF_COUNT_SW_DUMMY,
                                   .size = sizeof attr,
                                   .task = 1,
                                   .inherit = 1,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1,
                                   .watermark = 1,
                                   .wakeup_watermark = RING / 2};
    long ncpus = sysconf(_SC_NPROCESSORS_CONF);
    if (ncpus > CPUS_MOST) return UNCOUNTED;
    for (int cpu = 0; cpu < ncpus; cpu++) {
        int fd = (int)syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 && errno == ENODEV) continue; /* offline */
        void *ring = fd < 0 ? MAP_FAILED
                            : mmap(NULL, PAGE + RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (ring == MAP_FAILED) return UNCOUNTED;
        fds[nrings + 1] = fds[nrings];
        fds[nrings] = (struct pollfd){.fd = fd, .events = POLLIN};
        rings[nrings++] = ring;
    }
    return 0;
}

/* A record is 8 bytes of header, then for a fork the new task's process and its parent's. All is a
 * multiple of 8 bytes, so neither is split by the ring's end. */
static void count(struct perf_event_mmap_page *ring) {
    const char *records = (char *)ring + PAGE;
    uint64_t at = ring->data_tail;
    /* acquire: pairs with the kernel's barrier between the records and data_head */
    uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
    while (at < head) {
        const struct perf_event_header *header = (const void *)(records + at % RING);
        const uint32_t *process = (const void *)(records + (at + sizeof *header) % RING);
        if (header->type == PERF_RECORD_LOST) threads = UNCOUNTED;
        if (header->type == PERF_RECORD_FORK && threads >= 0) threads += process[0] == process[1];
        at += header->size;
    }
    /* release: the records have been read before the kernel may write over them */
    __atomic_store_n(&ring->data_tail, head, __ATOMIC_RELEASE);
}

/* The next child that has ended within so many ms (below 0: without limit), or 0; -1: there is
 * none. Empties the rings meanwhile. */
static pid_t next_end(double ms, int *status, struct rusage *usage) {
    struct signalfd_siginfo info;
    double until = ms < 0 ? 1e18 : now() + ms / 1e3;
    for (;;) {
        pid_t pid = wait4(-1, status, WNOHANG, usage);
        for (int i = 0; i < nrings; i++) count(rings[i]); /* of what has ended, too */
        double left = (until - now()) * 1e3;
        if (pid || left <= 0 || state.asked) return pid;
        poll(fds, (nfds_t)nrings + 1, left > INT_MAX ? -1 : (int)left + 1);
        if (!fds[nrings].revents || read(fds[nrings].fd, &info, sizeof info) < 0) continue;
        if (info.ssi_signo != SIGCHLD) state.asked = (int)info.ssi_signo;
    }
}

static void add(struct rusage *sum, const struct rusage *usage) {
    timeradd(&sum->ru_utime, &usage->ru_utime, &sum->ru_utime);
    timeradd(&sum->ru_stime, &usage->ru_stime, &sum->ru_stime);
    if (usage->ru_maxrss > sum->ru_maxrss) sum->ru_maxrss = usage->ru_maxrss;
    sum->ru_nvcsw += usage->ru_nvcsw;
    sum->ru_nivcsw += usage->ru_nivcsw;
}

static bool has_crashed(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) != options.stop && WTERMSIG(status) != SIGKILL;
}

/* As next_end(). What the shell's commands leave behind counts as the server's. */
static pid_t reap(double ms) {
    int status = 0;
    struct rusage usage;
    pid_t pid = next_end(ms, &status, &usage);
    if (pid <= 0) return pid;
    add(pid == state.command ? &state.of_others : &state.of_server, &usage);
    if (pid == state.command)
        state.command = 0, state.command_end = status, state.command_ended_s = now();
    else if (pid == state.server || has_crashed(status)) state.server_end = status;
    if (pid == state.server) state.server = 0;
    return pid;
}

__attribute__((format(printf, 1, 2))) static bool problem(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(state.problem, sizeof state.problem, format, arguments);
    va_end(arguments);
    return false;
}

static bool server_has_ended(const char *when) {
    if (state.server || server_children(state.command) > 0) return false;
    int status = state.server_end;
    problem("the server ended (%s %d) %s", WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), when);
    return true;
}

/* Runs it for the shell while the server is there. False: it has not ended; until: when it must. */
static bool run(const char *text, int output, double until, const char *when) {
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)text, NULL}, *none[] = {NULL};
    state.command = start(argv, none, output, NULL);
    if (state.command < 0) return state.command = 0, problem("sh cannot be started");
    while (state.command && now() < until && !state.asked)
        if (reap((until - now()) * 1e3) > 0 && state.command && server_has_ended(when))
            return false;
    return !state.command && !server_has_ended(when);
}

static bool is_ready(int nowhere) {
    static const char when[] = "before it was ready";
    double until = now() + options.wait_s;
    while (!state.asked && !server_has_ended(when)) {
        if (!options.ready && server_listens()) return true;
        if (options.ready && run(options.ready, nowhere, until, when) && state.command_end == 0)
            return true;
        if (now() >= until)
            return problem("the server was not ready within %g s%s", options.wait_s,
                           options.ready ? "" : ": it has no socket that listens");
        if (!*state.problem) reap(20);
    }
    return false;
}

/* How many had to be killed; -1: and cannot be. */
static int stop(void) {
    double until = now() + options.grace_s;
    int killed = 0;
    if (state.command) kill(state.command, SIGKILL);
    server_tell(options.stop);
    for (pid_t pid = 1; pid >= 0 && now() < until;) {
        state.asked = 0; /* it is obeyed already */
        if ((pid = reap((until - now()) * 1e3)) > 0) server_tell(options.stop);
    }
    for (until = now() + 10; now() < until;) {
        int more = server_kill();
        state.asked = 0;
        if (!killed) killed = more;
        if (reap(10) < 0) return killed;
    }
    return -1;
}

static void put_end(FILE *out, const char *prefix, int status) {
    fprintf(out, "\"%sstatus\":%d,\"%ssignal\":%d", prefix,
            WIFEXITED(status) ? WEXITSTATUS(status) : 0, prefix,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void put_result(FILE *out, double wall, const struct rusage *usage) {
    fprintf(out, "{\"wall_s\":%.6f,\"user_s\":%.6f,\"system_s\":%.6f,\"max_rss_kib\":%ld,", wall,
            seconds(&usage->ru_utime), seconds(&usage->ru_stime), usage->ru_maxrss);
    fprintf(out, "\"voluntary_switches\":%ld,\"involuntary_switches\":%ld,", usage->ru_nvcsw,
            usage->ru_nivcsw);
    if (threads >= 0) fprintf(out, "\"threads\":%ld,", threads);
}

static int measure_command(FILE *out, char *argv[]) {
    int gate, status;
    struct rusage usage;
    pid_t pid = start(argv, environment, -1, &gate);
    if (pid < 0) return fail("fork");
    threads = watch(pid);
    struct machine before = machine_now();
    double began = now();
    close(gate);
    while (next_end(-1, &status, &usage) != pid) continue;
    double wall = now() - began;
    struct machine after = machine_now();
    put_result(out, wall, &usage);
    put_machine(out, &before, &after, &usage);
    put_end(out, "", status);
    fputs("}\n", out);
    return 0;
}

/* The time of the load, or below 0. */
static double put_under_load(void) {
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    double wall = -1;
    if (!is_ready(nowhere)) return wall;
    if (options.prepare &&
        (!run(options.prepare, -1, 1e18, "while --prepare ran") || state.command_end)) {
        if (!*state.problem) problem("the command of --prepare fails");
        return wall;
    }
    double began = now();
    if (run(options.load, -1, 1e18, "while the load ran")) wall = state.command_ended_s - began;
    return wall;
}

static int measure_server(FILE *out, char *argv[]) {
    int gate, flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC;
    int output = options.output ? open(options.output, flags, 0600) : -1;
    struct rusage ours;
    if (options.output && output < 0) return fail(options.output);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) return fail("PR_SET_CHILD_SUBREAPER");
    state.server = start(argv, environment, output, &gate);
    if (state.server < 0) return fail("fork");
    threads = watch(state.server);
    struct machine before = machine_now();
    double began = now();
    close(gate);
    double wall = put_under_load();
    int load_end = state.command_end, asked = state.asked, killed = stop();
    if (killed < 0) return errno = ETIME, fail("the server cannot be ended, not by SIGKILL");
    if (asked) return 128 + asked;
    if (load_end && !*state.problem && has_crashed(state.server_end))
        problem("the server ended (signal %d) while the load ran", WTERMSIG(state.server_end));
    struct machine after = machine_now();
    put_result(out, wall, &state.of_server);
    getrusage(RUSAGE_SELF, &ours);
    add(&state.of_others, &ours);
    add(&state.of_others, &state.of_server);
    fprintf(out, "\"span_s\":%.6f,", now() - began);
    put_machine(out, &before, &after, &state.of_others);
    put_end(out, "", load_end);
    fputc(',', out);
    put_end(out, "server_", state.server_end);
    fprintf(out, ",\"killed\":%d", killed);
    if (*state.problem) fprintf(out, ",\"problem\":\"%s\"", state.problem);
    fputs("}\n", out);
    return 0;
}

static int refuse(const char *option, const char *what) {
    fprintf(stderr, "kaio: %s takes %s, not '%s'\n", option, what, optarg);
    return 125;
}

static int set_seconds(double *seconds, const char *option) {
    char *end;
    *seconds = strtod(optarg, &end);
    bool is_good = *optarg && !*end && *seconds >= 0 && *seconds < 1e6;
    return is_good ? 0 : refuse(option, "seconds");
}

/* As kaio ab calls them. */
static int set_option(int option) {
    switch (option) {
    case 'e':
        if (nenvironment == ENVIRONMENT_MOST - 1) return 125;
        environment[nenvironment++] = optarg;
        return 0;
    case 'l': return options.load = optarg, 0;
    case 'r': return options.ready = optarg, 0;
    case 'p': return options.prepare = optarg, 0;
    case 'o': return options.output = optarg, 0;
    case 's':
        options.stop = server_signal_of(optarg);
        return options.stop ? 0 : refuse("--stop", "a signal");
    case 'w': return set_seconds(&options.wait_s, "--wait");
    case 'g': return set_seconds(&options.grace_s, "--grace");
    default: return 125;
    }
}

/* What is to be noticed comes by a descriptor. */
static bool watch_signals(void) {
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    if (options.load) sigaddset(&ours, SIGTERM), sigaddset(&ours, SIGHUP);
    sigprocmask(SIG_BLOCK, &ours, &outside);
    int fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    fds[nrings] = (struct pollfd){.fd = fd, .events = POLLIN};
    return fd >= 0;
}

int main(int argc, char *argv[]) {
    int option;
    while ((option = getopt(argc, argv, "+e:l:r:p:w:s:g:o:")) != -1)
        if (set_option(option)) return 125;
    if (argc - optind < 2) return errno = EINVAL, fail("kaio-measure");
    FILE *out = fopen(argv[optind], "we");
    if (!out) return fail(argv[optind]);
    on_int = signal(SIGINT, SIG_IGN); /* the command's to answer; its run ends with it */
    on_quit = signal(SIGQUIT, SIG_IGN);
    on_child = signal(SIGCHLD, SIG_DFL);
    if (!watch_signals()) return fail("signalfd");
    char **command = argv + optind + 1;
    int status = options.load ? measure_server(out, command) : measure_command(out, command);
    if (status) return status;
    return fclose(out) ? fail(argv[optind]) : 0;
}
