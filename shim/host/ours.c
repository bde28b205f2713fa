/* SPDX-License-Identifier: MIT */
/* ours.c - the numbers of the library's own descriptors: told from the program's, and moved when it
 * wants one. Called under the lock or without; a number that changes meanwhile is told by its mark.
 */
#include "host/host.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOMENT_NS 50000
#define MOMENTS   2000

_Atomic int kaio_epfd = -1;

static _Atomic int *our_fd(int fd) {
    if (fd < 3) return NULL;
    if (fd == kaio_epfd) return &kaio_epfd;
    for (int i = 0; i <= KAIO_EFDS; i++) {
        struct kaio_thread *t = kaio_efds[i];
        if (t && t->efd == fd) return &t->efd;
    }
    return NULL;
}

/* The lowest of ours from this number on; UINT_MAX: there is none. */
unsigned kaio_fd_ours_from(unsigned first) {
    unsigned found = UINT_MAX;
    for (int i = -1; i <= KAIO_EFDS; i++) {
        const struct kaio_thread *t = i >= 0 ? kaio_efds[i] : NULL;
        int fd = i < 0 ? kaio_epfd : t ? t->efd : -1;
        if (fd >= 0 && (unsigned)fd >= first && (unsigned)fd < found && kaio_fd_is_marked(fd))
            found = (unsigned)fd;
    }
    return found;
}

/* Programs that close all numbers mean files of their own. */
bool kaio_fd_is_ours(int fd) {
    return our_fd(fd) && kaio_fd_is_marked(fd);
}

/* One look at a number takes as long as its thread needs to get a CPU; a wait that was left
 * sideways is not waited for longer than that. */
static void await_polls(int fd) {
    static const struct timespec moment = {0, MOMENT_NS};
    static const uint64_t one = 1;
    for (int i = 0; i <= KAIO_EFDS; i++) {
        struct kaio_thread *t = kaio_efds[i];
        for (int n = 0; t && t != kaio_self && n < MOMENTS && atomic_load(&t->polled) == fd; n++) {
            syscall(SYS_write, fd, &one, sizeof one);
            syscall(SYS_nanosleep, &moment, NULL);
        }
    }
}

/* The program is about to put a file on this number: ours moves. A thread asleep there is woken
 * first: poll() looks at the number again, and so does read() behind a handler with SA_RESTART,
 * which would take the program's data. If there is no other number, it looks itself from then on.
 */
void kaio_fd_evade(int fd) {
    static const uint64_t one = 1;
    if (getpid() != kaio.pid) return; /* a vfork()ed child, on the memory of its parent */
    _Atomic int *ours = our_fd(fd);
    if (!ours || !kaio_fd_is_marked(fd)) return;
    int moved = kaio_fd_move(fd);
    bool eventfd = ours != &kaio_epfd;
    atomic_store(ours, moved >= 0 || !eventfd ? moved : KAIO_LOST);
    if (moved < 0 && eventfd) syscall(SYS_write, fd, &one, sizeof one);
    if (eventfd) await_polls(fd);
}
