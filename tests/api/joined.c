/* SPDX-License-Identifier: MIT */
/* Requests that continue each other, which one call may carry out: each gets its own result, also
 * where the file ends or may not grow any more, a buffer is out of reach, or one of them is empty.
 */
#include "test.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define N     24
#define SIZE  1000
#define BLOCK 4096

static char data[N][SIZE];
static struct aiocb cbs[N], *list[N];

/* Those of a list, at once: flags of the file; what the first wait for is a large one. */
static int made(const char *path, int flags, const char *unreadable, int empty) {
    static char large[600000];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
    need(fd >= 0, "file");
    struct aiocb first = request(fd, large, sizeof large, 0);
    need(aio_write(&first) == 0, "the large one");
    for (int i = 0; i < N; i++) {
        memset(data[i], 'a' + i, SIZE);
        cbs[i] = request(fd, data[i], SIZE, (off_t)sizeof large + i * SIZE);
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
    }
    if (unreadable) cbs[N / 2].aio_buf = (void *)(uintptr_t)unreadable;
    if (empty >= 0) cbs[empty].aio_nbytes = 0;
    need(lio_listio(LIO_NOWAIT, list, N, NULL) == 0, "lio_listio");
    need(finish(&first) == 0, "the large one");
    return fd;
}

static void results(int fd) {
    for (int i = 0; i < N; i++) {
        int err = finish(&cbs[i]);
        say("%d: %s, %zd", i, name(err), err ? -1 : aio_return(&cbs[i]));
    }
    struct stat st;
    char back[SIZE];
    fstat(fd, &st);
    say("size %ld", (long)st.st_size);
    for (off_t at = 600000; at < st.st_size; at += SIZE) {
        ssize_t n = pread(fd, back, SIZE, at);
        say("%zd of %c to %c", n, back[0] ? back[0] : '0', back[n - 1] ? back[n - 1] : '0');
    }
    close(fd);
}

static void limited(const char *path, int flags) {
    struct rlimit all, some = {612345, RLIM_INFINITY};
    need(getrlimit(RLIMIT_FSIZE, &all) == 0, "limit");
    some.rlim_max = all.rlim_max;
    need(setrlimit(RLIMIT_FSIZE, &some) == 0, "limit");
    results(made(path, flags, NULL, -1));
    need(setrlimit(RLIMIT_FSIZE, &all) == 0, "limit");
}

/* A list of reads from the file's beginning on; which has N - 5.5 of SIZE bytes. */
static void read_list(int fd, const char *unwritable, int empty, int before) {
    memset(data, 0, sizeof data);
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], SIZE, (off_t)i * SIZE);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    if (unwritable) cbs[N / 2].aio_buf = (void *)(uintptr_t)unwritable;
    if (empty >= 0) cbs[empty].aio_nbytes = 0;
    if (before >= 0) cbs[before].aio_offset = -SIZE;
    lio_listio(LIO_WAIT, list, N, NULL);
    for (int i = 0; i < N; i++) {
        int err = finish(&cbs[i]);
        ssize_t n = err ? 0 : aio_return(&cbs[i]);
        say("%d: %s, %zd of %d to %d", i, name(err), n, data[i][0], n > 0 ? data[i][n - 1] : 0);
    }
}

static void reads(int fd, const char *unwritable) {
    for (int i = 0; i < N - 5; i++) {
        memset(data[0], 1 + i, SIZE);
        size_t n = i == N - 6 ? SIZE / 2 : SIZE;
        need(pwrite(fd, data[0], n, (off_t)i * SIZE) == (ssize_t)n, "file");
    }
    say("reads");
    read_list(fd, NULL, -1, -1);
    say("one unwritable");
    read_list(fd, unwritable, -1, -1);
    say("one empty, one before the file");
    read_list(fd, NULL, 5, 9);
    close(fd);
}

/* Of direct requests: neighbours of BLOCK bytes, which end in the middle. */
static void direct_list(int fd, int opcode, char *buffer, const char *unusable) {
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, buffer + i * BLOCK, BLOCK, (off_t)i * BLOCK);
        cbs[i].aio_lio_opcode = opcode;
        list[i] = &cbs[i];
    }
    if (unusable) cbs[N / 3].aio_buf = (void *)(uintptr_t)unusable;
    lio_listio(LIO_WAIT, list, N, NULL);
    for (int i = 0; i < N; i++) {
        int err = finish(&cbs[i]);
        say("%d: %s, %zd of %d", i, name(err), err ? 0 : aio_return(&cbs[i]), buffer[i * BLOCK]);
    }
}

