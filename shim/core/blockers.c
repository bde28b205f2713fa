/* SPDX-License-Identifier: MIT */
/* blockers.c - the loop of the thread that waits for one stream request (lanes/stream.c says
 * whose).
 *
 * It is started by kaio_blocker_create(), and cancelled while it polls: whoever does that wakes it.
 */
#include "core/core.h"

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_MS 10 /* where nobody can wake it */

static bool blocker_begin(struct kaio_req *req) {
    struct kaio_batch b;
    kaio_enter(&b);
    bool begins = kaio_stream_unblock(req, KAIO_OFFERED);
    kaio_thread_list(b.self, false);
    atomic_store_explicit(&b.self->sleep, KAIO_AWAKE, memory_order_relaxed);
    kaio_leave(&b);
    return begins;
}

/* Until the stream is ready, or its limit is over, or cancel.c ends the request and so wakes us, or
 * others that wait for the same are woken. *ready: poll()'s events. False: while it was being
 * offered aio_cancel() has told it to end (req->told), and it is not this thread's any more.
 */
static bool blocker_sleep(struct kaio_req *req, uint64_t end, short *ready) {
    struct kaio_batch b;
    kaio_enter(&b);
    if (req->told) {
        kaio_answer(&b, req, KAIO_SAYS, -EAGAIN);
        kaio_leave(&b);
        return false;
    }
    kaio_thread_check(b.self);
    struct pollfd fds[2] = {{.fd = req->iocb.aio_fildes},
                            {.fd = kaio_thread_efd(b.self), .events = POLLIN}};
    fds[0].events = req->op == KAIO_READ ? POLLIN : POLLOUT;
    kaio_thread_add_waiter(&req->waiter, b.self);
    kaio_thread_list(b.self, true); /* until blocker_begin() */
    /* release: as in fall_asleep() in wait.c */
    if (fds[1].fd >= 0)
        atomic_store_explicit(&b.self->sleep, KAIO_ON_EVENTFD, memory_order_release);
    req->lane = KAIO_BY_BLOCKER;
    kaio_req_move(req, KAIO_POLLING);
    kaio_leave(&b);
    int ms = fds[1].fd < 0 ? LOOK_MS : kaio_stream_ms_until(end);
    if (fds[1].fd < 0 || kaio_thread_polls(b.self, fds[1].fd)) kaio_poll_fds(fds, 2, ms);
    /* release: as in wake_up() in wait.c */
    atomic_store_explicit(&b.self->polled, 0, memory_order_release);
    if (fds[1].revents) kaio_thread_drain(b.self);
    *ready = fds[0].revents;
    return true;
}

/* May wait for ever, unless it is ready. ready: what it became while we waited. */
static long blocker_run(struct kaio_req *req, short ready) {
    struct kaio_batch b;
    kaio_enter(&b);
    req->owner = b.self; /* whose tid is_inside() in stream.c asks for */
    kaio_req_move(req, KAIO_RUNNING);
    kaio_leave(&b);
    long res = kaio_worker_run(req);
    return res == 0 && kaio_stream_is_hung_up(req, ready) ? -EIO : res;
}

/* The rule for one stream request: offer it, wait, offer it again. A terminal takes no offers: the
 * blocking call follows when it is ready. What is refused is left to that call. */
void *kaio_blocker_main(void *arg) {
    struct kaio_req *req = arg;
    struct kaio_batch b;
    uint64_t limit = kaio_stream_limit(req), end = limit ? kaio_now_ns() + limit : 0;
    short ready = 0;
    kaio_is_ours = true;
    while (blocker_begin(req)) {
        long res = kaio_stream_objection(req, ready);
        if (res == 0) res = kaio_copy_stream(req);
        if (res > 0) kaio_req_advance(req, (size_t)res);
        bool waits = kaio_stream_must_wait(req, res, ready),
             late = waits && kaio_stream_ms_until(end) == 0;
        if (waits && !late) {
            if (blocker_sleep(req, end, &ready)) continue;
            break;
        }
        if (kaio_stream_is_refusal(res) && !late) res = blocker_run(req, ready);
        else if (res >= 0 || req->done) res = (long)req->done;
        else if (late) res = -EAGAIN;
        kaio_enter(&b);
        kaio_worker_finish(&b, req, res);
        kaio_leave(&b);
        break;
    }
    kaio_engine_thread_ended();
    return NULL;
}
