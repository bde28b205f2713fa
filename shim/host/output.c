/* SPDX-License-Identifier: MIT */
/* output.c - what the library writes for its user: the log, a recording, a line on standard error.
 *
 * Whatever a user names, the program runs as without it. All that is written goes through
 * kaio_output_put(), which does not wait: a pipe that is full takes nothing. Around it signals are
 * blocked, and one that the write has raised is taken back (raised.c). What is opened is neither
 * reached through a symbolic link at the end of its path nor a block device, and a FIFO without a
 * reader cannot be. Called on any thread, with or without the lock, maybe in a handler; the calls
 * are raw, so they are no cancellation points. errno stays.
 *
 * Standard error is the file that descriptor 2 was when the library was loaded. Programs close it
 * and get a file of their own there.
 */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct stat standard_error; /* st_ino 0: there is none */
static atomic_bool log_failed;

static const char *log_path = "";

void kaio_output_load(const char *log) {
    log_path = log;
    if (kaio_fstat(2, &standard_error)) standard_error.st_ino = 0;
}

static bool is_standard_error(void) {
    struct stat st;
    return standard_error.st_ino && kaio_fstat(2, &st) == 0 && st.st_ino == standard_error.st_ino &&
           st.st_dev == standard_error.st_dev;
}

/* Around whatever may raise SIGPIPE or SIGXFSZ. */
void kaio_output_begin(struct kaio_output *o) {
    sigset_t all;
    o->saved = errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &o->mask);
    o->pending = kaio_raised_pending(&o->mask);
}

/* err: what it answered */
void kaio_output_end(struct kaio_output *o, int err) {
    if (err == -EPIPE || err == -EFBIG) kaio_raised_take(o->pending);
    pthread_sigmask(SIG_SETMASK, &o->mask, NULL);
    errno = o->saved;
}

static bool has_room(int fd) {
    struct pollfd poll = {.fd = fd, .events = POLLOUT};
    return kaio_poll_fds(&poll, 1, 0) == 1;
}

/* Terminals and named FIFOs know no RWF_NOWAIT. Those that we open are non-blocking; where standard
 * error is one, only a writer that fills it just between the two calls can make us wait. */
static long put_stream(int fd, const char *text, size_t n) {
    struct iovec iov = {(void *)text, n};
    long r = syscall(SYS_pwritev2, fd, &iov, 1ul, -1l, -1l, RWF_NOWAIT);
    if (r >= 0 || errno == EAGAIN || errno == EPIPE) return r;
    errno = EAGAIN;
    if (!has_room(fd)) return -1;
    return syscall(SYS_write, fd, text, n < PIPE_BUF ? n : PIPE_BUF);
}

static long put_some(int fd, const char *text, size_t n, mode_t type) {
    if (S_ISREG(type)) return syscall(SYS_write, fd, text, n);
    if (!S_ISSOCK(type)) return put_stream(fd, text, n);
    return syscall(SYS_sendto, fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
}

/* 0 or -errno, and how much is written. */
int kaio_output_put(int fd, const char *text, size_t n, size_t *done) {
    struct kaio_output o;
    struct stat st = {.st_mode = S_IFREG};
    int err = 0;
    *done = 0;
    kaio_output_begin(&o);
    if (kaio_fstat(fd, &st)) err = -errno;
    while (err == 0 && *done < n) {
        long r = put_some(fd, text + *done, n - *done, st.st_mode);
        if (r > 0) *done += (size_t)r;
        else if (r == 0) err = -EIO;
        else err = -errno;
    }
    kaio_output_end(&o, err);
    return err;
}

/* %p is the process's number, which a forked child has of its own. */
static void with_pid(char path[KAIO_PATH_MAX + 16], const char *where) {
    const char *p = strstr(where, "%p");
    int before = p ? (int)(p - where) : (int)strlen(where);
    strcpy(path, where);
    if (p) sprintf(path + before, "%d%s", (int)getpid(), p + 2);
}

/* A descriptor or -errno. */
static int open_path(const char *where) {
    char path[KAIO_PATH_MAX + 16];
    struct stat st;
    with_pid(path, where);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
                O_LARGEFILE;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0666);
    if (fd < 0) return -errno;
    fd = kaio_fd_raise(fd);
    if (fd < 0) return -EMFILE;
    if (kaio_fstat(fd, &st) == 0 && !S_ISBLK(st.st_mode)) return fd;
    syscall(SYS_close, fd);
    return -ENOTSUP;
}

/* To "1", standard error, or a path; 0 or -errno. */
static int put_there(const char *where, const char *text, size_t n) {
    size_t done;
    if (!strcmp(where, "1")) /* needs no descriptor, maybe there is none */
        return is_standard_error() ? kaio_output_put(2, text, n, &done) : -EBADF;
    int fd = open_path(where);
    if (fd < 0) return fd;
    int err = kaio_output_put(fd, text, n, &done);
    syscall(SYS_close, fd);
    return err;
}

static int format_line(char *line, size_t size, const char *format, va_list args) {
    int before = snprintf(line, size, "libkaio[%d]: ", (int)getpid());
    int n = before + vsnprintf(line + before, size - (size_t)before - 1, format, args);
    if (n > (int)size - 2) n = (int)size - 2;
    line[n++] = '\n';
    return n;
}

/* One line, on standard error. */
void kaio_say(const char *format, ...) {
    char line[KAIO_PATH_MAX + 256];
    va_list args;
    va_start(args, format);
    int n = format_line(line, sizeof line, format, args);
    va_end(args);
    int saved = errno;
    put_there("1", line, (size_t)n);
    errno = saved;
}

/* libc's strerror() may allocate, and take locks for its translations. */
const char *kaio_strerror(int err) {
    static const struct {
        int err;
        const char *text;
    } known[] = {
        {EPERM, "Operation not permitted"},
        {ENOENT, "No such file or directory"},
        {EIO, "Input/output error"},
        {ENXIO, "No such device or address"},
        {EBADF, "Bad file descriptor"},
        {EAGAIN, "Resource temporarily unavailable"},
        {ENOMEM, "Cannot allocate memory"},
        {EACCES, "Permission denied"},
        {EEXIST, "File exists"},
        {ENOTDIR, "Not a directory"},
        {EISDIR, "Is a directory"},
        {EINVAL, "Invalid argument"},
        {ENFILE, "Too many open files in system"},
        {EMFILE, "Too many open files"},
        {EFBIG, "File too large"},
        {ENOSPC, "No space left on device"},
        {EROFS, "Read-only file system"},
        {EPIPE, "Broken pipe"},
        {ENAMETOOLONG, "File name too long"},
        {ENOSYS, "Function not implemented"},
        {ELOOP, "Too many levels of symbolic links"},
        {ENOTSUP, "Operation not supported"},
        {EDQUOT, "Disk quota exceeded"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].err == err) return known[i].text;
    return "some other error";
}

/* One line, in one write, to where KAIO_LOG says. */
void kaio_log(const char *format, ...) {
    if (!*log_path) return;
    char line[512];
    va_list args;
    va_start(args, format);
    int n = format_line(line, sizeof line, format, args);
    va_end(args);
    int saved = errno;
    int err = put_there(log_path, line, (size_t)n);
    errno = saved;
    if (err && err != -EAGAIN && strcmp(log_path, "1") && !atomic_exchange(&log_failed, true))
        kaio_say("the log cannot be written: %s: %s", log_path, kaio_strerror(-err));
}
