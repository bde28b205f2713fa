/* SPDX-License-Identifier: MIT */
/* The signals that come with errors, SIGPIPE and SIGXFSZ. In glibc they belong to a helper thread:
 * the program never sees them, also when it blocks them. But those that somebody else sends must
 * come, whatever the library is doing meanwhile. */
#include "test.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { LIMIT = 1 << 20, SENT = 1000 };

static char *buf; /* 16 KiB, aligned */

static bool is_pending(int signo) {
    sigset_t set;
    sigpending(&set);
    return sigismember(&set, signo);
}

/* One write, alone or in a list, and what is pending then. */
static void writes(const char *what, int fd, size_t n, off_t offset, bool listed) {
    struct aiocb cb = request(fd, buf, n, offset), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    int res = listed ? lio_listio(LIO_WAIT, list, 1, NULL) : aio_write(&cb);
    int at_once = res < 0 ? errno : 0, err = finish(&cb);
    say("%s%s: %d %s, %s, %zd, pending %d %d", what, listed ? ", list" : "", res, name(at_once),
        name(err), aio_return(&cb), is_pending(SIGPIPE), is_pending(SIGXFSZ));
}

static void broken_streams(void) {
    int pipes[2], pair[2];
    need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
    close(pipes[0]);
    close(pair[0]);
    for (int listed = 0; listed < 2; listed++) {
        writes("pipe", pipes[1], 100, 0, listed);
        writes("pipe, large", pipes[1], 16384, 0, listed);
        writes("socket", pair[1], 100, 0, listed);
    }
    close(pipes[1]);
    close(pair[1]);
}

/* The limit leaves room for the output of this program. */
static void set_limit(rlim_t size) {
    struct rlimit limit = {size, RLIM_INFINITY};
    need(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
}

static void too_far(const char *what, int fd) {
    need(fd >= 0 && posix_fallocate(fd, 0, LIMIT) == 0, "file");
    for (int i = 0; i < 4; i++) writes(what, fd, 4096, 0, false); /* nothing wrong, as yet */
    set_limit(LIMIT);
    for (int listed = 0; listed < 2; listed++) {
        writes(what, fd, 4096, LIMIT, listed);
        writes(what, fd, 8192, LIMIT - 4096, listed);
    }
    set_limit(RLIM_INFINITY);
    close(fd);
}

static void all_errors(void) {
    broken_streams();
    too_far("buffered", scratch(O_RDWR, 0));
    too_far("direct", scratch(O_RDWR | O_DIRECT, 0));
    too_far("memory", memfd_create("memory", MFD_CLOEXEC));
}

struct take {
    int signo, got;
    siginfo_t info;
};

static void *take(void *arg) {
    struct take *take = arg;
    struct timespec none = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, take->signo);
    take->got = sigtimedwait(&set, &take->info, &none);
    return NULL;
}

/* Takes a pending signal: one of the process in another thread. */
static void take_in(bool this_thread, struct take *t) {
    pthread_t thread;
    if (this_thread) {
        take(t);
        return;
    }
    need(pthread_create(&thread, NULL, take, t) == 0, "thread");
    pthread_join(thread, NULL);
}

/* The program's own pending signal stays: once, and as it was sent. */
static void stays(int signo, bool to_thread) {
    struct take first = {.signo = signo}, other = {.signo = signo};
    say("%s is pending for the %s", strsignal(signo), to_thread ? "thread" : "process");
    need((to_thread ? raise(signo) : kill(getpid(), signo)) == 0, "kill");
    all_errors();
    take_in(to_thread, &first);
    take_in(true, &other);
    say("it comes %d, as sent %d", first.got == signo,
        first.info.si_code == (to_thread ? SI_TKILL : SI_USER) && first.info.si_pid == getpid());
    say("no other %d", other.got < 0);
}

