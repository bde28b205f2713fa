/* SPDX-License-Identifier: MIT */
/* partial.c - requests that are served in part. PART says which (filesystems.sh runs it):
 *
 *   fill    takes all but some 300 KiB of the working directory's filesystem
 *   full    there: writes of every kind that meet the end of the space: short, then ENOSPC
 *   reads   reads of files that are cached in part, across holes, across the end, and while another
 *           descriptor truncates
 */
#include "test.h"

#include <sys/statvfs.h>

enum { KEEP = 300 << 10, LARGE = 1 << 20, MANY = 128, BATCH = 8 };

static char *buf; /* LARGE, filled */

static size_t space(void) {
    struct statvfs st;
    sync();
    need(statvfs(".", &st) == 0, "statvfs");
    return st.f_bavail * st.f_frsize;
}

static void fill(void) {
    off_t size = 0;
    int fd = open("fill", O_RDWR | O_CREAT, 0600);
    need(fd >= 0, "file");
    for (off_t chunk = 64 << 20; chunk >= 4096; chunk /= 2)
        while (space() >= (size_t)chunk + KEEP && fallocate(fd, 0, size, chunk) == 0) size += chunk;
    say("filled: %d", space() < KEEP + 65536);
    close(fd);
}

static int opened(const char *what, int flags) {
    int fd = open(what, O_RDWR | O_CREAT | flags, 0600);
    need(fd >= 0, what);
    return fd;
}

/* Makes room again. */
static void emptied(int fd) {
    need(ftruncate(fd, 0) == 0 && fsync(fd) == 0, "truncate");
    close(fd);
    need(space() >= KEEP / 2, "room again");
}

static bool is_filled(int fd, size_t n, off_t offset) {
    static char back[LARGE] __attribute__((aligned(4096)));
    if (pread(fd, back, n, offset) != (ssize_t)n) return false;
    return n == 0 || (back[0] == 'f' && !memcmp(back, back + 1, n - 1));
}

/* One write after the other, to the first error. Sizes are of whole blocks: on xfs it depends on
 * where writes begin and end how much more fits. */
static void until_full(const char *what, int flags, size_t n) {
    int fd = opened(what, flags), whole = 0, shorts = 0, err;
    struct stat st;
    size_t total = 0;
    for (;;) {
        struct aiocb cb = request(fd, buf, n, flags & O_APPEND ? 0 : (off_t)total);
        need(aio_write(&cb) == 0, "aio_write");
        if ((err = finish(&cb))) break;
        ssize_t res = aio_return(&cb);
        if (res == (ssize_t)n) whole++;
        else shorts++;
        total += (size_t)res;
    }
    fstat(fd, &st);
    say("%s: %d whole, %d short, %zu bytes, then %s; size %d, data %d", what, whole, shorts, total,
        name(err), st.st_size == (off_t)total, is_filled(fd, total, 0));
    emptied(fd);
}

/* All at once; sums only, as the requests of a descriptor may go in any order. */
static void all_at_once(const char *what, int flags, size_t n, bool use_list) {
    static struct aiocb cbs[MANY];
    struct aiocb *list[MANY];
    int fd = opened(what, flags), shorts = 0, full = 0, bad = 0, count = (int)(2 * KEEP / n);
    off_t total = 0;
    need(count <= MANY, "too many");
    for (int i = 0; i < count; i++) {
        cbs[i] = request(fd, buf, n, (off_t)((size_t)i * n));
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
        if (!use_list) need(aio_write(&cbs[i]) == 0, "aio_write");
    }
    if (use_list) answered(what, lio_listio(LIO_WAIT, list, count, NULL));
    for (int i = 0; i < count; i++) {
        int err = finish(&cbs[i]);
        ssize_t res = aio_return(&cbs[i]);
        bad += err ? err != ENOSPC || res != -1 : res <= 0 || res > (ssize_t)n;
        full += err != 0;
        if (err) continue;
        shorts += res < (ssize_t)n;
        bad += !is_filled(fd, (size_t)res, flags & O_APPEND ? total : cbs[i].aio_offset);
        total += res;
    }
    say("%s: of %d %d short, %d ENOSPC, %ld bytes, %d bad", what, count, shorts, full, (long)total,
        bad);
    emptied(fd);
}

