/* SPDX-License-Identifier: MIT */
/* probe.c - what the kernel allows, and which lane each kind of access to a file would take.
 *
 * Files are tried as the library would: an iocb or preadv2() with RWF_NOWAIT. Nothing is ever
 * written to what the user names: a scratch file without a name is made beside it. Devices are only
 * read.
 */
#include "early.h"

#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DEPTH   256 /* what the library asks for, see KAIO_DEPTH */
#define BLOCK   4096
#define SCRATCH (16l * BLOCK)

static unsigned long number_in(const char *path) {
    unsigned long n = 0;
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lu", &n) != 1) n = 0;
    if (file) fclose(file);
    return n;
}

static int context(aio_context_t *ctx) {
    *ctx = 0;
    return syscall(SYS_io_setup, DEPTH, ctx) ? -errno : 0;
}

void kaio_probe_system(void) {
    struct utsname name;
    int major = 0, minor = 0;
    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    if (major > 4 || (major == 4 && minor >= 14))
        kaio_finding("ok", "kernel: Linux %s", name.release);
    else
        kaio_finding("warn", "kernel: Linux %s: before 4.14 only direct I/O is the kernel's",
                     name.release);

    unsigned long used = number_in("/proc/sys/fs/aio-nr"),
                  most = number_in("/proc/sys/fs/aio-max-nr");
    unsigned long more = most >= 1 << 20 ? 2 * most : 1 << 20, left = most > used ? most - used : 0;
    aio_context_t ctx;
    int err = context(&ctx);
    if (!err) {
        syscall(SYS_io_destroy, ctx);
        kaio_finding("ok", "io_setup: allowed");
    } else if (err != -EAGAIN) {
        kaio_finding(
            "no",
            "io_setup: %s: a sandbox refuses it; libkaio goes on with its workers; allow io_setup, "
            "io_submit, io_getevents and io_cancel in its seccomp profile",
            strerror(-err));
    }
    if (err == -EAGAIN || left < DEPTH)
        kaio_finding(
            "warn",
            "fs.aio-nr: %lu of fs.aio-max-nr %lu used, a process wants %d; as root: sysctl -w "
            "fs.aio-max-nr=%lu",
            used, most, DEPTH, more);
    else
        kaio_finding("ok",
                     "fs.aio-nr: %lu of fs.aio-max-nr %lu used, enough for %lu processes more",
                     used, most, left / DEPTH);
}

/* The answer to one iocb that may not block: bytes or -errno. */
static long offer(aio_context_t ctx, int op, int fd, void *buf, off_t offset) {
    struct iocb iocb = {.aio_lio_opcode = (unsigned short)op,
                        .aio_fildes = (unsigned)fd,
                        .aio_buf = (unsigned long)buf,
                        .aio_nbytes = BLOCK,
                        .aio_offset = offset,
                        .aio_rw_flags = RWF_NOWAIT};
    struct iocb *list[] = {&iocb};
    struct io_event event;
    if (syscall(SYS_io_submit, ctx, 1l, list) != 1) return -errno;
    while (syscall(SYS_io_getevents, ctx, 1l, 1l, &event, NULL) != 1) continue;
    return (long)event.res;
}

static const char *why(long res) {
    return res < 0 ? strerror((int)-res) : "a short count";
}

static int direct(int fd, int on) {
    int flags = fcntl(fd, F_GETFL);
    return fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) ? -errno : 0;
}

static void probe_direct(int fd, char *buf, int may_write) {
    aio_context_t ctx;
    int err = direct(fd, 1);
    if (err) {
        kaio_finding("warn", "O_DIRECT: not possible here (%s): only buffered access",
                     strerror(-err));
        return;
    }
    if (context(&ctx)) {
        kaio_finding("warn", "O_DIRECT: possible, but by workers, since io_setup is refused");
        return;
    }
    long res = offer(ctx, IOCB_CMD_PREAD, fd, buf, 0);
    if (res == BLOCK) kaio_finding("ok", "direct reads: by the kernel, in parallel");
    else kaio_finding("warn", "direct reads: by workers (the kernel answers: %s)", why(res));
    if (may_write) {
        res = offer(ctx, IOCB_CMD_PWRITE, fd, buf, 0);
        if (res == BLOCK) kaio_finding("ok", "direct writes over data: by the kernel, in parallel");
        else
            kaio_finding("warn",
                         "direct writes: by workers, one at a time (the kernel answers: %s)",
                         why(res));
        long end = offer(ctx, IOCB_CMD_PWRITE, fd, buf, SCRATCH);
        if (res == BLOCK && end == BLOCK)
            kaio_finding("ok", "direct writes past the end: by the kernel, in parallel");
        else if (res == BLOCK)
            kaio_finding(
                "warn",
                "direct writes past the end or into holes: by workers, one at a time; write "
                "the file once beforehand");
    }
    syscall(SYS_io_destroy, ctx);
    direct(fd, 0);
}

