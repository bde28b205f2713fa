/* SPDX-License-Identifier: MIT */
/* parent.c - see parent.h. One thread, one command. */
#include "early.h"

#include "parent.h"
#include "printable.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static sigset_t ours, outside;
static void (*on_child)(int); /* as it is for the command */

void parent_begin(void) {
    sigfillset(&ours);
    sigdelset(&ours, SIGTSTP); /* stops us with the command */
    sigdelset(&ours, SIGTTIN);
    sigdelset(&ours, SIGTTOU);
    sigprocmask(SIG_SETMASK, &ours, &outside); /* SIGPIPE and SIGXFSZ, too */
}

pid_t parent_start(char *argv[]) {
    on_child = signal(SIGCHLD, SIG_DFL);
    pid_t parent = getpid(), pid = fork();
    if (pid) return pid;
    /* whoever kills us means the command */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent) _exit(125);
    signal(SIGCHLD, on_child);
    sigprocmask(SIG_SETMASK, &outside, NULL);
    execvp(*argv, argv);
    int status = errno == ENOENT ? 127 : 126;
    const char *why = strerror(errno);
    fputs("kaio: ", stderr);
    printable(stderr, *argv, INT_MAX);
    fprintf(stderr, ": %s\n", why);
    _exit(status);
}

/* Signals of the terminal reach the command by itself; what somebody sends to this process is meant
 * for it. */
int parent_wait(pid_t pid) {
    siginfo_t info;
    int status;
    for (;;) {
        int sig = sigwaitinfo(&ours, &info);
        if (sig == SIGCHLD) {
            if (waitpid(pid, &status, WNOHANG) == pid) return status;
        } else if (sig > 0 && info.si_code == SI_QUEUE) {
            sigqueue(pid, sig, info.si_value);
        } else if (sig > 0 && info.si_code <= 0) {
            kill(pid, sig);
        }
    }
}

int parent_end_as(int status) {
    if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
    int sig = WTERMSIG(status);
    sigset_t it;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* it has left one */
    signal(sig, SIG_DFL);
    sigemptyset(&it);
    sigaddset(&it, sig);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &it, NULL);
    return 128 + sig;
}
