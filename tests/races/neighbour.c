/* SPDX-License-Identifier: MIT */
/* A forked child finds what belongs to others as the parent left it, though the shim's memory is
 * wiped there: thread-local data whose key was made before any of the shim's (so it is the key that
 * the shim would take for its own if that were wiped). And the shim's own key works: the records of
 * threads that have ended, with their eventfds, are used again. What a handler of fork() that comes
 * before the shim's own asks for in the child ends there. */
#include "test.h"

#include <dirent.h>

enum { THREADS = 20 };

static pthread_key_t key;
static int value = 1;
static _Atomic int destroyed;

static void destroy(void *p) {
    destroyed += p != &value ? 1000 : 1;
}

static int pipes_of_child[2];
static char byte_of_child;
static struct aiocb of_child;

static void in_child(void) {
    if (pipe(pipes_of_child)) _exit(98);
    of_child = request(pipes_of_child[0], &byte_of_child, 1, 0);
    if (aio_read(&of_child)) _exit(97);
}

static bool handlers_read_ends(void) {
    const struct aiocb *list[] = {&of_child};
    const struct timespec limit = {5, 0};
    need(write(pipes_of_child[1], "x", 1) == 1, "write");
    return aio_suspend(list, 1, &limit) == 0 && aio_return(&of_child) == 1 && byte_of_child == 'x';
}

/* Before the constructors of libraries. */
static void make_key(void) {
    if (pthread_key_create(&key, destroy) || pthread_setspecific(key, &value)) _exit(99);
    pthread_atfork(NULL, NULL, in_child);
}
__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = make_key;

static void *wait_for_read(void *unused) {
    int pipes[2];
    char byte;
    pthread_setspecific(key, &value);
    need(pipe(pipes) == 0, "pipe");
    struct aiocb cb = request(pipes[0], &byte, 1, 0);
    need(aio_read(&cb) == 0 && write(pipes[1], "x", 1) == 1 && finish(&cb) == 0, "aio_read");
    need(pthread_getspecific(key) == &value, "the thread's data is gone");
    close(pipes[0]);
    close(pipes[1]);
    return unused;
}

static int eventfds(void) {
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *fd;
    int n = 0;
    need(dir != NULL, "/proc");
    while ((fd = readdir(dir))) {
        char path[300], target[50] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", fd->d_name);
        n += readlink(path, target, sizeof target - 1) > 0 && strstr(target, "eventfd");
    }
    closedir(dir);
    return n;
}

static bool threads(const char *where) {
    destroyed = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        need(pthread_create(&thread, NULL, wait_for_read, NULL) == 0, "thread");
        pthread_join(thread, NULL);
    }
    bool has_own = pthread_getspecific(key) == &value;
    int efds =
        eventfds(); /* at most one of the main thread, one of the reaper, one of the others */
    say("%s: own data %d, destroyed %d, eventfds %d", where, has_own, destroyed, efds);
    return has_own && destroyed == THREADS && efds <= 3;
}

static bool child_of(pid_t (*make)(void), const char *name) {
    int status = -1;
    pid_t child = make();
    need(child >= 0, "fork");
    if (child == 0) {
        alarm(20);
        if (make == fork && !handlers_read_ends()) _exit(2);
        _exit(threads(name) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    say("%s: status %#x", name, (unsigned)status);
    return status == 0;
}

static void test(void) {
    bool good = threads("parent");
    good &= child_of(fork, "fork()");
    good &= child_of(_Fork, "_Fork()");
    good &= threads("parent again");
    if (!good) exit(1);
}
