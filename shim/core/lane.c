/* SPDX-License-Identifier: MIT */
/* lane.c - the table of lanes: how the engine gives a request to whoever is to carry it out, and
 * takes it back. What it asks of one lane only, it asks by name.
 *
 * Under the lock.
 */
#include "core/core.h"

static const struct {
    /* The request is the lane's, which answers now or later. */
    void (*accept)(struct kaio_batch *b, struct kaio_req *req);
    /* It has not begun (BACKLOG, QUEUED, POLLING), and is the caller's again. */
    void (*give_up)(struct kaio_req *req);
} lanes[] = {
    [KAIO_BY_KERNEL] = {kaio_kernel_offer, kaio_kernel_unqueue},
    [KAIO_BY_WORKER] = {kaio_worker_offer, kaio_queue_drop},
    [KAIO_BY_CALLER] = {kaio_copy_offer, NULL},
    [KAIO_BY_EPOLL] = {kaio_stream_poll, kaio_stream_unpoll},
    [KAIO_BY_NEW_BLOCKER] = {kaio_stream_block, kaio_stream_cancel},
    [KAIO_BY_BLOCKER] = {NULL, kaio_stream_cancel},
};

void kaio_lane_give(struct kaio_batch *b, struct kaio_req *req, enum kaio_lane lane) {
    req->lane = (uint8_t)lane;
    lanes[lane].accept(b, req);
}

void kaio_lane_take_back(struct kaio_req *req) {
    lanes[req->lane].give_up(req);
}
