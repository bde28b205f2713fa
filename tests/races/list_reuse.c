/* SPDX-License-Identifier: MIT */
/* A call of lio_listio() goes on after its list has ended, whose memory then serves another
 * thread's list: what becomes of that one is none of the call's business. Here the call wants a
 * worker for somebody's requests, and none can be had. For races.sh. */
#include "test.h"
#include "replace.h"

enum { BLOCK = 4096, SIGNAL = 40, ITEMS = 2 };
enum who { OTHER, ASKS, ENDS, REUSES, THREADS }; /* the second's list ends, the third's is next */

static __thread enum who me;
static _Atomic bool in_read, may_read, in_call[THREADS], may_fail[THREADS];
static int answers[THREADS], fds[THREADS][ITEMS];
static struct aiocb cbs[THREADS][ITEMS];
static char data[THREADS][ITEMS][BLOCK];

static void stop(_Atomic bool *is_there, const _Atomic bool *may_go_on) {
    *is_there = true;
    while (!*may_go_on) sleep_ms(1);
}

static long at_call(const struct call *call) {
    if (call->nr == SYS_preadv2 && me == ENDS) stop(&in_read, &may_read);
    if (call->nr != SYS_clone3) return GO_ON;
    stop(&in_call[me], &may_fail[me]);
    return -EAGAIN;
}

static void *submit(void *arg) {
    struct aiocb *list[ITEMS] = {NULL};
    me = (enum who)(uintptr_t)arg;
    for (int i = 0; i < (me == ASKS ? ITEMS : 1); i++) {
        list[i] = &cbs[me][i];
        cbs[me][i] = request(fds[me][i], data[me][i], BLOCK, 0);
        cbs[me][i].aio_lio_opcode = me == ENDS ? LIO_READ : LIO_WRITE;
        if (me == REUSES) cbs[me][i].aio_sigevent = sigevent_signal(SIGNAL, 7);
    }
    answers[me] = lio_listio(LIO_NOWAIT, list, ITEMS, NULL) ? errno : 0;
    return NULL;
}

static pthread_t start(enum who who, const _Atomic bool *is_there) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, submit, (void *)(uintptr_t)who) == 0, "thread");
    while (!*is_there) sleep_ms(1);
    return thread;
}

static void finish_call(enum who who, pthread_t thread) {
    may_fail[who] = true;
    pthread_join(thread, NULL);
}

static void test(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (enum who who = ASKS; who < THREADS; who++) /* appended: left to workers, one a file */
        for (int i = 0; i < ITEMS; i++) fds[who][i] = scratch(O_RDWR | O_APPEND, BLOCK);
    need(pread(fds[ENDS][0], data[ENDS][0], BLOCK, 0) == BLOCK, "pread"); /* now in memory */
    replace_begin();
    pthread_t ends = start(ENDS, &in_read);       /* its call looked for work before that */
    pthread_t asks = start(ASKS, &in_call[ASKS]); /* one worker, for two files: */
    may_read = true;
    while (!in_call[ENDS]) sleep_ms(1); /* another, by the call whose list has ended */
    int read = aio_error(&cbs[ENDS][0]);
    may_fail[REUSES] = true;
    finish_call(REUSES, start(REUSES, &in_call[REUSES]));
    finish_call(ASKS, asks);
    finish_call(ENDS, ends); /* the last that might have got one: all that waits fails */
    int next = finish(&cbs[REUSES][0]), signal = next_signal(SIGNAL, 5);
    say("the one that ended: read %s, the call %s", name(read), name(answers[ENDS]));
    say("its memory's next: call %s, write %s, signal %d", name(answers[REUSES]), name(next),
        signal);
    if (read || answers[ENDS] || answers[REUSES] || next != EAGAIN || signal != 7) exit(1);
}
