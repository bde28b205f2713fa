/* SPDX-License-Identifier: MIT */
/* Hundreds of threads that make requests and live on, for crowd.sh. CROWD names the part:
 *
 *   fds      KIND of requests by 400 threads: the library takes few descriptors, LIMIT of them
 *            allowed, and with none left all goes on
 *   waits    threads without an eventfd, for there are enough: each kind of wait is ended by the
 *            request's end, handlers, time limits and cancellation
 *   dup2     no descriptor left, and the program takes the numbers of the library's while a thread
 *            sleeps on them
 *   blockers streams that the kernel cannot poll have threads of their own, which sleep: cancelled,
 *            closed; also when (TAKEN) the program has taken the numbers of the library's
 *
 * HELD: a loop device whose direct reads end when there is no ./log.hold (fuse/slowfs.c).
 */
#include "crowd.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { CROWD = 400, ROUNDS = 4, BLOCK = 4096, SLOW_MS = 1500 };

static atomic_int bad;
static atomic_bool over;
static sem_t go;

static void limit_files(rlim_t n) {
    struct rlimit files = {n, n};
    need(setrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
}

static void fill_descriptors(void) {
    while (dup(0) >= 0) continue;
    need(errno == EMFILE, "dup");
}

/* fds */

enum kind { CACHED, WRITTEN, DIRECT, STREAM, KINDS };
static const char *const kinds[] = {"cached", "written", "direct", "stream"};
static const struct {
    int op, flags;
} opened[] = {{LIO_READ, 0}, {LIO_WRITE, 0}, {LIO_READ, O_DIRECT}, {LIO_READ, 0}};

static enum kind kind;
static int fd, npairs, pairs[CROWD][2];
static pthread_barrier_t begin, end;

static bool is_right(const struct aiocb *cb, int i) {
    const char *data = (const char *)cb->aio_buf;
    if (kind == STREAM) return data[0] == (char)(i % npairs % 100 + 1);
    return kind == WRITTEN || is_pattern(data, BLOCK, cb->aio_offset);
}

static void make_some(int i, char *buf) {
    for (int n = 0; n < 3; n++) {
        struct aiocb cb = request(fd, buf, BLOCK, i % 64 * BLOCK);
        if (kind == STREAM) cb = request(pairs[i % npairs][0], buf, 1, 0);
        memset(buf, 0, BLOCK);
        int r = opened[kind].op == LIO_READ ? aio_read(&cb) : aio_write(&cb);
        if (r || finish(&cb) || aio_return(&cb) != (ssize_t)cb.aio_nbytes || !is_right(&cb, i))
            bad++;
    }
}

static void *lives_on(void *arg) {
    char *buf = pages(BLOCK);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&begin);
        make_some((int)(intptr_t)arg, buf);
        pthread_barrier_wait(&end);
    }
    for (;;) pause();
    return NULL;
}

static void run_round(void) {
    pthread_barrier_wait(&begin);
    if (kind == STREAM) sleep_ms(300); /* all wait */
    for (int i = 0; kind == STREAM && i < CROWD * 3; i++) {
        char byte = (char)(i % CROWD % npairs % 100 + 1);
        need(write(pairs[i % CROWD % npairs][1], &byte, 1) == 1, "write");
    }
    pthread_barrier_wait(&end);
}

static int used(int limit) {
    int n = 0;
    for (int i = 0; i < limit; i++) n += fcntl(i, F_GETFD) >= 0;
    return n;
}

static void make_pairs(void) {
    for (int i = 0; kind == STREAM && i < npairs; i++)
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0, "socketpair");
}

