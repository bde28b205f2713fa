/* SPDX-License-Identifier: MIT */
/* A number that was one file, closed unseen, and is another: nothing that was known of the first
 * may show. Each kind of use before, each kind of file after. */
#include "test.h"

#include <stdatomic.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BLOCK = 4096, BLOCKS = 64, NUMBER = 200, ROUNDS = 4 };

/* What the number has been used for. */
enum use { READ, UNCACHED, WRITTEN, MEMORY, DIRECT, DIRECT_WRITTEN, STREAM, USES };
static const char *const uses[] = {"cached reads", "uncached reads", "writes",         "tmpfs",
                                   "direct reads", "direct writes",  "reads of a pipe"};
static char *memory;
static atomic_int signals;

static void on_signal(int signo) {
    (void)signo;
    signals++;
}

static void become(int fd) {
    need(syscall(SYS_dup3, fd, NUMBER, 0) == NUMBER, "dup3");
    syscall(SYS_close, fd);
}

static void one(bool write, int i) {
    struct aiocb cb = request(NUMBER, memory, BLOCK, i % BLOCKS * BLOCK);
    if (write ? aio_write(&cb) : aio_read(&cb)) return;
    finish(&cb);
}

/* On tmpfs, if there is some. */
static int in_memory(void) {
    int fd = memfd_create("memory", 0);
    need(fd >= 0 && ftruncate(fd, BLOCKS * BLOCK) == 0, "memfd");
    return fd;
}

static void prepare(enum use use) {
    int ends[2], flags = use == DIRECT || use == DIRECT_WRITTEN ? O_RDWR | O_DIRECT : O_RDWR;
    bool writes = use == WRITTEN || use == DIRECT_WRITTEN;
    if (use == STREAM) {
        need(pipe(ends) == 0 && write(ends[1], memory, BLOCK) == BLOCK, "pipe");
        become(ends[0]);
        one(false, 0);
        close(ends[1]);
        return;
    }
    become(use == MEMORY ? in_memory() : scratch(flags, BLOCKS * BLOCK));
    for (int i = 0; i < 80; i++) {
        if (use == UNCACHED) posix_fadvise(NUMBER, 0, 0, POSIX_FADV_DONTNEED);
        one(writes, i * 7);
    }
}

/* Two reads of a byte: the first, then data, then the second. In turn? */
static int reads_of(int writer) {
    char first = 0, second = 0;
    struct aiocb a = request(NUMBER, &first, 1, 0), b = request(NUMBER, &second, 1, 0);
    int bad = aio_read(&a) != 0;
    sleep_ms(3);
    need(write(writer, "12", 2) == 2, "write");
    bad += aio_read(&b) != 0;
    bad += finish(&a) != 0 || finish(&b) != 0;
    return bad + (first != '1' || second != '2');
}

static int as_pipe(enum use use, bool socket) {
    int bad = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int ends[2];
        prepare(use);
        if (socket) need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
        else need(pipe(ends) == 0, "pipe");
        become(ends[0]);
        for (int j = 0; j < ROUNDS; j++) bad += reads_of(ends[1]);
        close(ends[1]);
        syscall(SYS_close, NUMBER);
    }
    return bad;
}

/* It is empty at first: the call must not wait for it. */
static int as_eventfd(enum use use) {
    uint64_t count = 0, five = 5;
    prepare(use);
    int efd = eventfd(0, 0), writer = dup(efd);
    become(efd);
    struct aiocb cb = request(NUMBER, &count, sizeof count, 0);
    int bad = aio_read(&cb) != 0;
    sleep_ms(3);
    bad += aio_error(&cb) != EINPROGRESS;
    need(write(writer, &five, sizeof five) == sizeof five, "write");
    bad += finish(&cb) != 0 || count != 5;
    close(writer);
    syscall(SYS_close, NUMBER);
    return bad;
}

