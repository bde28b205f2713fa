/* SPDX-License-Identifier: MIT */
/* slowfs LOG MOUNTPOINT: a filesystem with the files 0 to 9 and h, whose writes take 2 to 5 ms each
 * and keep nothing. Opened with O_DIRECT they go past the page cache. LOG tells in their order
 *
 *   write FILE NUMBER   a write has ended; NUMBER is the first int of its data
 *   sync FILE           an fsync has arrived; it ends when there is no file LOG.hold
 *   held h BLOCK        a read or write of h has arrived, which is held in the same way
 *
 * The file e errs, by blocks of 4 KiB: reads and writes of every fifth give EIO, writes of every
 * seventh ENOSPC, its fsync EIO, and the blocks from STALLED on take a second each.
 *
 * Runs in the foreground until it is unmounted.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *events; /* stdio's lock puts the lines in order */
static char hold[PATH_MAX + 8];

static bool errs(const char *path) {
    return !strcmp(path, "/e");
}

static bool holds(const char *path) {
    return !strcmp(path, "/h");
}

enum { BLOCK = 4096, STALLED = 60, STALL_US = 1000000 };

static void until_let(void) {
    while (access(hold, F_OK) == 0) usleep(1000);
}

static void held(const char *path, off_t offset) {
    fprintf(events, "held %s %ld\n", path + 1, (long)offset / BLOCK);
    until_let();
}

static bool is_file(const char *path) {
    if (errs(path) || holds(path)) return true;
    return path[1] >= '0' && path[1] <= '9' && path[2] == '\0';
}

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi) {
    (void)fi;
    memset(st, 0, sizeof *st);
    st->st_nlink = 1;
    st->st_mode = strcmp(path, "/") == 0 ? S_IFDIR | 0700 : S_IFREG | 0600;
    st->st_size = 1 << 20;
    return S_ISDIR(st->st_mode) || is_file(path) ? 0 : -ENOENT;
}

static int slow_open(const char *path, struct fuse_file_info *fi) {
    fi->direct_io = (fi->flags & O_DIRECT) != 0;
    return is_file(path) ? 0 : -ENOENT;
}

/* Of the range: 0 or -errno; and maybe it takes its time. */
static int error_of(bool writes, size_t n, off_t offset) {
    off_t first = offset / BLOCK, end = (offset + (off_t)n + BLOCK - 1) / BLOCK;
    for (off_t block = first; block < end; block++)
        if (block % 5 == 3) return -EIO;
    for (off_t block = first; writes && block < end; block++)
        if (block % 7 == 2) return -ENOSPC;
    if (first >= STALLED) usleep(STALL_US);
    return 0;
}

/* The pattern of scratch() in tests/lib/test.h. */
static int slow_read(const char *path, char *buf, size_t n, off_t offset,
                     struct fuse_file_info *fi) {
    (void)fi;
    int error = errs(path) ? error_of(false, n, offset) : 0;
    if (holds(path)) held(path, offset);
    for (size_t i = 0; i < n && !error; i++) {
        size_t at = (size_t)offset + i;
        buf[i] = (char)(at / 512 * 7 + at % BLOCK);
    }
    return error ? error : (int)n;
}

static int slow_write(const char *path, const char *buf, size_t n, off_t offset,
                      struct fuse_file_info *fi) {
    (void)fi;
    int number = 0, error = errs(path) ? error_of(true, n, offset) : 0;
    if (error) return error;
    if (holds(path)) held(path, offset);
    memcpy(&number, buf, n < sizeof number ? n : sizeof number);
    usleep(2000 + (unsigned)random() % 3000);
    fprintf(events, "write %s %d\n", path + 1, number);
    return (int)n;
}

static int slow_fsync(const char *path, int datasync, struct fuse_file_info *fi) {
    (void)datasync, (void)fi;
    if (errs(path)) return -EIO;
    fprintf(events, "sync %s\n", path + 1);
    until_let();
    return 0;
}

static const struct fuse_operations operations = {.getattr = slow_getattr,
                                                  .open = slow_open,
                                                  .read = slow_read,
                                                  .write = slow_write,
                                                  .fsync = slow_fsync};

int main(int argc, char *argv[]) {
    if (argc != 3 || !(events = fopen(argv[1], "w"))) return 2;
    setlinebuf(events);
    char log[PATH_MAX];
    if (!realpath(argv[1], log)) return 2; /* FUSE changes the directory */
    snprintf(hold, sizeof hold, "%s.hold", log);
#if FUSE_VERSION >= 312
    char *args[] = {argv[0], "-f", "-omax_threads=64", argv[2], NULL}; /* not 10: they are held */
    return fuse_main(4, args, &operations, NULL);
#else
    char *args[] = {argv[0], "-f", argv[2], NULL};
    return fuse_main(3, args, &operations, NULL);
#endif
}
