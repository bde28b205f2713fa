/* SPDX-License-Identifier: MIT */
/* Makes calls fail as they did on an older kernel, for faults/kernels.sh: preloaded in front of the
 * library, which makes them by syscall() and madvise(). OLD is the version: 310 is Linux 3.10.
 * OLD_COUNT: a file that gets a line that says how many calls have failed so, when the process ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int version = 9999;
enum { STATX, VECTORS, SUBMIT, OTHERS, SUBMITTED, WHAT };
static const char *const names[] = {"statx", "preadv2", "io_submit", "others", "submitted"};
static atomic_int counts[WHAT];
static long (*next_syscall)(long, ...);
static int (*next_madvise)(void *, size_t, int);

static void load(void) {
    if (next_syscall) return;
    next_madvise = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise");
    next_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (getenv("OLD")) version = atoi(getenv("OLD"));
}

__attribute__((destructor)) static void count(void) {
    FILE *file = getenv("OLD_COUNT") ? fopen(getenv("OLD_COUNT"), "a") : NULL;
    if (!file) return;
    for (int i = 0; i < WHAT; i++) fprintf(file, "%s %d ", names[i], counts[i]);
    putc('\n', file);
    fclose(file);
}

static int fails(int what, int err) {
    counts[what]++;
    errno = err;
    return -1;
}

/* Up to the first iocb that this kernel would refuse; its error if that is the first. */
static long submit(long ctx, long n, struct iocb **iocbs) {
    for (long i = 0; i < n; i++) {
        short command = iocbs[i]->aio_lio_opcode;
        bool sync = command == IO_CMD_FSYNC || command == IO_CMD_FDSYNC;
        bool refused = (version < 413 && iocbs[i]->aio_rw_flags) || (version < 418 && sync);
        if (refused && i == 0) return fails(SUBMIT, EINVAL);
        if (refused) n = i;
    }
    long taken = next_syscall(SYS_io_submit, ctx, n, iocbs);
    if (taken > 0) counts[SUBMITTED] += (int)taken;
    return taken;
}

static bool is_eventfd(int fd) {
    char path[32], name[32] = "";
    sprintf(path, "/proc/self/fd/%d", fd);
    return readlink(path, name, sizeof name - 1) > 0 && !strcmp(name, "anon_inode:[eventfd]");
}

/* preadv2(), pwritev2() with RWF_NOWAIT */
static long no_wait(long nr, const long a[6]) {
    if (version < 414 || (version < 508 && is_eventfd((int)a[0]))) return fails(VECTORS, EOPNOTSUPP);
    long r = next_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    struct stat st;
    bool uncached = r < 0 && errno == EAGAIN && fstat((int)a[0], &st) == 0 && S_ISREG(st.st_mode);
    return uncached && nr == SYS_preadv2 && version / 100 == 5 && version >= 509 ? 0 : r;
}

long syscall(long nr, ...) {
    long a[6];
    va_list args;
    va_start(args, nr);
    for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
    va_end(args);
    load();
    bool vectors = nr == SYS_preadv2 || nr == SYS_pwritev2;
    if (nr == SYS_statx && version < 411) return fails(STATX, ENOSYS);
    if (nr == SYS_close_range && version < 509) return fails(OTHERS, ENOSYS);
    if (vectors && version < 406) return fails(VECTORS, ENOSYS);
    if (vectors && a[5] & 8) return no_wait(nr, a);
    if (nr == SYS_io_submit) return submit(a[0], a[1], (struct iocb **)a[2]);
    return next_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int madvise(void *at, size_t size, int advice) {
    load();
    if (advice == MADV_WIPEONFORK && version < 414) return fails(OTHERS, EINVAL);
    return next_madvise(at, size, advice);
}
