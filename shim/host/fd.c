/* SPDX-License-Identifier: MIT */
/* fd.c - the library's own descriptors, eventfds and the reaper's epoll set: out of the
 * program's way, told from the program's, and moved when it wants their number. Called under the
 * lock or without; a number that changes meanwhile is told by its mark.
 */
#include "host/host.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Our descriptors start here where the limit allows: out of the way, and within the first 64: past
 * them the kernel makes a larger table, for which a process with threads waits 15 ms (RCU). */
#define FD_FLOOR 40
/* What F_GETSIG answers for ours: a number that no program chooses. libkaio-record.so's is another.
 */
#ifndef FD_MARK
#define FD_MARK 61
#endif

int kaio_fd_move(int fd) {
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
    return high >= 0 ? high : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int kaio_fd_raise(int fd) {
    if (fd < 0) return fd;
    int high = kaio_fd_move(fd);
    if (high < 0 && fd >= 3) high = fd;
    else syscall(SYS_close, fd);
    if (high < 0 || fcntl(high, F_SETSIG, FD_MARK) == 0) return high;
    syscall(SYS_close, high); /* without its mark it would count as lost */
    return -1;
}

/* A program may close all numbers unseen (close_range()) and put files of its own there. */
bool kaio_fd_is_marked(int fd) {
    return fd >= 0 && fcntl(fd, F_GETSIG) == FD_MARK;
}

/* Raw calls: they are no cancellation points. */
long kaio_fd_tell(const char *path, char *text, size_t size) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    long n = fd < 0 ? -1 : syscall(SYS_read, fd, text, size - 1);
    if (fd >= 0) syscall(SYS_close, fd);
    text[n > 0 ? n : 0] = 0;
    return n;
}
