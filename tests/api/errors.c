/* SPDX-License-Identifier: MIT */
/* Every errno and where it appears: returned at once, or through aio_error() later. And what is no
 * error though it may look so: end of file, nothing to do, garbage in fields that are not used. */
#include "test.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static char *buf; /* 16 KiB, aligned */

/* Prints both places: what the call answered, then what the aiocb says in the end. */
static void outcome(const char *what, int res, struct aiocb *cb) {
    const char *at_once = res < 0 ? name(errno) : "0";
    int err = finish(cb);
    say("%s: at once %d %s, then %s, %zd", what, res, at_once, name(err), aio_return(cb));
}

static void reads(const char *what, int fd, void *to, size_t n, off_t offset) {
    char line[100];
    struct aiocb cb = request(fd, to, n, offset);
    snprintf(line, sizeof line, "%s, read", what);
    outcome(line, aio_read(&cb), &cb);
}

static void writes(const char *what, int fd, void *from, size_t n, off_t offset) {
    char line[100];
    struct aiocb cb = request(fd, from, n, offset);
    snprintf(line, sizeof line, "%s, write", what);
    outcome(line, aio_write(&cb), &cb);
}

static void both(const char *what, int fd, void *at, size_t n, off_t offset) {
    reads(what, fd, at, n, offset);
    writes(what, fd, at, n, offset);
}

static int opened(const char *path, int flags) {
    int fd = open(path, flags, 0600);
    need(fd >= 0, path);
    return fd;
}

static void descriptors(void) {
    both("fd -1", -1, buf, 100, 0);
    both("fd 9999", 9999, buf, 100, 0);
    both("fd INT_MAX", INT_MAX, buf, 100, 0);
    both("fd INT_MIN", INT_MIN, buf, 100, 0);
    int fd = scratch(O_RDWR, 8192);
    reads("still open", fd, buf, 100, 0);
    close(fd);
    both("closed fd", fd, buf, 100, 0);
    both("closed fd, nothing", fd, buf, 0, 0);

    fd = scratch(O_WRONLY, 8192);
    reads("write-only", fd, buf, 100, 0);
    writes("write-only", fd, buf, 100, 0);
    close(fd);
    fd = scratch(O_RDONLY, 8192);
    writes("read-only", fd, buf, 100, 0);
    reads("read-only", fd, buf, 100, 0);
    close(fd);
    fd = opened(".", O_PATH);
    both("O_PATH", fd, buf, 100, 0);
    close(fd);
    fd = opened(".", O_RDONLY | O_DIRECTORY);
    both("directory", fd, buf, 100, 0);
    both("directory, nothing", fd, buf, 0, 0);
    close(fd);
    int pipes[2];
    need(pipe(pipes) == 0, "pipe");
    writes("read end", pipes[0], buf, 100, 0);
    reads("write end", pipes[1], buf, 100, 0);
    reads("pipe, offset -1", pipes[0], buf, 100, -1);
    writes("pipe, offset -1", pipes[1], buf, 100, -1);
    writes("pipe, offset 100", pipes[1], buf, 100, 100);
    reads("pipe, offset 1000", pipes[0], buf, 100, 1000);
    close(pipes[1]);
    reads("pipe without writer", pipes[0], buf, 100, 0);
    close(pipes[0]);
}

