/* SPDX-License-Identifier: MIT */
/* A SIGEV_THREAD notification's attributes are the program's to destroy as soon as its thread runs.
 * pthread_create() may not have ended by then, and looks at what it was given (glibc aborts
 * when that has changed). So here it ends late, and the callback overwrites the attributes. */
#include "test.h"

#include <dlfcn.h>

static pthread_attr_t given;
static sem_t called, ended;
static _Atomic bool changed;

static void on_end(union sigval unused) {
    (void)unused;
    memset(&given, 0xff, sizeof given);
    sem_post(&called);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    pthread_attr_t before;
    size_t stack = 0;
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    if (attr) pthread_attr_getstacksize(attr, &stack);
    bool is_ours = attr && stack == 1 << 20;
    if (is_ours) memcpy(&before, attr, sizeof before);
    int err = create(thread, attr, run, arg);
    if (!is_ours) return err;
    sem_wait(&called);
    changed = memcmp(&before, attr, sizeof before) != 0;
    sem_post(&ended);
    return err;
}

static void test(void) {
    char data[10];
    struct aiocb cb = request(open("file", O_RDWR | O_CREAT, 0600), data, sizeof data, 0);
    sem_init(&called, 0, 0);
    sem_init(&ended, 0, 0);
    pthread_attr_init(&given);
    pthread_attr_setstacksize(&given, 1 << 20);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = on_end;
    cb.aio_sigevent.sigev_notify_attributes = &given;
    need(aio_read(&cb) == 0, "aio_read");
    sem_wait(&ended);
    if (changed) {
        say("pthread_create() was given the program's own attributes");
        exit(1);
    }
}
