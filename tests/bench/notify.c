/* SPDX-License-Identifier: MIT */
/* notify.c - completions per second that a program learns of by a signal handler, by sigwaitinfo()
 * and by SIGEV_THREAD: 4 KiB reads, 32 in flight, each started again when its notification is
 * there.
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#define DEPTH 32

enum how { HANDLER, SIGWAITINFO, THREAD };

static const char *const how_names[] = {"signal handler", "sigwaitinfo", "thread"};

static struct aiocb cbs[DEPTH];
static sigset_t blocked, open_set;

/* Indices of requests whose notification has come; at most DEPTH are in it. */
static volatile int queue[DEPTH];
static volatile unsigned head, tail;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t filled;

/* Runs only inside sigsuspend(). */
static void on_signal(int signo, siginfo_t *info, void *unused) {
    (void)signo;
    (void)unused;
    queue[tail % DEPTH] = info->si_value.sival_int;
    tail = tail + 1;
}

static void on_thread(union sigval value) {
    pthread_mutex_lock(&lock);
    queue[tail % DEPTH] = value.sival_int;
    tail = tail + 1;
    pthread_mutex_unlock(&lock);
    sem_post(&filled);
}

/* Waits for a notification and answers its request. */
static int next(enum how how) {
    siginfo_t info;
    switch (how) {
    case HANDLER:
        while (head == tail) sigsuspend(&open_set);
        break;
    case SIGWAITINFO:
        while (sigwaitinfo(&blocked, &info) < 0) continue;
        return info.si_value.sival_int;
    case THREAD:
        while (sem_wait(&filled) < 0) continue;
        pthread_mutex_lock(&lock);
        break;
    }
    int i = queue[head % DEPTH];
    head = head + 1;
    if (how == THREAD) pthread_mutex_unlock(&lock);
    return i;
}

static double rate(int fd, enum how how) {
    char *buffer = pages(DEPTH * BLOCK);
    for (int i = 0; i < DEPTH; i++) {
        cbs[i] = request(fd, LIO_READ, buffer + i * BLOCK, BLOCK, anywhere(BLOCK));
        cbs[i].aio_sigevent.sigev_value.sival_int = i;
        cbs[i].aio_sigevent.sigev_notify = how == THREAD ? SIGEV_THREAD : SIGEV_SIGNAL;
        if (how == THREAD) cbs[i].aio_sigevent.sigev_notify_function = on_thread;
        else cbs[i].aio_sigevent.sigev_signo = SIGRTMIN;
        start(&cbs[i]);
    }
    double begin = now_ns(), end = begin + span_ns(0.6);
    int count = 0;
    while (now_ns() < end) {
        int i = next(how);
        finish(&cbs[i]);
        cbs[i].aio_offset = anywhere(BLOCK);
        start(&cbs[i]);
        count++;
    }
    double took = now_ns() - begin;
    for (int i = 0; i < DEPTH; i++) finish(&cbs[next(how)]);
    free(buffer);
    return count / (took / 1e9);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN, &action, NULL);
    sigemptyset(&open_set);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sem_init(&filled, 0, 0);
    warm_up();
    for (int direct = 0; direct < 2; direct++) {
        int fd = data_file(O_RDONLY | (direct ? O_DIRECT : 0));
        if (!direct) load(fd);
        for (enum how how = HANDLER; how <= THREAD; how++) {
            char name[64];
            snprintf(name, sizeof name, "notify %s, %s reads", how_names[how],
                     direct ? "direct" : "cached");
            figure(name, "1/s", "higher", rate(fd, how));
        }
        close(fd);
    }
    return 0;
}
