/* reaper.c - the background thread, for events that somebody must act on whatever the program does.
 *
 * It starts with the first iocb whose completion has consequences (a notification, a stream's next
 * step), sleeps in epoll_wait(), and ends after a second without anything in the kernel.
 * Edge-triggered, so it never reads an eventfd and never takes a wake-up from another thread. Its
 * set holds
 *   - its own eventfd: flagged in those iocbs, and written by kaio_reaper_hand();
 *   - the streams that wait and for which the context has no room (kaio_reaper_poll());
 *   - while kaio.owed > 0, every thread's eventfd: an aio_fsync is held behind their requests, more
 *     requests wait for room in the context, or a thread waits for another thread's requests.
 */
#include "kaio.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS  1000
#define STUCK_NS 900000000 /* less than IDLE_MS */
#define LOOK_MS  1         /* where some eventfd is not in the set, or not to be had */

/* The set, or -1 if the program has closed its number unseen and may have a file of its own there.
 */
static int set(void) {
    return kaio_fd_is_marked(kaio_epfd) ? kaio_epfd : -1;
}

static void watch(struct kaio_thread *thread) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET}; /* no request's */
    if (thread->watched) return;
    thread->watched = thread->efd >= 0 && !epoll_ctl(set(), EPOLL_CTL_ADD, thread->efd, &ev);
    kaio.blind |= !thread->watched && (thread->efd >= 0 || thread->unflagged);
}

static void unwatch_all(void) {
    for (int i = 0; i <= KAIO_EFDS; i++) {
        struct kaio_thread *t = kaio_efds[i];
        if (!t || t == kaio.reaper || !t->watched) continue;
        epoll_ctl(set(), EPOLL_CTL_DEL, t->efd, NULL);
        t->watched = false;
    }
    kaio.watching = false;
}

/* One-shot, so that the set need not change before the request does. The other direction of the
 * same descriptor may be there already: then a blocker takes this one. */
bool kaio_reaper_poll(const struct kaio_batch *b, struct kaio_req *req) {
    struct epoll_event ev = {.data.ptr = req};
    ev.events = EPOLLONESHOT | (req->op == KAIO_READ ? EPOLLIN : EPOLLOUT);
    if (!kaio_reaper_ready(b) || kaio.unattended) return false;
    if (epoll_ctl(set(), EPOLL_CTL_ADD, req->iocb.aio_fildes, &ev)) return false;
    req->epolled = true;
    kaio.epolled++;
    kaio_req_move(req, KAIO_POLLING);
    return true;
}

/* An event of it may be on its way to stream_ready() all the same. */
void kaio_reaper_unpoll(struct kaio_req *req) {
    epoll_ctl(set(), EPOLL_CTL_DEL, req->iocb.aio_fildes, NULL);
    req->epolled = false;
    kaio.epolled--;
}

/* Of an eventfd: leave has reaped. Requests are never unmapped; if this one has been replaced since
 * by another that polls, that one is offered once more than it need be. */
static void stream_ready(struct kaio_batch *b, const struct epoll_event *ev) {
    struct kaio_req *req = ev->data.ptr;
    if (ev->events == 0 || !req || !req->epolled) return;
    kaio_reaper_unpoll(req);
    kaio_submit_ready(b, req, ev->events);
}

/* What was handed over comes into b, from where kaio_leave() delivers it. */
void kaio_reaper_take(struct kaio_batch *b) {
    TAILQ_CONCAT(&b->notify, &kaio.handover, link);
    TAILQ_CONCAT(&b->lists, &kaio.handover_lists, link);
}

/* Nothing in the kernel, nothing owed: it goes, or the process would not end with its last thread.
 */
static bool retire(void) {
    struct kaio_batch b;
    kaio_enter(&b);
    struct kaio_thread *self = b.self;
    bool idle = kaio_in_kernel() == 0 && kaio.epolled == 0 && kaio.owed == 0 &&
                TAILQ_EMPTY(&kaio.handover) && TAILQ_EMPTY(&kaio.handover_lists);
    if (idle) {
        unwatch_all();
        if (set() >= 0) syscall(SYS_close, kaio_epfd);
        kaio_epfd = -1;
        kaio.reaper->watched = false;
        kaio.reaper = NULL;
    }
    kaio_leave(&b);
    if (idle) atomic_store_explicit(&self->taken, false, memory_order_release);
    return idle;
}

/* In each round: if requests wait for room and for a second nothing in the context has ended, a
 * device holds up what is there; others take the way of what is declined, until something ends. */