/* Between the first rounds the library's threads end, and others come. */
static void fds(void) {
    const char *name = getenv("KIND"), *files = getenv("LIMIT");
    int limit = atoi(files), most = 0;
    while (kind < KINDS && strcmp(kinds[kind], name)) kind++;
    need(kind < KINDS, "KIND");
    limit_files((rlim_t)limit);
    fd = scratch(O_RDWR | opened[kind].flags, 64 * BLOCK);
    npairs = limit < 1000 ? 8 : CROWD;
    make_pairs();
    pthread_barrier_init(&begin, NULL, CROWD + 1);
    pthread_barrier_init(&end, NULL, CROWD + 1);
    for (int i = 0; i < CROWD; i++) start(lives_on, (void *)(intptr_t)i);
    int before = used(limit);
    for (int i = 0; i < ROUNDS - 1; i++) {
        run_round();
        int taken = used(limit) - before;
        most = taken > most ? taken : most;
        sleep_ms(1300);
    }
    if (most > (limit < 1000 ? 4 : 34)) say("%d descriptors", most), bad++;
    fill_descriptors();
    run_round();
    say("%d bad", (int)bad);
}

/* waits, dup2: one thread waits, the main thread ends that. The request is a stream's read, or a
 * direct read that the device holds. */

enum wait { SUSPEND, TIMED, FOREIGN, LIST, WAITS };
enum event { ENDS, HANDLER, RESTARTING, LATE, CANCELLED, EVENTS };
static const char *const waits[] = {"aio_suspend", "with a time limit", "another thread's",
                                    "LIO_WAIT"};
static const char *const events[] = {"ends", "handler", "SA_RESTART", "too late", "cancelled"};

static enum wait wait_kind;
static enum event event;
static int held = -1, ends[2];
static struct aiocb cb;
static char *data;
static _Atomic pid_t sleeper;
static atomic_int handled, cleaned;
static _Atomic uint64_t called_us, woken_us;
static int result, result_errno;

static void on_signal(int signo) {
    (void)signo;
    handled++;
}

static void clean_up(void *unused) {
    (void)unused;
    cleaned++;
}

/* The device's cache has no other block yet. */
static void submit(void) {
    static int block;
    if (held >= 0) cb = request(held, data, BLOCK, (off_t)(block += 40) % 250 * BLOCK);
    else cb = request(ends[0], data, 1, 0);
    cb.aio_lio_opcode = LIO_READ;
    memset(data, 0, BLOCK);
    if (wait_kind != LIST) need(aio_read(&cb) == 0, "aio_read");
}

/* Until over: with an eventfd, after direct reads. */
static void *has_eventfd(void *arg) {
    char *buf = pages(BLOCK);
    for (int i = 0; i < 10; i++) {
        struct aiocb read = request(fd, buf, BLOCK, 0);
        need(aio_read(&read) == 0 && finish(&read) == 0, "aio_read");
    }
    atomic_fetch_add((atomic_int *)arg, 1);
    while (!over) sem_wait(&go);
    return NULL;
}

static void *waiter(void *unused) {
    static struct aiocb *items[1] = {&cb};
    const struct aiocb *list[1] = {&cb};
    const struct timespec limit = {event == LATE ? 0 : 8, event == LATE ? 300000000 : 0};
    sigset_t none;
    sigemptyset(&none);
    atomic_int there = 0;
    if (over) has_eventfd(&there);
    if (wait_kind != FOREIGN) submit();
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    called_us = now_us();
    sleeper = gettid();
    pthread_cleanup_push(clean_up, NULL);
    result = wait_kind == LIST ? lio_listio(LIO_WAIT, items, 1, NULL)
                               : aio_suspend(list, 1, wait_kind == TIMED ? &limit : NULL);
    pthread_cleanup_pop(0);
    result_errno = errno;
    woken_us = now_us();
    return unused;
}

/* How often any thread of the process has gone to sleep; the thread that asks apart. */
static long switches(void) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    long all = 0, n;
    need(tasks != NULL, "/proc/self/task");
    while ((task = readdir(tasks))) {
        char path[60], line[200];
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", task->d_name);
        FILE *f = atoi(task->d_name) == getpid() ? NULL : fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1) all += n;
        if (f) fclose(f);
    }
    closedir(tasks);
    return all;
}

static void hold_device(void) {
    int lock = open("log.hold", O_CREAT | O_RDWR, 0600);
    need(lock >= 0, "log.hold");
    close(lock);
}

static void end_request(void) {
    if (held >= 0) need(unlink("log.hold") == 0, "unlink");
    else need(write(ends[1], "x", 1) == 1, "write");
}

