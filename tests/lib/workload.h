/* SPDX-License-Identifier: MIT */
/* workload.h - requests of every kind at once, for injected.c, limits.c and allocation.c: direct,
 * cached and uncached reads and writes, appends, tmpfs, a pipe, a socket, a FIFO, lists, syncs,
 * cancellation, notification by signal and by thread, and a thread that waits for another's
 * requests. Included after test.h.
 *
 * work() makes them, waits for all and answers how many were wrong. Each must have ended once, with
 * its data, or with an error that may_fail() allows; what is wrong it says in one line.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <sys/mman.h>
#include <sys/socket.h>

enum { BLOCK = 4096, FEW = 70, MOST = 200, PLACES = 64 };

struct item {
    struct aiocb cb;
    const char *what;
    int op;                /* aio_fsync() writes another into the aiocb */
    bool refused;          /* the call said so: nobody is notified */
    bool loose;            /* a stream's: what it reads depends on what came before */
    _Atomic int hit, hits; /* the error that its own call was given, and how often */
    bool exact;            /* then it is the request's, too */
    _Atomic int notified;
};

/* Says the program: may it end so? */
static bool may_fail(const struct item *item, int err);
static bool may_be_unnotified(void); /* by a thread; no signal may be lost */
static bool is_done_all_the_same(const struct item *item);

static struct item items[MOST];
static int nitems, work_signal, work_bad;
static int direct, buffered, cold, append, memory, pipes[3][2], pair[2], fifo;
static char *work_buf;
static _Atomic int list_notified;
static bool list_refused;     /* of some nothing is known */
static _Atomic bool list_hit; /* its signal was given an error */

static void bad(const struct item *item, const char *what) {
    say("%s: %s: %s, %zd, %d notifications", item ? item->what : "work", what,
        item ? name(aio_error(&item->cb)) : "", item ? item->cb.__return_value : 0,
        item ? item->notified : list_notified);
    work_bad++;
}

static void on_work_signal(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    if (info->si_code != SI_ASYNCIO) return;
    int i = info->si_value.sival_int;
    if (i < MOST) items[i].notified++;
    else list_notified++;
}

static void on_work_thread(union sigval value) {
    items[value.sival_int].notified++;
}

static struct item *prepare(const char *what, int op, int fd, size_t n, off_t offset) {
    int i = nitems++;
    struct item *item = &items[i];
    need(i < MOST, "items");
    memset(item, 0, sizeof *item);
    item->what = what;
    item->cb = request(fd, work_buf + (size_t)i * BLOCK, n, offset);
    item->cb.aio_lio_opcode = item->op = op;
    memset(work_buf + (size_t)i * BLOCK, op == LIO_READ ? '-' : 'A' + i % 26, BLOCK);
    return item;
}

static void notify_of(struct item *item, int how) {
    item->cb.aio_sigevent.sigev_notify = how;
    item->cb.aio_sigevent.sigev_value.sival_int = (int)(item - items);
    if (how == SIGEV_THREAD) item->cb.aio_sigevent.sigev_notify_function = on_work_thread;
    else item->cb.aio_sigevent.sigev_signo = work_signal;
}

static void make(struct item *item, int how) {
    notify_of(item, how);
    int r = item->cb.aio_lio_opcode == LIO_READ    ? aio_read(&item->cb)
            : item->cb.aio_lio_opcode == LIO_WRITE ? aio_write(&item->cb)
                                                   : aio_fsync(item->cb.aio_lio_opcode, &item->cb);
    item->refused = r != 0;
    if (r && errno != EAGAIN && !may_fail(item, errno)) bad(item, "the call");
}

static const int hows[] = {SIGEV_NONE, SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD};

static void make_files(void) {
    static const int offsets[] = {0, 1, 40, 41};
    for (int i = 0; i < 4; i++) {
        off_t at = offsets[i] * BLOCK;
        make(prepare("direct read", LIO_READ, direct, BLOCK, at), hows[i]);
        make(prepare("cached read", LIO_READ, buffered, BLOCK - 3, at + 3), hows[i]);
        make(prepare("uncached read", LIO_READ, cold, BLOCK, at), hows[i]);
        make(prepare("memory read", LIO_READ, memory, BLOCK, at), hows[i]);
        at = (off_t)(20 + i) * BLOCK;
        make(prepare("direct write", LIO_WRITE, direct, BLOCK, at), hows[i]);
        make(prepare("buffered write", LIO_WRITE, buffered, BLOCK, at), hows[i]);
        make(prepare("memory write", LIO_WRITE, memory, BLOCK, at), hows[i]);
        make(prepare("append", LIO_WRITE, append, 1000, 0), hows[i]);
    }
    make(prepare("sync", O_SYNC, direct, 0, 0), SIGEV_SIGNAL);
    make(prepare("sync", O_DSYNC, buffered, 0, 0), SIGEV_THREAD);
    make(prepare("sync", O_SYNC, append, 0, 0), SIGEV_NONE);
}