/* The file has the space for the first half of what is to be written, another file takes the rest.
 */
static void half(const char *what, int flags, size_t n, bool use_list) {
    int fd = opened(what, flags), eater = opened("eater", 0);
    struct aiocb cb = request(fd, buf, n, 0), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    if (flags & O_APPEND) need(!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n / 2), "fallocate");
    else need(pwrite(fd, buf, n / 2, 0) == (ssize_t)n / 2 && fsync(fd) == 0, "first half");
    for (off_t at = 0; pwrite(eater, buf, 4096, at) == 4096; at += 4096) continue;
    for (int round = 0; round < 2; round++) {
        if (use_list) answered(what, lio_listio(LIO_WAIT, list, 1, NULL));
        else answered(what, aio_write(&cb));
        report(what, &cb);
        cb.aio_offset = (off_t)n / 2;
    }
    say("data %d", is_filled(fd, n / 2, 0));
    need(ftruncate(eater, 0) == 0 && fsync(eater) == 0, "truncate");
    close(eater);
    emptied(fd);
}

static void full(void) {
    need(space() < KEEP + 65536, "a full filesystem");
    until_full("4 KiB", 0, 4096);
    until_full("64 KiB", 0, 65536);
    until_full("1 MiB", 0, LARGE);
    until_full("direct, 64 KiB", O_DIRECT, 65536);
    until_full("direct, 1 MiB", O_DIRECT, LARGE);
    until_full("append, 12 KiB", O_APPEND, 12288);
    until_full("append, 1 MiB", O_APPEND, LARGE);
    all_at_once("8 KiB at once", 0, 8192, false);
    all_at_once("append at once", O_APPEND, 8192, false);
    all_at_once("direct at once", O_DIRECT, 8192, false);
    all_at_once("list", 0, 65536, true);
    all_at_once("list, direct", O_DIRECT, 65536, true);
    half("half of 64 KiB", 0, 65536, false);
    half("half of 256 KiB", 0, 262144, false);
    half("half of 64 KiB, direct", O_DIRECT, 65536, false);
    half("half of 256 KiB, direct", O_DIRECT, 262144, false);
    half("half of 64 KiB, append", O_APPEND, 65536, false);
    half("half of 64 KiB, list", 0, 65536, true);
}

/* Some pages of the file are in the cache: most but for some ranges, or only some. */
static void cache_some(int fd, size_t size, unsigned *seed, bool drop) {
    if (drop) need(pread(fd, buf, size, 0) == (ssize_t)size, "pread");
    else posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < 8; i++) {
        off_t at = (off_t)((unsigned)rand_r(seed) % (size / 4096) * 4096);
        if (drop) posix_fadvise(fd, at, 4096 << i % 4, POSIX_FADV_DONTNEED);
        else need(pread(fd, buf, 4096, at) == 4096, "pread");
    }
}

static void partly_cached(void) {
    size_t size = 256 << 10;
    unsigned seed = 1;
    int fd = scratch(O_RDONLY, size), bad = 0;
    char *to = pages(BATCH * size);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* no readahead */
    for (int round = 0; round < 100; round++) {
        struct aiocb cbs[BATCH];
        cache_some(fd, size, &seed, round % 2);
        for (int i = 0; i < BATCH; i++) {
            size_t at = (unsigned)rand_r(&seed) % size,
                   n = (unsigned)rand_r(&seed) % (size >> i % 4);
            cbs[i] = request(fd, to + (size_t)i * size, n, (off_t)at);
            bad += aio_read(&cbs[i]) != 0;
        }
        for (int i = 0; i < BATCH; i++) {
            size_t rest = size - (size_t)cbs[i].aio_offset;
            size_t n = cbs[i].aio_nbytes < rest ? cbs[i].aio_nbytes : rest;
            bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)n ||
                   !is_pattern(to + (size_t)i * size, n, cbs[i].aio_offset);
        }
    }
    say("partly cached: %d bad", bad);
    free(to);
    close(fd);
}

