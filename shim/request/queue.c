/* SPDX-License-Identifier: MIT */
/* queue.c - what waits for workers, by descriptor.
 *
 * Under the lock. Each descriptor has two queues, file->reads (and syncs) and file->writes;
 * ready are those with something to take, served in turn. Reads are taken in parallel; writes
 * one at a time (file->writer), for the inode's lock allows no more, and O_APPEND writes land in
 * call order.
 *
 * Once KAIO_WORKERS are busy only descriptors that have none of them get a worker, one of up to
 * KAIO_SPARE more: as many as glibc has threads, each of which serves one descriptor. So a file
 * whose device stalls does not hold up others.
 */
#include "request/request.h"

static struct {
    struct kaio_files ready; /* with requests to take */
    atomic_uint nready;      /* how many; spinning workers read it without the lock */
    unsigned busy;           /* workers with requests */
} queues KAIO_WIPED GUARDED;

void kaio_queue_begin(void) {
    TAILQ_INIT(&queues.ready);
}

/* relaxed: a worker that sees it late sleeps under the lock, where it sees it */
UNLOCKED bool kaio_queue_has(void) {
    return atomic_load_explicit(&queues.nready, memory_order_relaxed) > 0;
}

void kaio_queue_busy(struct kaio_file *file, int change) {
    queues.busy += (unsigned)change;
    file->workers = (uint16_t)(file->workers + change);
}

static bool can_write(const struct kaio_file *file) {
    return !file->writer && !TAILQ_EMPTY(&file->writes);
}

/* After every change of its queues, and in any case to the end of ready. */
static void make_ready(struct kaio_file *file) {
    if (file->ready) {
        TAILQ_REMOVE(&queues.ready, file, link);
        atomic_fetch_sub_explicit(&queues.nready, 1, memory_order_relaxed);
    }
    file->ready = can_write(file) || !TAILQ_EMPTY(&file->reads);
    if (file->ready) {
        TAILQ_INSERT_TAIL(&queues.ready, file, link);
        atomic_fetch_add_explicit(&queues.nready, 1, memory_order_relaxed);
    }
}

void kaio_queue_add(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    kaio_req_move(req, KAIO_QUEUED);
    TAILQ_INSERT_TAIL(req->op == KAIO_WRITE ? &file->writes : &file->reads, req, link);
    if (!file->ready) make_ready(file);
}

void kaio_queue_drop(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    TAILQ_REMOVE(req->op == KAIO_WRITE ? &file->writes : &file->reads, req, link);
    if (!can_write(file) && TAILQ_EMPTY(&file->reads)) make_ready(file);
}

/* Of those taken, by any thread: the next write's turn. */
void kaio_queue_ended(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    if (file->writer != req) return;
    file->writer = NULL;
    if (!file->ready) make_ready(file);
}

/* The first whose turn it is to get a worker, or one more. */
struct kaio_file *kaio_queue_next(void) {
    struct kaio_file *file = TAILQ_FIRST(&queues.ready);
    bool all_busy = queues.busy >= (unsigned)kaio_config.workers;
    while (file && all_busy && file->workers > 0) file = TAILQ_NEXT(file, link);
    return file;
}

static struct kaio_req *take_first(struct kaio_file *file, bool write) {
    struct kaio_reqs *queue = write ? &file->writes : &file->reads;
    struct kaio_req *req = TAILQ_FIRST(queue);
    TAILQ_REMOVE(queue, req, link);
    if (write) file->writer = req;
    file->has_read = !write;
    return req;
}

/* Of a file that is ready, reads and writes in turn; then others' turn. */
struct kaio_req *kaio_queue_take(struct kaio_file *file) {
    struct kaio_req *req =
        take_first(file, can_write(file) && (file->has_read || TAILQ_EMPTY(&file->reads)));
    make_ready(file);
    return req;
}

static bool starts_thread(const struct kaio_req *req) {
    return req->sigev.sigev_notify == SIGEV_THREAD ||
           (req->lio && req->lio->sigev.sigev_notify == SIGEV_THREAD);
}

static bool joins_batch(const struct kaio_req *last, const struct kaio_req *req) {
    if (!req || starts_thread(last) || starts_thread(req)) return false;
    return req->op == KAIO_WRITE ? kaio_req_continues(last, req) : last->joins && req->joins;
}

/* Reads of one file's pages that are not in memory: the kernel begins each when it declines it, so
 * one worker can begin them all and then wait for one after the other, most of which have come by
 * then. That saves most of the sleeps and wake-ups, which are dearer than all else here. Writes
 * that continue each other are made by one call. */
int kaio_queue_take_batch(struct kaio_file *file, struct kaio_req *batch[KAIO_BATCH]) {
    int n = 1;
    batch[0] = kaio_queue_take(file);
    bool write = batch[0]->op == KAIO_WRITE;
    const struct kaio_reqs *queue = write ? &file->writes : &file->reads;
    size_t bytes = batch[0]->iocb.u.c.nbytes;
    while (n < KAIO_BATCH && joins_batch(batch[n - 1], TAILQ_FIRST(queue))) {
        bytes += TAILQ_FIRST(queue)->iocb.u.c.nbytes;
        if (write && bytes > KAIO_BATCH_BYTES) break;
        batch[n++] = take_first(file, write);
    }
    for (int i = 0; i < n; i++) kaio_req_move(batch[i], KAIO_RUNNING);
    if (n > 1) make_ready(file);
    return n;
}

static unsigned batches_of(const struct kaio_file *file, unsigned limit) {
    const struct kaio_req *req, *first = NULL;
    unsigned n = can_write(file);
    int length = 0;
    TAILQ_FOREACH(req, &file->reads, link) {
        if (first && joins_batch(first, req) && ++length < KAIO_BATCH) continue;
        if (++n > limit) break;
        first = req;
        length = 0;
    }
    return n;
}

/* How many workers could take something beside those that are coming? No more than one too many
 * are counted. */
unsigned kaio_queue_batches(unsigned coming) {
    bool all_busy = queues.busy + coming >= (unsigned)kaio_config.workers;
    const struct kaio_file *file;
    unsigned n = 0;
    TAILQ_FOREACH(file, &queues.ready, link) {
        if (n > coming) break;
        if (!all_busy) n += batches_of(file, coming - n);
        else if (file->workers == 0) n++;
    }
    return n;
}
