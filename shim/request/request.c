/* SPDX-License-Identifier: MIT */
/* request.c - the pool of requests, the way from an aiocb to its request, and every state change.
 *
 * Under the lock, but for kaio_req_glance() and, by lanes/direct.c, kaio_req_fill(). Memory is
 * taken in chunks that are never given back, so a stale index always leads to a readable request;
 * it is then compared with the aiocb.
 */
#include "request/request.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static struct {
    struct kaio_req *chunks[KAIO_POOL_CHUNKS + 1]; /* the last: none */
    uint32_t nreqs;                                /* atomic: with kaio_req_glance() */
    struct kaio_reqs free;
    struct kaio_lios free_lios;
    uint64_t lists, serial; /* lists, requests made so far */
} pool KAIO_WIPED GUARDED;

void kaio_req_begin(void) {
    TAILQ_INIT(&pool.free);
    TAILQ_INIT(&pool.free_lios);
}

uint32_t kaio_req_count(void) {
    return pool.nreqs;
}

uint64_t kaio_req_serial(void) {
    return pool.serial;
}

/* Also by kaio_req_glance(): a chunk is there before nreqs says so, and stays. */
UNLOCKED struct kaio_req *kaio_req_at(uint32_t index) {
    return &pool.chunks[index / KAIO_POOL_CHUNK][index % KAIO_POOL_CHUNK];
}

/* Memory for some more. They are begun one by one, as a page that is touched for the first time
 * takes as long as several requests, and the lock is held. */
LOCKED static bool pool_grow(void) {
    if (pool.nreqs == KAIO_POOL_CHUNK * KAIO_POOL_CHUNKS) return false;
    struct kaio_req *chunk = kaio_alloc(KAIO_POOL_CHUNK * sizeof *chunk);
    pool.chunks[pool.nreqs / KAIO_POOL_CHUNK] = chunk;
    return chunk != NULL;
}

LOCKED static struct kaio_req *pool_begin_one(void) {
    struct kaio_req *req = kaio_req_at(pool.nreqs);
    req->index = pool.nreqs;
    /* release: pairs with the acquire in kaio_req_glance(), which then finds the chunk */
    __atomic_store_n(&pool.nreqs, pool.nreqs + 1, __ATOMIC_RELEASE);
    return req;
}

/* All zeros, but for what others may be looking at. */
struct kaio_req *kaio_req_take(void) {
    struct kaio_req *req = TAILQ_FIRST(&pool.free);
    if (req) TAILQ_REMOVE(&pool.free, req, link);
    else if (pool.chunks[pool.nreqs / KAIO_POOL_CHUNK]) req = pool_begin_one();
    else return NULL;
    memset(req, 0, offsetof(struct kaio_req, index));
    return req;
}

/* Once some are there the request ends with what one call transfers at most, see read(2), NOTES. A
 * stream has no offset, whatever it was given. */
void kaio_req_advance(struct kaio_req *req, size_t n) {
    req->done += n;
    req->iocb.u.c.buf = (char *)req->iocb.u.c.buf + n;
    req->iocb.u.c.nbytes -= n;
    if (!req->in_line) req->iocb.u.c.offset += (long long)n;
    size_t most = req->done < KAIO_TRANSFER_MAX ? KAIO_TRANSFER_MAX - req->done : 0;
    if (req->iocb.u.c.nbytes > most) req->iocb.u.c.nbytes = most;
}

/* The transfer stands there already. */
void kaio_req_prepare(struct kaio_req *req) {
    static const short commands[] = {
        [KAIO_READ] = IO_CMD_PREAD,
        [KAIO_WRITE] = IO_CMD_PWRITE,
        [KAIO_FSYNC] = IO_CMD_FSYNC,
        [KAIO_FDSYNC] = IO_CMD_FDSYNC,
    };
    req->iocb.data = req;
    req->iocb.aio_lio_opcode = commands[req->op];
    req->iocb.aio_rw_flags = req->op <= KAIO_WRITE && !kaio_context.waits ? RWF_NOWAIT : 0;
    req->iocb.u.c.flags = 0;
}

struct kaio_req *kaio_req_get(struct aiocb *cb, enum kaio_op op, int fd) {
    struct kaio_file *file = kaio_file_get(fd);
    struct kaio_req *req = file ? kaio_req_take() : NULL;
    if (!req && file && pool_grow()) req = kaio_req_take();
    if (!req) return NULL;
    if (kaio_is_calling(kaio_self, cb)) kaio_self->calling = NULL; /* since a siglongjmp() */
    kaio_req_fill(req, cb, op, file, fd);
    req->serial = ++pool.serial;
    return req;
}