static void special_files(void) {
    int fd = opened("/proc/self/status", O_RDONLY), full = opened("/dev/full", O_RDWR);
    struct aiocb cb = request(fd, buf, 64, 0);
    memset(buf, 0, 64);
    say("/proc/self/status: at once %d", aio_read(&cb));
    int err = finish(&cb);
    say("/proc/self/status: %s, %zd, %.5s", name(err), aio_return(&cb), buf);
    reads("/proc/self/status, nothing", fd, buf, 0, 0);
    reads("/proc/self/status, nothing at NULL", fd, NULL, 0, 0);
    reads("/proc/self/status, far", fd, buf, 100, 1 << 20);
    writes("/proc/self/status", fd, buf, 100, 0);
    close(fd);
    fd = opened("/proc/self/comm", O_RDWR);
    memcpy(buf, "renamed", 7);
    writes("/proc/self/comm", fd, buf, 7, 0);
    memset(buf, 0, 16);
    reads("/proc/self/comm", fd, buf, 16, 0);
    say("it says %.7s", buf);
    close(fd);
    fd = opened("/proc/self/oom_score_adj", O_RDWR);
    writes("/proc/self/oom_score_adj, refused", fd, (char[]){"nonsense"}, 8, 0);
    close(fd);

    fd = opened("/dev/zero", O_RDWR);
    memset(buf, 'x', 4096);
    both("/dev/zero", fd, buf, 4096, 0);
    say("zeroes %d", buf[0] == 0 && !memcmp(buf, buf + 1, 4095));
    both("/dev/zero, nothing", fd, buf, 0, 0);
    both("/dev/zero, nothing at NULL", fd, NULL, 0, 0);
    both("/dev/zero, offset -1", fd, buf, 4096, -1);
    close(fd);
    fd = opened("/dev/null", O_RDWR);
    both("/dev/null", fd, buf, 4096, 0);
    both("/dev/null, offset 5000", fd, buf, 4096, 5000);
    close(fd);
    both("/dev/full", full, buf, 4096, 0);
    writes("/dev/full, nothing", full, buf, 0, 0);
    close(full);
}

static void ranges(const char *what, int fd) {
    char *hole = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(hole != MAP_FAILED && constant != MAP_FAILED, "memory");
    say("%s:", what);
    both("offset -1", fd, buf, 4096, -1);
    both("offset -4096", fd, buf, 4096, -4096);
    both("offset OFF_MIN", fd, buf, 4096, LONG_MIN);
    reads("at the end", fd, buf, 4096, 8192);
    reads("past the end", fd, buf, 4096, 1 << 20);
    both("last offset", fd, buf, 4096, LONG_MAX - 4095);
    both("NULL", fd, NULL, 4096, 0);
    both("PROT_NONE", fd, hole, 4096, 0);
    reads("read-only memory", fd, constant, 4096, 0);
    writes("read-only memory", fd, constant, 4096, 0);
    munmap(hole, 8192);
    both("unmapped", fd, hole, 4096, 0);
    both("kernel address", fd, (void *)-4096, 4096, 0);
    both("nothing", fd, buf, 0, 0);
    both("nothing at NULL", fd, NULL, 0, 0);
    both("nothing at offset -1", fd, buf, 0, -1);
    reads("nothing past the end", fd, buf, 0, 1 << 20);
    both("SSIZE_MAX", fd, buf, SSIZE_MAX, 0);
    both("SIZE_MAX", fd, buf, SIZE_MAX, 0);
    both("SSIZE_MAX + 1", fd, buf, (size_t)SSIZE_MAX + 1, 0);
    munmap(constant, 4096);
    close(fd);
}

/* Good memory for 4,096 bytes, then none. How much is done, and is it right? */
static void partly_bad(const char *what, int flags) {
    bool memory = flags < 0;
    char *half = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = memory ? memfd_create("memory", MFD_CLOEXEC) : scratch(O_RDWR | flags, 16384);
    need(half != MAP_FAILED && mprotect(half + 4096, 4096, PROT_NONE) == 0, "memory");
    if (memory) need(ftruncate(fd, 16384) == 0, "memory file");
    say("partly bad memory, %s:", what);
    memset(half, 'h', 4096);
    for (int i = 0; i < 2; i++) { /* the second time, pages are cached or not */
        if (i == 1 && !memory) need(fdatasync(fd) == 0, "fdatasync");
        if (i == 1) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        both("two pages", fd, half, 8192, 4096);
        both("more than a page", fd, half, 4097, 0);
        both("to the end", fd, half, 8192, 12288);
        if (!(flags & O_DIRECT) || memory) both("not aligned", fd, half + 4000, 1000, 100);
        struct aiocb cb = request(fd, half, 8192, 8192), *list[] = {&cb};
        cb.aio_lio_opcode = LIO_WRITE;
        answered("list", lio_listio(LIO_WAIT, list, 1, NULL));
        report("in a list", &cb);
    }
    struct stat st;
    fstat(fd, &st);
    say("size %ld", (long)st.st_size);
    munmap(half, 8192);
    close(fd);
}

