/* SPDX-License-Identifier: MIT */
/* aiocbs, lists and sigevents in memory that the program has protected, and opens in its handler of
 * SIGSEGV, as write barriers and dirty tracking do: each call goes on. */
#include "test.h"

#include <stddef.h>
#include <sys/mman.h>

enum { BLOCK = 4096 };

static char *area; /* two pages */
static volatile sig_atomic_t faults;
static char data[BLOCK];

static void on_fault(int signo, siginfo_t *info, void *unused) {
    (void)signo, (void)unused;
    char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)(BLOCK - 1));
    if (page < area || page >= area + 2 * BLOCK) _exit(9);
    faults++;
    mprotect(page, BLOCK, PROT_READ | PROT_WRITE);
}

static void protect(int protection) {
    faults = 0;
    need(mprotect(area, 2 * BLOCK, protection) == 0, "mprotect");
}

/* An aiocb so many bytes before the end of the first page. */
static struct aiocb *place(size_t before, int fd) {
    mprotect(area, 2 * BLOCK, PROT_READ | PROT_WRITE);
    struct aiocb *cb = (struct aiocb *)(area + BLOCK - before);
    *cb = request(fd, data, 64, 0);
    return cb;
}

static void one(const char *what, int protection, size_t before, int fd) {
    struct aiocb *cb = place(before, fd);
    protect(protection);
    int res = aio_read(cb);
    say("%s, %zu: read %d, %s", what, before, res, res ? name(errno) : name(finish(cb)));
    cb = place(before, fd);
    protect(protection);
    res = aio_write(cb);
    say("%s, %zu: write %d, %s", what, before, res, res ? name(errno) : name(finish(cb)));
    cb = place(before, fd);
    protect(protection);
    res = aio_fsync(O_SYNC, cb);
    say("%s, %zu: sync %d, %s, faults %d", what, before, res, name(finish(cb)), faults > 0);
}

/* The list, its aiocb and the sigevent all lie there. */
static void list(const char *what, int protection, int mode, int fd) {
    struct aiocb *cb = place(sizeof *cb / 2 / 8 * 8, fd);
    struct aiocb **items = (struct aiocb **)area;
    struct sigevent *sigev = (struct sigevent *)(area + 512);
    cb->aio_lio_opcode = LIO_WRITE;
    items[0] = NULL;
    items[1] = cb;
    memset(sigev, 0, sizeof *sigev);
    sigev->sigev_notify = SIGEV_NONE;
    protect(protection);
    int res = lio_listio(mode, items, 2, sigev);
    say("%s, list: %d, %s, faults %d", what, res, name(finish(cb)), faults > 0);
}

/* What waits is cancelled. */
static void cancelled(const char *what, int protection) {
    int ends[2];
    need(pipe(ends) == 0, "pipe");
    struct aiocb *cb = place(sizeof *cb / 2 / 8 * 8, ends[0]);
    need(aio_read(cb) == 0, "aio_read");
    settle();
    protect(protection);
    int res = aio_cancel(ends[0], cb);
    mprotect(area, 2 * BLOCK, PROT_READ | PROT_WRITE);
    differs(what, "runs", "cancelled", res == AIO_CANCELED ? "cancelled" : "runs");
    need(write(ends[1], "x", 1) == 1, "write");
    finish(cb);
    close(ends[0]);
    close(ends[1]);
}

static void test(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    alarm(30);
    area = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(area != MAP_FAILED, "mmap");
    int buffered = scratch(O_RDWR, BLOCK), direct = scratch(O_RDWR | O_DIRECT, BLOCK), ends[2];
    need(pipe(ends) == 0 && write(ends[1], data, 1024) == 1024, "pipe");
    CASE("each-member")
        for (size_t before = 8; before <= sizeof(struct aiocb); before += 8) {
            /* glibc's helper thread itself meets aio_offset, if only that is on the second page */
            if (before == offsetof(struct aiocb, aio_offset)) continue;
            one("read-only", PROT_READ, before, buffered);
            one("no access", PROT_NONE, before, buffered);
            one("no access, direct", PROT_NONE, before, direct);
        }
    CASE("lists")
        for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
            list("read-only", PROT_READ, mode, buffered);
            list("no access", PROT_NONE, mode, buffered);
        }
    CASE("cancelled") {
        cancelled("read-only, cancelled", PROT_READ);
        cancelled("no access, cancelled", PROT_NONE);
    }
    close(ends[0]);
    close(ends[1]);
}
