/* SPDX-License-Identifier: MIT */
/* forged.c - a kernel AIO of the test's own (forge.h): io_submit() takes a part, at each position,
 * and gives each error; events come in any order, late, together, short at each length, and with
 * errors. For injected.sh. Each case is a process of its own, for the library learns (the depth,
 * what a file refuses).
 */
#include "test.h"
#include "forge.h"

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    notified[info->si_value.sival_int]++;
}

static void on_thread(union sigval value) {
    notified[value.sival_int]++;
}

static void notify(struct sigevent *sigev, int i) {
    if (i % 3 == 0) return;
    sigev->sigev_notify = i % 3 == 1 ? SIGEV_SIGNAL : SIGEV_THREAD;
    sigev->sigev_value.sival_int = i;
    if (i % 3 == 1) sigev->sigev_signo = signo;
    else sigev->sigev_notify_function = on_thread;
}

/* One list of n requests: even ones read, odd ones write. */
static void make(int fd, size_t nbytes, int op) {
    struct aiocb *list[MOST];
    struct sigevent sigev = {.sigev_notify = SIGEV_NONE};
    for (int i = 0; i < now.n; i++) {
        cbs[i] = request(fd, buf + (size_t)i * 2 * BLOCK, nbytes, (off_t)i * 2 * BLOCK);
        bool reads = op == LIO_NOP ? i % 2 == 0 : op == LIO_READ;
        cbs[i].aio_lio_opcode = reads ? LIO_READ : LIO_WRITE;
        memset((char *)cbs[i].aio_buf, reads ? '-' : 'A' + i % 26, 2 * BLOCK);
        notify(&cbs[i].aio_sigevent, i);
        list[i] = &cbs[i];
    }
    sigev.sigev_notify = SIGEV_SIGNAL;
    sigev.sigev_signo = signo;
    sigev.sigev_value.sival_int = MOST;
    if (lio_listio(LIO_NOWAIT, list, now.n, &sigev)) wrong("lio_listio", 0);
}

static void await(_Atomic int *count, int expected, int i) {
    for (int ms = 0; ms < 5000 && *count < expected; ms++) sleep_ms(1);
    sleep_ms(0);
    if (*count != expected) wrong("notifications", i);
}

/* Not only when the reaper looks by itself, as it does after a second. */
static void comes_soon(int i) {
    for (int ms = 0; ms < 500 && !notified[i]; ms++) sleep_ms(1);
    if (!notified[i]) wrong("not even after half a second", i % MOST);
}

/* Each has ended once: the one at `failed` with that error, the others whole. */
static void check(int failed, int error, size_t nbytes) {
    char back[2 * BLOCK] __attribute__((aligned(4096)));
    for (int i = 0; i < now.n; i++) {
        int err = finish(&cbs[i]);
        if (err != (i == failed ? error : 0)) wrong("error", i);
        if (aio_return(&cbs[i]) != (err ? -1 : (ssize_t)nbytes)) wrong("count", i);
        await(&notified[i], i % 3 != 0, i);
        if (err) continue;
        const char *data = (const char *)cbs[i].aio_buf;
        if (cbs[i].aio_lio_opcode == LIO_READ) {
            if (!is_pattern(data, nbytes, cbs[i].aio_offset)) wrong("data", i);
            continue;
        }
        ssize_t n = pread(cbs[i].aio_fildes, back, sizeof back, cbs[i].aio_offset);
        if (n < (ssize_t)nbytes || memcmp(back, data, nbytes)) wrong("written", i);
    }
    await(&notified[MOST], 1, 0);
}

static void warm(void) {
    struct aiocb few[FEW], *list[FEW];
    for (int i = 0; i < FEW; i++) {
        few[i] = request(direct, buf, BLOCK, 0);
        few[i].aio_lio_opcode = LIO_READ;
        list[i] = &few[i];
    }
    need(lio_listio(LIO_WAIT, list, FEW, NULL) == 0, "warm up");
}

/* Fills the label, and answers in the child only. */
static bool begins(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(label, sizeof label, format, args);
    va_end(args);
    fflush(stdout);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    int status = 0;
    if (pid) {
        need(waitpid(pid, &status, 0) == pid, "waitpid");
        if (WIFSIGNALED(status)) say("%s: signal %d", label, WTERMSIG(status));
        cases++;
        failures += status != 0;
        return false;
    }
    alarm(20);
    warm();
    now.most = MOST;
    now.at = -1;
    now.count = -1;
    return true;
}

static void ends(void) {
    _exit(0);
}