static void direct(const char *nothing) {
    static char buffer[N * BLOCK] __attribute__((aligned(BLOCK)));
    struct rlimit all, some;
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    need(fd >= 0 && getrlimit(RLIMIT_FSIZE, &all) == 0, "file with O_DIRECT");
    some = (struct rlimit){N / 2 * BLOCK + BLOCK / 2, all.rlim_max};
    for (int i = 0; i < N; i++) memset(buffer + i * BLOCK, 'a' + i, BLOCK);
    say("limited");
    need(setrlimit(RLIMIT_FSIZE, &some) == 0, "limit");
    direct_list(fd, LIO_WRITE, buffer, NULL);
    direct_list(fd, LIO_WRITE, buffer, NULL);
    need(setrlimit(RLIMIT_FSIZE, &all) == 0, "limit");
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"reads", "one unwritable", "one out of line"};
        say("%s", names[i]);
        memset(buffer, 0, sizeof buffer);
        direct_list(fd, LIO_READ, buffer, i == 0 ? NULL : i == 1 ? nothing : buffer + 1);
    }
    close(fd);
}

/* A directory for control files of our own, or NULL: not root, no control groups. */
static const char *control_group(void) {
    static const char *const tops[] = {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"};
    static char path[100];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/kaio-joined.%d", tops[i], getpid());
        if (mkdir(path, 0700) == 0) return path;
    }
    return NULL;
}

/* Each write there is a command: the last one counts, and 12345678 was none of them. */
static void commands(int flags) {
    enum { ROUNDS = 300, DIGITS = 8 };
    static char digits[] = "12345678";
    const char *group = control_group();
    char path[120], back[20];
    int bad = 0;
    for (int round = 0; group && round < ROUNDS; round++) {
        struct aiocb each[DIGITS], *all[DIGITS];
        snprintf(path, sizeof path, "%s/pids.max", group);
        int fd = open(path, O_RDWR | flags);
        if (fd < 0) break; /* version 2, without that controller */
        for (int i = 0; i < DIGITS; i++) {
            each[i] = request(fd, digits + i, 1, i);
            each[i].aio_lio_opcode = LIO_WRITE;
            all[i] = &each[i];
        }
        need(lio_listio(LIO_WAIT, all, DIGITS, NULL) == 0, "lio_listio");
        bad += pread(fd, back, sizeof back, 0) != 2 || back[0] != digits[DIGITS - 1];
        close(fd);
    }
    if (group) rmdir(group);
    say("%d bad", bad);
}

static void test(void) {
    alarm(30);
    signal(SIGXFSZ, SIG_IGN);
    const char *nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(nothing != MAP_FAILED, "mmap");
    static const struct {
        const char *name;
        int flags;
    } kinds[] = {{"by offset", 0}, {"appended", O_APPEND}, {"durable", O_APPEND | O_DSYNC}};
    for (int i = 0; i < 3; i++)
        CASE(kinds[i].name) {
            int flags = kinds[i].flags;
            results(made("file", flags, NULL, -1));
            say("limited");
            limited("file", flags);
            say("one unreadable");
            results(made("file", flags, nothing, -1));
            say("one empty");
            results(made("file", flags, NULL, 5));
        }
    CASE("reads") {
        reads(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), nothing);
    }
    CASE("direct") {
        direct(nothing);
    }
    CASE("memory") {
        reads(memfd_create("joined", 0), nothing);
        const char *path = "/proc/self/fd/100";
        need(dup2(memfd_create("joined", 0), 100) == 100, "memory");
        say("written");
        results(made(path, 0, NULL, -1));
        say("limited");
        limited(path, 0);
        say("one unreadable");
        results(made(path, 0, nothing, -1));
    }
    CASE("commands") {
        commands(0);
        commands(O_APPEND);
    }
    CASE("the flag goes") {
        int fd = made("file", O_APPEND, NULL, -1);
        fcntl(fd, F_SETFL, 0);
        for (int i = 0; i < N; i++) need(finish(&cbs[i]) == 0, "write");
        say("ended");
        close(fd);
    }
}
