/* SPDX-License-Identifier: MIT */
/* lanes LANE FILE: beyond the first few requests, makes one that must take the named lane; lanes.sh
 * reads in the report whether it did. FILE has at least 4 MiB. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static char *buf;

static void one(int op, int fd, size_t n, off_t offset) {
    struct aiocb cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = n, .aio_offset = offset};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    const struct aiocb *list[] = {&cb};
    if (op == LIO_READ ? aio_read(&cb) : aio_write(&cb)) exit(3);
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    if (aio_error(&cb) || aio_return(&cb) != (ssize_t)n) {
        fprintf(stderr, "%s, %zd of %zu\n", strerror(aio_error(&cb)), aio_return(&cb), n);
        exit(4);
    }
}

static int cold(const char *path, int flags) {
    int fd = open(path, flags);
    if (fd < 0 || fdatasync(fd)) exit(5);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    return fd;
}

int main(int argc, char *argv[]) {
    if (argc != 3) return 2;
    const char *lane = argv[1], *path = argv[2];
    int warm = memfd_create("warm", MFD_CLOEXEC), pair[2];
    buf = aligned_alloc(4096, 4 << 20);
    memset(buf, 'x', 4 << 20);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || write(warm, buf, 512) != 512) return 2;
    int direct = open(path, O_RDONLY | O_DIRECT);
    for (int i = 0; i < 80; i++) one(LIO_READ, direct, 4096, 0);
    one(LIO_READ, warm, 512, 0);
    if (!strcmp(lane, "direct")) one(LIO_READ, direct, 4096, 4096);
    else if (!strcmp(lane, "overwrite"))
        one(LIO_WRITE, cold(path, O_WRONLY | O_DIRECT), 4096, 4096);
    else if (!strcmp(lane, "extend"))
        one(LIO_WRITE, open(path, O_WRONLY | O_DIRECT), 4096, 64 << 20);
    else if (!strcmp(lane, "uncached")) one(LIO_READ, cold(path, O_RDONLY), 4096, 1 << 20);
    else if (!strcmp(lane, "write")) one(LIO_WRITE, open(path, O_WRONLY), 4096, 4096);
    else if (!strcmp(lane, "append")) one(LIO_WRITE, open(path, O_WRONLY | O_APPEND), 4096, 0);
    else if (!strcmp(lane, "proc")) one(LIO_READ, open("/proc/self/maps", O_RDONLY), 64, 0);
    else if (!strcmp(lane, "memory")) one(LIO_WRITE, warm, 4096, 0);
    else if (!strcmp(lane, "large memory")) one(LIO_WRITE, warm, 1 << 20, 0);
    else if (!strcmp(lane, "stream") && write(pair[1], "x", 1) == 1) one(LIO_READ, pair[0], 1, 0);
    else if (!strcmp(lane, "offset") && write(pair[1], "x", 1) == 1) one(LIO_READ, pair[0], 1, 77);
    else {
        int fd = cold(path, O_RDONLY);
        if (pread(fd, buf, 65536, 0) != 65536) return 6; /* some pages are cached */
        if (!strcmp(lane, "cached")) one(LIO_READ, fd, 65536, 0);
        else if (!strcmp(lane, "short")) one(LIO_READ, fd, 120000, 0);
        else if (!strcmp(lane, "large")) one(LIO_READ, fd, 1 << 20, 0);
        else return 7;
    }
    return 0;
}