/* Writes of a byte, all pending at once: each is the stream's, and in turn. */
static int as_written(enum use use, bool socket) {
    static struct aiocb cbs[2 * ROUNDS];
    char text[2 * ROUNDS + 1] = "", found[2 * ROUNDS + 1] = "";
    int ends[2], bad = 0;
    prepare(use);
    if (socket) need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    else need(pipe(ends) == 0, "pipe");
    become(ends[1]);
    for (int i = 0; i < 2 * ROUNDS; i++) {
        text[i] = (char)('a' + i);
        cbs[i] = request(NUMBER, &text[i], 1, 0);
        bad += aio_write(&cbs[i]) != 0;
    }
    for (int i = 0; i < 2 * ROUNDS; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != 1;
    if (!bad) bad += read(ends[0], found, sizeof found - 1) < 0 || strcmp(found, text) != 0;
    close(ends[0]);
    syscall(SYS_close, NUMBER);
    return bad;
}

/* A pipe without a reader, of packets (O_DIRECT) or not: EPIPE, and no signal. */
static int as_broken_pipe(enum use use, int flags) {
    int ends[2], before = signals;
    prepare(use);
    need(pipe2(ends, flags) == 0, "pipe");
    become(ends[1]);
    syscall(SYS_close, ends[0]);
    struct aiocb cb = request(NUMBER, memory, 10, 0);
    int bad = aio_write(&cb) != 0;
    bad += finish(&cb) != EPIPE || signals != before;
    syscall(SYS_close, NUMBER);
    return bad;
}

/* What is appended lands at the end, in turn. */
static int as_log(enum use use) {
    static struct aiocb cbs[ROUNDS];
    char text[ROUNDS + 1] = "", found[2 * ROUNDS] = "";
    int bad = 0;
    prepare(use);
    become(scratch(O_RDWR | O_APPEND, 0));
    for (int i = 0; i < ROUNDS; i++) {
        text[i] = (char)('a' + i);
        cbs[i] = request(NUMBER, &text[i], 1, 0);
        bad += aio_write(&cbs[i]) != 0;
    }
    for (int i = 0; i < ROUNDS; i++) bad += finish(&cbs[i]) != 0;
    bad += pread(NUMBER, found, sizeof found, 0) != ROUNDS || strcmp(found, text) != 0;
    syscall(SYS_close, NUMBER);
    return bad;
}

/* Of another size; read to its end. */
static int as_file(enum use use, int flags) {
    int bad = 0;
    prepare(use);
    become(scratch(O_RDWR | flags, 3 * BLOCK));
    for (int i = 0; i < 5; i++) {
        struct aiocb cb = request(NUMBER, memory, BLOCK, i * BLOCK);
        bad += aio_read(&cb) != 0 || finish(&cb) != 0;
        bad += i < 3 ? aio_return(&cb) != BLOCK || !is_pattern(memory, BLOCK, i * BLOCK)
                     : aio_return(&cb) != 0;
    }
    syscall(SYS_close, NUMBER);
    return bad;
}

/* While a read of the first file still waits, which is a stream: the new file's syncs and reads do
 * not wait for it. */
static void waits_behind(bool closed) {
    int pair[2], least = 100;
    char bytes[100];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    setsockopt(pair[0], SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
    become(pair[0]);
    struct aiocb old = request(NUMBER, bytes, sizeof bytes, 0);
    need(aio_read(&old) == 0, "aio_read");
    while (!is_read(NUMBER)) sleep_ms(1);
    if (closed) close(NUMBER);
    become(scratch(O_RDWR, BLOCK));
    struct aiocb cb = request(NUMBER, memory, BLOCK, 0), sync = request(NUMBER, NULL, 0, 0);
    int bad = aio_fsync(O_SYNC, &sync) != 0 || finish(&sync) != 0;
    bad += aio_write(&cb) != 0 || finish(&cb) != 0;
    bad += fsync(NUMBER) != 0;
    differs(closed ? "behind a read after close()" : "behind a read, unseen", "waits", "goes on",
            bad ? "waits" : "goes on");
    memset(bytes, 0, sizeof bytes);
    need(write(pair[1], bytes, sizeof bytes) == sizeof bytes, "write");
    finish(&old);
    close(pair[1]);
    syscall(SYS_close, NUMBER);
}

static void test(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGPIPE, &action, NULL);
    memory = pages(BLOCK);
    alarm(60);
    CASE("then")
        for (enum use use = READ; use < USES; use++) {
            say("%s, then a pipe: %d bad", uses[use], as_pipe(use, false));
            say("%s, then a socket: %d bad", uses[use], as_pipe(use, true));
            say("%s, then an eventfd: %d bad", uses[use], as_eventfd(use));
            say("%s, then a pipe's end for writes: %d bad", uses[use], as_written(use, false));
            say("%s, then a socket for writes: %d bad", uses[use], as_written(use, true));
            say("%s, then a broken pipe: %d bad", uses[use], as_broken_pipe(use, 0));
            say("%s, then a broken pipe of packets: %d bad", uses[use],
                as_broken_pipe(use, O_DIRECT));
            say("%s, then appended: %d bad", uses[use], as_log(use));
            say("%s, then a file: %d bad", uses[use], as_file(use, 0));
            say("%s, then a direct file: %d bad", uses[use], as_file(use, O_DIRECT));
        }
    CASE("behind") {
        if (is_shim()) { /* in glibc a descriptor's requests wait for each other */
            waits_behind(true);
            waits_behind(false);
        } else {
            say("behind a read after close(): differs as expected");
            say("behind a read, unseen: differs as expected");
        }
    }
}
