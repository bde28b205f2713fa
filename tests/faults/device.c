/* SPDX-License-Identifier: MIT */
/* device.c - requests of devices that are not as usual, for device.sh, under glibc and under the
 * shim. The environment names them:
 *
 *   FAULTY   errs at some blocks and stalls at others, slow/e of fuse/slowfs.c or a loop device on
 *            it: each error reaches exactly its aiocb, and what asks for another file goes on
 *   END      a block device: requests at its end and across it
 *   HELD     a loop device on slow/h, which answers once there is no ./log.hold: what aio_cancel()
 *            says of reads that the device has not answered
 */
#include "test.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

enum { BLOCK = 4096, N = 60, STALLS = 2 };

static char *buf;
static struct aiocb cbs[N];

static void make(int fd, int op) {
    struct aiocb *list[N];
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, buf + i * BLOCK, BLOCK, i * BLOCK);
        cbs[i].aio_lio_opcode = op;
        list[i] = &cbs[i];
    }
    answered("list", lio_listio(LIO_WAIT, list, N, NULL));
}

static void reads(const char *what, int fd) {
    memset(buf, 0, N * BLOCK);
    make(fd, LIO_READ);
    for (int i = 0; i < N; i++) {
        int err = aio_error(&cbs[i]);
        bool whole = aio_return(&cbs[i]) == (err ? -1 : BLOCK);
        if (err) say("%s, read of %d: %s", what, i, name(err));
        if (!whole || (!err && !is_pattern(buf + i * BLOCK, BLOCK, i * BLOCK)))
            say("%s, read of %d: bad", what, i);
    }
}

static void writes(const char *what, int fd) {
    make(fd, LIO_WRITE);
    for (int i = 0; i < N; i++) {
        int err = aio_error(&cbs[i]);
        if (err || aio_return(&cbs[i]) != BLOCK) say("%s, write of %d: %s", what, i, name(err));
    }
    cbs[0] = request(fd, NULL, 0, 0);
    answered("aio_fsync", aio_fsync(O_SYNC, &cbs[0]));
    report("sync", &cbs[0]);
}

/* Direct and buffered reads and writes of another file take less than the stall. */
static void others(const char *what, int faulty) {
    int files[] = {scratch(O_RDWR, 65536), scratch(O_RDWR | O_DIRECT, 65536)}, bad = 0;
    for (int i = 0; i < STALLS; i++) {
        cbs[i] = request(faulty, buf + i * BLOCK, BLOCK, (off_t)(60 + i) * BLOCK);
        if ((60 + i) % 5 == 3) cbs[i].aio_offset = 64 * BLOCK;
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    uint64_t begin = now_us();
    for (int i = 0; i < 40; i++) {
        struct aiocb cb = request(files[i % 2], buf + N / 2 * BLOCK, BLOCK, i % 4 / 2 * BLOCK);
        bad +=
            (i / 4 % 2 ? aio_write(&cb) : aio_read(&cb)) || finish(&cb) || aio_return(&cb) != BLOCK;
    }
    uint64_t took = now_us() - begin;
    bool stalled = aio_error(&cbs[0]) == EINPROGRESS;
    say("%s, others meanwhile: %d bad, in time %d, still stalled %d", what, bad, took < 700000,
        stalled);
    for (int i = 0; i < STALLS; i++) report("stalled", &cbs[i]);
    for (int i = 0; i < 2; i++) close(files[i]);
}

static void faulty(const char *path) {
    int fds[] = {open(path, O_RDWR | O_DIRECT), open(path, O_RDWR)};
    need(fds[0] >= 0 && fds[1] >= 0, "open");
    others("direct", fds[0]);
    reads("direct", fds[0]);
    writes("direct", fds[0]);
    reads("buffered", fds[1]);
    writes("buffered", fds[1]);
}

/* One request, and what pread() or pwrite() says of the same. */
static void at(const char *what, bool write, int fd, size_t n, off_t offset) {
    struct aiocb cb = request(fd, buf, n, offset);
    char *own = pages(n);
    memset(buf, write ? 'w' : 0, n);
    need((write ? aio_write(&cb) : aio_read(&cb)) == 0, "request");
    int err = finish(&cb);
    ssize_t got = aio_return(&cb), read = pread(fd, own, n, offset);
    bool same = read < 0 || !memcmp(own, buf, (size_t)read);
    if (write) read = pwrite(fd, buf, n, offset);
    say("%s, %s %zu: %s, %zd", what, write ? "write" : "read", n, name(err), got);
    if (got != read || err != (read < 0 ? errno : 0) || !same)
        say("the call says %zd, same data %d", read, same);
    free(own);
}

static void ends(const char *what, const char *path, int flags) {
    int fd = open(path, O_RDWR | flags), unit;
    uint64_t end;
    need(fd >= 0 && ioctl(fd, BLKGETSIZE64, &end) == 0 && ioctl(fd, BLKSSZGET, &unit) == 0, path);
    size_t most = 2 * BLOCK;
    off_t size = (off_t)end;
    say("-- %s", what);
    for (int write = 0; write < 2; write++) {
        at("before the end", write, fd, most, size - most);
        at("to the end", write, fd, unit, size - unit);
        at("across", write, fd, most, size - unit);
        at("at the end", write, fd, unit, size);
        at("behind it", write, fd, most, size + unit);
        if (flags) continue;
        at("across, bytes", write, fd, 1000, size - 7);
        at("at the end, bytes", write, fd, 1, size);
    }
    close(fd);
}

/* Threads in a sleep that no signal ends: glibc's helpers in pread(). */
static int stuck_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int n = 0;
    need(tasks != NULL, "/proc/self/task");
    while ((task = readdir(tasks))) n += task_state(atoi(task->d_name)) == 'D';
    closedir(tasks);
    return n;
}

