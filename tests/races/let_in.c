/* SPDX-License-Identifier: MIT */
/* Handlers that come in the middle of long calls, wherever the library lets signals in: for
 * races.sh. pthread_sigmask() is found here first, and raises a signal before each mask that the
 * library gives back. Its handler waits, and once writes, jumps out, forks or closes. */
#include "test.h"
#include "replace.h"

#include <setjmp.h>

enum { MANY = 2000, LEAST = 8, AT = 4 };
enum deed { LOOKS, ENDS, JUMPS, FORKS, CLOSES };

static bool armed;
static int handlers, ends[2];
static enum deed deed;
static sigjmp_buf out;
static pid_t child;
static struct aiocb *cbs;
static const struct aiocb **list;
static char data[MANY];

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    static int (*next)(int, const sigset_t *, sigset_t *);
    if (!next)
        next = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
    uintptr_t at = (uintptr_t)__builtin_return_address(0);
    if (armed && at >= library_begin && at < library_end && set && !sigismember(set, SIGUSR1))
        raise(SIGUSR1);
    return next(how, set, old);
}

static void must(bool ok, const char *what) {
    if (ok) return;
    say("deed %d, %d handlers: %s, errno %s", (int)deed, handlers, what, name(errno));
    exit(1);
}

static void act(void) {
    if (deed == ENDS) need(write(ends[1], "x", 1) == 1, "write");
    if (deed == JUMPS) siglongjmp(out, 1);
    if (deed == FORKS) need((child = fork()) >= 0, "fork");
    if (deed == CLOSES) close(ends[0]);
}

static void on_signal(int signo) {
    const struct timespec limit = {0, 1};
    if (!armed) return;
    armed = false; /* what the handler itself gives back is none of the call's */
    handlers += signo == SIGUSR1;
    aio_suspend(list, handlers % MANY, &limit);
    if (handlers == AT) act();
    armed = !(deed == FORKS && child == 0 && handlers == AT);
}

static long at_call(const struct call *call) {
    (void)call;
    return GO_ON;
}

static void *submit(void *unused) {
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(ends[0], data + i, 1, 0);
        list[i] = &cbs[i];
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    return unused;
}

static void begin(enum deed what) {
    pthread_t thread;
    need(pipe(ends) == 0 && pthread_create(&thread, NULL, submit, NULL) == 0, "begin");
    pthread_join(thread, NULL);
    deed = what;
    handlers = 0;
    child = -1;
    armed = true;
}

static int count(int status) {
    int n = 0;
    for (int i = 0; i < MANY; i++) n += aio_error(&cbs[i]) == status;
    return n;
}

static void finish_all(void) {
    armed = false;
    must(handlers >= LEAST || deed == CLOSES, "few handlers");
    aio_cancel(ends[0], NULL);
    must(count(ECANCELED) == MANY - (deed == ENDS), "some are not cancelled");
    close(ends[0]), close(ends[1]);
}

/* The parent's requests are none of the child's: its wait ends. */
static void check_child(void) {
    int status = -1;
    if (child == 0) _exit(0);
    need(waitpid(child, &status, 0) == child, "waitpid");
    must(status == 0, "the child's wait");
}

static void suspend_and_end(void) {
    must(aio_suspend(list, MANY, NULL) == 0, "aio_suspend");
    finish_all();
}

static void suspend(enum deed what) {
    const struct timespec limit = {0, 200000000};
    begin(what);
    int res = aio_suspend(list, MANY, &limit), err = errno;
    if (what == FORKS) check_child();
    must(res == -1 && err == EAGAIN, "aio_suspend's limit");
    finish_all();
}

/* It waits again, and is woken. */
static void jump(void) {
    begin(JUMPS);
    if (sigsetjmp(out, 1) == 0) aio_suspend(list, MANY, NULL);
    deed = ENDS;
    handlers = 0;
    armed = true;
    suspend_and_end();
}

static void cancel(enum deed what) {
    begin(what);
    int res = aio_cancel(ends[0], NULL);
    must(what == LOOKS ? res == AIO_CANCELED : res >= 0, "aio_cancel");
    finish_all();
}

static void test(void) {
    alarm(60);
    replace_begin();
    signal(SIGUSR1, on_signal);
    cbs = calloc(MANY, sizeof *cbs);
    list = calloc(MANY, sizeof *list);
    suspend(LOOKS);
    suspend(FORKS);
    begin(ENDS);
    suspend_and_end();
    jump();
    cancel(LOOKS);
    cancel(CLOSES);
}
