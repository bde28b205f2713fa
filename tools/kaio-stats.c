/* kaio-stats - runs a command and prints what all its processes asked of AIO, whatever ends them;
 * for kaio --stats.
 *
 *   kaio-stats LD_PRELOAD COMMAND [ARGUMENT ...]
 *
 * The processes count in a directory of their own (KAIO_STATS=DIRECTORY/), in memory if possible.
 * This one waits and is as transparent as a parent can be: it hands on the signals that are sent to
 * it, stops with its process group, and ends as the command did, by the same signal, too.
 */
#include "pages.h"
#include "printable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char directory[PATH_MAX];
static int dir; /* the same, open */
static sigset_t outside;
static void (*on_child)(int); /* as it is for the command */

static int fail(const char *what) {
    int err = errno;
    fputs("kaio: ", stderr);
    printable(stderr, what, INT_MAX);
    fprintf(stderr, ": %s\n", strerror(err));
    return 125;
}

/* With room for a page: one that cannot be made would be missing in the sum. */
static bool make_directory(const char *parent) {
    if (!parent || strlen(parent) > 900) return false;
    sprintf(directory, "%s/kaio-stats.XXXXXX", parent);
    if (!mkdtemp(directory)) return false;
    dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(dir, "room", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = fd < 0 ? errno : posix_fallocate(fd, 0, sizeof(struct kaio_counts));
    if (fd >= 0) close(fd);
    unlinkat(dir, "room", 0);
    /* a program of root's may become another user before it makes its first request */
    if (!err && (geteuid() || !fchmod(dir, S_ISVTX | 0733))) return true;
    rmdir(directory);
    errno = err;
    return false;
}

static pid_t start(const char *preload, char *argv[]) {
    pid_t parent = getpid(), pid = fork();
    if (pid) return pid;
    char where[PATH_MAX + 2];
    snprintf(where, sizeof where, "%s/", directory);
    if (setenv("KAIO_STATS", where, 1) || setenv("LD_PRELOAD", preload, 1)) _exit(125);
    /* whoever kills us means the command */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent) _exit(125);
    signal(SIGCHLD, on_child);
    sigprocmask(SIG_SETMASK, &outside, NULL);
    execvp(*argv, argv);
    int status = errno == ENOENT ? 127 : 126;
    fail(*argv);
    _exit(status);
}

/* Signals of the terminal reach the command by itself; what somebody sends to this process is meant
 * for it. */
static int wait_for(pid_t pid, const sigset_t *ours) {
    siginfo_t info;
    int status;
    for (;;) {
        int sig = sigwaitinfo(ours, &info);
        if (sig == SIGCHLD) {
            if (waitpid(pid, &status, WNOHANG) == pid) return status;
        } else if (sig > 0 && info.si_code == SI_QUEUE) {
            sigqueue(pid, sig, info.si_value);
        } else if (sig > 0 && info.si_code <= 0) {
            kill(pid, sig);
        }
    }
}

/* Has the process our directory in its environment? */
static bool counts_here(const char *pid) {
    char path[64], *variable = NULL;
    size_t size = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    FILE *environment = fopen(path, "re");
    while (environment && !found && getdelim(&variable, &size, 0, environment) > 0)
        found = !strncmp(variable, "KAIO_STATS=", 11) &&
                !strncmp(variable + 11, directory, strlen(directory));
    free(variable);
    if (environment) fclose(environment);
    return found;
}

/* How many processes go on. */
static int still_running(void) {
    int n = 0;
    DIR *proc = opendir("/proc");
    if (!proc) return 0;
    for (struct dirent *entry; (entry = readdir(proc));)
        if (*entry->d_name >= '1' && *entry->d_name <= '9') n += counts_here(entry->d_name);
    closedir(proc);
    return n;
}

static void report(const char *command) {
    static struct kaio_counts page;
    int running = still_running();
    for (int i = 0; running && i < 20; i++) { /* some are just ending */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        running = still_running();
    }
    DIR *pages = fdopendir(dir);
    if (!pages) return;
    for (struct dirent *entry; (entry = readdir(pages));)
        if (page_read(dir, entry->d_name, NULL, &page)) pages_add(&page);
    pages_print(stderr, command);
    if (running) {
        fprintf(
            stderr,
            "  still running: %d; when they have ended, 'kaio top --report %s/*' has all of it\n",
            running, directory);
    } else {
        rewinddir(pages);
        for (struct dirent *entry; (entry = readdir(pages));) unlinkat(dir, entry->d_name, 0);
        rmdir(directory);
    }
    fflush(stderr);
    closedir(pages);
}

static int end_as(int status) {
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

int main(int argc, char *argv[]) {
    static char buffer[BUFSIZ];
    sigset_t ours;
    if (argc < 3) return errno = EINVAL, fail("kaio-stats");
    sigfillset(&ours);
    sigdelset(&ours, SIGTSTP); /* stops us with the command */
    sigdelset(&ours, SIGTTIN);
    sigdelset(&ours, SIGTTOU);
    sigprocmask(SIG_SETMASK, &ours, &outside); /* SIGXFSZ, too */
    if (!make_directory("/dev/shm") && !make_directory(getenv("TMPDIR")) && !make_directory("/tmp"))
        return fail("no room for statistics in /dev/shm, $TMPDIR or /tmp");
    on_child = signal(SIGCHLD, SIG_DFL);
    pid_t pid = start(argv[1], argv + 2);
    if (pid < 0) return fail("fork");
    int status = wait_for(pid, &ours);
    setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
    report(argv[2]);
    return end_as(status);
}