/* What pread() or fsync() may not say, or says otherwise: it is asked. */
static bool is_confirmed(int error) {
    return error == EAGAIN || error == EOPNOTSUPP || error == EINVAL || error == ENOSYS ||
           error == EINTR || error == EPERM;
}

static void refused(int n, int at, int error, int times) {
    if (!begins("%d of %d: io_submit() says %s, %d times", at, n, name(error), times)) return;
    now.n = n;
    now.at = at;
    now.error = error;
    now.left = times;
    make(direct, BLOCK, LIO_NOP);
    check(is_confirmed(error) ? -1 : at, error, BLOCK);
    ends();
}

static void in_parts(int n, int most) {
    if (!begins("%d, %d at a time", n, most)) return;
    now.n = n;
    now.most = most;
    make(direct, BLOCK, LIO_NOP);
    check(-1, 0, BLOCK);
    ends();
}

static void failed_event(int n, int at, int error) {
    if (!begins("%d of %d: its event says %s", at, n, name(error))) return;
    now.n = n;
    now.at = at;
    now.error = error;
    now.in_event = true;
    now.left = 1;
    make(direct, BLOCK, LIO_NOP);
    check(is_confirmed(error) ? -1 : at, error, BLOCK);
    ends();
}

static void failed_sync(int op, int error, bool in_event) {
    if (!begins("sync: %s, %d", name(error), in_event)) return;
    now.n = 1;
    now.at = 0;
    now.error = error;
    now.in_event = in_event;
    now.left = 1;
    cbs[0] = request(direct, NULL, 0, 0);
    notify(&cbs[0].aio_sigevent, 1);
    need(aio_fsync(op, &cbs[0]) == 0, "aio_fsync");
    if (finish(&cbs[0]) != (is_confirmed(error) ? 0 : error)) wrong("error", 0);
    await(&notified[1], 1, 0);
    ends();
}

/* The last of n is declined in its event when no worker is alive and nobody but the reaper looks,
 * for its list's sake, its own signal's or its own thread's: the reaper calls a worker. */
static void declined_alone(int n) {
    if (!begins("%d of %d: declined in its event, alone", n, n)) return;
    while (entries("/proc/self/task") > 1) sleep_ms(10); /* the workers of warm() */
    now.n = n;
    now.at = n - 1;
    now.error = EAGAIN;
    now.in_event = true;
    now.left = 1;
    now.late = true;
    make(direct, BLOCK, LIO_NOP);
    need(ntaken == n, "io_submit");
    for (int i = 0; i < n; i++) put_event(taken[i]);
    comes_soon(MOST);
    check(-1, 0, BLOCK);
    ends();
}

/* The events come late, in this order. */
static void in_order(int n, const int order[]) {
    if (!begins("%d events, %d %d %d %d first", n, order[0], order[1], order[2], order[3])) return;
    now.n = n;
    now.late = true;
    make(direct, BLOCK, LIO_NOP);
    for (int i = 0; i < n; i++) {
        if (aio_error(&cbs[order[i]]) != EINPROGRESS) wrong("early", order[i]);
        pthread_mutex_lock(&lock);
        put_event(taken[order[i]]);
        pthread_mutex_unlock(&lock);
        if (finish(&cbs[order[i]])) wrong("error", order[i]);
    }
    check(-1, 0, BLOCK);
    ends();
}

/* They come together, in this order, and one call reaps them. */
static void together(int n, const int order[]) {
    if (!begins("%d events at once, %d %d %d %d first", n, order[0], order[1], order[2], order[3]))
        return;
    now.n = n;
    now.late = now.silent = true;
    make(direct, BLOCK, LIO_NOP);
    need(ntaken == n, "io_submit");
    for (int i = 0; i < n; i++)
        if (aio_error(&cbs[i]) != EINPROGRESS) wrong("early", i);
    put_events(n, order);
    if (aio_error(&cbs[order[n / 2]])) wrong("error", order[n / 2]);
    if (ring->head != ring->tail) wrong("not all reaped", n);
    check(-1, 0, BLOCK);
    ends();
}

static void short_event(int op, size_t nbytes, long count) {
    if (!begins("%s of %zu: its event says %ld", op == LIO_READ ? "read" : "write", nbytes, count))
        return;
    now.n = 1;
    now.at = 0;
    now.count = count;
    make(op == LIO_READ ? direct : blank[0], nbytes, op);
    check(-1, 0, nbytes);
    ends();
}

