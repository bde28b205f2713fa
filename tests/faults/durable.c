/* SPDX-License-Identifier: MIT */
/* durable.c - writes that end on the device (O_DSYNC, O_SYNC, chattr +S, mount -o sync): the call
 * itself does not wait for it. Set against pwrite(), which does. Run by filesystems.sh.
 */
#include "test.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

enum { WRITES = 51, BLOCK = 4096 };

static char *data;

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t took[WRITES]) {
    qsort(took, WRITES, sizeof *took, compare);
    return took[WRITES / 2];
}

static uint64_t in_call(int fd, off_t from) {
    uint64_t took[WRITES];
    for (int i = 0; i < WRITES; i++) {
        struct aiocb cb = request(fd, data, BLOCK, from + (off_t)i * BLOCK);
        uint64_t begin = now_us();
        int res = aio_write(&cb);
        took[i] = now_us() - begin;
        need(res == 0 && finish(&cb) == 0 && aio_return(&cb) == BLOCK, "aio_write");
    }
    return median(took);
}

static uint64_t plain(int fd, off_t from) {
    uint64_t took[WRITES];
    for (int i = 0; i < WRITES; i++) {
        uint64_t begin = now_us();
        need(pwrite(fd, data, BLOCK, from + (off_t)i * BLOCK) == BLOCK, "pwrite");
        took[i] = now_us() - begin;
    }
    return median(took);
}

/* Overwrites, then at the end, which moves. */
static void writes(const char *what, int flags, bool attribute) {
    off_t size = WRITES * BLOCK;
    int fd = scratch(O_RDWR | flags, (size_t)size), set = FS_SYNC_FL;
    if (attribute && ioctl(fd, FS_IOC_SETFLAGS, &set)) {
        close(fd);
        return;
    }
    for (int i = 0; i < 2; i++) {
        uint64_t calls = in_call(fd, i * size), plains = plain(fd, i * 2 * size);
        note("%s: %s: %ld us in the call, pwrite() takes %ld", what, i ? "extending" : "overwrites",
             (long)calls, (long)plains);
        if (plains >= 50 && calls > plains / 2) say("%s: %d: the call waits", what, i);
    }
    close(fd);
}

static void test(void) {
    data = pages(BLOCK);
    if (getenv("MOUNTED_SYNC")) {
        writes("mount -o sync", 0, false);
        free(data);
        return;
    }
    writes("O_DSYNC", O_DSYNC, false);
    writes("O_SYNC", O_SYNC, false);
    writes("direct, O_DSYNC", O_DSYNC | O_DIRECT, false);
    writes("chattr +S", 0, true);
    free(data);
}