static void make_list(int mode, int fd, int n, struct sigevent *sigev) {
    struct aiocb *list[FEW];
    struct item *first = &items[nitems];
    for (int i = 0; i < n; i++) {
        bool reads = i % 2 == 0 || n == FEW;
        off_t at = (reads ? i % 16 : 25 + i) * BLOCK;
        struct item *item = prepare("of a list", reads ? LIO_READ : LIO_WRITE, fd, BLOCK, at);
        notify_of(item, n < FEW ? hows[i % 4] : SIGEV_NONE);
        list[i] = &item->cb;
    }
    if (lio_listio(mode, list, n, sigev) == 0) return;
    if (mode == LIO_NOWAIT && errno != EAGAIN) bad(first, "lio_listio");
    for (int i = 0; errno == EAGAIN && i < n; i++) first[i].refused = true;
    list_refused |= errno == EAGAIN && sigev;
}

static void *wait_for(void *item) {
    finish(&((struct item *)item)->cb);
    return NULL;
}

/* Reads that wait, of everything that can be waited for; a thread waits for two of them. */
static void make_streams(void) {
    static const char *const whats[] = {"pipe read", "pipe read", "socket read", "FIFO read"};
    const int fds[] = {pipes[0][0], pipes[0][0], pair[0], fifo};
    struct item *reads[4];
    pthread_t waiters[2];
    for (int i = 0; i < 4; i++) {
        reads[i] = prepare(whats[i], LIO_READ, fds[i], 1, 0);
        reads[i]->loose = true;
        make(reads[i], hows[i]);
    }
    struct item *far = prepare("direct read", LIO_READ, direct, BLOCK, 3 * BLOCK);
    make(far, SIGEV_NONE);
    bool waits[] = {pthread_create(&waiters[0], NULL, wait_for, reads[2]) == 0, /* or no memory */
                    pthread_create(&waiters[1], NULL, wait_for, far) == 0};
    struct item *cut = prepare("cancelled", LIO_READ, pipes[1][0], 1, 0);
    cut->loose = true;
    make(cut, SIGEV_SIGNAL);
    bool was_ended = aio_error(&cut->cb) != EINPROGRESS;
    int r = aio_cancel(pipes[1][0], &cut->cb);
    bool refused = r < 0 && may_fail(cut, errno);
    bool is_ended = aio_error(&cut->cb) != EINPROGRESS; /* maybe with an error, just before */
    if (r == AIO_ALLDONE ? !is_ended : was_ended || !(r == AIO_CANCELED || r == AIO_NOTCANCELED))
        if (!refused) bad(cut, "cancel");
    if (r == AIO_NOTCANCELED || refused) need(write(pipes[1][1], "z", 1) == 1, "write");
    struct item *closed = prepare("closed", LIO_READ, pipes[2][0], 1, 0);
    closed->loose = true;
    make(closed, SIGEV_NONE);
    if (aio_error(&closed->cb) == EINPROGRESS && close(pipes[2][0]) == 0) pipes[2][0] = -1;
    struct item *sent = prepare("socket write", LIO_WRITE, pair[0], 1, 0);
    make(sent, SIGEV_SIGNAL);
    need(write(pipes[0][1], "ab", 2) == 2 && write(pair[1], "c", 1) == 1 &&
             write(fifo, "d", 1) == 1,
         "write");
    for (int i = 0; i < 2; i++)
        if (waits[i]) pthread_join(waiters[i], NULL);
    /* unless the library has been left with a read() that only this ends */
    if (aio_error(&closed->cb) == EINPROGRESS)
        need(write(pipes[2][1], "y", 1) == 1 || errno == EPIPE, "write");
}

/* Also by aio_suspend() with all of them, and with a time limit. */
static void await_all(void) {
    const struct aiocb *list[MOST];
    struct timespec limit = {0, 1000000};
    for (int left = 1, round = 0; left; round++) {
        left = 0;
        for (int i = 0; i < nitems; i++)
            if (aio_error(&items[i].cb) == EINPROGRESS) list[left++] = &items[i].cb;
        if (left && aio_suspend(list, left, round % 2 ? &limit : NULL) && errno != EAGAIN &&
            errno != EINTR)
            bad(NULL, "aio_suspend");
    }
}

static bool is_written(const struct item *item) {
    char back[BLOCK] __attribute__((aligned(BLOCK)));
    const struct aiocb *cb = &item->cb;
    if (cb->aio_fildes == append || cb->aio_fildes == pair[0]) return true;
    ssize_t n = pread(cb->aio_fildes, back, sizeof back, cb->aio_offset);
    return n == BLOCK && !memcmp(back, (const char *)cb->aio_buf, cb->aio_nbytes);
}

