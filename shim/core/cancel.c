/* SPDX-License-Identifier: MIT */
/* cancel.c - aio_cancel(), and what close() does to streams. Under the lock.
 *
 * Everything that has not begun can be cancelled: it is taken out of its queue, or back from its
 * lane, and ends like any request, with ECANCELED and its notification. In the kernel or in a
 * worker's hands: not cancelled. Nor is what has transferred a part: a stream's ends now, with that
 * count; a file's goes on.
 */
#include "core/core.h"

#include <errno.h>
#include <unistd.h>

static bool has_ended(const struct kaio_req *req) {
    return req->state == KAIO_FREE || req->state == KAIO_DONE || req->state == KAIO_ZOMBIE;
}

static bool may_cancel(const struct kaio_req *req) {
    if (req->op == KAIO_BARRIER) return false;
    if (req->state == KAIO_QUEUED || req->state == KAIO_BACKLOG) return req->done == 0;
    return req->state == KAIO_HELD || req->state == KAIO_LINED || req->state == KAIO_POLLING;
}

/* The answer for one request; AIO_ALLDONE for what has ended. A stream's that some thread is just
 * offering is in progress, but not for long: it ends instead of waiting. */
LOCKED static int cancel_one(struct kaio_batch *b, struct kaio_req *req) {
    if (has_ended(req)) return AIO_ALLDONE;
    if (kaio_req_is_offered(req)) req->told = true;
    if (!may_cancel(req)) return AIO_NOTCANCELED;
    if (req->state == KAIO_HELD) kaio_order_unhold(req);
    else if (req->state == KAIO_LINED) kaio_rank_remove(&req->file->line[req->op], req);
    else kaio_lane_take_back(req);
    bool begun = req->done > 0; /* a stream's, that a part has been transferred of */
    kaio_complete(b, req, -ECANCELED);
    return begun ? AIO_NOTCANCELED : AIO_CANCELED;
}

/* NOTCANCELED outweighs CANCELED, which outweighs ALLDONE. */
static int worse(int a, int b) {
    if (a == AIO_NOTCANCELED || b == AIO_NOTCANCELED) return AIO_NOTCANCELED;
    return a == AIO_CANCELED ? a : b;
}

/* The last of a list, or each would give way to the one behind it; made before the call. */
static struct kaio_req *last_of(const struct kaio_reqs *list, uint64_t serial) {
    struct kaio_req *req = TAILQ_LAST(list, kaio_reqs);
    while (req && (req->serial > serial || !may_cancel(req)))
        req = TAILQ_PREV(req, kaio_reqs, link);
    return req;
}

static struct kaio_req *last_of_line(const struct kaio_file *file, int op, uint64_t serial) {
    struct kaio_req *req = last_of(&file->line[op], serial), *served = file->served[op];
    if (req || !served) return req;
    return served->serial <= serial && may_cancel(served) ? served : NULL;
}

/* NULL: no more. */
static struct kaio_req *last_of_stream(const struct kaio_file *file, uint64_t serial) {
    struct kaio_req *req = last_of(&file->held, serial);
    if (!req) req = last_of_line(file, KAIO_READ, serial);
    return req ? req : last_of_line(file, KAIO_WRITE, serial);
}

static struct kaio_req *last_of_file(const struct kaio_file *file, uint64_t serial) {
    struct kaio_req *req = last_of_stream(file, serial);
    if (!req) req = last_of(&file->reads, serial);
    if (!req) req = last_of(&file->writes, serial);
    return req ? req : last_of(&file->backlog, serial);
}

/* Those made before the call, some at a time; then others have the lock, or handlers come. What is
 * still in progress of the file then could not be cancelled. */
LOCKED static int cancel_all(struct kaio_batch *b, struct kaio_file *file, int fd,
                             uint64_t serial) {
    int answer = AIO_ALLDONE;
    struct kaio_req *req;
    for (int n = 1; (req = last_of_file(file, serial)); n++) {
        answer = worse(answer, cancel_one(b, req));
        if (n % KAIO_SIGNALS == 0) {
            kaio_enter_again(b);
        } else if (n % KAIO_HOLD == 0) {
            kaio_decide(b);
            kaio_stand_aside();
        }
        if (kaio_file_used(fd) != file) return answer; /* closed meanwhile */
    }
    for (int op = KAIO_READ; op <= KAIO_WRITE; op++) {
        req = file->served[op]; /* its turn has just come: it is told */
        if (req && req->serial <= serial) cancel_one(b, req);
    }
    kaio_flight_count_all(file);
    return file->active[0] + file->active[1] > 0 ? AIO_NOTCANCELED : answer;
}

int kaio_cancel(int fd, struct aiocb *cb) {
    struct kaio_batch b;
    int answer = AIO_ALLDONE;
    kaio_enter(&b);
    kaio_reap(&b);
    uint64_t serial = kaio_req_serial();
    struct kaio_file *file = kaio_file_used(fd);
    struct kaio_req *req = cb ? kaio_req_find(cb) : NULL;
    if (req) answer = cancel_one(&b, req);
    else if (!cb && file) answer = cancel_all(&b, file, fd, serial);
    else if (cb && kaio_status(cb) == EINPROGRESS) answer = -EINVAL; /* says so, but is not */
    kaio_leave(&b);
    return answer;
}

bool kaio_cancel_stream(struct kaio_batch *b, struct kaio_file *file) {
    struct kaio_req *req;
    int n = 0;
    while (n < KAIO_HOLD && (req = last_of_stream(file, UINT64_MAX))) {
        cancel_one(b, req);
        n++;
    }
    return n == KAIO_HOLD;
}
