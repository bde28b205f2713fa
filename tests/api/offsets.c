/* SPDX-License-Identifier: MIT */
/* Offsets that 32 bits do not hold, and times. A 32-bit program may be built in three ways, which
 * scripts/matrix all tries: as it was in old days, where the aiocb has a hole beside a short
 * aio_offset, and what is in there must not matter; with _FILE_OFFSET_BITS=64; and with
 * _TIME_BITS=64, too. */
#include "test.h"

#define FAR ((off_t)(sizeof(off_t) == 8 ? 5000000000ll : 1000000000ll))

static char data[] = "abcdefg", back[sizeof data];
static int fd;

/* As one on a stack that was used before: garbage wherever the call has nothing to say. */
static struct aiocb used(void *buf, off_t offset) {
    struct aiocb cb;
    memset(&cb, 0xee, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = buf;
    cb.aio_nbytes = sizeof data;
    cb.aio_offset = offset;
    cb.aio_reqprio = 0;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static void far(void) {
    struct aiocb cb = used(data, FAR), *list[] = {&cb};
    answered("aio_write", aio_write(&cb));
    report("write", &cb);
    memset(back, 0, sizeof back);
    say("back %zd", pread64(fd, back, sizeof back, FAR));
    say("data %d", memcmp(data, back, sizeof data));
    memset(back, 0, sizeof back);
    cb = used(back, FAR);
    answered("aio_read", aio_read(&cb));
    report("read", &cb);
    say("data %d", memcmp(data, back, sizeof data));
    memset(back, 0, sizeof back);
    cb = used(back, FAR);
    cb.aio_lio_opcode = LIO_READ;
    answered("lio_listio", lio_listio(LIO_WAIT, list, 1, NULL));
    report("read", &cb);
    say("data %d", memcmp(data, back, sizeof data));
}

static void before_the_file(void) {
    struct aiocb cb = used(back, -1);
    answered("aio_read", aio_read(&cb));
    report("read at -1", &cb);
    cb = used(data, -1);
    answered("aio_write", aio_write(&cb));
    report("write at -1", &cb);
}

/* The names that are the same however the program is built. */
static void large_file_names(void) {
    struct aiocb64 cb, *list[] = {&cb};
    const struct aiocb64 *waited[] = {&cb};
    const off64_t at = 6000000000ll;
    memset(&cb, 0xee, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = data;
    cb.aio_nbytes = sizeof data;
    cb.aio_offset = at;
    cb.aio_reqprio = 0;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    answered("aio_write64", aio_write64(&cb));
    while (aio_error64(&cb) == EINPROGRESS) aio_suspend64(waited, 1, NULL);
    say("write: %s, %zd", name(aio_error64(&cb)), aio_return64(&cb));
    memset(back, 0, sizeof back);
    cb.aio_buf = back;
    cb.aio_lio_opcode = LIO_READ;
    answered("lio_listio64", lio_listio64(LIO_WAIT, list, 1, NULL));
    say("read: %s, %zd", name(aio_error64(&cb)), aio_return64(&cb));
    say("data %d", memcmp(data, back, sizeof data));
}

/* A time limit has another layout by _TIME_BITS. */
static void limits(void) {
    int fds[2];
    need(pipe(fds) == 0, "pipe");
    struct aiocb cb = request(fds[0], back, sizeof back, 0);
    const struct aiocb *list[] = {&cb};
    struct timespec soon = {0, 20000000}, late = {3600, 0};
    aio_read(&cb);
    uint64_t began = now_us();
    answered("aio_suspend", aio_suspend(list, 1, &soon));
    say("too early %d", now_us() - began < 20000);
    need(write(fds[1], data, sizeof data) == sizeof data, "write");
    answered("aio_suspend", aio_suspend(list, 1, &late));
    report("read", &cb);
}

static void test(void) {
    fd = scratch(O_RDWR | O_LARGEFILE, 4096);
    CASE("far") far();
    CASE("before-the-file") before_the_file();
    CASE("large-file-names") large_file_names();
    CASE("limits") limits();
}