/* Buffered: the offer is short, then a worker has the rest. */
static void short_call(int op, long nr, size_t nbytes, long count) {
    if (!begins("%s of %zu, buffered: %ld says %ld", op == LIO_READ ? "read" : "write", nbytes, nr,
                count))
        return;
    now.n = 1;
    now.short_nr = nr;
    now.short_count = count;
    buffered = op == LIO_READ ? buffered : blank[1];
    make(buffered, nbytes, op);
    bool last = nr == SYS_pread64 || nr == SYS_pwrite64; /* nobody asks again, as in glibc */
    finish(&cbs[0]);
    check(-1, 0, last && now.short_nr == 0 ? (size_t)count : nbytes);
    ends();
}

/* As on Linux 5.9 and 5.10 a read that may not wait says 0 where it would have to: only at the
 * end is that the end. */
static void no_end(int fd, size_t nbytes) {
    struct stat st;
    if (!begins("%zu of a %s file: all that may not wait says 0", nbytes,
                fd == direct ? "direct" : "buffered"))
        return;
    need(fstat(fd, &st) == 0, "fstat");
    now.zeros = true;
    now.n = 8;
    for (int i = 0; i < 2; i++) {
        make(fd, nbytes, LIO_READ);
        check(-1, 0, nbytes);
        memset(notified, 0, sizeof notified);
    }
    for (int i = 0; i < 3; i++) { /* a part, nothing at the end, and behind it */
        off_t part = i == 0 ? BLOCK : 0;
        cbs[i] = request(fd, buf, 2 * BLOCK, st.st_size - part + (i == 2 ? BLOCK : 0));
        need(aio_read(&cbs[i]) == 0 && finish(&cbs[i]) == 0, "aio_read");
        if (aio_return(&cbs[i]) != part) wrong("end", i);
    }
    ends();
}

/* What only the reaper may do, and another thread has found, it does at once: here it starts the
 * thread that a request wants to be told by. */
static void handed_over(void) {
    if (!begins("its event is found by aio_error(), a thread is to be told")) return;
    now.n = 1;
    now.late = now.silent = true;
    cbs[0] = request(direct, buf, BLOCK, 0);
    notify(&cbs[0].aio_sigevent, 2);
    need(aio_read(&cbs[0]) == 0 && ntaken == 1, "aio_read");
    sleep_ms(20); /* the reaper is there, and asleep */
    put_event(taken[0]);
    if (aio_error(&cbs[0])) wrong("error", 0);
    comes_soon(2);
    ends();
}

static int ends_within(struct aiocb *cb, int ms) {
    while (ms-- > 0 && aio_error(cb) == EINPROGRESS) sleep_ms(1);
    return aio_error(cb) == 0;
}

/* The context is full of requests that a device holds up: after a second without any event what
 * waits for room goes another way, files' requests and streams', and the next at once. */
static void stuck(void) {
    enum { DEPTH = 256, OTHERS = 4 };
    static struct aiocb held[DEPTH];
    char bytes[2];
    int pipes[2];
    if (!begins("the context is stuck")) return;
    need(pipe(pipes) == 0 && write(pipes[1], "a", 1) == 1, "pipe");
    now.late = true;
    for (int i = 0; i < DEPTH; i++) {
        held[i] = request(direct, buf + i % MOST * BLOCK, BLOCK, i % MOST * BLOCK);
        need(aio_read(&held[i]) == 0, "aio_read");
    }
    need(ntaken == DEPTH, "io_submit");
    cbs[0] = request(blank[0], buf + MOST * BLOCK, BLOCK, 0);
    cbs[1] = request(pipes[0], &bytes[0], 1, 0);
    cbs[2] = request(pipes[0], &bytes[1], 1, 0);
    cbs[3] = request(blank[0], NULL, 0, 0);
    need(aio_write(&cbs[0]) == 0 && aio_read(&cbs[1]) == 0, "request");
    need(aio_read(&cbs[2]) == 0 && aio_fsync(O_SYNC, &cbs[3]) == 0, "request"); /* one waits */
    if (!ends_within(&cbs[0], 5000) || !ends_within(&cbs[1], 500)) wrong("waits", 0);
    if (!ends_within(&cbs[3], 5000) || aio_error(&cbs[2]) != EINPROGRESS) wrong("waits", 3);
    need(write(pipes[1], "b", 1) == 1, "write");
    if (!ends_within(&cbs[2], 500)) wrong("waits", 2);
    need(aio_write(&cbs[0]) == 0, "aio_write");
    if (!ends_within(&cbs[0], 500)) wrong("waits, the second time", 0);
    sleep_ms(1500); /* the reaper has looked again */
    need(aio_write(&cbs[0]) == 0, "aio_write");
    if (!ends_within(&cbs[0], 500)) wrong("waits, the third time", 0);
    if (ntaken != DEPTH) wrong("went to the kernel", 0);
    for (int i = 0; i < DEPTH; i++) {
        put_event(taken[i]);
        if (finish(&held[i])) wrong("held", i);
    }
    now.late = false;
    need(aio_write(&cbs[0]) == 0 && finish(&cbs[0]) == 0, "aio_write");
    ends();
}

