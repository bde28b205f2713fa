/* SPDX-License-Identifier: MIT */
/* rule.c - the rule: every request is offered to the kernel as an iocb that may not block; what
 * the kernel declines is waited for (streams) or worked off (files).
 *
 * Under the lock, on the thread that submits, or that reaped the event which decides. Only system
 * calls that cannot wait are made here: fcntl(), statx(AT_STATX_DONT_SYNC).
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* If the number means another kind than it did, it means another file: nothing that is known of it
 * holds any more. */
LOCKED static bool is_stream(struct kaio_batch *b, struct kaio_req *req) {
    struct statx st;
    uint8_t kind = kaio_kind_of(req->iocb.aio_fildes, &st), before = req->file->kind;
    if (kind != before && kind != KAIO_UNKNOWN && before != KAIO_UNKNOWN) kaio_order_renew(b, req);
    bool stream = kind == KAIO_STREAM;
    req->file->kind = kind;
    req->file->anonymous = stream && !(st.stx_mode & S_IFMT);
    req->file->socket = stream && S_ISSOCK(st.stx_mode);
    return stream;
}

/* A new request. What was a file is offered as one: at a stream that has its number, unseen
 * (fclose()), such an offer takes nothing out of turn, and when it is declined there is another
 * look. The other way round nothing would tell, so a stream is looked at each time. */
LOCKED static bool may_be_stream(struct kaio_batch *b, struct kaio_req *req) {
    return req->file->kind != KAIO_FILE_LIKE && is_stream(b, req);
}

/* Told by aio_cancel(): it ends now, instead of waiting. */
LOCKED static bool was_cancelled(struct kaio_batch *b, struct kaio_req *req) {
    bool told = req->told; /* it is free afterwards */
    if (told) kaio_complete(b, req, -ECANCELED);
    return told;
}

/* Of the two that wait for streams, the one that is not misled. */
LOCKED static void stream_wait(struct kaio_batch *b, struct kaio_req *req, bool can_poll) {
    if (was_cancelled(b, req)) return;
    int flags = can_poll ? fcntl(req->iocb.aio_fildes, F_GETFL) : -1;
    if (flags >= 0 && flags & O_NONBLOCK) kaio_complete(b, req, -EAGAIN);
    else kaio_lane_give(b, req, can_poll ? KAIO_BY_EPOLL : KAIO_BY_NEW_BLOCKER);
}

/* Writes of a file are made one at a time, so a cheaper look is enough: what can seek, and is a
 * stream all the same (an eventfd), tells the worker. */
LOCKED static bool has_become_stream(struct kaio_batch *b, struct kaio_req *req) {
    if (req->op == KAIO_WRITE && kaio_kind_seeks(req->iocb.aio_fildes)) return false;
    return req->op <= KAIO_WRITE && is_stream(b, req);
}

LOCKED static void declined(struct kaio_batch *b, struct kaio_req *req, enum kaio_reason reason) {
    kaio_counted.declined[reason]++;
    if (__builtin_expect(kaio_stats_on, false)) kaio_stats_declined(&req->stamp, reason);
    KAIO_PROBE(decline, req->cb, reason);
    if (req->in_line) {
        stream_wait(b, req, reason == KAIO_R_AGAIN || reason == KAIO_R_SHORT);
    } else if (has_become_stream(b, req)) {
        kaio_begin(b, req); /* it was no stream when it was offered: in turn, as one */
    } else {
        kaio_lane_give(b, req, KAIO_BY_WORKER);
    }
}

/* Of a file's read or write. The flags are asked each time, for the number may mean another file
 * unseen (fclose(), close_range()), or F_SETFL has changed them: a copy could wait for a device.
 * What is left to the kernel or a worker takes longer at worst, so of such reads one in TRUST asks.
 */
