/* SPDX-License-Identifier: MIT */
/* For output.sh: a program that notices what the library's output does to it, and the places where
 * such output goes wrong.
 *
 *   output run SIGNALS HOW FILE   makes 100 reads. SIGNALS: default, handled, or blocked (SIGXFSZ
 *                                 pending for the thread, SIGPIPE for the process). HOW: full, no
 *                                 descriptor is left; instead, FILE itself becomes descriptor 2;
 *                                 or usual. Ends with 0, or says what has changed.
 *   output PLACE COMMAND...       runs a command there; PLACE: see places[]
 */
#define _GNU_SOURCE
#include <aio.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READS = 100,
    SIZE = 4096,
    OWN = 40,
    /* the library's descriptors begin here */ STRANGE = 1234
};

static const int both[] = {SIGPIPE, SIGXFSZ};

static void need(bool ok, const char *what) {
    if (ok) return;
    printf("%s: %s\n", what, strerror(errno));
    _exit(99);
}

static void must(bool ok, const char *what) {
    if (ok) return;
    printf("%s\n", what);
    fflush(stdout);
    _exit(1);
}

static void on_signal(int signo) {
    static const char text[] = "a signal came\n";
    (void)signo;
    if (write(1, text, sizeof text - 1) < 0) _exit(2);
    _exit(1);
}

static void prepare(const char *signals) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 2; i++) {
        sigaddset(&set, both[i]);
        signal(both[i], strcmp(signals, "default") ? on_signal : SIG_DFL);
    }
    if (strcmp(signals, "blocked")) return;
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGPIPE);
    pthread_kill(pthread_self(), SIGXFSZ);
}

/* Of this thread alone, and of the process: lines of /proc. */
static void pending(char text[200]) {
    char line[200];
    FILE *file = fopen("/proc/thread-self/status", "r");
    *text = 0;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "SigPnd", 6) || !strncmp(line, "ShdPnd", 6) ||
            !strncmp(line, "SigBlk", 6))
            strcat(text, line);
    if (file) fclose(file);
}

/* A bit for each that is open, and is no one's but the program's. */
static unsigned long descriptors(void) {
    unsigned long bits = 0;
    for (int fd = 0; fd < OWN; fd++)
        if (fcntl(fd, F_GETFD) >= 0) bits |= 1ul << fd;
    return bits;
}

static void reads(int fd, char *buf) {
    for (int i = 0; i < READS; i++) {
        struct aiocb cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = SIZE};
        const struct aiocb *list[] = {&cb};
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        errno = STRANGE;
        must(aio_read(&cb) == 0, "aio_read() failed");
        while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
        must(aio_error(&cb) == 0 && aio_return(&cb) == SIZE, "a read failed");
        must(errno == STRANGE, "errno has changed");
    }
}

static int run(char *argv[]) {
    must(errno == 0, "errno is not 0 at the start");
    char before[200], after[200], *buf = aligned_alloc(SIZE, SIZE);
    bool full = !strcmp(argv[1], "full");
    const char *path = argv[2];
    int own = open(path, O_RDWR); /* without standard error: 2 */
    int fd = open(path, O_RDONLY | O_DIRECT);
    need(own >= 0 && fd >= 0 && buf, path);
    if (!strcmp(argv[1], "instead")) need(dup2(own, 2) == 2, "dup2");
    prepare(argv[0]);
    pending(before);
    struct rlimit limit = {64, 64};
    if (full) need(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    while (full && open("/dev/null", O_RDONLY) >= 0) continue;
    unsigned long open_before = descriptors();
    reads(fd, buf);
    must(descriptors() == open_before, "descriptors have changed");
    for (int other = OWN - 1; full && other > fd; other--) close(other);
    pending(after);
    if (strcmp(before, after)) printf("signals were\n%sand are\n%s", before, after);
    must(!strcmp(before, after), "signals have changed");
    return 0;
}

/* Standard error is this, so full that nothing more goes in. */
static void fill(int fd) {
    static const char text[SIZE];
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    while (poll(&poll_fd, 1, 0) == 1 && write(fd, text, sizeof text) > 0) continue;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    need(dup2(fd, 2) == 2, "dup2");
}

static void closed_pipe(void) {
    int fds[2];
    need(pipe(fds) == 0 && close(fds[0]) == 0 && dup2(fds[1], 2) == 2, "pipe");
}

static void full_pipe(void) {
    int fds[2];
    need(pipe(fds) == 0, "pipe");
    fill(fds[1]);
}

static void closed_socket(void) {
    int fds[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && close(fds[0]) == 0, "socketpair");
    need(dup2(fds[1], 2) == 2, "dup2");
}

static void full_socket(void) {
    int fds[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    fill(fds[1]);
}

static int fifo(const char *path) {
    need(mkfifo(path, 0600) == 0 || errno == EEXIST, "mkfifo");
    int fd = open(path, O_RDWR);
    need(fd >= 0, path);
    return fd;
}

/* Linux knows no RWF_NOWAIT for it. */
static void full_fifo(void) {
    fill(fifo("full_fifo"));
}

static void closed_fifo(void) {
    int both_ways = fifo("closed_fifo"), fd = open("closed_fifo", O_WRONLY);
    need(fd >= 0 && close(both_ways) == 0 && dup2(fd, 2) == 2, "fifo");
}

static void full_terminal(void) {
    int lead = posix_openpt(O_RDWR | O_NOCTTY);
    need(lead >= 0 && grantpt(lead) == 0 && unlockpt(lead) == 0, "posix_openpt");
    int fd = open(ptsname(lead), O_RDWR | O_NOCTTY);
    need(fd >= 0, "terminal");
    fill(fd);
}

static void hung_up_terminal(void) {
    int lead = posix_openpt(O_RDWR | O_NOCTTY);
    need(lead >= 0 && grantpt(lead) == 0 && unlockpt(lead) == 0, "posix_openpt");
    int fd = open(ptsname(lead), O_RDWR | O_NOCTTY);
    need(fd >= 0 && close(lead) == 0 && dup2(fd, 2) == 2, "terminal");
}

static void full_device(void) {
    int fd = open("/dev/full", O_WRONLY);
    need(fd >= 0 && dup2(fd, 2) == 2, "/dev/full");
}

static void no_descriptor(void) {
    close(2);
}

/* A file that may not grow, as any other. */
static void no_size(void) {
    struct rlimit limit = {0, 0};
    int fd = open("no_size", O_WRONLY | O_CREAT | O_APPEND, 0600);
    need(fd >= 0 && dup2(fd, 2) == 2 && setrlimit(RLIMIT_FSIZE, &limit) == 0, "no_size");
}

static const struct {
    const char *name;
    void (*go)(void);
} places[] = {
    {"closed_pipe", closed_pipe},
    {"full_pipe", full_pipe},
    {"closed_socket", closed_socket},
    {"full_socket", full_socket},
    {"closed_fifo", closed_fifo},
    {"full_fifo", full_fifo},
    {"full_terminal", full_terminal},
    {"hung_up_terminal", hung_up_terminal},
    {"full_device", full_device},
    {"no_descriptor", no_descriptor},
    {"no_size", no_size},
};

int main(int argc, char *argv[]) {
    if (argc == 5 && !strcmp(argv[1], "run")) return run(argv + 2);
    for (size_t i = 0; argc > 2 && i < sizeof places / sizeof *places; i++) {
        if (strcmp(argv[1], places[i].name)) continue;
        places[i].go();
        execvp(argv[2], argv + 2);
    }
    printf("no such place\n");
    return 99;
}
