/* SPDX-License-Identifier: MIT */
/* Terminals as programs set them for serial lines: VMIN and VTIME, which let a read end with less
 * than was asked for or with nothing; O_NONBLOCK; a background process. And what is read like a
 * stream but is none: inotify, signalfd, /dev/urandom. */
#include "test.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>

static char *buf;

/* Ended within two seconds? Then prints what came of it. */
static void ends(const char *what, int res, struct aiocb *cb) {
    const struct aiocb *list[] = {cb};
    struct timespec limit = {quiet_s(2), 0};
    int at_once = res < 0 ? errno : 0;
    if (aio_error(cb) == EINPROGRESS) aio_suspend(list, 1, &limit);
    int err = aio_error(cb);
    say("%s: at once %s, %s, %zd", what, name(at_once), name(err),
        err == EINPROGRESS ? -2 : aio_return(cb));
    if (err == EINPROGRESS) _exit(1); /* it refers to our stack */
}

static void reads(const char *what, int fd, size_t n) {
    struct aiocb cb = request(fd, buf, n, 0);
    ends(what, aio_read(&cb), &cb);
}

static void writes(const char *what, int fd, size_t n) {
    struct aiocb cb = request(fd, buf, n, 0);
    ends(what, aio_write(&cb), &cb);
}

static void put(int fd, const char *text) {
    need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

/* fds[0] is the other end of the terminal fds[1]. */
static void open_terminal(int fds[2], int flags) {
    fds[0] = posix_openpt(O_RDWR | O_NOCTTY);
    if (fds[0] < 0) skip("no pseudo-terminals here");
    need(grantpt(fds[0]) == 0 && unlockpt(fds[0]) == 0, "pty");
    fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY | flags);
    need(fds[1] >= 0, "tty");
}

static void set_raw(int fd, int min, int tenths) {
    struct termios mode;
    need(tcgetattr(fd, &mode) == 0, "tcgetattr");
    cfmakeraw(&mode);
    mode.c_cc[VMIN] = (cc_t)min;
    mode.c_cc[VTIME] = (cc_t)tenths;
    need(tcsetattr(fd, TCSANOW, &mode) == 0, "tcsetattr");
}

static void modes(void) {
    int fds[2];
    open_terminal(fds, 0);
    set_raw(fds[1], 0, 0);
    reads("MIN 0, TIME 0, silent", fds[1], 10);
    reads("MIN 0, TIME 0, silent, nothing asked for", fds[1], 0);
    put(fds[0], "abc");
    reads("MIN 0, TIME 0, nothing asked for", fds[1], 0);
    poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 1000);
    reads("MIN 0, TIME 0, data", fds[1], 10);
    set_raw(fds[1], 0, 1);
    reads("MIN 0, TIME 1, silent", fds[1], 10);

    set_raw(fds[1], 5, 0);
    struct aiocb cb = request(fds[1], buf, 10, 0);
    need(aio_read(&cb) == 0, "aio_read");
    put(fds[0], "abc");
    settle();
    say("MIN 5, three bytes: %s", name(aio_error(&cb)));
    put(fds[0], "defg");
    ends("MIN 5, seven bytes", 0, &cb);
    set_raw(fds[1], 5, 1);
    cb = request(fds[1], buf, 10, 0);
    need(aio_read(&cb) == 0, "aio_read");
    sleep_ms(150);
    say("MIN 5, TIME 1, silent: %s", name(aio_error(&cb)));
    put(fds[0], "abc");
    ends("MIN 5, TIME 1, three bytes", 0, &cb);
    set_raw(fds[1], 5, 0); /* less than MIN asked for */
    put(fds[0], "abc");
    reads("MIN 5, two asked for", fds[1], 2);
    reads("MIN 5, one asked for", fds[1], 1);
    reads("MIN 5, silent, nothing asked for", fds[1], 0);
    close(fds[0]);
    close(fds[1]);
}

static void nonblocking(void) {
    int fds[2];
    open_terminal(fds, O_NONBLOCK);
    reads("non-blocking terminal", fds[1], 10);
    set_raw(fds[1], 1, 0);
    reads("non-blocking raw terminal", fds[1], 10);
    writes("non-blocking terminal, write", fds[1], 10);
    close(fds[0]);
    close(fds[1]);
    int fd = open("fifo", O_RDONLY | O_NONBLOCK);
    reads("FIFO without writer, non-blocking", fd, 10);
    close(fd);
    fd = open("fifo", O_RDWR | O_NONBLOCK);
    reads("non-blocking O_RDWR FIFO", fd, 10);
    writes("non-blocking O_RDWR FIFO, write", fd, 200000);
    close(fd);
    fd = eventfd(0, EFD_NONBLOCK);
    reads("non-blocking eventfd", fd, 8);
    close(fd);
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    reads("non-blocking timerfd", fd, 8);
    close(fd);
}