/* A request that was cleared. Also without the lock, by direct.c. */
void kaio_req_fill(struct kaio_req *req, struct aiocb *cb, enum kaio_op op, struct kaio_file *file,
                   int fd) {
    /* relaxed, but for the status: the lock orders it, or it is a hint; pairs with
     * kaio_req_glance() */
    __atomic_store_n(&req->file, file, __ATOMIC_RELAXED);
    __atomic_store_n(&req->submitter, kaio_self, __ATOMIC_RELAXED);
    req->op = (uint8_t)op;
    req->iocb.aio_fildes = fd;
    req->sigev.sigev_notify = SIGEV_NONE;
    req->owner = kaio_self;
    __atomic_store_n(&req->cb, cb, __ATOMIC_RELAXED);
    if (cb) {
        req->sigev = cb->aio_sigevent;
        __atomic_store_n(&cb->__abs_prio, (int)req->index, __ATOMIC_RELAXED);
        __atomic_store_n(&cb->__return_value, 0, __ATOMIC_RELAXED);
        /* release: pairs with the acquire in in_progress() in wait.c. Another thread may still wait
         * for what cb was before; it must not take this one for its own (arm_own()) */
        __atomic_store_n(&cb->__error_code, EINPROGRESS, __ATOMIC_RELEASE);
    }
    if (cb && op <= KAIO_WRITE) {
        req->iocb.aio_reqprio = (short)cb->aio_reqprio;
        req->iocb.u.c.buf = (void *)cb->aio_buf;
        req->iocb.u.c.nbytes = cb->aio_nbytes;
        req->iocb.u.c.offset = cb->aio_offset;
    }
    if (__builtin_expect(kaio_stats_on, false)) req->stamp = kaio_stats_stamp(fd);
    KAIO_PROBE(submit, cb, op, fd, req->iocb.u.c.offset, req->iocb.u.c.nbytes);
}

struct kaio_req *kaio_req_find(const struct aiocb *cb) {
    uint32_t index = (uint32_t)__atomic_load_n(&cb->__abs_prio, __ATOMIC_RELAXED);
    if (index >= pool.nreqs) return NULL;
    struct kaio_req *req = kaio_req_at(index);
    /* acquire: pairs with the release in direct.c */
    if (__atomic_load_n(&req->state, __ATOMIC_ACQUIRE) == KAIO_FREE || req->cb != cb) return NULL;
    return kaio_is_calling(req->submitter, cb) ? NULL : req;
}

/* The request of cb, if that is in progress. It may end, and its memory serve another, while the
 * caller looks; nothing of it but cb and submitter is worth more than a hint. */
UNLOCKED struct kaio_req *kaio_req_glance(const struct aiocb *cb) {
    uint32_t index = (uint32_t)__atomic_load_n(&cb->__abs_prio, __ATOMIC_RELAXED);
    if (index >= __atomic_load_n(&pool.nreqs, __ATOMIC_ACQUIRE)) return NULL;
    struct kaio_req *req = kaio_req_at(index);
    return __atomic_load_n(&req->cb, __ATOMIC_RELAXED) == cb ? req : NULL;
}

/* Would the request use its descriptor's number again, and end before long? */
static bool is_unsubmitted(const struct kaio_req *req, enum kaio_state state) {
    if (state == KAIO_RUNNING) return !req->in_line;
    return state == KAIO_HELD || state == KAIO_BACKLOG || state == KAIO_OFFERED ||
           state == KAIO_QUEUED;
}

static bool is_owed(enum kaio_state state) {
    return state == KAIO_HELD || state == KAIO_BACKLOG;
}

/* It moves to another record. Answers what it counts there in unsubmitted. */
unsigned kaio_req_leave_file(struct kaio_req *req) {
    bool counts = is_unsubmitted(req, req->state);
    kaio_file_unsubmitted(req->file, -counts);
    return counts;
}

/* Some thread is making the offer, which waits for nothing. */
bool kaio_req_is_offered(const struct kaio_req *req) {
    return req->in_line && req->state == KAIO_OFFERED;
}