static void unaligned(void) {
    int fd = scratch(O_RDWR | O_DIRECT, 16384);
    both("direct", fd, buf, 4096, 4096);
    both("direct, address + 1", fd, buf + 1, 4096, 0);
    both("direct, size 100", fd, buf, 100, 0);
    both("direct, size 4097", fd, buf, 4097, 0);
    both("direct, offset 1", fd, buf, 4096, 1);
    both("direct, all three", fd, buf + 3, 100, 5);
    reads("direct, past the end", fd, buf, 4096, 1 << 20);
    reads("direct, unaligned past the end", fd, buf, 4096, (1 << 20) + 1);
    close(fd);
}

/* After so many requests that a library knows the descriptor well. */
static void refused(const char *what, int mode, int n, int (*closes)(int)) {
    int fd = scratch(mode | O_DIRECT, 8192), bad = 0;
    for (int i = 0; i < n; i++) {
        struct aiocb cb = request(fd, buf, 4096, 4096);
        bad += (mode == O_RDONLY ? aio_read(&cb) : aio_write(&cb)) != 0;
        bad += finish(&cb) != 0 || aio_return(&cb) != 4096;
    }
    say("%s, direct: %d bad", what, bad);
    for (int i = 0; i < 3; i++) both("refused", fd, buf, 4096, 0);
    closes(fd);
    for (int i = 0; i < 3; i++) both("closed", fd, buf, 4096, 0);
}

static int close_unseen(int fd) {
    return (int)syscall(SYS_close, fd);
}

static void priorities(void) {
    int fd = scratch(O_RDWR, 8192), values[] = {-1, 0, 1, 20, 21, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct aiocb cb = request(fd, buf, 100, 0);
        char line[50];
        cb.aio_reqprio = values[i];
        snprintf(line, sizeof line, "priority %d, read", values[i]);
        outcome(line, aio_read(&cb), &cb);
        cb = request(fd, buf, 100, 0);
        cb.aio_reqprio = values[i];
        snprintf(line, sizeof line, "priority %d, write", values[i]);
        outcome(line, aio_write(&cb), &cb);
        cb = request(fd, buf, 100, 0);
        cb.aio_reqprio = values[i];
        snprintf(line, sizeof line, "priority %d, fsync", values[i]);
        outcome(line, aio_fsync(O_SYNC, &cb), &cb);
    }
    struct aiocb bad = request(-1, buf, 100, 0); /* which of the two errors? */
    bad.aio_reqprio = 21;
    outcome("priority 21, fd -1", aio_read(&bad), &bad);
    close(fd);
}

static void syncs(const char *what, int op, int fd) {
    struct aiocb cb = request(fd, NULL, 0, 0);
    outcome(what, aio_fsync(op, &cb), &cb);
}

static void sync_errors(void) {
    int fd = scratch(O_RDWR, 8192), pipes[2], pair[2];
    need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
    syncs("fsync O_SYNC", O_SYNC, fd);
    syncs("fsync O_DSYNC", O_DSYNC, fd);
    syncs("fsync op 0", 0, fd);
    syncs("fsync op -1", -1, fd);
    syncs("fsync op O_SYNC | O_APPEND", O_SYNC | O_APPEND, fd);
    syncs("fsync op 0, fd -1", 0, -1);
    close(fd);
    syncs("fsync closed fd", O_SYNC, fd);
    syncs("fsync fd -1", O_SYNC, -1);
    syncs("fsync fd 9999", O_DSYNC, 9999);
    fd = scratch(O_RDONLY, 8192);
    syncs("fsync read-only", O_SYNC, fd);
    close(fd);
    fd = scratch(O_WRONLY, 8192);
    syncs("fsync write-only", O_DSYNC, fd);
    close(fd);
    syncs("fsync read end", O_SYNC, pipes[0]);
    syncs("fsync write end", O_SYNC, pipes[1]);
    syncs("fdatasync write end", O_DSYNC, pipes[1]);
    syncs("fsync socket", O_SYNC, pair[0]);
    int null = opened("/dev/null", O_RDWR);
    syncs("fsync /dev/null", O_SYNC, null);
    syncs("fdatasync /dev/null", O_DSYNC, null);
    close(null);
    close(pipes[0]);
    close(pipes[1]);
    close(pair[0]);
    close(pair[1]);
}