/* A blocking read() says end of file where poll() waits for the first writer. */
static void fifo_of_nobody(void) {
    int from = open("fifo", O_RDONLY | O_NONBLOCK);
    need(from >= 0 && fcntl(from, F_SETFL, O_RDONLY) == 0, "fifo");
    reads("FIFO, no writer as yet", from, 10);
    int to = open("fifo", O_WRONLY);
    put(to, "data");
    reads("FIFO, then one", from, 10);
    close(to);
    close(from);
}

/* The writers of a named FIFO go while a read waits, and come again. */
static void fifo_of_others(void) {
    int from = open("fifo", O_RDONLY | O_NONBLOCK), to = open("fifo", O_WRONLY);
    need(from >= 0 && to >= 0 && fcntl(from, F_SETFL, O_RDONLY) == 0, "fifo");
    struct aiocb cb = request(from, buf, 10, 0);
    need(aio_read(&cb) == 0, "aio_read");
    settle();
    say("FIFO, nothing: %s", name(aio_error(&cb)));
    put(to, "data");
    ends("FIFO", 0, &cb);
    need(aio_read(&cb) == 0, "aio_read");
    settle();
    close(to);
    ends("FIFO, the writer goes", 0, &cb);
    reads("FIFO, the writer is gone", from, 10);
    to = open("fifo", O_WRONLY);
    put(to, "more");
    reads("FIFO, another writer", from, 10);
    close(from);
    writes("FIFO, the reader is gone", to, 10);
    close(to);
    to = open("fifo", O_RDWR), from = open("fifo", O_WRONLY);
    writes("FIFO, a reader again", from, 10);
    close(to);
    close(from);
}

/* A session's leader that is not in the terminal's foreground must not read from it: EIO, as
 * helpers block SIGTTIN. In a program of its own, as glibc's AIO does not work after fork(). */
static void read_in_background(int fd) {
    pid_t foreground = fork();
    if (foreground == 0)
        for (;;) pause();
    signal(SIGTTOU, SIG_IGN);
    need(setpgid(foreground, foreground) == 0 && tcsetpgrp(fd, foreground) == 0, "tcsetpgrp");
    struct aiocb cb = request(fd, buf, 10, 0);
    need(aio_read(&cb) == 0, "aio_read");
    for (int i = 0; i < 1000 && aio_error(&cb) == EINPROGRESS; i++) sleep_ms(1);
    int err = aio_error(&cb);
    kill(foreground, SIGKILL);
    _exit(err);
}

static void background(void) {
    int fds[2], status = 0;
    char number[20];
    open_terminal(fds, 0);
    snprintf(number, sizeof number, "%d", fds[1]);
    pid_t pid = fork();
    if (pid == 0) {
        need(setsid() > 0 && ioctl(fds[1], TIOCSCTTY, 0) == 0, "session");
        setenv("TEST_BACKGROUND", number, 1);
        execl("/proc/self/exe", "terminal", (char *)NULL);
    }
    need(pid > 0 && waitpid(pid, &status, 0) == pid, "child");
    say("background: %s", WIFEXITED(status) ? name(WEXITSTATUS(status)) : "signal");
    close(fds[0]);
    close(fds[1]);
}

static void inotify(void) {
    struct inotify_event *event = (struct inotify_event *)buf;
    int fd = inotify_init1(IN_CLOEXEC);
    need(fd >= 0 && inotify_add_watch(fd, ".", IN_CREATE) >= 0, "inotify");
    struct aiocb cb = request(fd, buf, 4096, 0);
    need(aio_read(&cb) == 0, "aio_read");
    settle();
    say("inotify, nothing: %s", name(aio_error(&cb)));
    close(open("created", O_CREAT | O_RDWR, 0600));
    ends("inotify", 0, &cb);
    say("event %d %s", event->mask == IN_CREATE, event->name);
    close(open("again", O_CREAT | O_RDWR, 0600));
    reads("inotify, too small", fd, 4);
    close(fd);
}