static off_t log_size(void) {
    struct stat log;
    need(stat("log", &log) == 0, "log");
    return log.st_size;
}

static const char *cancels(int fd, struct aiocb *cb) {
    int answer = aio_cancel(fd, cb);
    return answer == AIO_CANCELED      ? "CANCELED"
           : answer == AIO_NOTCANCELED ? "NOTCANCELED"
           : answer == AIO_ALLDONE     ? "ALLDONE"
                                       : "error";
}

/* Each read has a descriptor of its own, since glibc takes one of each at a time. With KAIO_DEPTH=2
 * the last waits in the library. */
static void held(const char *path) {
    enum { READS = 3, LAST = READS - 1 };
    const char *depth = getenv("KAIO_DEPTH");
    bool deep = !depth || atoi(depth) >= READS;
    int fds[READS], lock = open("log.hold", O_CREAT | O_RDWR, 0600);
    unsigned came = 0;
    off_t before = log_size();
    need(lock >= 0, "log.hold");
    for (int i = 0; i < READS; i++) {
        fds[i] = open(path, O_RDWR | O_DIRECT);
        cbs[i] = request(fds[i], buf + i * BLOCK, BLOCK, i * 80 * BLOCK);
        cbs[i].aio_sigevent = (struct sigevent){.sigev_signo = SIGRTMIN + 1}; /* SIGEV_SIGNAL: 0 */
        cbs[i].aio_sigevent.sigev_value.sival_int = i;
        need(fds[i] >= 0 && aio_read(&cbs[i]) == 0, "aio_read");
    }
    /* the device has got one, and under glibc each has a thread */
    while (log_size() == before || (!is_shim() && stuck_threads() < READS)) sleep_ms(1);
    for (int i = 0; i < LAST; i++) say("running: %s", cancels(fds[i], &cbs[i]));
    for (int i = 0; i < LAST; i++) say("all of it: %s", cancels(fds[i], NULL));
    differs("the last", "NOTCANCELED", deep ? "NOTCANCELED" : "CANCELED",
            cancels(fds[LAST], &cbs[LAST]));
    differs("its status", "EINPROGRESS", deep ? "EINPROGRESS" : "ECANCELED",
            name(aio_error(&cbs[LAST])));
    if (is_shim() && !deep) came |= 1u << (signalled(SIGRTMIN + 1, 10) & 7);
    if (came != (is_shim() && !deep ? 1u << LAST : 0)) say("its notification is missing");
    say("no other %d, the first: %s", signalled(SIGRTMIN + 1, 0) == -1, name(aio_error(&cbs[0])));
    unlink("log.hold");
    for (int i = 0; i < LAST; i++) {
        report("read", &cbs[i]);
        say("data %d", is_pattern(buf + i * BLOCK, BLOCK, cbs[i].aio_offset));
    }
    differs("the last", "0", deep ? "0" : "ECANCELED", name(finish(&cbs[LAST])));
    for (int i = !is_shim() || deep ? 0 : 1; i < READS; i++)
        came |= 1u << (signalled(SIGRTMIN + 1, 10) & 7);
    say("all notified %d, no other %d", came == (1u << READS) - 1,
        signalled(SIGRTMIN + 1, 0) == -1);
    for (int i = 0; i < READS; i++) close(fds[i]);
    close(lock);
}

static void test(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    buf = pages(N * BLOCK);
    if (getenv("FAULTY")) faulty(getenv("FAULTY"));
    if (getenv("END")) ends("direct", getenv("END"), O_DIRECT);
    if (getenv("END")) ends("buffered", getenv("END"), 0);
    if (getenv("HELD")) held(getenv("HELD"));
}
