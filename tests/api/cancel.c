/* SPDX-License-Identifier: MIT */
/* aio_cancel(): its answers, what the cancelled requests then say, and their notification. Reads of
 * an empty pipe wait; the second of a pipe is queued behind the first. */
#include "test.h"

#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int SIGNAL; /* real-time, blocked */

static const char *answer_name(int answer) {
    switch (answer) {
    case AIO_CANCELED: return "CANCELED";
    case AIO_NOTCANCELED: return "NOTCANCELED";
    case AIO_ALLDONE: return "ALLDONE";
    default: return name(errno);
    }
}

static void cancels(const char *what, int fd, struct aiocb *cb) {
    say("%s: %s", what, answer_name(aio_cancel(fd, cb)));
}

/* Depends on whether a waiting read ends when cancelled: not in glibc, always in the shim. */
static void stops(const char *what, const char *no, const char *yes, const char *outcome) {
    differs(what, no, is_shim() ? yes : no, outcome);
}

static void open_pipe(int pipes[2]) {
    need(pipe(pipes) == 0, "pipe");
}

static void feed(const int pipes[2], const char *text) {
    need(write(pipes[1], text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static void close_pipe(const int pipes[2]) {
    close(pipes[0]);
    close(pipes[1]);
}

/* Submits a read; notifies by SIGNAL with the value if that is not 0. */
static struct aiocb *reads(struct aiocb *cb, int fd, char *to, int value) {
    *cb = request(fd, to, 8, 0);
    if (value) {
        cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb->aio_sigevent.sigev_signo = SIGNAL;
        cb->aio_sigevent.sigev_value.sival_int = value;
    }
    need(aio_read(cb) == 0, "read");
    return cb;
}

static void nothing_to_cancel(void) {
    int fd = scratch(O_RDWR, 4096), other = scratch(O_RDWR, 4096);
    char buf[100];
    struct aiocb cb, fresh;
    memset(&fresh, 0, sizeof fresh);
    fresh.aio_fildes = fd;
    cancels("fd -1", -1, NULL);
    cancels("fd 9999", 9999, NULL);
    cancels("nothing ever submitted", fd, NULL);
    cancels("never submitted", fd, &fresh);
    say("it says %s, %zd", name(aio_error(&fresh)), aio_return(&fresh));
    cancels("never submitted, other fd", other, &fresh);
    reads(&cb, fd, buf, 0);
    report("read", &cb);
    cancels("done", fd, &cb);
    say("it says %s, %zd", name(aio_error(&cb)), aio_return(&cb));
    cancels("all done", fd, NULL);
    cancels("done, other fd", other, &cb);
    cancels("done, fd 9999", 9999, &cb);
    cb.aio_fildes = 9999;
    cancels("fd 9999 in both", 9999, &cb);
    cb = request(fd, buf, 8, 0);
    need(aio_fsync(O_SYNC, &cb) == 0, "fsync");
    report("fsync", &cb);
    cancels("fsync done", fd, &cb);
    close(other);
    close(fd);
    cb.aio_fildes = fd;
    cancels("closed", fd, &cb);
    cancels("closed, all", fd, NULL);
}

/* The read at work: glibc cannot stop its helper thread. Then data comes: glibc's read gets it, but
 * a cancelled one must not take it from the later read. */
static void waiting(void) {
    int pipes[2];
    char first[9] = "", later[9] = "";
    struct aiocb cb, next;
    open_pipe(pipes);
    reads(&cb, pipes[0], first, 1);
    until_begun(pipes[0]);
    cancels("waiting, other fd", pipes[1], &cb);
    say("still %s", name(aio_error(&cb)));
    stops("waiting", "NOTCANCELED", "CANCELED", answer_name(aio_cancel(pipes[0], &cb)));
    stops("its status", "EINPROGRESS", "ECANCELED", name(aio_error(&cb)));
    if (is_shim()) {
        say("notified: %d", signalled(SIGNAL, 20));
        if (aio_return(&cb) != -1) say("a cancelled request returns %zd", aio_return(&cb));
        cancels("cancelled", pipes[0], &cb);
        feed(pipes, "data");
        settle(); /* for whoever would steal it */
    } else {
        feed(pipes, "data");
        finish(&cb);
        say("notified: %d", signalled(SIGNAL, 20));
        cancels("cancelled", pipes[0], &cb);
        feed(pipes, "data");
    }
    say("no other signal %d", signalled(SIGNAL, 0) == -1);
    reads(&next, pipes[0], later, 0);
    report("later read", &next);
    say("data %s", later);
    stops("data of the cancelled", "data", "", first);
    close_pipe(pipes);
}

static void queued(void) {
    int pipes[2];
    char text[3][9] = {"", "", ""};
    struct aiocb cbs[3];
    open_pipe(pipes);
    for (int i = 0; i < 3; i++) reads(&cbs[i], pipes[0], text[i], i + 1);
    until_begun(pipes[0]);
    cancels("queued", pipes[0], &cbs[1]);
    say("at once %s, %zd", name(aio_error(&cbs[1])), aio_return(&cbs[1]));
    say("notified: %d", signalled(SIGNAL, 20));
    cancels("queued, again", pipes[0], &cbs[1]);
    say("others %s %s", name(aio_error(&cbs[0])), name(aio_error(&cbs[2])));
    feed(pipes, "one");
    report("first", &cbs[0]);
    say("%s, notified: %d", text[0], signalled(SIGNAL, 20));
    say("last %s", name(aio_error(&cbs[2])));
    feed(pipes, "two");
    report("last", &cbs[2]);
    say("%s, notified: %d", text[2], signalled(SIGNAL, 20));
    feed(pipes, "three");
    say("left over %zd %.5s", read(pipes[0], text[1], 8), text[1]);
    say("no other signal %d", signalled(SIGNAL, 0) == -1);
    close_pipe(pipes);
}

static void whole_descriptor(void) {
    int pipes[2], spare[2];
    char text[5][9] = {"", "", "", "", ""};
    struct aiocb cbs[4], other;
    open_pipe(pipes);
    open_pipe(spare);
    for (int i = 0; i < 4; i++) reads(&cbs[i], pipes[0], text[i], i + 1);
    reads(&other, spare[0], text[4], 0);
    until_begun(pipes[0]);
    cancels("all of the other end", pipes[1], NULL);
    stops("all", "NOTCANCELED", "CANCELED", answer_name(aio_cancel(pipes[0], NULL)));
    stops("the first", "EINPROGRESS", "ECANCELED", name(aio_error(&cbs[0])));
    for (int i = 1; i < 4; i++) report("another", &cbs[i]);
    say("other descriptor %s", name(aio_error(&other)));
    feed(pipes, "data");
    if (!is_shim()) finish(&cbs[0]); /* it has taken the data */
    else if (read(pipes[0], text[0], 8) != 4) say("a cancelled read took the data");
    say("%s", text[0]);
    bool seen[5] = {false};
    for (int i = 0; i < 4; i++) {
        int value = signalled(SIGNAL, 20);
        if (value > 0 && value < 5) seen[value] = true;
    }
    say("notified %d %d %d %d", seen[1], seen[2], seen[3], seen[4]);
    say("no other signal %d", signalled(SIGNAL, 0) == -1);
    cancels("again", pipes[0], NULL);
    feed(spare, "other");
    report("other descriptor", &other);
    close_pipe(pipes);
    close_pipe(spare);
}

/* A sync waits behind the read of its descriptor. Cancelled, or (it is a socket) failed. */
static void held_sync(void) {
    int pair[2];
    char text[9] = "";
    struct aiocb cb, sync[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    reads(&cb, pair[0], text, 0);
    for (int i = 0; i < 2; i++) {
        sync[i] = request(pair[0], NULL, 0, 0);
        need(aio_fsync(i ? O_DSYNC : O_SYNC, &sync[i]) == 0, "fsync");
    }
    until_begun(pair[0]);
    cancels("held sync", pair[0], &sync[0]);
    report("it", &sync[0]);
    say("the other %s", name(aio_error(&sync[1])));
    say("the read %s", name(aio_error(&cb)));
    need(write(pair[1], "data", 4) == 4, "write");
    report("read", &cb);
    report("the other", &sync[1]);
    close(pair[0]);
    close(pair[1]);
}

/* All of the descriptor: the read at work and the sync that waits for it. */
static void whole_with_sync(void) {
    int pair[2];
    char text[9] = "";
    struct aiocb cb, sync;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    reads(&cb, pair[0], text, 1);
    sync = request(pair[0], NULL, 0, 0);
    sync.aio_sigevent = cb.aio_sigevent;
    sync.aio_sigevent.sigev_value.sival_int = 2;
    need(aio_fsync(O_SYNC, &sync) == 0, "fsync");
    until_begun(pair[0]);
    stops("all, a sync held", "NOTCANCELED", "CANCELED", answer_name(aio_cancel(pair[0], NULL)));
    report("sync", &sync);
    stops("the read", "EINPROGRESS", "ECANCELED", name(aio_error(&cb)));
    need(write(pair[1], "data", 4) == 4, "write");
    finish(&cb);
    int first = signalled(SIGNAL, 20), second = signalled(SIGNAL, 20);
    say("notified of both %d, no other %d", first + second == 3, signalled(SIGNAL, 0) == -1);
    close(pair[0]);
    close(pair[1]);
}

static sem_t called;
static struct aiocb thread_cb;

static void call(union sigval value) {
    *(int *)value.sival_ptr = aio_error(&thread_cb);
    sem_post(&called);
}

/* A read at work whose end is told by a thread. */
static void by_thread(void) {
    int pipes[2], seen = -1;
    char text[9] = "";
    struct timespec end;
    open_pipe(pipes);
    thread_cb = request(pipes[0], text, 8, 0);
    thread_cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    thread_cb.aio_sigevent.sigev_notify_function = call;
    thread_cb.aio_sigevent.sigev_value.sival_ptr = &seen;
    need(sem_init(&called, 0, 0) == 0 && aio_read(&thread_cb) == 0, "read");
    until_begun(pipes[0]);
    stops("waiting, thread", "NOTCANCELED", "CANCELED",
          answer_name(aio_cancel(pipes[0], &thread_cb)));
    if (!is_shim()) feed(pipes, "data");
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += quiet_s(20);
    say("called %d", sem_clockwait(&called, CLOCK_MONOTONIC, &end) == 0);
    stops("the callback saw", "0", "ECANCELED", name(seen));
    settle();
    say("called again %d", sem_trywait(&called) == 0);
    close_pipe(pipes);
}

/* What is opened next gets the number of `fd`, which a read waited for when it was closed; `to` is
 * written to then, which ends glibc's. */
static void used_again(const char *what, int fd, int to, struct aiocb *cb) {
    int pipes[2];
    char text[9] = "", what_of[80];
    open_pipe(pipes);
    need(pipes[0] == fd, "the same number");
    feed(pipes, "new");
    snprintf(what_of, sizeof what_of, "%s, closed", what);
    stops(what_of, "EINPROGRESS", "ECANCELED", name(aio_error(cb)));
    need(write(to, "end\n", 4) == 4, "write");
    finish(cb);
    sleep_ms(10);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    say("in the new file: %zd %s", read(pipes[0], text, 8), text);
    close_pipe(pipes);
}

/* A terminal and a FIFO open for both, on which a thread has to wait in the shim too: cancelled,
 * then closed, and the number used again. Each has what is read from it written to `to`. */
static void unpollable(const char *what, int fd, int to) {
    char first[9] = "", text[9] = "", what_of[80];
    struct aiocb cb, next;
    reads(&cb, fd, first, 1);
    until_begun(fd);
    sleep_ms(
        100); /* the thread that waits for it is there, also under valgrind beside other tests */
    stops(what, "NOTCANCELED", "CANCELED", answer_name(aio_cancel(fd, &cb)));
    snprintf(what_of, sizeof what_of, "%s, its status", what);
    stops(what_of, "EINPROGRESS", "ECANCELED", name(aio_error(&cb)));
    if (!is_shim()) need(write(to, "one\n", 4) == 4, "write");
    finish(&cb);
    say("notified: %d", signalled(SIGNAL, 20));
    say("no other signal %d", signalled(SIGNAL, 0) == -1);
    reads(&next, fd, text, 0);
    need(write(to, "two\n", 4) == 4, "write");
    report("later read", &next);
    say("data %.3s", text);

    reads(&cb, fd, memset(first, 0, 8), 0);
    int copy = dup(fd); /* keeps the other end from a hang-up */
    until_begun(fd);
    sleep_ms(10);
    close(fd);
    used_again(what, fd, to, &cb);
    say("read by it: %d", !is_shim() == !strncmp(first, "end", 3));
    close(to);
    close(copy);
}

static void unpollables(void) {
    int pty = posix_openpt(O_RDWR | O_NOCTTY);
    need(pty >= 0 && grantpt(pty) == 0 && unlockpt(pty) == 0, "pty");
    int tty = open(ptsname(pty), O_RDWR | O_NOCTTY);
    need(tty >= 0, "tty");
    unpollable("terminal", tty, pty);
    need(mkfifo("fifo", 0600) == 0, "fifo");
    int fifo = open("fifo", O_RDWR), to = open("fifo", O_WRONLY);
    need(fifo >= 0 && to >= 0 && unlink("fifo") == 0, "fifo");
    unpollable("FIFO", fifo, to);
    int pair[2];
    struct timeval limit = {60, 0};
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    unpollable("socket with a time limit", pair[0], pair[1]);
}

struct other {
    pid_t tid;
    int fd;
    struct aiocb *cb;
    const int *pipes; /* fed afterwards, unless NULL */
    int answer;
};

/* Cancels a request for which the main thread waits. */
static void *cancel_later(void *arg) {
    struct other *o = arg;
    until_begun(o->fd);
    until_asleep(o->tid);
    o->answer = aio_cancel(o->fd, o->cb);
    if (o->pipes) {
        until_asleep(o->tid);
        feed(o->pipes, "data");
    }
    return NULL;
}

static void cancelled_by_other(void) {
    int pipes[2];
    char text[2][9] = {"", ""};
    struct aiocb cbs[2], *list[] = {&cbs[0], NULL, &cbs[1]};
    const struct aiocb *only[] = {&cbs[1]};
    pthread_t thread;
    open_pipe(pipes);
    struct other o = {gettid(), pipes[0], &cbs[1], pipes, 0};
    for (int i = 0; i < 2; i++) {
        cbs[i] = request(pipes[0], text[i], 8, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
    }
    need(pthread_create(&thread, NULL, cancel_later, &o) == 0, "thread");
    answered("LIO_WAIT", lio_listio(LIO_WAIT, list, 3, NULL));
    say("items %s %s", name(aio_error(&cbs[0])), name(aio_error(&cbs[1])));
    pthread_join(thread, NULL);
    say("%s: %s, %s", answer_name(o.answer), text[0], text[1]);

    o = (struct other){gettid(), pipes[0], &cbs[0], is_shim() ? NULL : pipes, 0};
    cbs[0].aio_lio_opcode = LIO_READ;
    need(pthread_create(&thread, NULL, cancel_later, &o) == 0, "thread");
    int res = lio_listio(LIO_WAIT, list, 1, NULL); /* nothing but the cancellation ends it here */
    pthread_join(thread, NULL);
    stops("LIO_WAIT of one", "0", "EIO", name(res ? errno : 0));
    stops("its item", "0", "ECANCELED", name(aio_error(&cbs[0])));

    o = (struct other){gettid(), pipes[0], &cbs[1], NULL, 0};
    for (int i = 0; i < 2; i++) reads(&cbs[i], pipes[0], text[i], 0);
    need(pthread_create(&thread, NULL, cancel_later, &o) == 0, "thread");
    answered("aio_suspend", aio_suspend(only, 1, NULL));
    report("cancelled", &cbs[1]);
    pthread_join(thread, NULL);
    feed(pipes, "data");
    report("first", &cbs[0]);
    close_pipe(pipes);
}

/* A full pipe: the write waits, and another behind it. */
static void writes(void) {
    enum { FULL = 1 << 20 };
    int pipes[2];
    char *buf = pages(FULL), got[3] = "";
    struct aiocb cbs[2];
    open_pipe(pipes);
    int size = fcntl(pipes[1], F_GETPIPE_SZ);
    need(size > 0 && size <= FULL, "pipe size");
    need(write(pipes[1], buf, (size_t)size) == size, "fill the pipe");
    for (int i = 0; i < 2; i++) {
        cbs[i] = request(pipes[1], i ? "b" : "a", 1, 0);
        need(aio_write(&cbs[i]) == 0, "write");
    }
    cancels("queued write", pipes[1], &cbs[1]);
    report("it", &cbs[1]);
    say("first %s", name(aio_error(&cbs[0])));
    need(read(pipes[0], buf, (size_t)size) == size, "empty the pipe");
    report("first", &cbs[0]);
    say("in the pipe: %zd %.2s", read(pipes[0], got, 3), got);
    close_pipe(pipes);
    free(buf);
}

/* Does what aio_cancel() answered agree with what the request says, at once and in the end? */
static bool agrees(int answer, struct aiocb *cb) {
    int now = aio_error(cb);
    if (answer == AIO_CANCELED) return now == ECANCELED && aio_return(cb) == -1;
    if (answer == AIO_ALLDONE && now != 0) return false;
    return answer >= 0 && finish(cb) == 0 && aio_return(cb) == (ssize_t)cb->aio_nbytes;
}

/* Any answer may come for a file; each request ends once, and its notification comes once. */
static void files(const char *what, bool all) {
    enum { N = 8, ROUNDS = 50 };
    int fd = scratch(O_RDONLY, 4096), bad = 0, lost = 0, more = 0;
    char text[N][8];
    struct aiocb cbs[N];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) reads(&cbs[i], fd, text[i], i + 1);
        if (all) {
            int answer = aio_cancel(fd, NULL);
            for (int i = 0; i < N; i++) {
                if (answer != AIO_NOTCANCELED) bad += aio_error(&cbs[i]) == EINPROGRESS;
                int err = finish(&cbs[i]);
                bad += err ? err != ECANCELED : aio_return(&cbs[i]) != 8;
            }
        }
        for (int i = N - 1; i >= 0 && !all; i--) bad += !agrees(aio_cancel(fd, &cbs[i]), &cbs[i]);
        unsigned seen = 0;
        for (int i = 0; i < N; i++) {
            int value = signalled(SIGNAL, 20);
            if (value > 0 && value <= N) seen |= 1u << value;
        }
        lost += seen != (1u << (N + 1)) - 2;
        more += signalled(SIGNAL, 0) != -1;
    }
    say("%s: %d bad, %d lost, %d signals too many", what, bad, lost, more);
    close(fd);
}

/* In the kernel, or behind others for which it has no room. */
static void direct(void) {
    enum { N = 64, ROUNDS = 20, BLOCK = 4096 };
    int fd = scratch(O_RDONLY | O_DIRECT, BLOCK), bad = 0;
    char *buf = pages(BLOCK);
    struct aiocb cbs[N];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            cbs[i] = request(fd, buf, BLOCK, 0);
            cbs[i].aio_sigevent = (struct sigevent){.sigev_signo = SIGNAL}; /* SIGEV_SIGNAL is 0 */
            need(aio_read(&cbs[i]) == 0, "read");
        }
        for (int i = N - 1; i >= 0; i--)
            bad += !agrees(aio_cancel(fd, &cbs[i]), &cbs[i]) + (signalled(SIGNAL, 20) != 0);
    }
    say("direct: %d bad, one more signal %d", bad, signalled(SIGNAL, 0));
    close(fd);
}

/* What the pipe has taken of a write counts, whatever becomes of the rest. */
static void partly_written(void) {
    static char out[3 * 65536], in[4096];
    int pipes[2], unread = 0;
    open_pipe(pipes);
    struct aiocb cb = request(pipes[1], out, sizeof out, 0);
    need(aio_write(&cb) == 0, "aio_write");
    while (unread < fcntl(pipes[0], F_GETPIPE_SZ))
        need(ioctl(pipes[0], FIONREAD, &unread) == 0, "FIONREAD");
    cancels("partly written", pipes[1], &cb);
    differs("its status", "EINPROGRESS", "0", name(aio_error(&cb)));
    ssize_t came = 0, n;
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    for (bool ended = false; !ended;) {
        ended = aio_error(&cb) != EINPROGRESS;
        while ((n = read(pipes[0], in, sizeof in)) > 0) came += n;
    }
    int err = aio_error(&cb);
    say("%s, what came is what it says: %d", name(err), aio_return(&cb) == came);
    close_pipe(pipes);
}

static void test(void) {
    sigset_t set;
    SIGNAL = SIGRTMIN + 1;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CASE("nothing-to-cancel") nothing_to_cancel();
    CASE("waiting") waiting();
    CASE("queued") queued();
    CASE("whole-descriptor") whole_descriptor();
    CASE("held-sync") held_sync();
    CASE("whole-with-sync") whole_with_sync();
    CASE("unpollables") unpollables();
    CASE("cancelled-by-other") cancelled_by_other();
    CASE("writes") writes();
    CASE("partly-written") partly_written();
    CASE("files") {
        files("one by one", false);
        files("all", true);
    }
    CASE("direct") direct();
    CASE("by-thread") by_thread(); /* its thread blocks no signal */
}
