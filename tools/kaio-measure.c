/* kaio-measure - runs a command once and writes what it took, as a line of JSON; for kaio ab.
 *
 *   kaio-measure [-t] [-e NAME=VALUE] ... RESULT COMMAND [ARGUMENT ...]
 *     -e  set for the command only
 *     -t  counts the threads that it creates, with its children's: ptrace(2) stops it at each
 *         clone() and signal, so its times are not those of a run without -t
 *
 * Times, memory and switches are wait4()'s: of the command and of the children it waited for.
 * Exit status: 0 if there is a RESULT, 125 if not.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS (PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)

static void (*on_int)(int), (*on_quit)(int); /* as they are for the command */

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

/* The child waits until it is being traced, if it is to be. */
static pid_t start(char *argv[], int traced, long *threads) {
    int gate[2];
    if (pipe(gate)) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(gate[1]);
        signal(SIGINT, on_int);
        signal(SIGQUIT, on_quit);
        if (read(gate[0], &byte, 1) < 0) _exit(127);
        close(gate[0]);
        execvp(*argv, argv);
        fail(*argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    *threads = traced && pid > 0 && !ptrace(PTRACE_SEIZE, pid, 0, EVENTS) ? 0 : -1;
    close(gate[0]);
    close(gate[1]);
    return pid;
}

/* A tracee has stopped: counts, and lets it go on as if nobody were there. */
static void go_on(pid_t pid, int status, long *threads) {
    int event = status >> 16, sig = WSTOPSIG(status);
    if (event == PTRACE_EVENT_CLONE) ++*threads;
    if (event == PTRACE_EVENT_STOP && sig != SIGTRAP) ptrace(PTRACE_LISTEN, pid, 0, 0);
    else ptrace(PTRACE_CONT, pid, 0, event ? 0 : sig);
}

static int wait_for(pid_t child, struct rusage *usage, long *threads) {
    for (;;) {
        int status;
        pid_t pid = wait4(*threads < 0 ? child : -1, &status, __WALL, usage);
        if (pid < 0 && errno != EINTR) return -1;
        if (pid == child && (WIFEXITED(status) || WIFSIGNALED(status))) return status;
        if (pid > 0 && WIFSTOPPED(status)) go_on(pid, status, threads);
    }
}

int main(int argc, char *argv[]) {
    int option, traced = 0;
    while ((option = getopt(argc, argv, "+te:")) != -1) {
        if (option == 't') traced = 1;
        else if (option != 'e' || putenv(optarg)) return 125;
    }
    if (argc - optind < 2) return errno = EINVAL, fail("kaio-measure");
    FILE *out = fopen(argv[optind], "we");
    if (!out) return fail(argv[optind]);
    on_int = signal(SIGINT, SIG_IGN); /* the command's to answer; its run ends with it */
    on_quit = signal(SIGQUIT, SIG_IGN);
    long threads;
    struct rusage usage;
    double began = now();
    pid_t pid = start(argv + optind + 1, traced, &threads);
    if (pid < 0) return fail("fork");
    int status = wait_for(pid, &usage, &threads);
    double wall = now() - began;
    if (status < 0) return fail("wait");
    fprintf(out, "{\"wall_s\":%.6f,\"user_s\":%.6f,\"system_s\":%.6f,\"max_rss_kib\":%ld,", wall,
            seconds(&usage.ru_utime), seconds(&usage.ru_stime), usage.ru_maxrss);
    fprintf(out, "\"voluntary_switches\":%ld,\"involuntary_switches\":%ld,", usage.ru_nvcsw,
            usage.ru_nivcsw);
    if (threads >= 0) fprintf(out, "\"threads\":%ld,", threads);
    fprintf(out, "\"status\":%d,\"signal\":%d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : 0,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return fclose(out) ? fail(argv[optind]) : 0;
}
