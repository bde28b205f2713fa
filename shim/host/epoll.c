/* SPDX-License-Identifier: MIT */
/* epoll.c - the record of the reaper and its epoll set, without its thread (core/reaper.c).
 *
 * Under the lock. Edge-triggered, so nobody reads an eventfd for it. The set holds
 *   - the reaper's own eventfd: flagged in iocbs whose end has consequences, and written by
 *     kaio_reaper_kick();
 *   - the streams that wait for their peers (lanes/stream.c);
 *   - while kaio_reaper.owed > 0, every thread's eventfd: an aio_fsync is held behind their
 * requests, more requests wait for room in the context, or a thread waits for another thread's
 * requests.
 */
#include "host/host.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The set, or -1 if the program has closed its number unseen and may have a file of its own there.
 */
int kaio_epoll_set(void) {
    return kaio_fd_is_marked(kaio_epfd) ? kaio_epfd : -1;
}

static int set_new(void) {
    return kaio_fd_raise((int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC));
}

LOCKED static void watch(struct kaio_thread *thread) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET}; /* no request's */
    if (thread->watched) return;
    thread->watched =
        thread->efd >= 0 && !epoll_ctl(kaio_epoll_set(), EPOLL_CTL_ADD, thread->efd, &ev);
    kaio_reaper.blind |= !thread->watched && thread->efd >= 0;
}

void kaio_reaper_unwatch(void) {
    for (int i = 0; i <= KAIO_EFDS; i++) {
        struct kaio_thread *t = kaio_efds[i];
        if (!t || t == kaio_reaper.thread || !t->watched) continue;
        epoll_ctl(kaio_epoll_set(), EPOLL_CTL_DEL, t->efd, NULL);
        t->watched = false;
    }
    kaio_reaper.watching = false;
}

/* In each round of the reaper's. Who waited there is to wait elsewhere, if there is no new one. */
bool kaio_reaper_renew(void) {
    if (kaio_epoll_set() >= 0) return false;
    kaio_epfd = set_new();
    for (int i = 0; i <= KAIO_EFDS; i++)
        if (kaio_efds[i]) kaio_efds[i]->watched = false;
    watch(kaio_reaper.thread);
    kaio_reaper.watching = false; /* kaio_leave() watches again */
    return true;
}

/* A careful caller can have none started. */
bool kaio_reaper_ready(bool careful) {
    if (kaio_reaper.thread) return !careful || atomic_load(&kaio_reaper.runs);
    struct kaio_thread *thread = careful ? NULL : kaio_thread_record();
    if (!thread) return false;
    if (!kaio_fd_is_marked(thread->efd)) thread->efd = -1; /* closed unseen, a new one is as good */
    kaio_epfd = set_new();
    kaio_reaper.thread = thread; /* has a place of its own in kaio_efds */
    kaio_reaper.blind = kaio_thread_efd(thread) < 0;
    watch(thread);
    kaio_reaper.due = true;
    return true;
}

void kaio_reaper_end(void) {
    kaio_reaper_unwatch();
    if (kaio_epoll_set() >= 0) syscall(SYS_close, kaio_epfd);
    kaio_epfd = -1;
    kaio_reaper.thread->watched = false;
    kaio_reaper.thread = NULL;
    kaio_reaper.due = false;
}

void kaio_reaper_watch(void) {
    for (int i = 0; i <= KAIO_EFDS; i++)
        if (kaio_efds[i]) watch(kaio_efds[i]);
    kaio_reaper.watching = true;
}
