/* SPDX-License-Identifier: MIT */
/* What fork.c leaves out of the life of a process: parent and child that make requests at once,
 * _Fork(), fork() in a signal handler, vfork() beside other threads and with files put on every
 * number, exec with requests in flight, every way to end with requests of every kind in flight, and
 * pthread_exit() of the main thread. */
#include "test.h"

#include <dirent.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { READS = 32, WRITES = 4, ROUNDS = 100, SIZE = 1 << 20, LARGE = 128 << 10, NUMBERS = 1000 };

extern char **environ;

/* Requests in flight, one sort after the other: reads, direct and not cached; writes, appended and
 * large; a sync held behind these; a pipe's read. A quarter of the reads notify by thread and a
 * quarter by signal. */
static struct aiocb reads[READS], appends[WRITES], writes[WRITES], sync_all, waiting;
static int direct_fd, data_fd, append_fd, file_fd, pipes[2];
static char *memory, byte;
static sem_t notified;
static unsigned limit = 110; /* s */

static void by_thread(union sigval value) {
    (void)value;
    sem_post(&notified);
}

static void by_signal(int signo) {
    (void)signo;
    sem_post(&notified);
}

/* What a process does not share with its parent. */
static void own_files(void) {
    append_fd = scratch(O_RDWR | O_APPEND | O_CLOEXEC, 0);
    file_fd = scratch(O_RDWR | O_CLOEXEC, 0);
    need(pipe2(pipes, O_CLOEXEC) == 0, "pipe");
    sem_init(&notified, 0, 0);
}

