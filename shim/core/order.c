/* SPDX-License-Identifier: MIT */
/* order.c - what must be kept in order: syncs behind earlier requests of their file, a stream's
 * requests one behind the other. Under the lock.
 *
 * A sync (with KAIO_ORDER=fd: every request) is a barrier: it waits in file->held until all that
 * started before it has finished, while later requests go past it. Two counters do it: requests
 * count in active[epoch]; a barrier that becomes the first of held flips the epoch once the other
 * counter is 0 and then waits for the counter that no new request raises any more.
 *
 * A sync that starts when nothing else is in progress covers the syncs that are held behind it,
 * too: they stay in held, and end with it. If it fails, each has its own turn.
 */
#include "core/core.h"

static struct kaio_files ending KAIO_WIPED GUARDED; /* whose covered syncs are to end */

void kaio_order_begin(void) {
    TAILQ_INIT(&ending);
}

bool kaio_order_is_barrier(const struct kaio_req *req) {
    return req->op >= KAIO_FSYNC || kaio_config.order;
}

LOCKED static void start_request(struct kaio_batch *b, struct kaio_req *req) {
    kaio_file_count(req);
    kaio_begin(b, req);
}

static bool is_sync(const struct kaio_req *req) {
    return req->op == KAIO_FSYNC || req->op == KAIO_FDSYNC;
}

/* Among the first of held: a sync that ends with the one in progress. */
static bool is_covered(const struct kaio_file *file, const struct kaio_req *req) {
    return req->serial <= file->covers && req->op == file->covers_op;
}

/* A sync has ended: well, so have those that it covers; if not, each has its own turn. */
static void sync_ended(struct kaio_req *sync, long res) {
    struct kaio_file *file = sync->file;
    const struct kaio_req *next = TAILQ_FIRST(&file->held);
    if (res < 0 || !next || !is_covered(file, next)) {
        file->covers = 0;
        return;
    }
    KAIO_ASSERT(!file->ending);
    file->ending = true;
    file->ending_lane = sync->lane;
    TAILQ_INSERT_TAIL(&ending, file, ends);
}

LOCKED static void release(struct kaio_batch *b, struct kaio_file *file) {
    if (file->ending) return; /* the next sync starts when all that is covered has ended */
    struct kaio_req *req;
    while ((req = TAILQ_FIRST(&file->held)) && !is_covered(file, req) &&
           file->active[file->epoch ^ 1] == 0) {
        file->armed = !file->armed;
        if (file->armed) {
            file->epoch ^= 1;
        } else {
            kaio_rank_remove(&file->held, req);
            file->covers = is_sync(req) && file->active[file->epoch] == 0 ? kaio_req_serial() : 0;
            file->covers_op = req->op;
            start_request(b, req);
        }
    }
}

/* Cancelled. What was armed was for it alone: the next one waits for those between, too. */
void kaio_order_unhold(struct kaio_req *req) {
    if (req == TAILQ_FIRST(&req->file->held)) req->file->armed = false;
    kaio_rank_remove(&req->file->held, req);
}

bool kaio_order_end_covered(struct kaio_batch *b) {
    struct kaio_req *req;
    struct kaio_file *file = TAILQ_FIRST(&ending);
    if (!file) return false;
    for (int n = 0; (req = TAILQ_FIRST(&file->held)) && is_covered(file, req); n++) {
        if (n == KAIO_HOLD) return true;
        kaio_rank_remove(&file->held, req);
        req->lane = file->ending_lane;
        kaio_answer(b, req, KAIO_FINAL, 0);
    }
    TAILQ_REMOVE(&ending, file, ends);
    file->ending = false;
    file->covers = 0;
    release(b, file);
    return true;
}

void kaio_order_start(struct kaio_batch *b, struct kaio_req *req) {
    if (!kaio_order_is_barrier(req)) {
        start_request(b, req);
        return;
    }
    kaio_flight_count_all(req->file);
    kaio_req_move(req, KAIO_HELD);
    kaio_rank_insert(&req->file->held, req);
    release(b, req->file);
}

void kaio_order_end(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (req->epoch > 0) { /* not if it ends while held */
        KAIO_ASSERT(req->file->active[req->epoch - 1] > 0);
        req->file->active[req->epoch - 1]--;
        if (is_sync(req)) sync_ended(req, res);
    }
    release(b, req->file);
}

/* The request is the first that meets the file which the number means now, unseen (fclose()). It
 * and those to come have a record of their own. Those before it were of another file: what of them
 * would use the number again ends. Without memory all stays as it is. */
void kaio_order_renew(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *old = req->file;
    int fd = req->iocb.aio_fildes;
    if (kaio_file_is_gone(req)) return;
    kaio_file_detach(old, fd);
    struct kaio_file *file = kaio_file_get(fd);
    if (!file) return;
    uint32_t unsubmitted = kaio_req_leave_file(req);
    __atomic_store_n(&req->file, file, __ATOMIC_RELAXED);
    kaio_file_unsubmitted(file, (int)unsubmitted);
    if (req->epoch == 0) return;
    old->active[req->epoch - 1]--;
    kaio_file_count(req);
    release(b, old);
}

/* A stream's requests are served one by one, by priority and in call order, each direction on its
 * own. False: it is not its turn yet. */
bool kaio_order_line_up(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    __atomic_store_n(&req->in_line, true, __ATOMIC_RELAXED);
    if (!file->served[req->op]) {
        file->served[req->op] = req;
        return true;
    }
    kaio_rank_insert(&file->line[req->op], req);
    kaio_req_move(req, KAIO_LINED);
    return false;
}

/* It has ended. If it was the one served, the next one's turn. */
void kaio_order_line_end(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *file = req->file;
    __atomic_store_n(&req->in_line, false, __ATOMIC_RELAXED);
    if (file->served[req->op] != req) return;
    struct kaio_req *next = file->served[req->op] = TAILQ_FIRST(&file->line[req->op]);
    if (!next) return;
    kaio_rank_remove(&file->line[req->op], next);
    kaio_begin(b, next);
}