#ifdef KAIO_DEBUG
#define TO(state) (1u << KAIO_##state)
/* What may follow each state. */
static const unsigned next_states[] = {
    [KAIO_FREE] = TO(OFFERED) | TO(HELD), /* and SUBMITTED, by prepare_short() in lanes/direct.c */
    [KAIO_HELD] = TO(OFFERED) | TO(DONE),
    [KAIO_BACKLOG] = TO(OFFERED) | TO(BACKLOG) | TO(DONE),
    [KAIO_OFFERED] = TO(OFFERED) | TO(BACKLOG) | TO(SUBMITTED) | TO(POLLING) | TO(LINED) |
                     TO(QUEUED) | TO(RUNNING) | TO(DONE),
    [KAIO_SUBMITTED] = TO(OFFERED) | TO(FREE), /* FREE: a short call that was refused */
    [KAIO_LINED] = TO(OFFERED) | TO(DONE),
    [KAIO_POLLING] = TO(OFFERED) | TO(RUNNING) | TO(DONE),
    [KAIO_QUEUED] = TO(RUNNING) | TO(DONE),
    [KAIO_RUNNING] = TO(OFFERED) | TO(DONE),
    [KAIO_DONE] = TO(FREE) | TO(ZOMBIE),
    [KAIO_ZOMBIE] = TO(FREE),
};
#endif

void kaio_req_move(struct kaio_req *req, enum kaio_state state) {
    enum kaio_state old = req->state;
    KAIO_ASSERT(kaio_is_locked() && next_states[old] & 1u << state);
    kaio_reaper.owed += (unsigned)is_owed(state) - (unsigned)is_owed(old);
    kaio_file_unsubmitted(req->file, is_unsubmitted(req, state) - is_unsubmitted(req, old));
    __atomic_store_n(&req->state, (uint8_t)state, __ATOMIC_RELAXED);
}

/* Of larger ones the copy is the most. */
static bool is_small(const struct io_iocb_common *rest) {
    return rest->nbytes > 0 && rest->nbytes <= KAIO_BATCH_BYTES / 4 && rest->offset >= 0;
}

/* Small ones of a file: where the one ends the other begins, also at the end of the file. */
bool kaio_req_continues(const struct kaio_req *last, const struct kaio_req *req) {
    const struct io_iocb_common *a = &last->iocb.u.c, *b = &req->iocb.u.c;
    bool same = last->file == req->file && last->iocb.aio_fildes == req->iocb.aio_fildes &&
                last->op == req->op && last->joins == req->joins;
    if (!same || last->in_line || req->in_line || !is_small(a) || !is_small(b)) return false;
    bool appends = req->op == KAIO_WRITE && req->joins;
    return appends || b->offset - a->offset == (long long)a->nbytes;
}

void kaio_req_free(struct kaio_req *req) {
    __atomic_store_n(&req->cb, NULL, __ATOMIC_RELAXED);
    kaio_req_move(req, req->lane == KAIO_BY_BLOCKER ? KAIO_ZOMBIE : KAIO_FREE);
    if (req->state == KAIO_FREE) TAILQ_INSERT_HEAD(&pool.free, req, link);
}

struct kaio_lio *kaio_lio_get(void) {
    struct kaio_lio *lio = TAILQ_FIRST(&pool.free_lios);
    if (!lio) {
        struct kaio_lio *chunk = kaio_alloc(KAIO_POOL_CHUNK * sizeof *chunk);
        if (!chunk) return NULL;
        for (int i = 0; i < KAIO_POOL_CHUNK; i++)
            TAILQ_INSERT_TAIL(&pool.free_lios, &chunk[i], link);
        lio = TAILQ_FIRST(&pool.free_lios);
    }
    TAILQ_REMOVE(&pool.free_lios, lio, link);
    memset(lio, 0, sizeof *lio);
    lio->serial = ++pool.lists;
    lio->sigev.sigev_notify = SIGEV_NONE;
    return lio;
}

void kaio_lio_free(struct kaio_lio *lio) {
    TAILQ_INSERT_HEAD(&pool.free_lios, lio, link);
}

/* A lane, or whoever else knows, says something of a request, which it has taken off the list that
 * its state named. kaio_decide() reads it. */
void kaio_answer(struct kaio_batch *b, struct kaio_req *req, enum kaio_says says, long res) {
    kaio_req_move(req, KAIO_OFFERED);
    req->answer = (struct kaio_answer){.res = res, .says = (uint8_t)says};
    TAILQ_INSERT_TAIL(&b->answers, req, link);
}

/* It is to be offered, at last or anew. */
void kaio_begin(struct kaio_batch *b, struct kaio_req *req) {
    kaio_req_move(req, KAIO_OFFERED);
    TAILQ_INSERT_TAIL(&b->begin, req, link);
}

static bool is_signal(const struct sigevent *sigev) {
    return sigev->sigev_notify == SIGEV_SIGNAL || sigev->sigev_notify == SIGEV_THREAD_ID;
}

/* Signal 0 is sent to nobody: a zeroed sigevent asks for nothing. */
bool kaio_notify_wanted(const struct sigevent *sigev) {
    return sigev->sigev_notify == SIGEV_THREAD || (is_signal(sigev) && sigev->sigev_signo != 0);
}