/* Data, a hole, data, and an end in the middle of a sector: as pread() has it. */
static void holes(const char *what, int flags) {
    enum { SIZE = 300100 };
    static const size_t sizes[] = {512, 4096, 20480, 65536, 131072, LARGE};
    int fd = scratch(O_RDWR | flags, 20480), plain = scratch(O_RDWR, 0), bad = 0;
    char path[64], *to = pages(LARGE), *expected = pages(LARGE);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    close(plain);
    plain = open(path, O_RDWR); /* the same file without O_DIRECT */
    need(plain >= 0 && pwrite(plain, buf, 100100, 200000) == 100100 && fsync(plain) == 0, "fill");
    for (off_t at = 0; at < SIZE + 50000; at += 12288) {
        for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
            struct aiocb cb = request(fd, to, sizes[i / 2], at);
            if (i % 2) posix_fadvise(plain, 0, 0, POSIX_FADV_DONTNEED);
            memset(to, 'x', cb.aio_nbytes);
            bad += aio_read(&cb) != 0 || finish(&cb) != 0;
            ssize_t n = pread(plain, expected, cb.aio_nbytes, at), res = aio_return(&cb);
            if (res != n || memcmp(to, expected, (size_t)n)) bad++;
        }
    }
    say("holes and the end, %s: %d bad", what, bad);
    free(to);
    free(expected);
    close(fd);
    close(plain);
}

enum { SHORT = 10000, LONG = 200000 };

static bool stop;
static int seen[2]; /* how often the count was that of SHORT, of LONG */

/* The file has SHORT bytes of pattern, and now and then zeros up to LONG. */
static void *truncates(void *fd) {
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        need(ftruncate(*(int *)fd, LONG) == 0 && ftruncate(*(int *)fd, SHORT) == 0, "truncate");
    return NULL;
}

static size_t between(off_t offset, off_t size, size_t n) {
    if (size <= offset) return 0;
    return size - offset < (off_t)n ? (size_t)(size - offset) : n;
}

/* The count must be what one of the two sizes gives; a read of many pages may see both, and is
 * between. What lies below SHORT is always there, beyond are zeros. */
static bool is_valid(struct aiocb *cb) {
    char *to = (char *)cb->aio_buf;
    off_t at = cb->aio_offset;
    size_t least = between(at, SHORT, cb->aio_nbytes), most = between(at, LONG, cb->aio_nbytes);
    if (finish(cb) != 0) return false;
    size_t res = (size_t)aio_return(cb);
    if (res < least || res > most) return false;
    if (cb->aio_nbytes <= 4096 && res != least && res != most) return false;
    if (least < most) seen[0] += res == least, seen[1] += res == most;
    for (size_t i = least; i < res; i++)
        if (to[i]) return false;
    return is_pattern(to, least, at);
}

static void truncated(const char *what, int flags) {
    static const size_t sizes[] = {4096, 4096, 16384, 65536, 131072, 262144};
    int fd = scratch(O_RDWR | flags, SHORT), other = -1, bad = 0;
    char path[64], *to = pages((size_t)BATCH << 18);
    pthread_t thread;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    other = open(path, O_RDWR);
    need(other >= 0, "open");
    stop = false;
    seen[0] = seen[1] = 0;
    need(pthread_create(&thread, NULL, truncates, &other) == 0, "thread");
    for (int round = 0; round < 200 || !seen[0] || !seen[1]; round++) { /* or alarm() */
        struct aiocb cbs[BATCH];
        for (int i = 0; i < BATCH; i++) {
            off_t at = (round * 7 + i) % 6 * 4096;
            cbs[i] = request(fd, to + ((size_t)i << 18), sizes[(round + i) % 6], at);
            bad += aio_read(&cbs[i]) != 0;
        }
        for (int i = 0; i < BATCH; i++) bad += !is_valid(&cbs[i]);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    say("truncated meanwhile, %s: %d bad", what, bad);
    free(to);
    close(fd);
    close(other);
}

static void reads(void) {
    partly_cached();
    holes("buffered", 0);
    holes("direct", O_DIRECT);
    truncated("buffered", 0);
    truncated("direct", O_DIRECT);
}

static void test(void) {
    const char *part = getenv("PART");
    buf = pages(LARGE);
    memset(buf, 'f', LARGE);
    if (part && !strcmp(part, "fill")) fill();
    else if (part && !strcmp(part, "full")) full();
    else reads();
}
