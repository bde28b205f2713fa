/* SPDX-License-Identifier: MIT */
/* Reads and writes: data, counts, end of file, return values, what may be asked twice or never. */
#include "test.h"

#include <stddef.h>

/* The library and its programs are built apart: both know the aiocb by these numbers. */
#ifndef __GLIBC__ /* musl's names */
#define __error_code   __err
#define __return_value __ret
#endif
#ifdef __LP64__
enum { ERROR_AT = 112, RETURN_AT = 120, SIZE = 168 };
#else
enum { ERROR_AT = 96, RETURN_AT = 100, SIZE = 144 };
#endif
_Static_assert(offsetof(struct aiocb, __error_code) == ERROR_AT &&
                   offsetof(struct aiocb, __return_value) == RETURN_AT &&
                   sizeof(struct aiocb) == SIZE,
               "another layout of the aiocb");

static char *buf, *back;
static int fd;

static void reads(void) {
    struct aiocb cb = request(fd, buf, 4096, 0);
    answered("aio_read", aio_read(&cb));
    report("read", &cb);
    say("data %d", is_pattern(buf, 4096, 0));
    say("again: %s, %zd", name(aio_error(&cb)), aio_return(&cb));

    cb = request(fd, buf, 4096, 8192);
    aio_read(&cb);
    report("short read", &cb);
    say("data %d", is_pattern(buf, 10000 - 8192, 8192));
    cb = request(fd, buf, 4096, 10000);
    aio_read(&cb);
    report("read at the end", &cb);
    cb = request(fd, buf, 4096, 1 << 20);
    aio_read(&cb);
    report("read past the end", &cb);
    cb = request(fd, buf, 0, 0);
    aio_read(&cb);
    report("read nothing", &cb);
}

static void writes(void) {
    struct aiocb cb = request(fd, buf, 5000, 3000);
    memset(buf, 'w', 8192);
    answered("aio_write", aio_write(&cb));
    report("write", &cb);
    say("back %zd", pread(fd, back, 5000, 3000));
    say("data %d", memcmp(buf, back, 5000));
    cb = request(fd, buf, 100, 20000);
    aio_write(&cb);
    report("write past the end", &cb);
    struct stat st;
    fstat(fd, &st);
    say("size %ld", (long)st.st_size);
}

static void large_file_names(void) {
    struct aiocb64 cb64;
    memset(&cb64, 0, sizeof cb64);
    cb64.aio_fildes = fd;
    cb64.aio_buf = back;
    cb64.aio_nbytes = 100;
    cb64.aio_offset = 4000;
    cb64.aio_sigevent.sigev_notify = SIGEV_NONE;
    const struct aiocb64 *list[] = {&cb64};
    need(pread(fd, buf, 100, 4000) == 100, "pread");
    memset(back, 0, 100);
    answered("aio_read64", aio_read64(&cb64));
    while (aio_error64(&cb64) == EINPROGRESS) aio_suspend64(list, 1, NULL);
    say("64: %s, %zd, %d", name(aio_error64(&cb64)), aio_return64(&cb64), memcmp(buf, back, 100));
}

static void never_submitted(void) {
    struct aiocb fresh;
    memset(&fresh, 0, sizeof fresh);
    say("never submitted: %s, %zd", name(aio_error(&fresh)), aio_return(&fresh));
}

static void polled(void) {
    /* only ever asked for its status, a million times a second */
    struct aiocb cb = request(fd, buf, 4096, 0);
    aio_read(&cb);
    while (aio_error(&cb) == EINPROGRESS) continue;
    say("spun: %s, %zd", name(aio_error(&cb)), aio_return(&cb));
    /* only ever asked for its result */
    cb = request(fd, buf, 4096, 4096);
    aio_read(&cb);
    ssize_t n = 0;
    for (int i = 0; i < 2000 && n != 4096; i++) usleep(1000), n = aio_return(&cb);
    say("slept: %zd", n);
}

/* lifetime.c looks whether memory grows. */
static void never_returned(void) {
    int bad = 0;
    for (int i = 0; i < 20000; i++) {
        struct aiocb cb = request(fd, buf, 16, 0);
        bad += aio_read(&cb) != 0 || finish(&cb) != 0;
    }
    say("20000 without aio_return: %d bad", bad);
}

static void test(void) {
    buf = pages(8192);
    back = pages(8192);
    fd = scratch(O_RDWR, 10000);
    CASE("reads") reads();
    CASE("writes") writes();
    CASE("large-file-names") large_file_names();
    CASE("never-submitted") never_submitted();
    CASE("polled") polled();
    CASE("never-returned") never_returned();
#ifdef __GLIBC__
    struct aioinit init = {.aio_threads = 4, .aio_num = 4};
    aio_init(&init);
#endif
}