static void check(struct item *item) {
    struct aiocb *cb = &item->cb;
    int err = aio_error(cb);
    bool ended = !strcmp(item->what, "closed") || !strcmp(item->what, "cancelled");
    if (err && !(ended && err == ECANCELED) && !may_fail(item, err)) bad(item, "error");
    if (!err && item->hits && item->exact && !item->loose) bad(item, "its error is lost");
    if (aio_return(cb) != (err ? -1 : (ssize_t)cb->aio_nbytes) && !item->refused)
        bad(item, "count");
    const char *data = (const char *)cb->aio_buf;
    if (!err && cb->aio_lio_opcode == LIO_READ && !item->loose &&
        !is_pattern(data, cb->aio_nbytes, cb->aio_offset))
        bad(item, "data");
    if (!err && item->loose && *data == '-') bad(item, "data");
    if (!err && cb->aio_lio_opcode == LIO_WRITE && !is_written(item)) bad(item, "written");
    int how = cb->aio_sigevent.sigev_notify;
    bool expected = how != SIGEV_NONE && !item->refused && !item->hits;
    for (int ms = 0; expected && ms < 2000 && item->notified == 0; ms++) {
        if (ms > 20 && how == SIGEV_THREAD && may_be_unnotified()) return;
        sleep_ms(1);
    }
    if (expected ? item->notified != 1 : item->notified > 1) bad(item, "notifications");
}

/* What was appended with success is there, in call order; what failed may have left a part. */
static void check_appended(off_t before) {
    char back[8 * BLOCK];
    ssize_t n = pread(append, back, sizeof back, before), at = 0;
    for (int i = 0; i < nitems; i++) {
        if (items[i].cb.aio_fildes != append || items[i].cb.aio_nbytes == 0) continue;
        int err = aio_error(&items[i].cb);
        if (err && !is_done_all_the_same(&items[i])) continue;
        if (at + 1000 > n || memcmp(back + at, (const char *)items[i].cb.aio_buf, 1000)) {
            bad(&items[i], "appended");
            return;
        }
        at += 1000;
    }
    if (at != n) bad(NULL, "more was appended");
}

/* Files and memory; they may serve many processes, one after the other. */
static void work_begin(void) {
    struct sigaction action = {.sa_sigaction = on_work_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    work_signal = SIGRTMIN + 1;
    sigaction(work_signal, &action, NULL);
    work_buf = pages(MOST * BLOCK);
    direct = scratch(O_RDWR | O_DIRECT, PLACES * BLOCK);
    buffered = scratch(O_RDWR, PLACES * BLOCK);
    cold = scratch(O_RDWR, PLACES * BLOCK);
    append = scratch(O_RDWR | O_APPEND, 0);
    memory = memfd_create("memory", MFD_CLOEXEC);
    need(memory >= 0, "memfd");
    for (off_t at = 0; at < PLACES * BLOCK; at += BLOCK) {
        need(pread(buffered, work_buf, BLOCK, at) == BLOCK, "pread");
        need(pwrite(memory, work_buf, BLOCK, at) == BLOCK, "pwrite");
    }
    need(mkfifo("fifo", 0600) == 0, "mkfifo");
    fifo = open("fifo", O_RDWR);
    unlink("fifo");
    need(fifo >= 0, "fifo");
}

/* Streams, for one process. */
static void work_open(void) {
    for (int i = 0; i < 3; i++) need(pipe(pipes[i]) == 0, "pipe");
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    signal(SIGPIPE, SIG_IGN);
}

/* Whatever becomes of its items' threads. */
static void check_list(void) {
    bool expected = !list_refused && !list_hit;
    for (int ms = 0; expected && ms < 2000 && list_notified == 0; ms++) sleep_ms(1);
    if (expected ? list_notified != 1 : list_notified > 1) bad(NULL, "the list's notifications");
}

static int work(void) {
    struct sigevent sigev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = work_signal};
    struct stat st;
    sigev.sigev_value.sival_int = MOST;
    nitems = list_notified = 0;
    list_refused = list_hit = false;
    need(fstat(append, &st) == 0, "fstat");
    posix_fadvise(cold, 0, 0, POSIX_FADV_DONTNEED);
    make(prepare("sync", O_SYNC, cold, 0, 0), SIGEV_NONE); /* by a worker */
    make(prepare("sync", O_DSYNC, cold, 0, 0), SIGEV_SIGNAL);
    make(prepare("sync", O_DSYNC, direct, 0, 0), SIGEV_NONE); /* joins no other */
    make_list(LIO_NOWAIT, direct, FEW, NULL);
    make_streams();
    make_files();
    make_list(LIO_NOWAIT, direct, 12, &sigev);
    make_list(LIO_WAIT, buffered, 8, NULL);
    await_all();
    for (int i = 0; i < nitems; i++) check(&items[i]);
    check_list();
    check_appended(st.st_size);
    return work_bad;
}

/* With streams of its own, as often as one likes in a process. */
static inline int work_again(void) {
    work_open();
    int wrong = work();
    for (int i = 0; i < 3; i++) {
        close(pipes[i][0]); /* or -1 */
        close(pipes[i][1]);
    }
    close(pair[0]);
    close(pair[1]);
    return wrong;
}

#endif
