/* SPDX-License-Identifier: MIT */
/* rank.c - where requests queue (a stream's line, file->held): by rank, and in call order among
 * equals.
 *
 * Under the lock, on the thread that makes the request. Of each rank the last knows the last of the
 * ranks before and after (req->run), so it takes as many looks as there are ranks in the list, of
 * 120 at most, however long it is.
 */
#include "request/request.h"

#include <limits.h>
#include <sched.h>

/* In place of aio_reqprio: that lowers the priority that the thread has (aio(7)). Nothing goes past
 * a sync, and that goes past nothing. */
static void set_rank(struct kaio_req *req) {
    struct sched_param own = {.sched_priority = 0};
    sched_getparam(0, &own);
    req->iocb.aio_reqprio = (short)(req->iocb.aio_reqprio - own.sched_priority);
    if (req->op > KAIO_WRITE) req->iocb.aio_reqprio = SHRT_MIN;
}

static short rank(const struct kaio_req *req) {
    return req->iocb.aio_reqprio;
}

void kaio_rank_insert(struct kaio_reqs *list, struct kaio_req *req) {
    struct kaio_req *before = TAILQ_LAST(list, kaio_reqs), *after = NULL;
    set_rank(req);
    while (before && req->op <= KAIO_WRITE && rank(before) > rank(req)) {
        after = before;
        before = before->run.before;
    }
    bool has_equal = before && rank(before) == rank(req);
    req->run = (struct kaio_run){has_equal ? before->run.before : before, after};
    if (req->run.before) req->run.before->run.after = req;
    if (after) after->run.before = req;
    if (before) TAILQ_INSERT_AFTER(list, before, req, link);
    else TAILQ_INSERT_HEAD(list, req, link);
}

/* These two are neighbours now; of equal rank, if a sync between them was cancelled. */
static void join(struct kaio_req *before, struct kaio_req *after) {
    bool are_equal = before && after && rank(before) == rank(after);
    if (are_equal) before = before->run.before;
    if (before) before->run.after = after;
    if (after) after->run.before = before;
}

void kaio_rank_remove(struct kaio_reqs *list, struct kaio_req *req) {
    struct kaio_req *next = TAILQ_NEXT(req, link), *last = TAILQ_PREV(req, kaio_reqs, link);
    bool is_last = !next || rank(next) != rank(req);
    TAILQ_REMOVE(list, req, link);
    if (!is_last) return;
    if (last && rank(last) == rank(req)) join(req->run.before, last);
    else last = req->run.before;
    join(last, req->run.after);
}
