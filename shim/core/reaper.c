/* SPDX-License-Identifier: MIT */
/* reaper.c - the background thread, for events that somebody must act on whatever the program does.
 *
 * It runs while anything is in the kernel or in its epoll set, where it sleeps, and ends after a
 * second without. What is in the set, host/epoll.c says. It never reads an eventfd, so it never
 * takes a wake-up from another thread.
 */
#include "core/core.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS 1000
#define LOOK_MS 1 /* where some eventfd is not in the set, or not to be had */

/* Nothing in the kernel, nothing owed: it goes, or the process would not end with its last thread.
 * seq_cst: either take_from_stock() in lanes/direct.c, which has no lock, sees that it does not run
 * any more, or what that has counted in the kernel is seen here. */
static bool retire(void) {
    struct kaio_batch b;
    kaio_enter(&b);
    struct kaio_thread *self = b.self;
    bool idle = !kaio_stream_needs_reaper() && kaio_reaper.owed == 0 && !kaio_reaper_has();
    idle = idle && atomic_load(&kaio_reaper.runs); /* else who started it has yet to say so */
    if (idle) {
        atomic_store(&kaio_reaper.runs, false);
        idle = kaio_load_count(atomic_load(&kaio_context.load)) == 0;
        if (idle) kaio_reaper_end();
        else atomic_store(&kaio_reaper.runs, true);
    }
    kaio_leave(&b);
    if (idle) atomic_store_explicit(&self->taken, false, memory_order_release);
    return idle;
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
        bool more = kaio_kernel_unclog(&b);
        if (kaio_reaper.watching && kaio_reaper.owed == 0) kaio_reaper_unwatch();
        more |= kaio_stream_sweep(&b);
        int ms = more ? 0 : kaio_reaper.blind || kaio_reaper.thread->efd < 0 ? LOOK_MS : IDLE_MS;
        kaio_leave(&b);
        n = syscall(SYS_epoll_pwait, kaio_epoll_set(), ev, (long)KAIO_HOLD, (long)ms, NULL, 0l);
        if (n < 0) kaio_clock_nap(LOOK_MS * 1000000l, false); /* there is no set */
        if (n <= 0 && retire()) return NULL;
    }
}
