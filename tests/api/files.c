/* SPDX-License-Identifier: MIT */
/* Every kind of access, data checked: direct and buffered, cached and not, small and large, on the
 * scratch directory's filesystem and in memory; many requests at once. */
#include "test.h"

#include <sys/mman.h>

enum { MANY = 600 };

static void read_many(const char *what, int fd, size_t size, size_t bs) {
    static struct aiocb cbs[MANY];
    char *buf = pages(MANY * bs);
    int bad = 0, n = MANY < size / bs ? MANY : (int)(size / bs);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < n; i++) {
        cbs[i] = request(fd, buf + (size_t)i * bs, bs, (off_t)((size_t)i * 37 % (size / bs) * bs));
        bad += aio_read(&cbs[i]) != 0;
    }
    for (int i = 0; i < n; i++) {
        int err = finish(&cbs[i]);
        bad += err || aio_return(&cbs[i]) != (ssize_t)bs ||
               !is_pattern(buf + (size_t)i * bs, bs, cbs[i].aio_offset);
    }
    say("%s: %d reads of %zu, %d bad", what, n, bs, bad);
    free(buf);
}

static void write_many(const char *what, int fd, size_t bs) {
    static struct aiocb cbs[MANY];
    char *buf = pages(MANY * bs), *back = pages(bs);
    int bad = 0;
    for (int i = 0; i < MANY; i++) {
        memset(buf + (size_t)i * bs, i % 251, bs);
        cbs[i] = request(fd, buf + (size_t)i * bs, bs, (off_t)((size_t)(i * 7 % MANY) * bs));
        bad += aio_write(&cbs[i]) != 0;
    }
    struct aiocb sync = request(fd, NULL, 0, 0);
    bad += aio_fsync(O_DSYNC, &sync) != 0 || finish(&sync) != 0;
    for (int i = 0; i < MANY; i++) bad += aio_error(&cbs[i]) == EINPROGRESS; /* fsync came last */
    for (int i = 0; i < MANY; i++) {
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)bs;
        bad += pread(fd, back, bs, cbs[i].aio_offset) != (ssize_t)bs;
        bad += memcmp(back, buf + (size_t)i * bs, bs) != 0;
    }
    say("%s: %d writes of %zu, %d bad", what, MANY, bs, bad);
    free(buf);
    free(back);
}

static void partly_cached(void) {
    size_t size = 1 << 20;
    int fd = scratch(O_RDONLY, size), bad = 0;
    char *buf = pages(65536);
    for (int i = 0; i < 20; i++) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
        if (pread(fd, buf, 4096, 0) != 4096) bad++;
        struct aiocb cb = request(fd, buf, 65536, 0);
        aio_read(&cb);
        bad += finish(&cb) != 0 || aio_return(&cb) != 65536 || !is_pattern(buf, 65536, 0);
    }
    say("partly cached: %d bad", bad);
    close(fd);
}

static void test(void) {
    size_t size = 8 << 20;
    CASE("direct") {
        int fd = scratch(O_RDWR | O_DIRECT, size);
        read_many("direct", fd, size, 4096);
        read_many("direct", fd, size, 262144);
        write_many("direct", fd, 4096);
        close(fd);
    }
    CASE("direct-extending") {
        int fd = scratch(O_RDWR | O_DIRECT, 0);
        write_many("direct, extending", fd, 4096);
        close(fd);
    }
    CASE("buffered") {
        int fd = scratch(O_RDWR, size);
        read_many("buffered", fd, size, 4096);
        read_many("buffered", fd, size, 1000);
        read_many("buffered", fd, size, 262144);
        write_many("buffered", fd, 4096);
        write_many("buffered", fd, 300000);
        close(fd);
    }
    CASE("partly-cached") partly_cached();
    CASE("memory") {
        int fd = memfd_create("memory", MFD_CLOEXEC);
        write_many("memory", fd, 4096);
        write_many("memory", fd, 300000);
        close(fd);
    }
}