static void signal_descriptor(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    need(fd >= 0, "signalfd");
    struct aiocb cb = request(fd, buf, sizeof(struct signalfd_siginfo), 0);
    need(aio_read(&cb) == 0, "aio_read");
    settle();
    say("signalfd, nothing: %s", name(aio_error(&cb)));
    need(kill(getpid(), SIGUSR2) == 0, "kill");
    ends("signalfd", 0, &cb);
    reads("signalfd, too small", fd, 10);
    struct timespec none = {0, 0};
    need(pthread_kill(pthread_self(), SIGUSR2) == 0, "kill"); /* is not for the reader */
    cb = request(fd, buf, sizeof(struct signalfd_siginfo), 0);
    need(aio_read(&cb) == 0, "aio_read");
    settle();
    say("a thread's own signal: %s", name(aio_error(&cb)));
    say("the thread has it: %d", sigtimedwait(&set, NULL, &none) == SIGUSR2);
    need(kill(getpid(), SIGUSR2) == 0, "kill");
    ends("signalfd", 0, &cb);
    close(fd);
}

/* Character devices with and without positions. */
static void devices(void) {
    static const char *const paths[] = {"/dev/urandom", "/dev/random"};
    for (int i = 0; i < 2; i++) {
        int fd = open(paths[i], O_RDONLY);
        need(fd >= 0, paths[i]);
        reads(paths[i], fd, 64);
        reads(paths[i], fd, 100000);
        close(fd);
    }
    int fd = open("/dev/null", O_WRONLY);
    writes("2 GiB and more to /dev/null", fd, 3ul << 30);
    close(fd);
    fd = open("/proc/self/mem", O_RDONLY);
    need(fd >= 0, "/proc/self/mem");
    static char there[10] = "there";
    struct aiocb cb = request(fd, buf, sizeof there, (off_t)(uintptr_t)there);
    ends("/proc/self/mem", aio_read(&cb), &cb);
    say("it is %.5s", buf);
    cb = request(fd, buf, 10, 0);
    ends("/proc/self/mem, nothing there", aio_read(&cb), &cb);
    close(fd);
    fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
    if (fd < 0) return;
    reads("/sys", fd, 4096);
    cb = request(fd, buf, 4096, 5);
    ends("/sys, from 5 on", aio_read(&cb), &cb);
    close(fd);
}

static void *read_line(void *fd) {
    char line[10];
    return (void *)(uintptr_t)read(*(int *)fd, line, sizeof line);
}

/* Somebody else is in read() of the same terminal: who cancels or closes does not wait for its
 * input. */
static void beside_reader(bool closes) {
    int fds[2];
    pthread_t reader;
    char byte;
    open_terminal(fds, 0);
    int other = dup(fds[1]);
    need(pthread_create(&reader, NULL, read_line, &fds[1]) == 0, "thread");
    while (!is_read(fds[1])) sleep_ms(1);
    struct aiocb cb = request(other, &byte, 1, 0);
    need(aio_read(&cb) == 0, "aio_read");
    settle(); /* the thread that waits is there */
    uint64_t begin = now_us();
    int answer = closes ? close(other) : aio_cancel(other, &cb);
    say("%s beside a reader: at once %d", closes ? "close" : "cancel",
        now_us() - begin < quiet_us(500000));
    if (closes) need(answer == 0, "close");
    else
        differs("answer", "NOTCANCELED", "CANCELED",
                answer == AIO_CANCELED ? "CANCELED" : "NOTCANCELED");
    put(fds[0], "line\n");
    pthread_join(reader, NULL);
    put(fds[0], "more\n");
    int err = finish(&cb);
    differs("request", "0", "ECANCELED", name(err));
    if (!closes) close(other);
    close(fds[0]);
    close(fds[1]);
}

static void test(void) {
    const char *in_background = getenv("TEST_BACKGROUND");
    buf = pages(1 << 20);
    if (in_background) read_in_background(atoi(in_background));
    need(mkfifo("fifo", 0600) == 0, "mkfifo");
    CASE("modes") modes();
    CASE("nonblocking") nonblocking();
    CASE("fifo-of-nobody") fifo_of_nobody();
    CASE("fifo-of-others") fifo_of_others();
    CASE("background") background();
    CASE("beside-reader") {
        beside_reader(false);
        beside_reader(true);
    }
    CASE("inotify") inotify();
    CASE("signal-descriptor") signal_descriptor();
    CASE("devices") devices();
}
