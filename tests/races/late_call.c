/* SPDX-License-Identifier: MIT */
/* A blocker is held on its way into read() or write(), for races.sh, while the program closes the
 * descriptor and puts a file on its number: the call must not go there, and close() must not wait
 * for a call that has begun. (glibc's goes there: bug 14942.) */
#include "test.h"
#include "replace.h"

#include <poll.h>
#include <termios.h>

#define HOLD_MS 50

enum way { CLOSE, DUP2, DUP3, WAYS };
static const char *const names[] = {"close", "dup2", "dup3"};

static _Atomic int held_fd; /* at whose calls to stop a while; -1: none */
static _Atomic bool held, no_proc;
static _Atomic int interrupted_fd, interrupted; /* whose read() fails with EINTR, and how often */

static long at_call(const struct call *call) {
    bool calls = call->nr == SYS_write || call->nr == SYS_read;
    if (call->nr == SYS_read && call->args[0] == interrupted_fd && call->args[2] > 0) {
        perform(call);
        interrupted++;
        return -EINTR;
    }
    if (calls && call->args[0] == held_fd && call->args[2] > 0) {
        held = true;
        sleep_ms(HOLD_MS);
        held_fd = -1;
    }
    return no_proc && call->nr == SYS_openat ? -ENOENT : GO_ON;
}

static long cpu_us(void) {
    struct timespec used;
    need(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0, "clock");
    return used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

/* Puts a file on the number. While it waits for the blocker it must leave it the CPU: were both
 * real-time threads of one CPU, neither would ever go on. */
static int replace(enum way way, int fd) {
    int other = memfd_create("other", MFD_CLOEXEC);
    long before = cpu_us();
    need(other >= 0, "file");
    if (way == CLOSE) need(close(fd) == 0, "close");
    need((way == DUP3 ? dup3(other, fd, O_CLOEXEC) : dup2(other, fd)) == fd, "dup");
    long used = cpu_us() - before;
    if (used > HOLD_MS * 1000 / 2) {
        say("%s: %ld us of the CPU while it waits", names[way], used);
        exit(1);
    }
    close(other);
    return fd;
}

static void about_to_write(enum way way) {
    uint64_t one = 1;
    struct stat st;
    int fd = eventfd(0, EFD_CLOEXEC), old = dup(fd);
    struct aiocb cb = request(fd, &one, sizeof one, 0);
    held = false;
    held_fd = fd;
    need(aio_write(&cb) == 0, "aio_write");
    while (!held) sleep_ms(1);
    replace(way, fd);
    int err = finish(&cb);
    need(fstat(fd, &st) == 0, "fstat");
    bool arrived = poll(&(struct pollfd){.fd = old, .events = POLLIN}, 1, 0) == 1;
    say("%s: %s, %zd, arrived %d, in the next file %d", names[way], name(err), aio_return(&cb),
        arrived, (int)st.st_size);
    if (err || !arrived || st.st_size) exit(1);
    close(fd);
    close(old);
}

/* Its reads of less than that are not polled for: poll() would wait for all five. */
static void wants_five(int terminal) {
    struct termios mode;
    need(tcgetattr(terminal, &mode) == 0, "terminal");
    cfmakeraw(&mode);
    mode.c_cc[VMIN] = 5;
    need(tcsetattr(terminal, TCSANOW, &mode) == 0, "terminal");
}

/* A terminal's read that waits for three bytes. */
static void reading(enum way way) {
    char bytes[3];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals here");
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY), old = dup(fd);
    wants_five(fd);
    need(write(master, "ab", 2) == 2, "terminal");
    struct aiocb cb = request(fd, bytes, 3, 0);
    held = false;
    held_fd = fd;
    need(aio_read(&cb) == 0, "aio_read");
    while (!held) sleep_ms(1);
    if (no_proc) sleep_ms(100); /* else it is on its way */
    replace(way, fd);
    say("%s beside a read that waits: back, %s", names[way], name(aio_error(&cb)));
    if (aio_error(&cb) != EINPROGRESS || write(master, "c", 1) != 1) exit(1);
    int err = finish(&cb);
    say("then %s, %zd", name(err), aio_return(&cb));
    if (err || aio_return(&cb) != 3 || memcmp(bytes, "abc", 3)) exit(1);
    close(fd);
    close(old);
    close(master);
}

/* A read that ends by EINTR when its number is another file's is not made again. (Of terminals it
 * is invented; sockets with a time limit say so after SIGSTOP.) */
static void interrupted_later(enum way way) {
    char byte;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) skip("no pseudo-terminals here");
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY), old = dup(fd);
    struct aiocb cb = request(fd, &byte, 1, 0);
    need(fd >= 0 && old >= 0, "terminal");
    wants_five(fd);
    interrupted_fd = fd;
    interrupted = 0;
    need(aio_read(&cb) == 0, "aio_read");
    while (!is_read(fd)) sleep_ms(1);
    replace(way, fd);
    need(write(master, "x", 1) == 1, "write");
    int err = finish(&cb);
    say("%s, then interrupted: %s, %d calls", names[way], name(err), interrupted);
    if (err != ECANCELED || interrupted != 1) exit(1);
    interrupted_fd = -1;
    close(fd);
    close(old);
    close(master);
}

static void test(void) {
    held_fd = interrupted_fd = -1;
    replace_begin();
    for (enum way way = CLOSE; way < WAYS; way++) {
        about_to_write(way);
        reading(way);
        interrupted_later(way);
    }
    no_proc = true; /* close() goes on, as glibc's */
    reading(CLOSE);
}