static void probe_buffered(int fd, char *buf, int may_write) {
    struct iovec iov = {buf, BLOCK};
    int memory = fcntl(fd, F_GET_SEALS) >= 0; /* tmpfs alone answers */
    if (memory) {
        kaio_finding("ok", "reads and writes: by the calling thread; the data is memory");
        return;
    }
    if (pread(fd, buf, BLOCK, 0) != BLOCK) {
        kaio_finding("no", "buffered reads: %s", strerror(errno));
        return;
    }
    ssize_t res = syscall(SYS_preadv2, fd, &iov, 1l, KAIO_AT_V(0), RWF_NOWAIT);
    if (res == BLOCK) {
        kaio_finding("ok", "reads of cached data: by the calling thread, without a wake-up");
        kaio_finding("ok", "reads of uncached data: by workers, several per file");
    } else {
        kaio_finding(
            "warn",
            "buffered reads: by workers, since the filesystem cannot read without waiting (%s)",
            res < 0 ? strerror(errno) : "a short count");
    }
    if (!may_write) return;
    res = syscall(SYS_pwritev2, fd, &iov, 1l, KAIO_AT_V(0), RWF_NOWAIT);
    if (res == BLOCK) kaio_finding("ok", "buffered writes: by the calling thread");
    else
        kaio_finding(
            "warn",
            "buffered writes: by workers, one at a time per descriptor, since the filesystem "
            "cannot write without waiting (%s); O_DIRECT writes run in parallel",
            res < 0 ? strerror(errno) : "a short count");
}

/* A file without a name in the directory; -errno if there can be none. */
static int scratch_file(const char *directory) {
    static char data[SCRATCH];
    char name[4096];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* NFS and others have no O_TMPFILE */
        snprintf(name, sizeof name, "%s/.kaio-check.XXXXXX", directory);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd < 0) return -errno;
        unlink(name);
    }
    memset(data, 'k', sizeof data);
    ssize_t n = pwrite(fd, data, sizeof data, 0);
    if (n == sizeof data && !fsync(fd)) {
        /* direct writes do not wait for cached pages to go, they are declined */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return fd;
    }
    int err = n < 0 ? errno : ENOSPC;
    close(fd);
    return -err;
}

static int is_stream(const char *path, const struct stat *st) {
    if (S_ISFIFO(st->st_mode) || S_ISSOCK(st->st_mode)) {
        kaio_finding("ok", "a stream: waiting requests are polled by the kernel, without a thread");
    } else if (S_ISCHR(st->st_mode)) {
        kaio_finding(
            "warn",
            "%s: a character device: not tried; a terminal's waiting requests take a thread each",
            path);
    } else {
        return 0;
    }
    return 1;
}

void kaio_probe_path(const char *path) {
    struct stat st;
    if (kaio_stat(path, &st)) {
        kaio_finding("no", "%s: %s", path, strerror(errno));
        return;
    }
    if (is_stream(path, &st)) return;
    char *buf = aligned_alloc(BLOCK, BLOCK), *copy = strdup(path);
    int device = S_ISBLK(st.st_mode);
    const char *directory = S_ISDIR(st.st_mode) ? path : dirname(copy);
    int fd = device ? open(path, O_RDONLY | O_CLOEXEC) : scratch_file(directory);
    if (device && fd < 0) {
        kaio_finding("warn", "%s: cannot be opened (%s), so nothing was tried", path,
                     strerror(errno));
    } else if (fd < 0) {
        kaio_finding(
            "warn",
            "%s: no scratch file can be made there (%s), so nothing was tried; name a directory of "
            "the same filesystem that you may write to",
            directory, strerror(-fd));
    } else {
        if (fcntl(fd, F_GET_SEALS) < 0) probe_direct(fd, buf, !device);
        probe_buffered(fd, buf, !device);
        if (device) kaio_finding("warn", "writes: not tried on a device");
        close(fd);
    }
    free(buf);
    free(copy);
}