static void blocked(void) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGXFSZ);
    sigprocmask(SIG_BLOCK, &set, &old);
    say("blocked");
    all_errors();
    for (int to_thread = 0; to_thread < 2; to_thread++) {
        stays(SIGPIPE, to_thread);
        stays(SIGXFSZ, to_thread);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static int heard[2];              /* a byte for each signal that came */
static volatile sig_atomic_t own; /* those of our own errors */

static void on_signal(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    if (info->si_code == SI_USER && info->si_pid != getpid()) (void)!write(heard[1], "x", 1);
    else own++;
}

/* Sends one signal after the other, each when the last has been heard of; answers through its
 * status how many were not. */
static int send_all(int signo) {
    struct pollfd answer = {.fd = heard[0], .events = POLLIN};
    char c;
    for (int i = 0; i < SENT; i++) {
        usleep((useconds_t)(i % 7)); /* not always at the same point */
        if (kill(getppid(), signo) || poll(&answer, 1, 2000) != 1) return 1;
        if (read(heard[0], &c, 1) != 1) return 2;
    }
    return 0;
}

/* While the program makes requests without a pause, whose errors raise the same signal or not. */
static void foreign(const char *what, int signo, int fd, off_t offset, int expected) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    int status = 0, wrong = 0;
    own = 0;
    need(sigaction(signo, &action, NULL) == 0 && pipe(heard) == 0, "pipe");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) _exit(send_all(signo));
    set_limit(signo == SIGXFSZ ? LIMIT : RLIM_INFINITY);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        struct aiocb cb = request(fd, buf, 4096, offset);
        wrong += aio_write(&cb) != 0 || finish(&cb) != expected;
    }
    set_limit(RLIM_INFINITY);
    say("%s, %s: lost %d, own %d, %d wrong", strsignal(signo), what, status != 0, own, wrong);
    close(heard[0]);
    close(heard[1]);
    close(fd);
}

/* Signals, whoever sent them. relaxed: it orders nothing, and for anything else TSan takes a lock,
 * which its handler would find taken by the thread that it has interrupted. */
static _Atomic int came;

static void count(int signo) {
    (void)signo;
    atomic_fetch_add_explicit(&came, 1, memory_order_relaxed);
}

static int have_come(void) {
    return atomic_load_explicit(&came, memory_order_relaxed);
}

/* The next one when the last has come. */
static void *send_to_all(void *arg) {
    _Atomic int *sending = arg;
    int signo = *sending;
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* the other thread handles them */
    for (int i = 0; i < SENT; i++) {
        uint64_t end = now_us() + quiet_us(2000000);
        usleep((useconds_t)(i % 7));
        kill(getpid(), signo);
        while (have_come() <= i && now_us() < end) usleep(1);
    }
    *sending = 0;
    return NULL;
}

/* The same signals from a thread of the program, which look like those of errors. */
static void by_own_thread(const char *what, int signo, int fd, off_t offset, int expected) {
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    int wrong = 0;
    _Atomic int sending = signo;
    pthread_t thread;
    came = 0;
    need(sigaction(signo, &action, NULL) == 0, "sigaction");
    need(pthread_create(&thread, NULL, send_to_all, &sending) == 0, "thread");
    while (sending && have_come() < SENT) {
        struct aiocb cb = request(fd, buf, 4096, offset);
        wrong += aio_write(&cb) != 0 || finish(&cb) != expected;
    }
    pthread_join(thread, NULL);
    say("%s, %s, from a thread: %d, %d wrong", strsignal(signo), what, came, wrong);
    close(fd);
}

static int broken_pipe(void) {
    int fds[2];
    need(pipe(fds) == 0, "pipe");
    close(fds[0]);
    return fds[1];
}

static void test(void) {
    buf = pages(16384);
    CASE("default-action") all_errors();
    CASE("blocked") blocked();
    CASE("foreign") foreign("broken pipe", SIGPIPE, broken_pipe(), 0, EPIPE);
    CASE("by-own-thread") by_own_thread("broken pipe", SIGPIPE, broken_pipe(), 0, EPIPE);
    CASE("foreign-in-file") {
        foreign("file", SIGPIPE, scratch(O_RDWR, 0), 0, 0);
        foreign("buffered", SIGXFSZ, scratch(O_RDWR, 0), LIMIT, EFBIG);
        foreign("direct", SIGXFSZ, scratch(O_RDWR | O_DIRECT, 0), LIMIT, EFBIG);
        foreign("memory", SIGXFSZ, memfd_create("memory", MFD_CLOEXEC), LIMIT, EFBIG);
    }
}