static void wrong(const char *what) {
    say("%s, %s, %s: %s", held >= 0 ? "device" : "stream", waits[wait_kind], events[event], what);
    bad++;
}

/* Then the waiter sleeps, and so does the reaper. */
static pthread_t begin_wait(bool looks) {
    sleeper = 0;
    woken_us = 0;
    handled = cleaned = 0;
    if (held >= 0) hold_device();
    if (wait_kind == FOREIGN) submit();
    pthread_t thread = start(waiter, NULL);
    while (!sleeper) sleep_ms(1);
    sleep_ms(20);
    if (!looks) return thread;
    long before = switches();
    sleep_ms(100);
    if (switches() > before + 20) wrong("some thread looks again and again");
    return thread;
}

static void check_request(void) {
    int err = finish(&cb);
    ssize_t n = aio_return(&cb);
    if (err || n != (ssize_t)cb.aio_nbytes) wrong("the request failed");
    else if (held < 0 ? *data != 'x' : !is_pattern(data, BLOCK, cb.aio_offset)) wrong("data");
}

static bool exists(void) {
    if (event == LATE) return wait_kind == TIMED;
    return event != CANCELLED || wait_kind != LIST; /* ours is no cancellation point */
}

static void interrupt(pthread_t thread) {
    struct sigaction action = {.sa_handler = on_signal};
    action.sa_flags = event == RESTARTING ? SA_RESTART : 0;
    sigaction(SIGUSR1, &action, NULL);
    pthread_kill(thread, SIGUSR1);
    for (int ms = 0; handled == 0 && ms < SLOW_MS; ms++) sleep_ms(1);
    if (handled != 1) wrong("no handler ran");
    sleep_ms(20);
}

/* What is to come of the event; glibc's answers. */
static void one_wait(void) {
    void *value;
    pthread_t thread = begin_wait(true);
    uint64_t began = now_us();
    bool goes_on = event == ENDS || (event == RESTARTING && wait_kind != TIMED);
    if (event == HANDLER || event == RESTARTING) interrupt(thread);
    if (event == CANCELLED) pthread_cancel(thread);
    if (goes_on && woken_us) wrong("it did not go on");
    if (goes_on) began = now_us(), end_request();
    pthread_join(thread, &value);
    uint64_t took_us = now_us() - began;
    if (took_us > quiet_s(SLOW_MS) * 1000) wrong("late");
    if (event == LATE && (woken_us - called_us < 300000 || result != -1 || result_errno != EAGAIN))
        wrong("EAGAIN");
    if (goes_on && result) wrong("no 0");
    if (!goes_on && event != LATE && event != CANCELLED && (result != -1 || result_errno != EINTR))
        wrong("no EINTR");
    if (event == CANCELLED && (value != PTHREAD_CANCELED || cleaned != 1)) wrong("not cancelled");
    if (!goes_on) end_request();
    check_request();
}

static void prepare(void) {
    const char *device = getenv("HELD");
    data = pages(BLOCK);
    if (device) need((held = open(device, O_RDONLY | O_DIRECT)) >= 0, device);
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    fd = scratch(O_RDONLY | O_DIRECT, BLOCK);
}

/* 40 come first; then none is left for the waiter. The process ends with its last thread. */
static void wait_in_crowd(void) {
    atomic_int there = 0;
    prepare();
    for (int i = 0; i < 40; i++) start(has_eventfd, &there);
    while (there < 40) sleep_ms(1);
    for (wait_kind = SUSPEND; wait_kind < WAITS; wait_kind++)
        for (event = ENDS; event < EVENTS; event++)
            if (exists()) one_wait();
    over = true;
    for (int i = 0; i < 40; i++) sem_post(&go);
    say("%d bad", (int)bad);
    pthread_exit(NULL);
}

/* The library's descriptors, eventfds and epoll set: the program has none such. */
static int ours(int list[64]) {
    int n = 0;
    for (int i = 3; i < 64 + 2 * CROWD && n < 64; i++) {
        char path[40], to[40] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        ssize_t length = readlink(path, to, sizeof to - 1);
        if (length > 0 && !strncmp(to, "anon_inode:[event", 17)) list[n++] = i;
    }
    return n;
}