/* Everything that a read or write does not use is 0xff, the private fields too. */
static struct aiocb garbage(int fd, void *at, size_t n, off_t offset) {
    struct aiocb cb;
    memset(&cb, 0xff, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_reqprio = 0;
    cb.aio_buf = at;
    cb.aio_nbytes = n;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

/* What is done twice may go a shorter way the second time. */
static void unused_fields(const char *what, int fd) {
    struct aiocb cb;
    say("garbage, %s:", what);
    for (int i = 0; i < 2; i++) {
        memset(buf, 0, 4096);
        cb = garbage(fd, buf, 4096, 0);
        outcome("read", aio_read(&cb), &cb);
        say("data %d", is_pattern(buf, 4096, 0));
        memset(buf, 'w', 4096);
        cb = garbage(fd, buf, 4096, 4096);
        outcome("write", aio_write(&cb), &cb);
        memset(&cb, 0xff, sizeof cb); /* a sync uses neither buffer nor priority */
        cb.aio_fildes = fd;
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        outcome("sync", aio_fsync(i ? O_DSYNC : O_SYNC, &cb), &cb);
        memset(buf, 0, 4096);
        need(pread(fd, buf, 4096, 4096) == 4096, "pread");
        say("written %d", buf[0] == 'w' && !memcmp(buf, buf + 1, 4095));
    }
    struct aiocb one = garbage(fd, buf, 4096, 0), two = garbage(fd, buf + 4096, 4096, 4096);
    struct aiocb *list[] = {&one, &two};
    one.aio_lio_opcode = LIO_READ;
    two.aio_lio_opcode = LIO_WRITE;
    struct sigevent none;
    memset(&none, 0xff, sizeof none);
    none.sigev_notify = SIGEV_NONE;
    answered("list", lio_listio(LIO_WAIT, list, 2, &none));
    report("list's read", &one);
    report("list's write", &two);
    answered("LIO_WAIT ignores sigev", lio_listio(LIO_WAIT, list, 2, (void *)-1l));

    cb = garbage(fd, buf, 4096, 0);
    cb.aio_reqprio = 21;
    outcome("bad priority", aio_read(&cb), &cb);
    cb = garbage(fd, (void *)-1l, 4096, 0);
    outcome("bad buffer", aio_read(&cb), &cb);
    close(fd);
}

static void unused_fields_of_pipe(void) {
    int pipes[2];
    need(pipe(pipes) == 0, "pipe");
    struct aiocb cb = garbage(pipes[1], buf, 100, 0);
    outcome("garbage, pipe write", aio_write(&cb), &cb);
    cb = garbage(pipes[0], buf, 100, 0);
    outcome("garbage, pipe read", aio_read(&cb), &cb);
    close(pipes[0]);
    close(pipes[1]);
}

/* An aiocb that was never submitted: garbage, and (`status`) one that happens to say that it is in
 * progress. */
static void never_submitted(const char *what, int status) {
    int fd = scratch(O_RDWR, 8192);
    const struct timespec zero = {0, 0};
    struct aiocb cb;
    const struct aiocb *waits[] = {&cb};
    memset(&cb, 0xff, sizeof cb);
    cb.__error_code = status;
    say("never submitted, %s:", what);
    say("aio_error %d, aio_return %zd", aio_error(&cb), aio_return(&cb));
    answered("aio_suspend", aio_suspend(waits, 1, &zero));
    answered("aio_cancel", aio_cancel(fd, &cb)); /* its descriptor is another: none */
    cb.aio_fildes = fd;
    answered("aio_cancel of its own", aio_cancel(fd, &cb));
    answered("aio_cancel of all", aio_cancel(fd, NULL));
    say("untouched: %d", aio_error(&cb));
    close(fd);
}

static void bad_calls(void) {
    int fd = scratch(O_RDWR, 8192);
    struct aiocb cb = request(fd, buf, 100, 0), *list[] = {&cb};
    const struct aiocb *waits[] = {&cb};
    int modes[] = {-1, 2, 3, 77};
    for (int i = 0; i < 4; i++) answered("list, bad mode", lio_listio(modes[i], list, 1, NULL));
    say("untouched: %s", name(aio_error(&cb)));
    int ops[] = {5, 77, -1}; /* 3 and 4 are glibc's own numbers for syncs: an accident */
    for (int i = 0; i < 3; i++) {
        cb = request(fd, buf, 100, 0);
        cb.aio_lio_opcode = ops[i];
        answered("list, bad opcode", lio_listio(LIO_WAIT, list, 1, NULL));
        report("bad opcode", &cb);
    }
    answered("suspend, -1 entries", aio_suspend(waits, -1, NULL));
    answered("suspend, INT_MIN entries", aio_suspend(waits, INT_MIN, NULL));
    close(fd);
}

enum op { READ, WRITE, SYNC, IN_LIST, OPS };

/* Without aio_return() in between, one that fails among them. */
static void again(const char *what, int fd, enum op op, int signo) {
    const struct timespec limit = {quiet_s(5), 0};
    struct aiocb cb = request(fd, buf, 4096, 0), *list[] = {&cb};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    cb.aio_lio_opcode = LIO_READ;
    cb.aio_sigevent.sigev_notify = signo ? SIGEV_SIGNAL : SIGEV_NONE;
    cb.aio_sigevent.sigev_signo = signo;
    for (int i = 0; i < 5; i++) {
        cb.aio_fildes = i == 1 ? -1 : fd;
        memset(buf, 0, 4096);
        if (op == WRITE) need(pread(fd, buf, 4096, 0) == 4096, "pread");
        int res = op == READ    ? aio_read(&cb)
                  : op == WRITE ? aio_write(&cb)
                  : op == SYNC  ? aio_fsync(O_SYNC, &cb)
                                : lio_listio(LIO_WAIT, list, 1, NULL);
        bool notifies = signo && (res == 0 || op != SYNC); /* an aio_fsync() fails at once */
        say("%s, submitted: %d %s", what, res, res ? name(errno) : "");
        say("ends: %s, notified %d", name(finish(&cb)),
            notifies && sigtimedwait(&set, NULL, &limit) == signo);
    }
    say("returned %zd, data %d", aio_return(&cb), op == SYNC || is_pattern(buf, 4096, 0));
}

static void submitted_again(const char *what, int flags) {
    static const char *const names[] = {"read", "write", "sync", "in a list"};
    int fd = scratch(O_RDWR | flags, 8192);
    say("again, %s:", what);
    for (enum op op = READ; op < OPS; op++)
        again(names[op], fd, op, 0), again(names[op], fd, op, SIGRTMIN + 1);
    close(fd);
}

/* A stream's, again and again without aio_return(). */
static void stream_again(void) {
    int fds[2];
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], buf, 1, 0);
    for (int i = 0; i < 4; i++) {
        if (i % 2) need(write(fds[1], &"abcd"[i], 1) == 1, "write");
        need(aio_read(&cb) == 0, "aio_read");
        if (i % 2 == 0) need(write(fds[1], &"abcd"[i], 1) == 1, "write");
        int err = finish(&cb);
        say("again, pipe: %s, %c", name(err), buf[0]);
    }
    close(fds[0]);
    close(fds[1]);
}

