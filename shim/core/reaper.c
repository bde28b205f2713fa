/* reaper.c - the background thread, for events that somebody must act on whatever the program does.
 *
 * It starts with the first iocb whose completion has consequences (a notification, a stream's next
 * step), sleeps in epoll_wait(), and ends after a second without anything in the kernel.
 * What is in the set, host/epoll.c says. It never reads an eventfd, so it never takes a wake-up
 * from another thread.
 */
#include "core/core.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS    1000
#define STUCK_NS   900000000 /* less than IDLE_MS */
#define SWEEP_NS   1000000000ul
#define SWEEP_MANY 4096 /* requests that add another second */
#define LOOK_MS    1    /* where some eventfd is not in the set, or not to be had */

/* Nothing in the kernel, nothing owed: it goes, or the process would not end with its last thread.
 * seq_cst: either take() in lanes/direct.c, which has no lock, sees that it does not run any more,
 * or what that has counted in the kernel is seen here. */
static bool retire(void) {
    struct kaio_batch b;
    kaio_enter(&b);
    struct kaio_thread *self = b.self;
    bool idle = kaio.epolled == 0 && kaio.owed == 0 && TAILQ_EMPTY(&kaio.handover) &&
                TAILQ_EMPTY(&kaio.handover_lists) && TAILQ_EMPTY(&kaio.blockers);
    if (idle) {
        atomic_store(&kaio.attended, false);
        idle = kaio_load_count(atomic_load(&kaio.load)) == 0;
        if (idle) kaio_reaper_end();
        else atomic_store(&kaio.attended, true);
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
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
    }
}

/* Each second, more seldom if there are many. True: there is more to do now. */
static bool sweep(struct kaio_batch *b) {
    static uint64_t begun_ns; /* the reaper's own, here and below */
    static uint32_t next;
    static bool sweeping;
    uint64_t now = kaio_now_ns();
    if (!sweeping && now - begun_ns >= SWEEP_NS * (1 + kaio.epolled / SWEEP_MANY)) {
        begun_ns = now;
        next = 0;
        sweeping = true;
    }
    if (sweeping) sweeping = kaio.epolled > 0 && kaio_stream_sweep(b, &next);
    return sweeping;
}

void *kaio_reaper_main(void *self) {
    kaio_is_ours = true;
    kaio_self = self;
    struct epoll_event ev[KAIO_HOLD];
    long n = 0;
    for (bool first = true;; first = false) {
        struct kaio_batch b;
        kaio_enter(&b);
        if (first) kaio_level_abandon(b.self); /* of the record's owner before */
        for (long i = 0; i < n; i++) kaio_stream_event(&b, &ev[i]);
        if (kaio_reaper_renew()) kaio_stream_poll_again(&b);
        unclog(&b);
        if (kaio.watching && kaio.owed == 0) kaio_reaper_unwatch();
        bool more = sweep(&b) || (kaio.stuck && kaio_kernel_waiting());
        int ms = more ? 0 : kaio.blind || kaio.reaper->efd < 0 ? LOOK_MS : IDLE_MS;
        kaio_leave(&b);
        n = syscall(SYS_epoll_wait, kaio_epoll_set(), ev, (long)KAIO_HOLD, (long)ms);
        if (n < 0) kaio_clock_nap(LOOK_MS * 1000000l, false); /* there is no set */
        if (n <= 0 && retire()) return NULL;
    }
}