static enum kaio_reason decline_file(struct kaio_req *req, bool *copy) {
    struct kaio_file *file = req->file;
    size_t n = req->iocb.u.c.nbytes;
    off_t offset = req->iocb.u.c.offset;
    bool small = n < KAIO_LARGE_BYTES;
    if (req->op == KAIO_READ && (file->direct || (small && kaio_copy_waits(file, KAIO_READ))) &&
        kaio_file_trusts(file)) {
        req->joins = kaio_copy_suits(file->direct ? O_DIRECT : 0, n, offset);
        return file->direct ? KAIO_REASONS : KAIO_R_AGAIN;
    }
    int fd = req->iocb.aio_fildes, flags = fcntl(fd, F_GETFL);
    req->joins = false;
    if (req->op == KAIO_WRITE && flags < 0) return KAIO_R_ERROR; /* it may have to append */
    if (req->op == KAIO_WRITE && flags & O_APPEND) {
        req->joins = true;
        return KAIO_R_APPEND;
    }
    if (file->memory && !kaio_copy_is_memory(fd)) file->memory = false;
    bool direct = flags >= 0 && flags & O_DIRECT && !file->memory;
    file->direct = direct;
    kaio_file_trust(file);
    req->submitter->direct |= direct;
    if (!small) return direct ? KAIO_REASONS : KAIO_R_LARGE;
    *copy = file->memory || (!kaio_context.waits && kaio_copy_suits(flags, n, offset));
    bool sync = flags & O_DSYNC && req->op == KAIO_WRITE; /* then an offer would wait for it */
    bool waits = *copy && !file->memory && (sync || kaio_copy_waits(file, req->op));
    req->joins = waits && req->op == KAIO_READ;
    return waits ? KAIO_R_AGAIN : KAIO_REASONS;
}

/* A kernel that cannot be told not to wait: io_submit() then waits for all but direct reads, and
 * writes of what is there. */
static enum kaio_reason decline_waiting(const struct kaio_req *req) {
    struct statx st;
    if (req->op > KAIO_WRITE || !req->file->direct) return KAIO_R_UNSUPP;
    if (req->op == KAIO_READ) return KAIO_REASONS;
    if (kaio_kind_of(req->iocb.aio_fildes, &st) != KAIO_FILE_LIKE) return KAIO_R_UNSUPP;
    uint64_t end = (uint64_t)req->iocb.u.c.offset + req->iocb.u.c.nbytes;
    bool extends = S_ISREG(st.stx_mode) && end > st.stx_size;
    return extends ? KAIO_R_AGAIN : KAIO_REASONS;
}

/* Of a file: what is known to be declined before it is offered; KAIO_REASONS: nothing. *copy: no
 * need of the context. */
LOCKED static enum kaio_reason decline_early(struct kaio_req *req, bool *copy) {
    *copy = false;
    if (kaio_config.mode == KAIO_WORKER) return KAIO_R_CONTEXT;
    if (req->file->refused & 1u << req->op) return KAIO_R_UNSUPP;
    enum kaio_reason reason = KAIO_REASONS;
    if (req->op <= KAIO_WRITE) reason = decline_file(req, copy);
    if (reason != KAIO_REASONS || *copy) return reason;
    if (kaio_config.mode == KAIO_AUTO && !kaio_context.ctx &&
        kaio_counted.declined[KAIO_R_FEW] < KAIO_FEW)
        return KAIO_R_FEW;
    if (!kaio_context_ready()) return KAIO_R_CONTEXT;
    return kaio_context.waits ? decline_waiting(req) : KAIO_REASONS;
}

/* A new request: 0, or -EAGAIN when there is no memory for it. */
int kaio_submit_new(struct kaio_batch *b, struct aiocb *cb, enum kaio_op op, struct kaio_lio *lio) {
    struct kaio_req *req = kaio_req_get(cb, op, cb->aio_fildes);
    if (!req) return -EAGAIN;
    req->lio = lio;
    if (lio) {
        lio->pending++;
        lio->last = req;
    }
    if (kaio_order_is_barrier(req)) is_stream(b, req); /* nothing of another file holds it up */
    kaio_order_start(b, req);
    kaio_decide(b);
    return 0;
}

/* New, released, or a stream's, whose turn it is or which is ready. */
LOCKED static void begin(struct kaio_batch *b, struct kaio_req *req) {
    if (kaio_file_is_gone(req)) { /* ready, or released, on a number that has been closed */
        kaio_answer(b, req, KAIO_SAYS, -EAGAIN);
        return;
    }
    if (req->op == KAIO_BARRIER || req->op == KAIO_INVALID) {
        kaio_complete(b, req, req->op == KAIO_INVALID ? -EINVAL : 0);
        return;
    }
    if (req->op <= KAIO_WRITE && !req->in_line && may_be_stream(b, req) && !kaio_order_line_up(req))
        return;
    if (req->in_line && kaio_stream_misleads(req)) {
        kaio_lane_give(b, req, KAIO_BY_NEW_BLOCKER);
        return;
    }
    if (was_cancelled(b, req)) return;
    if (req->in_line) {
        kaio_lane_give(b, req, KAIO_BY_CALLER);
        return;
    }
    bool copy;
    enum kaio_reason reason = decline_early(req, &copy);
    if (reason != KAIO_REASONS) declined(b, req, reason);
    else kaio_lane_give(b, req, copy ? KAIO_BY_CALLER : KAIO_BY_KERNEL);
}