static volatile sig_atomic_t caught;

static void on_signal(int signo) {
    (void)signo;
    caught++;
}

/* The signals that the kernel sends with these errors belong to glibc's helper threads, which block
 * them: by default they would end the program. */
static void broken_pipes(void) {
    signal(SIGPIPE, on_signal);
    int pipes[2], pair[2];
    need(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
    close(pipes[0]);
    close(pair[0]);
    writes("pipe without reader", pipes[1], buf, 100, 0);
    writes("pipe without reader, large", pipes[1], buf, 16384, 0);
    writes("socket without peer", pair[1], buf, 100, 0);
    reads("socket without peer", pair[1], buf, 100, 0);
    close(pipes[1]);
    close(pair[1]);
    say("SIGPIPE %d", caught);
}

/* As above, for SIGXFSZ. The limit must leave room for the output of this program. */
static void size_limit(const char *what, int fd) {
    enum { LIMIT = 1 << 20 };
    struct rlimit limit = {LIMIT, RLIM_INFINITY};
    need(fd >= 0 && ftruncate(fd, LIMIT - 8192) == 0, "file");
    need(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    caught = 0;
    say("file size limit, %s:", what);
    writes("below", fd, buf, 4096, LIMIT - 8192);
    writes("up to", fd, buf, 4096, LIMIT - 4096);
    writes("across", fd, buf, 8192, LIMIT - 4096);
    writes("at", fd, buf, 4096, LIMIT);
    writes("far past", fd, buf, 4096, 2 * LIMIT);
    struct aiocb cb = request(fd, buf, 4096, LIMIT), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_WRITE;
    answered("list", lio_listio(LIO_WAIT, list, 1, NULL));
    report("in a list", &cb);
    say("SIGXFSZ %d", caught);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    close(fd);
}

/* A filesystem of 64 KiB. It is detached at once and goes away with its last descriptor. */
static void full_disk(void) {
    need(mkdir("small", 0700) == 0, "mkdir");
    if (mount("kaio-test", "small", "tmpfs", 0, "size=64k") != 0) {
        say("skipped, full disk: cannot mount a tmpfs: %s", strerror(errno));
        return;
    }
    int fd = open("small/file", O_RDWR | O_CREAT, 0600);
    int other = open("small/other", O_RDWR | O_CREAT, 0600);
    umount2("small", MNT_DETACH);
    need(fd >= 0 && other >= 0, "file on tmpfs");
    char *large = pages(200000);
    writes("small disk", fd, large, 4096, 0);
    writes("small disk, more than fits", fd, large, 200000, 4096);
    writes("small disk, full", fd, large, 4096, 65536);
    writes("small disk, full, large", fd, large, 200000, 65536);
    writes("small disk, overwritten", fd, large, 4096, 4096);
    writes("small disk, other file", other, large, 1, 0);
    reads("small disk, all", fd, large, 200000, 0);
    free(large);
    close(fd);
    close(other);
}

static void test(void) {
    /* Behind it is nothing: of a file's end a direct read of SSIZE_MAX bytes may clear memory. */
    buf = mmap(NULL, 16384 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(buf != MAP_FAILED && mprotect(buf + 16384, 4096, PROT_NONE) == 0, "memory");
    CASE("descriptors") descriptors();
    CASE("special-files") special_files();
    CASE("ranges") {
        ranges("buffered", scratch(O_RDWR, 8192));
        ranges("direct", scratch(O_RDWR | O_DIRECT, 8192));
        int memory = memfd_create("memory", MFD_CLOEXEC);
        need(ftruncate(memory, 8192) == 0, "memory file");
        ranges("memory", memory);
    }
    CASE("partly-bad") {
        partly_bad("buffered", 0);
        partly_bad("direct", O_DIRECT);
        partly_bad("memory", -1);
    }
    CASE("unaligned") unaligned();
    CASE("refused") {
        refused("read-only", O_RDONLY, 200, close_unseen);
        refused("read-only", O_RDONLY, 201, close);
        refused("write-only", O_WRONLY, 200, close_unseen);
        refused("write-only", O_WRONLY, 201, close);
    }
    CASE("priorities") priorities();
    CASE("sync-errors") sync_errors();
    CASE("unused-fields") {
        int pattern = scratch(O_RDONLY, 8192);
        int memory = memfd_create("memory", MFD_CLOEXEC);
        need(read(pattern, buf, 8192) == 8192 && write(memory, buf, 8192) == 8192, "memory file");
        close(pattern);
        unused_fields("buffered", scratch(O_RDWR, 8192));
        unused_fields("direct", scratch(O_RDWR | O_DIRECT, 8192));
        unused_fields("memory", memory);
    }
    CASE("unused-fields-of-pipe") unused_fields_of_pipe();
    CASE("never-submitted") {
        never_submitted("0xff everywhere", -1);
        never_submitted("in progress", EINPROGRESS);
    }
    CASE("bad-calls") bad_calls();
    CASE("submitted-again") {
        submitted_again("buffered", 0);
        submitted_again("direct", O_DIRECT);
    }
    CASE("stream-again") stream_again();
    CASE("full-disk") full_disk();
    CASE("broken-pipes") broken_pipes();
    CASE("size-limit") {
        signal(SIGXFSZ, on_signal);
        size_limit("buffered", scratch(O_RDWR, 0));
        size_limit("direct", scratch(O_RDWR | O_DIRECT, 0));
        size_limit("memory", memfd_create("memory", MFD_CLOEXEC));
    }
}