static void start(void) {
    posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
    memset(memory, 0, READS * 4096);
    waiting = request(pipes[0], &byte, 1, 0);
    need(aio_read(&waiting) == 0, "aio_read");
    for (int i = 0; i < READS; i++) {
        off_t at = i * 37 % (SIZE / 4096) * 4096;
        reads[i] = request(i % 2 ? direct_fd : data_fd, memory + i * 4096, 4096, at);
        if (i % 8 < 2) reads[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
        if (i % 8 < 2) reads[i].aio_sigevent.sigev_notify_function = by_thread;
        if (i % 8 >= 6) reads[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        if (i % 8 >= 6) reads[i].aio_sigevent.sigev_signo = SIGRTMIN;
        need(aio_read(&reads[i]) == 0, "aio_read");
    }
    for (int i = 0; i < WRITES; i++) {
        appends[i] = request(append_fd, "appended", 8, 0);
        writes[i] = request(file_fd, memory + READS * 4096, LARGE, (off_t)i * LARGE);
        need(aio_write(&appends[i]) == 0 && aio_write(&writes[i]) == 0, "aio_write");
    }
    sync_all = request(file_fd, NULL, 0, 0);
    need(aio_fsync(O_DSYNC, &sync_all) == 0, "aio_fsync");
}

static bool ended(struct aiocb *cb, size_t n) {
    return finish(cb) == 0 && aio_return(cb) == (ssize_t)n;
}

/* Lets all of them end, and their notifications come; answers how many ended badly. */
static int end(void) {
    int bad = aio_error(&waiting) != EINPROGRESS;
    for (int i = 0; i < READS; i++)
        bad += !ended(&reads[i], 4096) || !is_pattern(memory + i * 4096, 4096, reads[i].aio_offset);
    for (int i = 0; i < WRITES; i++) bad += !ended(&appends[i], 8) + !ended(&writes[i], LARGE);
    need(write(pipes[1], "x", 1) == 1, "write");
    bad += !ended(&sync_all, 0) + !ended(&waiting, 1) + (byte != 'x');
    for (int i = 0; i < READS / 2; i++)
        while (sem_wait(&notified)) continue;
    byte = 0;
    return bad;
}

/* On a slow disk, where each round's sync takes long, fewer: what can be done in 10 s, but at least
 * five; with TEST_LONG all. */
static bool goes_on(int round, uint64_t end_us) {
    return round < 5 || getenv("TEST_LONG") || now_us() < end_us;
}

static int rounds(int n) {
    int bad = 0;
    uint64_t end_us = now_us() + 10000000;
    for (int round = 0; round < n && goes_on(round, end_us); round++) {
        start();
        bad += end();
    }
    return bad;
}

static int status_of(pid_t pid) {
    int status = 0;
    need(pid > 0 && waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Plain direct reads; answers how many were bad. */
static int reads_alone(int n) {
    char *buf = memory + READS * 4096;
    int bad = 0;
    for (int i = 0; i < n; i++) {
        struct aiocb cb = request(direct_fd, buf, 4096, i % (SIZE / 4096) * 4096);
        bad += aio_read(&cb) != 0 || !ended(&cb, 4096) || !is_pattern(buf, 4096, cb.aio_offset);
    }
    return bad;
}

/* _Fork() runs no handlers. It comes first in test(), while no thread can be inside malloc(). */
static void without_handlers(void) {
    pid_t pids[2];
    int bad = reads_alone(ROUNDS), status = 0;
    for (int i = 0; i < 2; i++) {
        pids[i] = _Fork();
        if (pids[i] == 0) alarm(10);
        if (pids[i] == 0) _exit(is_shim() && reads_alone(50 * ROUNDS) != 0); /* glibc: hangs */
    }
    for (int i = 0; i < 2; i++) status += status_of(pids[i]);
    bad += reads_alone(ROUNDS);
    say("_Fork: %d bad in the parent, children %d", bad, status);
}

/* Without any of libc's preparations: its caches of ids and its locks are the parent's. So the
 * child comes while no other thread can hold one, and makes plain reads only. */
static void raw_clones(void) {
    int bad = 0, status = 0;
    for (int round = 0; round < 5; round++) {
        struct aiocb cb = request(direct_fd, memory, 4096, 0),
                     pending = request(pipes[0], &byte, 1, 0);
        need(aio_read(&pending) == 0 && aio_read(&cb) == 0, "aio_read");
        pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) alarm(10);
        if (pid == 0) _exit(is_shim() && reads_alone(ROUNDS) != 0); /* glibc: hangs */
        bad += !ended(&cb, 4096) || !is_pattern(memory, 4096, 0) || reads_alone(ROUNDS) != 0;
        status += status_of(pid);
        bad += aio_error(&pending) != EINPROGRESS || write(pipes[1], "x", 1) != 1;
        bad += !ended(&pending, 1);
    }
    byte = 0;
    say("raw clone: %d bad in the parent, children %d", bad, status);
}

/* A child that makes requests: 0, or how many were bad. glibc's would hang (see fork.c). */
static int child(int n) {
    if (!is_shim()) return 0;
    alarm(limit - 30);
    own_files();
    int bad = rounds(n);
    return bad > 100 ? 100 : bad;
}

/* Each makes requests and has no more descriptors than the first: its parent's eventfds are closed.
 * glibc's children would hang. */
static int descendants(int n, int open) {
    if (reads_alone(10) || open_descriptors() > open + 5) return 1;
    if (n == 0) return 0;
    pid_t pid = fork();
    if (pid == 0) alarm(20);
    if (pid == 0) _exit(descendants(n - 1, open));
    return status_of(pid);
}

static void generations(void) {
    say("ten generations: %d", is_shim() ? descendants(10, open_descriptors()) : 0);
}

/* Parent and child, a hundred rounds each at the same time; then a hundred children, of which some
 * live while the parent goes on. */
static void at_once(void) {
    enum { ALIVE = 8 };
    pid_t pids[ROUNDS];
    start();
    pid_t pid = fork();
    if (pid == 0) _exit(child(ROUNDS));
    int bad = end() + rounds(ROUNDS);
    int status = status_of(pid);
    say("parent and child at once: %d bad in the parent, child %d", bad, status);
    bad = status = 0;
    int n = 0;
    uint64_t end_us = now_us() + 10000000;
    for (; n < ROUNDS && (n < ALIVE || goes_on(n, end_us)); n++) {
        start();
        pids[n] = fork();
        if (pids[n] == 0) _exit(child(1));
        bad += end();
        if (n >= ALIVE) status += status_of(pids[n - ALIVE]);
    }
    for (int i = n - ALIVE; i < n; i++) status += status_of(pids[i]);
    note("%d children", n);
    say("children at once: %d bad in the parent, children %d", bad, status);
}

static volatile sig_atomic_t forked, forked_badly;

static void forking_handler(int signo) {
    (void)signo;
    pid_t pid = fork();
    if (pid == 0) _exit(is_shim() && aio_error(&reads[0]) == EINPROGRESS); /* glibc: hangs */
    forked++;
    forked_badly += status_of(pid) != 0;
}

/* The handler of a request's signal forks, most often on top of aio_suspend(). */
static void in_handler(void) {
    int bad = 0;
    signal(SIGUSR1, forking_handler);
    for (int round = 0; round < ROUNDS; round++) {
        struct aiocb cb = request(direct_fd, memory, 4096, round * 4096);
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = SIGUSR1;
        forked = 0;
        need(aio_read(&cb) == 0, "aio_read");
        bad += !ended(&cb, 4096) || !is_pattern(memory, 4096, cb.aio_offset);
        while (!forked) sleep_ms(1);
    }
    signal(SIGUSR1, SIG_DFL);
    say("fork in a handler: %d, %d bad", forked_badly, bad);
}

static int stop;

static void *reader(void *arg) {
    char *buf = pages(4096);
    int *bad = arg;
    for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        struct aiocb cb = request(direct_fd, buf, 4096, i % (SIZE / 4096) * 4096);
        *bad += aio_read(&cb) != 0 || !ended(&cb, 4096) || !is_pattern(buf, 4096, cb.aio_offset);
    }
    free(buf);
    return NULL;
}

/* Its own files on all numbers, those of the library among them: the parent's must stay. The child
 * has the parent's memory. */
static pid_t vforked(int null) {
    pid_t pid = vfork();
    if (pid == 0) {
        for (int fd = 3; fd < NUMBERS; fd++)
            if (fd != null) dup2(null, fd);
        execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void vforks(void) {
    pthread_t thread;
    int bad = 0, failed = 0, thread_bad = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    need(pthread_create(&thread, NULL, reader, &thread_bad) == 0, "thread");
    for (int round = 0; round < 10; round++) {
        start();
        failed += status_of(vforked(null)) != 9;
        bad += end();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    say("vfork and dup2: %d, %d bad, %d bad in a thread", failed, bad, thread_bad != 0);
    close(null);
}

static char open_at_start[1000];

/* The open descriptors of an image before its first request. */
__attribute__((constructor)) static void list_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t n = 0;
    while (dir && (entry = readdir(dir)) && n + 10 < sizeof open_at_start)
        if (atoi(entry->d_name) != dirfd(dir))
            n += (size_t)sprintf(open_at_start + n, "%.8s ", entry->d_name);
    closedir(dir);
}

static void *image(void *unused) {
    (void)unused;
    setenv("TEST_PROCESS", "second image", 1);
    setenv("TEST_FDS", open_at_start, 1);
    start();
    signal(SIGRTMIN, SIG_IGN); /* sent to the first image, it would end the second */
    execl("/proc/self/exe", "process", (char *)NULL);
    return NULL;
}

/* Is replaced with requests in flight by an image that makes requests at once and has no
 * descriptors that the first had not. */
static void first_image(bool by_thread) {
    pthread_t thread;
    if (!by_thread) image(NULL);
    else if (pthread_create(&thread, NULL, image, NULL) == 0) pthread_join(thread, NULL);
    need(false, "exec");
}

static void second_image(void) {
    bool same = !strcmp(open_at_start, getenv("TEST_FDS"));
    if (!same) say("descriptors: %s, were %s", open_at_start, getenv("TEST_FDS"));
    _exit(!same || rounds(3) ? 1 : 11);
}

static void quick(void) {
    _exit(12);
}

static void exit_13(union sigval value) {
    (void)value;
    exit(13);
}

/* An exit in a callback, whatever else is in flight. */
static void leave_in_callback(void) {
    static struct aiocb cb;
    cb = request(direct_fd, memory, 4096, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = exit_13;
    need(aio_read(&cb) == 0, "aio_read");
    for (;;) pause();
}

/* Goes on when the main thread has ended, with the requests that it has left, and ends last. */
static void *last_thread(void *main_thread) {
    pthread_join(*(pthread_t *)main_thread, NULL);
    int bad = end() + rounds(3);
    if (bad) _exit(1);
    return NULL;
}

static void leave_main(void) {
    static pthread_t self;
    pthread_t thread;
    self = pthread_self();
    need(pthread_create(&thread, NULL, last_thread, &self) == 0, "thread");
    pthread_exit(NULL);
}

/* In the program that ends() has started: leaves requests of all sorts behind. */
static void leave(const char *how) {
    struct rlimit no_core = {0, 0};
    volatile char *volatile nowhere = NULL;
    setrlimit(RLIMIT_CORE, &no_core);
    if (!strcmp(how, "second image")) second_image();
    if (!strcmp(how, "exec")) first_image(false);
    if (!strcmp(how, "exec by a thread")) first_image(true);
    start();
    if (!strcmp(how, "exit")) exit(6);
    if (!strcmp(how, "_exit")) _exit(7);
    if (!strcmp(how, "quick_exit")) at_quick_exit(quick), quick_exit(1);
    if (!strcmp(how, "exit in a callback")) leave_in_callback();
    if (!strcmp(how, "SIGKILL")) raise(SIGKILL);
    if (!strcmp(how, "SIGTERM")) raise(SIGTERM);
    if (!strcmp(how, "SIGSEGV")) *nowhere = 0;
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "pthread_exit")) leave_main();
    /* "return": main() ends with 0 */
}

/* Its status if it has ended within some seconds; a program without a main thread may be deaf to
 * signals but this one. */
static int status_in_time(pid_t pid) {
    for (uint64_t begin = now_us(); now_us() - begin < quiet_us(8000000); sleep_ms(2)) {
        siginfo_t info = {.si_pid = 0};
        need(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0, "waitid");
        if (info.si_pid == pid) return status_of(pid);
    }
    kill(pid, SIGKILL);
    status_of(pid);
    return 99;
}

static void ends(const char *how) {
    char *const args[] = {"process", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    setenv("TEST_PROCESS", how, 1);
    need(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, args, environ) == 0, "spawn");
    say("%s: %d", how, status_in_time(pid));
    posix_spawn_file_actions_destroy(&actions);
}

static void test(void) {
    const char *how = getenv("TEST_PROCESS");
    memory = pages(READS * 4096 + LARGE);
    direct_fd = scratch(O_RDONLY | O_DIRECT | O_CLOEXEC, SIZE);
    data_fd = scratch(O_RDONLY | O_CLOEXEC, SIZE);
    struct sigaction action = {.sa_handler = by_signal, .sa_flags = SA_RESTART};
    sigaction(SIGRTMIN, &action, NULL);
    own_files();
    if (how) {
        leave(how);
        return;
    }
    if (getenv("TEST_LONG")) limit = 800;
    alarm(limit); /* under that of tests/run, 120 or 900 s */
    CASE("without-handlers") without_handlers();
    CASE("raw-clones") raw_clones();
    CASE("generations") generations();
    CASE("at-once") at_once();
    CASE("in-handler") in_handler();
    CASE("vforks") vforks();
    CASE("ends") {
        static const char *const ways[] = {
            "exec",   "exec by a thread", "exit",    "_exit",   "quick_exit", "exit in a callback",
            "return", "SIGKILL",          "SIGTERM", "SIGSEGV", "abort",      "pthread_exit"};
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) ends(ways[i]);
    }
}