/* A stream that has waited. After a part has been written, an error ends the request with that
 * count and is left for the next one, as by write(). */
LOCKED static void ready(struct kaio_batch *b, struct kaio_req *req, unsigned events) {
    if (events & POLLERR && req->done > 0) kaio_complete(b, req, (long)req->done);
    else begin(b, req);
}

/* Is there more to transfer after a count that is not whole? */
static bool has_rest(const struct kaio_req *req) {
    if (req->op == KAIO_WRITE) return true;
    struct statx st;
    if (kaio_kind_of(req->iocb.aio_fildes, &st) != KAIO_FILE_LIKE) return false;
    return !S_ISREG(st.stx_mode) || req->iocb.u.c.offset < (long long)st.stx_size;
}

LOCKED static void unsupported(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *file = req->file;
    file->trust = 0;
    if (kaio_config.mode == KAIO_AUTO && req->op <= KAIO_WRITE &&
        kaio_copy_is_memory(req->iocb.aio_fildes)) {
        file->memory = true; /* some of a list may have been offered before */
        kaio_begin(b, req);
        return;
    }
    file->refused |= (uint8_t)(1u << req->op);
    declined(b, req, KAIO_R_UNSUPP);
}

/* The descriptor has been closed since, after the kernel had taken the request: its number must not
 * be used again. Short, or taken and then declined, both are rare. */
LOCKED static void result_of_closed(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (res > 0) kaio_req_advance(req, (size_t)res);
    if (res == -EAGAIN || res == -EOPNOTSUPP) res = req->in_line ? -ECANCELED : -EBADF;
    kaio_complete(b, req, res < 0 ? res : (long)req->done);
}

/* Errors that pread(), pwrite() or fsync() would report otherwise, or not at all: EINTR is how
 * events say that a call was to be restarted; EPERM and ENOSYS may be a seccomp filter's. */
static bool is_doubtful(long res) {
    return res == -EINVAL || res == -ESPIPE || res == -EINTR || res == -EPERM || res == -ENOSYS;
}

/* Only a call that may wait is believed that there is nothing more: Linux 5.9 and 5.10 answer 0 to
 * a read of what is not in memory (preadv2(2), BUGS). Streams wait for nothing but their peers. */
static bool is_part(const struct kaio_req *req, long res) {
    if (req->iocb.u.c.nbytes == 0) return false;
    return (res > 0 || !req->in_line) && has_rest(req);
}

/* The kernel's answer to an offer: res as in the event, or what io_submit() failed with. Errors
 * that pread() would report otherwise (directories, sockets with an offset) are left to it. */
LOCKED static void result(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (res == -EPIPE || res == -EFBIG) kaio_raised_note();
    if (kaio_file_is_gone(req)) {
        result_of_closed(b, req, res);
    } else if (res == -EAGAIN) {
        declined(b, req, KAIO_R_AGAIN);
    } else if (res == -EOPNOTSUPP || (res == -EINVAL && req->op > KAIO_WRITE)) {
        unsupported(b, req); /* EINVAL: a sync, of Linux before 4.18 */
    } else if (res == -ESPIPE && req->file->kind != KAIO_STREAM && is_stream(b, req)) {
        kaio_begin(b, req);
    } else if (is_doubtful(res)) {
        declined(b, req, KAIO_R_ERROR);
    } else if (res < 0) {
        kaio_complete(b, req, res);
    } else {
        kaio_req_advance(req, (size_t)res);
        if (is_part(req, res)) declined(b, req, res > 0 ? KAIO_R_SHORT : KAIO_R_AGAIN);
        else kaio_complete(b, req, (long)req->done);
    }
}

LOCKED static void answered(struct kaio_batch *b, struct kaio_req *req) {
    long res = req->answer.res;
    switch ((enum kaio_says)req->answer.says) {
    case KAIO_FINAL: kaio_complete(b, req, res); break;
    case KAIO_SAYS: result(b, req, res); break;
    case KAIO_READY: ready(b, req, (unsigned)res); break;
    }
}

/* What comes next for all that lanes have answered and for those whose turn it is. True: there was
 * something. Nothing here drops the lock. */
bool kaio_decide(struct kaio_batch *b) {
    struct kaio_req *req;
    bool any = false;
    for (; (req = TAILQ_FIRST(&b->answers)) || (req = TAILQ_FIRST(&b->begin)); any = true) {
        bool is_answered = !TAILQ_EMPTY(&b->answers);
        TAILQ_REMOVE(is_answered ? &b->answers : &b->begin, req, link);
        if (is_answered) answered(b, req);
        else begin(b, req);
    }
    return any;
}