static void unclog(struct kaio_batch *b) {
    struct kaio_req *req;
    bool waits = kaio_kernel_waiting() && kaio_config.mode == KAIO_AUTO;
    if (!waits || kaio.ends != kaio.ends_seen) kaio.quiet_since = 0;
    else if (kaio.quiet_since == 0) kaio.quiet_since = kaio_now_ns();
    else if (kaio_now_ns() - kaio.quiet_since >= STUCK_NS) kaio.stuck = true;
    kaio.ends_seen = kaio.ends;
    for (int n = 0; kaio.stuck && n < KAIO_HOLD && (req = kaio_kernel_waiting()); n++) {
        kaio_kernel_unqueue(req);
        kaio_req_move(req, KAIO_OFFERED);
        kaio_submit_result(b, req, -EAGAIN);
    }
}

static void *reaper_main(void *self) {
    kaio_is_ours = true;
    kaio_self = self;
    struct epoll_event ev = {.events = 0};
    for (;;) {
        struct kaio_batch b;
        kaio_enter(&b);
        stream_ready(&b, &ev);
        unclog(&b);
        if (kaio.watching && kaio.owed == 0) unwatch_all();
        bool more = kaio.stuck && kaio_kernel_waiting();
        int ms = more ? 0 : kaio.blind || kaio.reaper->efd < 0 ? LOOK_MS : IDLE_MS;
        kaio_leave(&b);
        ev.events = 0;
        long n = syscall(SYS_epoll_wait, set(), &ev, 1l, (long)ms);
        if (n < 0) kaio_clock_nap(LOOK_MS * 1000000l, false); /* there is no set */
        if (n <= 0 && retire()) return NULL;
    }
}

/* A careful caller cannot have it started; the next one that can does so. */
bool kaio_reaper_ready(const struct kaio_batch *b) {
    if (kaio.reaper) return true;
    if (b->careful) {
        kaio.unattended = true;
        return false;
    }
    struct kaio_thread *thread = kaio_thread_record();
    if (!kaio_fd_is_marked(thread->efd)) thread->efd = -1; /* closed unseen, a new one is as good */
    kaio_epfd = kaio_fd_raise((int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC));
    kaio.reaper = thread; /* has a place of its own in kaio_efds */
    kaio.blind = kaio_thread_efd(thread) < 0;
    watch(thread);
    kaio.reaper_due = true;
    return true;
}

/* Nobody is going to look at the set. */
static void give_up(struct kaio_batch *b) {
    for (uint32_t i = 0; kaio.epolled && i < kaio.nreqs; i++) {
        struct kaio_req *req = kaio_req_at(i);
        if (!req->epolled) continue;
        kaio_reaper_unpoll(req);
        kaio_complete_refused(b, req);
    }
}

/* Not under the lock: pthread_create() takes locks of libc's, which a thread may hold that is in a
 * signal handler and waits for ours. If it fails, whoever leaves next tries again. */
bool kaio_reaper_start(struct kaio_batch *b) {
    if (b->careful) return false;
    if (kaio.unattended) kaio_reaper_ready(b);
    if (!kaio.reaper_due) return false;
    kaio.reaper_due = false;
    struct kaio_thread *thread = kaio.reaper;
    kaio_unlock();
    int err = kaio_thread_start(reaper_main, thread);
    kaio_lock();
    kaio.reaper_due = err != 0;
    if (err && !kaio.unattended) {
        kaio_log("the reaper could not be started");
        /* who sleeps looks itself from now on */
        for (struct kaio_thread *t = kaio_threads; t; t = t->next) kaio_thread_wake_later(t);
    }
    kaio.unattended = err != 0;
    if (err) give_up(b);
    return err == 0;
}

void kaio_reaper_watch(const struct kaio_batch *b) {
    if (!kaio_reaper_ready(b)) return;
    for (int i = 0; i <= KAIO_EFDS; i++)
        if (kaio_efds[i]) watch(kaio_efds[i]);
    kaio.watching = true;
}

void kaio_reaper_kick(void) {
    uint64_t one = 1;
    if (kaio_fd_is_marked(kaio.reaper->efd)) syscall(SYS_write, kaio.reaper->efd, &one, sizeof one);
}

/* While there is no thread for it, an item's SIGEV_THREAD does not keep its list from its end. */
static void let_lists_end(struct kaio_batch *b) {
    struct kaio_req *req;
    TAILQ_FOREACH(req, &b->notify, link) {
        struct kaio_lio *lio = req->lio;
        req->lio = NULL;
        if (lio) kaio_complete_item(b, lio, req->failed);
    }
}

/* A program's thread may be in a signal handler, or has better things to do than to start those of
 * others: SIGEV_THREAD goes to the reaper, whenever that comes. */
void kaio_reaper_hand(struct kaio_batch *b) {
    if (TAILQ_EMPTY(&b->notify) && TAILQ_EMPTY(&b->lists)) return;
    if (kaio.unattended) let_lists_end(b);
    TAILQ_CONCAT(&kaio.handover, &b->notify, link);
    TAILQ_CONCAT(&kaio.handover_lists, &b->lists, link);
    if (kaio_reaper_ready(b)) kaio_reaper_kick();
}
