/* cancel.c - aio_cancel(), and what close() does to streams. Under the lock.
 *
 * Everything that has not begun can be cancelled: it is taken off the list that its state names and
 * ends like any request, with ECANCELED and its notification. A poll is told to end, in the kernel
 * or in its blocker, which then finds a zombie. In the kernel or in a worker's hands: not
 * cancelled. Nor is what has transferred a part: a stream's ends now, with that count; a file's
 * goes on.
 */
#include "kaio.h"

#include <errno.h>
#include <sched.h>

/* The answer for one request; AIO_ALLDONE for what has ended. */
static int cancel_one(struct kaio_batch *b, struct kaio_req *req) {
    switch (req->state) {
    case KAIO_HELD: TAILQ_REMOVE(&req->file->held, req, link); break;
    case KAIO_BACKLOG:
        if (req->done > 0 && !req->in_line) return AIO_NOTCANCELED;
        TAILQ_REMOVE(&kaio.backlog, req, link);
        kaio.polls -= kaio_kernel_is_poll(req);
        break;
    case KAIO_QUEUED:
        if (req->done > 0) return AIO_NOTCANCELED;
        kaio_queue_drop(req);
        break;
    case KAIO_POLLING:
        if (req->blocker) kaio_blocker_cancel(req);
        else if (req->epolled) kaio_reaper_unpoll(req);
        else kaio_kernel_unpoll(req);
        break;
    case KAIO_LINED: break;
    case KAIO_OFFERED:
    case KAIO_SUBMITTED:
    case KAIO_RUNNING: return AIO_NOTCANCELED;
    default: return AIO_ALLDONE;
    }
    bool begun = req->done > 0; /* not before: who offers or runs it counts without the lock */
    kaio_complete(b, req, -ECANCELED);
    return begun ? AIO_NOTCANCELED : AIO_CANCELED;
}

/* NOTCANCELED outweighs CANCELED, which outweighs ALLDONE. */
static int worse(int a, int b) {
    if (a == AIO_NOTCANCELED || b == AIO_NOTCANCELED) return AIO_NOTCANCELED;
    return a == AIO_CANCELED ? a : b;
}

/* From the end, or each would give way to the one behind it. */
static int cancel_line(struct kaio_batch *b, struct kaio_reqs *line) {
    int answer = AIO_ALLDONE;
    struct kaio_req *req = TAILQ_LAST(line, kaio_reqs), *before;
    for (; req; req = before) {
        before = TAILQ_PREV(req, kaio_reqs, line);
        answer = worse(answer, cancel_one(b, req));
    }
    return answer;
}

static int cancel_held(struct kaio_batch *b, struct kaio_file *file) {
    int answer = AIO_ALLDONE;
    struct kaio_req *req = TAILQ_LAST(&file->held, kaio_reqs), *before;
    for (; req; req = before) {
        before = TAILQ_PREV(req, kaio_reqs, link);
        if (req->op != KAIO_BARRIER) answer = worse(answer, cancel_one(b, req));
    }
    return answer;
}

static int cancel_all(struct kaio_batch *b, struct kaio_file *file) {
    int answer = cancel_held(b, file);
    for (int op = KAIO_READ; op <= KAIO_WRITE; op++)
        answer = worse(answer, cancel_line(b, &file->line[op]));
    for (uint32_t i = 0; i < kaio.nreqs; i++) {
        struct kaio_req *req = kaio_req_at(i);
        /* acquire: pairs with the release in direct.c */
        if (__atomic_load_n(&req->state, __ATOMIC_ACQUIRE) == KAIO_FREE) continue;
        if (req->file == file && req->op != KAIO_BARRIER)
            answer = worse(answer, cancel_one(b, req));
    }
    return answer;
}

/* The head of a stream's line is being offered on some thread, which waits for nothing. */
static bool is_offered(const struct kaio_reqs *line) {
    struct kaio_req *req = TAILQ_FIRST(line);
    return req && !req->blocking && (req->state == KAIO_OFFERED || req->state == KAIO_SUBMITTED);
}

int kaio_cancel(int fd, struct aiocb *cb) {
    struct kaio_batch b;
    int answer = AIO_ALLDONE;
    struct kaio_file *file = kaio_file_used(fd);
    kaio_enter(&b);
    kaio_kernel_reap(&b);
    while (file && (is_offered(&file->line[KAIO_READ]) || is_offered(&file->line[KAIO_WRITE]))) {
        kaio_leave(&b);
        sched_yield();
        kaio_enter(&b);
        kaio_kernel_reap(&b);
    }
    struct kaio_req *req = cb ? kaio_req_find(cb) : NULL;
    if (req) answer = cancel_one(&b, req);
    else if (!cb && file) answer = cancel_all(&b, file);
    else if (cb && kaio_status(cb) == EINPROGRESS) answer = -EINVAL; /* says so, but is not */
    kaio_leave(&b);
    return answer;
}

/* Without a look at every request: a stream's are all in these lists. */
void kaio_cancel_stream(struct kaio_batch *b, struct kaio_file *file) {
    cancel_held(b, file);
    cancel_line(b, &file->line[KAIO_READ]);
    cancel_line(b, &file->line[KAIO_WRITE]);
}
