/* device.c - requests of a file (argument of FAULTY) whose device errs at some blocks and stalls at
 * others, slow/e of fuse/slowfs.c or a loop device on it: each error reaches exactly its aiocb, and
 * what asks for another file goes on. For device.sh, under glibc and under the shim.
 */
#include "../api/test.h"

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

static void test(void) {
    const char *path = getenv("FAULTY");
    buf = pages(N * BLOCK);
    bool device = path && !strncmp(path, "/dev", 4);
    int fds[] = {open(path, O_RDWR | O_DIRECT), open(path, O_RDWR)};
    need(fds[0] >= 0 && fds[1] >= 0, "open");
    others("direct", fds[0]);
    reads("direct", fds[0]);
    if (device) return;
    writes("direct", fds[0]);
    reads("buffered", fds[1]);
    writes("buffered", fds[1]);
}