static const int submit_errors[] = {EAGAIN, EOPNOTSUPP, EINVAL, ENOSYS, EPERM, EBADF, EFAULT};
static const int event_errors[] = {EAGAIN, EOPNOTSUPP, EINVAL, ENOSYS, EINTR,
                                   EIO,    ENOSPC,     EDQUOT, EFBIG,  EFAULT};
#define EACH(i, list) (size_t i = 0; i < sizeof(list) / sizeof *(list); i++)

static void batches(bool all) {
    for (int n = 1; n <= 16; n += all || n < 4 ? 1 : n == 4 ? 3 : 9) {
        for (int at = 0; at < n; at++) {
            for
                EACH(e, submit_errors) {
                    refused(n, at, submit_errors[e], 1);
                    if (all || at == n / 2) refused(n, at, submit_errors[e], 3);
                }
            for
                EACH(e, event_errors)
            if (all || n < 4) failed_event(n, at, event_errors[e]);
        }
        for (int most = 1; most <= n; most++) in_parts(n, most);
    }
}

static void orders(int rounds) {
    unsigned seed = 1;
    for (int i = 0; i < 24; i++) { /* all of four */
        int order[4], left[4] = {0, 1, 2, 3}, code = i;
        for (int k = 0; k < 4; k++) {
            int pick = code % (4 - k);
            code /= 4 - k;
            order[k] = left[pick];
            memmove(left + pick, left + pick + 1, (size_t)(3 - pick) * sizeof *left);
        }
        in_order(4, order);
        together(4, order);
    }
    for (int i = 0; i < rounds; i++) {
        int order[MOST], n = 5 + rand_r(&seed) % (MOST - 5);
        for (int k = 0; k < n; k++) {
            int at = rand_r(&seed) % (k + 1);
            order[k] = order[at];
            order[at] = k;
        }
        in_order(n, order);
        together(n, order);
    }
}

static void shorts(long step) {
    for (int op = LIO_READ; op <= LIO_WRITE; op++) {
        long offer = op == LIO_READ ? SYS_preadv2 : SYS_pwritev2;
        long work = op == LIO_READ ? SYS_pread64 : SYS_pwrite64;
        for (long count = 0; count <= 2 * BLOCK; count += 512) short_event(op, 2 * BLOCK, count);
        for (long count = 0; count < 700; count += count < 4 ? 1 : step) {
            short_call(op, offer, 700, count);
            if (count > 0) short_call(op, work, 700, count);
        }
    }
}

static void test(void) {
    bool all = getenv("TEST_LONG");
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    alarm(all ? 300 : 60);
    replace_begin();
    signo = SIGRTMIN + 1;
    sigaction(signo, &action, NULL);
    buf = pages((size_t)MOST * 2 * BLOCK);
    direct = scratch(O_RDWR | O_DIRECT, (size_t)MOST * 2 * BLOCK);
    buffered = scratch(O_RDWR, (size_t)MOST * 2 * BLOCK);
    blank[0] = scratch(O_RDWR | O_DIRECT, 2 * BLOCK);
    blank[1] = scratch(O_RDWR, 2 * BLOCK);
    ring = pages(sizeof *ring);
    ring->nr = RING;
    ring->magic = 0xa10a10a1;
    for (size_t nbytes = BLOCK; nbytes <= 2 * BLOCK; nbytes += BLOCK) {
        no_end(direct, nbytes);
        no_end(buffered, nbytes);
    }
    batches(all); /* which writes to odd places */
    orders(all ? 500 : 20);
    shorts(all ? 1 : 67);
    for (int n = 1; n <= 3; n++) declined_alone(n);
    handed_over();
    stuck();
    for (int in_event = 0; in_event < 2; in_event++) {
        for
            EACH(e, event_errors) {
                failed_sync(O_SYNC, event_errors[e], in_event);
                failed_sync(O_DSYNC, event_errors[e], in_event);
            }
    }
    say("%d cases, %d failed", cases, failures);
    if (failures) exit(1);
}