static void taken_over(bool room) {
    int list[64];
    pthread_t thread = begin_wait(false);
    int n = ours(list), mine = eventfd(0, EFD_NONBLOCK);
    limit_files(64);
    if (!room) fill_descriptors();
    if (n == 0) wrong("the library has no descriptor");
    for (int i = 0; i < n; i++) need(dup2(mine, list[i]) == list[i], "dup2");
    sleep_ms(20);
    uint64_t began = now_us(), count;
    end_request();
    pthread_join(thread, NULL);
    if (now_us() - began > quiet_s(SLOW_MS) * 1000) wrong("late");
    check_request();
    if (result) wrong("no 0");
    if (read(mine, &count, sizeof count) >= 0) wrong("wrote into the program's own eventfd");
}

static void take_over_once(bool room) {
    atomic_int there = 0;
    alarm(20);
    bad = 0;
    over = true;
    prepare();
    for (int i = 0; i < 10; i++) has_eventfd(&there); /* past the first few */
    taken_over(room);
    exit(bad != 0);
}

/* Each in a process of its own, whose descriptors are still there. The waiter made direct reads, so
 * it sleeps on an eventfd. */
static void take_over(void) {
    event = ENDS;
    for (int i = 0; i < 2 * WAITS; i++) {
        int status;
        wait_kind = (enum wait)(i / 2);
        pid_t pid = fork();
        if (pid == 0) take_over_once(i % 2);
        need(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
        if (status) wrong(i % 2 ? "dup2(), with descriptors left" : "dup2(), no descriptor left");
    }
    say("%d bad", (int)bad);
}

/* blockers */

static struct aiocb blocked[CROWD];

static void closes(bool by_close, int i) {
    uint64_t began = now_us();
    int r = by_close ? close(pairs[i][0]) : aio_cancel(pairs[i][0], &blocked[i]);
    if (r != (by_close ? 0 : AIO_CANCELED)) bad++;
    if (finish(&blocked[i]) != ECANCELED || aio_return(&blocked[i]) != -1) bad++;
    if (!by_close) close(pairs[i][0]);
    if (now_us() - began > quiet_s(SLOW_MS) * 1000) bad++;
}

static bool is_end(int socket) {
    struct pollfd ready = {.fd = socket, .events = POLLIN};
    char byte;
    return poll(&ready, 1, SLOW_MS) == 1 && read(socket, &byte, 1) == 0;
}

/* A socket with a time limit. The peer sees the end only when no thread is in poll() any more. */
static void block(void) {
    enum { BLOCKERS = 60 };
    const struct timeval limit = {100, 0};
    static char bytes[BLOCKERS];
    for (int i = 0; i < BLOCKERS; i++) {
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0, "socketpair");
        need(setsockopt(pairs[i][0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0, "limit");
        blocked[i] = request(pairs[i][0], &bytes[i], 1, 0);
        need(aio_read(&blocked[i]) == 0, "aio_read");
    }
    sleep_ms(200);
    int list[64], n = getenv("TAKEN") ? ours(list) : 0, mine = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < n; i++) need(dup2(mine, list[i]) == list[i], "dup2");
    for (int i = 0; i < BLOCKERS; i += 3) closes(true, i);
    for (int i = 1; i < BLOCKERS; i += 3) closes(false, i);
    for (int i = 2; i < BLOCKERS; i += 3) {
        need(write(pairs[i][1], "x", 1) == 1, "write");
        if (finish(&blocked[i]) || aio_return(&blocked[i]) != 1 || bytes[i] != 'x') bad++;
        close(pairs[i][0]);
    }
    for (int i = 0; i < BLOCKERS; i++)
        if (!is_end(pairs[i][1])) bad++;
    say("%d bad", (int)bad);
}

static void test(void) {
    sem_init(&go, 0, 0);
    const char *part = getenv("CROWD");
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    need(part, "CROWD");
    if (!strcmp(part, "fds")) fds();
    if (!strcmp(part, "waits")) wait_in_crowd();
    if (!strcmp(part, "dup2")) take_over();
    if (!strcmp(part, "blockers")) block();
}
