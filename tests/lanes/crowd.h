/* SPDX-License-Identifier: MIT */
/* crowd.h - for programs with so many threads that each has a small stack. */
#include "test.h"

static inline pthread_t start(void *(*run)(void *), void *arg) {
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 << 10);
    need(pthread_create(&thread, &attr, run, arg) == 0, "thread");
    pthread_attr_destroy(&attr);
    return thread;
}
