/* SPDX-License-Identifier: MIT */
/* Descriptors that are closed behind the library's back: fclose(), close_range(), closefrom() and
 * raw close() under requests in progress. What becomes of those is not defined, but nothing may
 * crash, and what comes later on the same numbers must be right, and so must files that get the
 * numbers of the library's own descriptors. */
#include "test.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, PENDING = 32, NUMBER = 200, OWN_FROM = 40, OTHERS = 40 };

static char *memory;
static int signo; /* real-time, blocked */

#if __GLIBC_PREREQ(2, 34)
enum way { FCLOSE, RAW, CLOSE_RANGE, CLOSEFROM, WAYS };
#else /* it has no others */
enum way { FCLOSE, RAW, WAYS, CLOSEFROM };
#endif
static const char *const ways[] = {"fclose", "raw close", "close_range", "closefrom"};

static void shut(enum way way, int fd, FILE *file) {
    switch (way) {
    case FCLOSE: need(fclose(file) == 0, "fclose"); break;
    case RAW: syscall(SYS_close, fd); break;
#if __GLIBC_PREREQ(2, 34)
    case CLOSE_RANGE: need(close_range((unsigned)fd, (unsigned)fd, 0) == 0, "close_range"); break;
    default: closefrom(fd);
#else
    default: need(false, "a way");
#endif
    }
}

/* A number out of the way of others, so that it can be used again. */
static int move(int fd, int number) {
    need(syscall(SYS_dup3, fd, number, 0) == number, "dup3");
    syscall(SYS_close, fd);
    return number;
}

/* Reads and writes block i of the file, with notification; how much of that is bad? */
static int use_block(int fd, int i) {
    siginfo_t info;
    struct timespec limit = {quiet_s(10), 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    struct aiocb cb = request(fd, memory, BLOCK, i * BLOCK);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = signo;
    cb.aio_sigevent.sigev_value.sival_int = i;
    memset(memory, 0, BLOCK);
    int bad = aio_read(&cb) != 0 || finish(&cb) != 0 || aio_return(&cb) != BLOCK;
    bad += !is_pattern(memory, BLOCK, i * BLOCK);
    bad += sigtimedwait(&set, &info, &limit) != signo || info.si_value.sival_int != i;
    memset(memory, i, BLOCK);
    bad += aio_write(&cb) != 0 || finish(&cb) != 0 || aio_return(&cb) != BLOCK;
    bad += sigtimedwait(&set, &info, &limit) != signo || info.si_value.sival_int != i;
    memset(memory, -1, BLOCK);
    return bad + (pread(fd, memory, BLOCK, i * BLOCK) != BLOCK || memory[BLOCK - 1] != i);
}

/* The number becomes a file, a direct one and a pipe, and requests on it must be right, from the
 * first on, which is not for offset 0: a stream's would be. */
static int use(int number) {
    int bad = 0, pipes[2];
    for (int direct = 0; direct < 2; direct++) {
        move(scratch(O_RDWR | (direct ? O_DIRECT : 0), PENDING * BLOCK), number);
        for (int i = PENDING - 1; i >= 0; i--) bad += use_block(number, i);
        struct aiocb sync = request(number, NULL, 0, 0);
        bad += aio_fsync(O_SYNC, &sync) != 0 || finish(&sync) != 0;
    }
    need(pipe(pipes) == 0, "pipe");
    move(pipes[0], number);
    struct aiocb cb = request(number, memory, 8, 0);
    bad += aio_read(&cb) != 0;
    sleep_ms(5);
    need(write(pipes[1], "data", 4) == 4, "write");
    bad += finish(&cb) != 0 || aio_return(&cb) != 4 || memcmp(memory, "data", 4) != 0;
    close(pipes[1]);
    close(number);
    return bad;
}

/* Only reads, which do no harm when they find another file. */
static void under_files(enum way way, int flags) {
    static struct aiocb cbs[PENDING];
    char *buf = pages(PENDING * BLOCK);
    int fd = move(scratch(O_RDONLY | flags, PENDING * BLOCK), NUMBER);
    FILE *file = way == FCLOSE ? fdopen(fd, "r") : NULL;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    for (int i = 0; i < PENDING; i++) {
        cbs[i] = request(fd, buf + i * BLOCK, BLOCK, i * BLOCK);
        need(aio_read(&cbs[i]) == 0, "read");
    }
    shut(way, fd, file);
    int bad = use(fd);
    for (int i = 0; i < PENDING; i++) finish(&cbs[i]); /* somehow */
    say("%s, %s: then %d bad", ways[way], flags ? "direct" : "buffered", bad);
    free(buf);
}

static void under_stream(enum way way) {
    static struct aiocb cbs[2];
    static char bytes[2];
    int pipes[2];
    need(pipe(pipes) == 0, "pipe");
    int fd = move(pipes[0], NUMBER);
    FILE *file = way == FCLOSE ? fdopen(fd, "r") : NULL;
    for (int i = 0; i < 2; i++) {
        cbs[i] = request(fd, &bytes[i], 1, 0);
        need(aio_read(&cbs[i]) == 0, "read");
    }
    sleep_ms(10);
    shut(way, fd, file);
    close(pipes[1]);
    for (int i = 0; i < 2; i++) finish(&cbs[i]); /* somehow */
    say("%s, pipe: then %d bad", ways[way], use(fd));
}

/* After a raw close_range(), the library's own descriptors are closed and their numbers free. Files
 * there are not written to, and eventfds not signalled. */
static void own_numbers(void) {
    int fds[OTHERS], bad = 0, touched = 0;
    uint64_t count;
    for (int i = 0; i < OTHERS; i++) {
        int fd = i % 2 ? eventfd(0, EFD_NONBLOCK) : scratch(O_RDWR, 0);
        fds[i] = fcntl(fd, F_DUPFD, OWN_FROM);
        need(fds[i] >= OWN_FROM, "a high number");
        close(fd);
    }
    bad += use(NUMBER);
    for (int i = 0; i < OTHERS; i++) {
        struct stat st;
        if (i % 2) touched += read(fds[i], &count, sizeof count) > 0;
        else
            touched +=
                fstat(fds[i], &st) != 0 || st.st_size != 0 || lseek(fds[i], 0, SEEK_CUR) != 0;
        close(fds[i]);
    }
    say("other files: %d bad, %d touched", bad, touched);
}

static void test(void) {
    sigset_t set;
    signo = SIGRTMIN + 1;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    memory = pages(BLOCK);
    CASE("ways")
        for (enum way way = FCLOSE; way < WAYS; way++) {
            if (way == CLOSEFROM) use(NUMBER); /* the library has opened all that it needs */
            under_files(way, 0);
            under_files(way, O_DIRECT);
            under_stream(way);
        }
    CASE("own-numbers") {
        syscall(SYS_close_range, OWN_FROM, ~0u, 0);
        own_numbers();
    }
}
