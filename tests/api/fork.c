/* SPDX-License-Identifier: MIT */
/* fork(), vfork(), system(), posix_spawn() and exit() with requests in flight: the parent's end
 * well, and a child of the shim can make its own at once (one of glibc's hangs). */
#include "test.h"

#include <poll.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { READS = 32, ROUNDS = 100, SIZE = 1 << 20 };

extern char **environ;

/* Requests in flight: direct and uncached reads, and one of a socket that waits. */
static struct aiocb cbs[READS], waiting;
static char *memory, byte;
static int direct_fd, data_fd, sockets[2];

static void start(void) {
    byte = 0;
    posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
    memset(memory, 0, READS * 4096);
    waiting = request(sockets[0], &byte, 1, 0);
    need(aio_read(&waiting) == 0, "aio_read");
    for (int i = 0; i < READS; i++) {
        off_t at = i * 37 % (SIZE / 4096) * 4096;
        cbs[i] = request(i % 4 ? direct_fd : data_fd, memory + i * 4096, 4096, at);
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
}

/* Lets all of them end; answers how many did so badly. */
static int end(void) {
    int bad = aio_error(&waiting) != EINPROGRESS;
    for (int i = 0; i < READS; i++)
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != 4096 ||
               !is_pattern(memory + i * 4096, 4096, cbs[i].aio_offset);
    need(write(sockets[1], "x", 1) == 1, "write");
    bad += finish(&waiting) != 0 || aio_return(&waiting) != 1 || byte != 'x';
    return bad;
}

static sem_t called;

static void call(union sigval value) {
    (void)value;
    sem_post(&called);
}

static bool is_good(const struct aiocb *cb) {
    return is_pattern((const char *)cb->aio_buf, 4096, cb->aio_offset);
}

/* In a child: every lane, in its own memory. 0, or the number of what went wrong. */
static int use_aio(void) {
    struct aiocb own[READS], *list[READS];
    char *buf = pages(READS * 4096), got[4];
    int fds[2], file = memfd_create("child", MFD_CLOEXEC);
    alarm(20);
    sem_init(&called, 0, 0); /* inherited, maybe posted */
    for (int i = 0; i < READS; i++) {
        own[i] = request(i % 2 ? direct_fd : data_fd, buf + i * 4096, 4096, i * 4096);
        own[i].aio_lio_opcode = LIO_READ;
        list[i] = &own[i];
        if (i < READS / 2 && aio_read(&own[i])) return 1;
    }
    for (int i = 0; i < READS / 2; i++)
        if (finish(&own[i]) || !is_good(&own[i])) return 2;
    if (lio_listio(LIO_WAIT, list + READS / 2, READS / 2, NULL)) return 3;
    for (int i = READS / 2; i < READS; i++)
        if (aio_error(&own[i]) || !is_good(&own[i])) return 4;
    own[0] = request(file, buf, 8192, 0);
    own[0].aio_sigevent.sigev_notify = SIGEV_THREAD;
    own[0].aio_sigevent.sigev_notify_function = call;
    own[1] = request(file, NULL, 0, 0);
    if (aio_write(&own[0]) || aio_fsync(O_SYNC, &own[1]) || finish(&own[1])) return 5;
    if (aio_error(&own[0]) || aio_return(&own[0]) != 8192) return 6;
    while (sem_wait(&called)) continue;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    own[0] = request(fds[0], got, 4, 0);
    if (aio_read(&own[0])) return 7;
    sleep_ms(1);
    if (write(fds[1], "data", 4) != 4 || finish(&own[0]) || memcmp(got, "data", 4)) return 8;
    close(fds[0]);
    close(fds[1]);
    close(file);
    free(buf);
    return 0;
}

static int status_of(pid_t pid) {
    int status = 0;
    need(pid > 0 && waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* glibc's child believes that a thread still works on the parent's request of this socket. */
static int use_socket(void) {
    struct aiocb cb = request(sockets[0], "y", 1, 0);
    alarm(2);
    if (aio_write(&cb)) return 1;
    for (int i = 0; i < 100 && aio_error(&cb) == EINPROGRESS; i++) usleep(1000);
    return aio_error(&cb) == EINPROGRESS;
}

/* How many rings of kernel AIO does this process map? */
static int rings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    char line[300];
    int n = 0;
    need(file != NULL, "maps");
    while (fgets(line, sizeof line, file)) n += strstr(line, "[aio]") != NULL;
    fclose(file);
    return n;
}

/* A child that shared the parent's ring could take its events. */
static void ring_of_the_child(void) {
    int sent[2], both[2] = {0, -1};
    need(pipe(sent) == 0, "pipe");
    start();
    both[0] = rings();
    pid_t pid = fork();
    if (pid == 0) {
        int n = rings();
        _exit(write(sent[1], &n, sizeof n) != sizeof n);
    }
    need(status_of(pid) == 0 && read(sent[0], &both[1], sizeof(int)) == sizeof(int), "child");
    const char *mode = getenv("KAIO_MODE");
    bool expected = is_shim() && !(mode && !strcmp(mode, "worker"));
    say("the parent has a ring as expected %d, the child has %d", both[0] == expected, both[1]);
    say("%d bad", end());
    close(sent[0]);
    close(sent[1]);
}

/* What a child says of its parent's requests. It has none of them, as POSIX says of fork(); glibc's
 * believes that they go on. */
static void parents_request(void) {
    const struct aiocb *list[] = {&waiting};
    const struct timespec limit = {0, 50000000};
    waiting = request(sockets[0], &byte, 1, 0);
    need(aio_read(&waiting) == 0, "aio_read");
    settle(); /* glibc's helper waits, too, and holds no lock */
    pid_t pid = fork();
    if (pid == 0) _exit(aio_suspend(list, 1, &limit) ? errno : 0);
    differs("aio_suspend() in a child", "EAGAIN", "0", name(status_of(pid)));
    pid = fork();
    if (pid == 0)
        _exit(aio_cancel(sockets[0], &waiting) == AIO_NOTCANCELED ? 1 : errno == EINVAL ? 2 : 3);
    int answer = status_of(pid);
    differs("aio_cancel() in a child", "NOTCANCELED", "EINVAL",
            answer == 1   ? "NOTCANCELED"
            : answer == 2 ? "EINVAL"
                          : "another");
    need(write(sockets[1], "x", 1) == 1, "write");
    say("the parent's: %s", name(finish(&waiting)));
}

static void forks(void) {
    int bad = 0, failed = 0, rounds = is_shim() ? ROUNDS : 1;
    for (int round = 0; round < rounds; round++) {
        start();
        pid_t pid = fork();
        if (pid == 0) _exit(is_shim() ? use_aio() : use_socket());
        int status = status_of(pid);
        if (status && is_shim()) say("child: %d", status);
        failed += status != 0;
        bad += end();
    }
    differs("AIO in forked children", "hangs", "works", failed ? "hangs" : "works");
    for (int round = 0; round < ROUNDS; round++) { /* parents must be well under glibc, too */
        start();
        pid_t pid = fork();
        if (pid == 0) _exit(round);
        bad += end();
        bad += status_of(pid) != round;
    }
    say("forks: %d of the parent's bad", bad);
}

/* The parent's descriptors are closed in a child; requests must not notice. */
static void closing_child(void) {
    start();
    pid_t pid = fork();
    if (pid == 0) {
        close(sockets[0]);
        close(direct_fd);
        dup2(data_fd, sockets[1]);
        _exit(5);
    }
    int status = status_of(pid);
    say("child that closes: %d, %d bad", status, end());
}

/* On sockets of its own: the ancestors' reads wait on the others. */
static int more_forks(int depth) {
    if (depth == 0) return use_aio();
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
    start();
    pid_t pid = fork();
    if (pid == 0) _exit(more_forks(depth - 1));
    int status = status_of(pid);
    return status ? status : use_aio() ? 20 + depth : end() ? 10 + depth : 0;
}

static void grandchildren(void) {
    if (!is_shim()) {
        say("grandchildren: 0"); /* glibc: children hang, see forks() */
        return;
    }
    say("grandchildren: %d", more_forks(3));
}

static int stop;

static void *reader(void *arg) {
    char *buf = pages(16384);
    int *bad = arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct aiocb own[4];
        for (int i = 0; i < 4; i++) {
            own[i] = request(i % 2 ? direct_fd : data_fd, buf + i * 4096, 4096, i * 8192);
            *bad += aio_read(&own[i]) != 0;
        }
        for (int i = 0; i < 4; i++)
            *bad += finish(&own[i]) != 0 || !is_pattern(buf + i * 4096, 4096, i * 8192);
    }
    free(buf);
    return NULL;
}

/* While another thread is somewhere inside the library. */
static void beside_threads(void) {
    pthread_t thread;
    int thread_bad = 0, bad = 0;
    need(pthread_create(&thread, NULL, reader, &thread_bad) == 0, "thread");
    for (int round = 0; round < ROUNDS / 3; round++) {
        pid_t pid = fork();
        if (pid == 0) _exit(is_shim() ? use_aio() : 0); /* glibc: hangs */
        bad += status_of(pid) != 0;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    say("beside a thread that reads: %d, %d bad", bad, thread_bad);
}

static int callback_status; /* the sum */

static void forking_callback(union sigval value) {
    (void)value;
    pid_t pid = fork();
    if (pid == 0) _exit(is_shim() ? use_aio() : 0); /* glibc: hangs */
    __atomic_fetch_add(&callback_status, status_of(pid), __ATOMIC_RELAXED);
    sem_post(&called);
}

static void in_callback(void) {
    enum { CALLS = 8, FORKS = 3 };
    char *buf = pages(CALLS * 4096);
    int bad = 0;
    for (int round = 0; round < FORKS; round++) {
        struct aiocb own[CALLS];
        start();
        sem_init(&called, 0, 0);
        for (int i = 0; i < CALLS; i++) {
            own[i] = request(i % 3 ? direct_fd : data_fd, buf + i * 4096, 4096, i * 4096);
            own[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
            own[i].aio_sigevent.sigev_notify_function = i % 4 == 1 ? forking_callback : call;
            bad += aio_read(&own[i]) != 0;
        }
        for (int i = 0; i < CALLS; i++)
            while (sem_wait(&called)) continue;
        for (int i = 0; i < CALLS; i++)
            bad += finish(&own[i]) != 0 || aio_return(&own[i]) != 4096 || !is_good(&own[i]);
        bad += end();
    }
    say("children of callbacks: %d, %d bad", callback_status, bad);
    free(buf);
}

/* In the parent's memory, and closing descriptors before the other program starts, as shells do. */
static pid_t vforked(int null) {
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(null, 0);
        dup2(null, sockets[0]);
        close(direct_fd);
        execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void vforks(void) {
    int bad = 0, failed = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int round = 0; round < 10; round++) {
        start();
        failed += status_of(vforked(null)) != 9;
        bad += end();
    }
    say("vfork and exec: %d, %d bad", failed, bad);
    close(null);
}

static void spawns(void) {
    char *const args[] = {"sh", "-c", "exit 4", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    start();
    int status = system("exit 3");
    say("system: %d, %d bad", WEXITSTATUS(status), end());
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, sockets[0]);
    posix_spawn_file_actions_adddup2(&actions, data_fd, direct_fd);
    start();
    need(posix_spawn(&pid, "/bin/sh", &actions, NULL, args, environ) == 0, "posix_spawn");
    status = status_of(pid);
    say("posix_spawn: %d, %d bad", status, end());
    posix_spawn_file_actions_destroy(&actions);
}

/* In the program that exits() has started: leaves requests of all sorts behind. */
static void leave(const char *how) {
    static struct aiocb own[READS], sync;
    alarm(20);
    start();
    int file = scratch(O_RDWR, 0);
    for (int i = 0; i < READS; i++) {
        own[i] = request(file, memory, 65536, (off_t)i * 65536);
        own[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
        own[i].aio_sigevent.sigev_notify_function = call;
        need(aio_write(&own[i]) == 0, "aio_write");
    }
    sync = request(file, NULL, 0, 0);
    need(aio_fsync(O_SYNC, &sync) == 0, "aio_fsync");
    if (!strcmp(how, "exit")) exit(6);
    if (!strcmp(how, "_exit")) _exit(7);
    if (!strcmp(how, "kill")) raise(SIGKILL);
    /* "return": main() ends with 0 */
}

static void exits(const char *how) {
    char *const args[] = {"program", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    setenv("TEST_LEAVE", how, 1);
    uint64_t begin = now_us();
    int bad = 0, status = 0;
    for (int i = 0; i < 3; i++) {
        need(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, args, environ) == 0, "spawn");
        int res = status_of(pid);
        bad += i > 0 && res != status;
        status = res;
    }
    say("%s: %d, quick %d, %d bad", how, status, now_us() - begin < quiet_us(10000000), bad);
    unsetenv("TEST_LEAVE");
    posix_spawn_file_actions_destroy(&actions);
}

/* Of a child of the shim, with requests of its own in flight. */
static void child_exits(void) {
    start();
    pid_t pid = fork();
    if (pid == 0) need(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
    if (pid == 0 && is_shim()) leave("exit"); /* glibc: hangs */
    if (pid == 0) exit(6);
    int status = status_of(pid);
    say("child's exit: %d, %d bad", status, end());
}

/* In an aiocb in shared memory glibc's helper leaves the status by itself; here the end of a
 * request in the kernel is seen by whoever calls the library, in the process that made it. What
 * aio_error() says of another process's request POSIX leaves open. */
static int seen_once(struct aiocb *cb, bool in_kernel) {
    *cb = request(direct_fd, memory, 4096, 0);
    cb->__error_code = -1;
    /* a reaper left from the requests that warm the library up would see it */
    while (in_kernel && entries("/proc/self/task") > 1) sleep_ms(10);
    pid_t pid = fork();
    if (pid == 0) {
        while (__atomic_load_n(&cb->__error_code, __ATOMIC_ACQUIRE) == -1) sleep_ms(1);
        for (int ms = 0; aio_error(cb) == EINPROGRESS && ms < (in_kernel ? 200 : 10000); ms++)
            sleep_ms(1);
        _exit(aio_error(cb));
    }
    need(aio_read(cb) == 0, "aio_read");
    int seen = status_of(pid);
    need(finish(cb) == 0, "read");
    return seen;
}

static void seen_by_another(void) {
    struct aiocb *cb = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(cb != MAP_FAILED, "memory");
    bool in_kernel = is_shim() && getenv("TEST_WARM");
    int seen = seen_once(cb, in_kernel);
    /* aio_read() itself finds the end if the disk is faster than the call, as an emulated one is */
    bool right = seen == 0 || (in_kernel && seen == EINPROGRESS);
    say("seen by a child: %s", right ? "as expected" : name(seen));
    say("and here: %s", name(finish(cb)));
    munmap(cb, 4096);
}

static void test(void) {
    memory = pages(65536 > READS * 4096 ? 65536 : READS * 4096);
    direct_fd = scratch(O_RDONLY | O_DIRECT, SIZE);
    data_fd = scratch(O_RDONLY, SIZE);
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
    if (getenv("TEST_LEAVE")) {
        leave(getenv("TEST_LEAVE"));
        return;
    }
    CASE("seen-by-another") seen_by_another();
    CASE("parents-request") parents_request();
    CASE("forks") forks();
    CASE("ring-of-the-child") ring_of_the_child();
    CASE("closing-child") closing_child();
    CASE("grandchildren") grandchildren();
    CASE("in-callback") in_callback();
    CASE("vforks") vforks();
    CASE("spawns") spawns();
    CASE("beside-threads") beside_threads();
    CASE("child-exits") child_exits();
    CASE("exits") {
        exits("exit");
        exits("_exit");
        exits("kill");
        exits("return");
    }
}
