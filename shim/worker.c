/* worker.c - threads that do with pread(), pwrite() and fsync() what the kernel would not do
 * without waiting.
 *
 * kaio.ready is the queue. Reads are taken in parallel; of one descriptor's file writes only one is
 * in ready or running (file->writer), the others wait in file->writes: the inode's lock allows no
 * more, and O_APPEND writes land in call order. Workers start on demand, at most KAIO_WORKERS, look
 * around before they sleep if their requests are short (waking a thread is the dearest thing here),
 * and end after an idle second. kaio_leave() calls them, once per request that nobody awake is
 * going to see.
 */
#include "kaio.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_NS 20000
#define IDLE_S  1
#define BATCH   8 /* reads that one worker begins together */

static void *worker_main(void *unused);

uint64_t kaio_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* relaxed: a worker that sees nready late sleeps under the lock, where it sees it */
static void ready_insert(struct kaio_req *req, bool first) {
    if (first) TAILQ_INSERT_HEAD(&kaio.ready, req, link);
    else TAILQ_INSERT_TAIL(&kaio.ready, req, link);
    atomic_fetch_add_explicit(&kaio.nready, 1, memory_order_relaxed);
}

static void ready_remove(struct kaio_req *req) {
    TAILQ_REMOVE(&kaio.ready, req, link);
    atomic_fetch_sub_explicit(&kaio.nready, 1, memory_order_relaxed);
}

/* By the calling thread, at its kaio_leave(). */
static void run_inline(struct kaio_batch *b, struct kaio_req *req) {
    kaio_req_move(req, KAIO_RUNNING);
    TAILQ_INSERT_TAIL(&b->run, req, link);
}

void kaio_worker_queue(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *file = req->file;
    if (kaio_config.mode == KAIO_KERNEL) { /* for comparison: no workers, the caller blocks */
        run_inline(b, req);
        return;
    }
    kaio_req_move(req, KAIO_QUEUED);
    if (req->op == KAIO_WRITE && file->writer) {
        TAILQ_INSERT_TAIL(&file->writes, req, link);
        return;
    }
    if (req->op == KAIO_WRITE) file->writer = req;
    ready_insert(req, false);
}

/* The writer of a file has ended or left the queue: the next one's turn. */
static void next_writer(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    if (file->writer != req) return;
    file->writer = TAILQ_FIRST(&file->writes);
    if (!file->writer) return;
    TAILQ_REMOVE(&file->writes, file->writer, link);
    ready_insert(file->writer, true); /* a worker that comes from the last one takes it next */
}

static bool in_ready(const struct kaio_req *req) {
    return req->state == KAIO_QUEUED && (req->op != KAIO_WRITE || req->file->writer == req);
}

void kaio_worker_drop(struct kaio_req *req) {
    if (in_ready(req)) ready_remove(req);
    else TAILQ_REMOVE(&req->file->writes, req, link);
    next_writer(req);
}

/* A stream, seen only now, is not waited for here: see kaio_worker_finish(). errno stays ESPIPE. */
static bool has_become_stream(const struct kaio_req *req) {
    return !req->in_line && kaio_submit_is_stream(req->iocb.aio_fildes);
}

/* A stream's read() may be interrupted though signals are blocked, by SIGSTOP (signal(7)), and
 * close() waits only until it has begun. The lock: under it let_go() in file.c sees a thread asleep
 * in its call and gives the number away. */
static bool may_call_again(const struct kaio_req *req) {
    if (!req->in_line) return true;
    kaio_lock();
    bool same = req->generation == req->file->generation;
    kaio_unlock();
    if (!same) errno = ECANCELED;
    return same;
}

/* Raw system calls: these are no cancellation points, and fsync is ours. */
long kaio_worker_run(struct kaio_req *req) {
    int fd = req->iocb.aio_fildes;
    char *buf = req->buf + req->done;
    size_t rest = req->nbytes - req->done;
    long at = (long)req->offset + (long)req->done, r;
    if (rest == 0 && req->done > 0) return (long)req->done; /* kaio_copy_begin() had all */
    do {
        switch (req->op) {
        case KAIO_READ:
            r = syscall(SYS_pread64, fd, buf, rest, at);
            if (r < 0 && errno == ESPIPE && !has_become_stream(req))
                r = syscall(SYS_read, fd, buf, rest);
            break;
        case KAIO_WRITE:
            r = syscall(SYS_pwrite64, fd, buf, rest, at);
            if (r < 0 && errno == ESPIPE && !has_become_stream(req))
                r = syscall(SYS_write, fd, buf, rest);
            break;
        case KAIO_FSYNC: r = syscall(SYS_fsync, fd); break;
        default: r = syscall(SYS_fdatasync, fd); break;
        }
    } while (r < 0 && errno == EINTR && may_call_again(req));
    if (r < 0) return req->done ? (long)req->done : -errno;
    return (long)req->done + r;
}

void kaio_worker_finish(struct kaio_batch *b, struct kaio_req *req, long res) {
    next_writer(req);
    req->lane = kaio_is_ours ? KAIO_BY_WORKER : KAIO_BY_CALLER;
    if (res == -ESPIPE) {
        kaio_req_move(req, KAIO_OFFERED);
        kaio_submit_result(b, req, res);
        return;
    }
    kaio_complete(b, req, res);
}

/* Without the lock: looks for work before sleeping, if there is a CPU to do so on. */
static void spin(void) {
    uint64_t end = kaio_now_ns() + SPIN_NS;
    while (atomic_load_explicit(&kaio.nready, memory_order_relaxed) == 0 && kaio_now_ns() < end)
        for (int i = 0; i < 16; i++) __builtin_ia32_pause();
}

/* False: nothing came for a while. Until it sleeps the worker counts as looking, so what is
 * submitted as soon as it has ended a request wakes no other. It spins only if its last request
 * took less time than that: waking a thread adds little to one that waited for a device. */
static bool wait_for_work(struct kaio_batch *b, bool quick) {
    bool spins = quick && kaio_ncpu > 1 && kaio.looking == 0;
    kaio.looking++;
    kaio_leave(b);
    if (spins) spin();
    kaio_enter(b);
    kaio.looking--;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += IDLE_S;
    int err = 0;
    while (TAILQ_EMPTY(&kaio.ready) && err == 0) {
        kaio.idle++;
        err = pthread_cond_clockwait(&kaio.work, &kaio.lock, CLOCK_MONOTONIC, &end);
        kaio.idle--;
        if (kaio.called) kaio.called--; /* at worst one is called too many */
    }
    return !TAILQ_EMPTY(&kaio.ready);
}

static bool joins(const struct kaio_req *first, const struct kaio_req *req) {
    return req && first->buffered && req->buffered && req->file == first->file;
}

/* Reads of one file's pages that are not in memory: the kernel begins each when it declines it, so
 * one worker can begin them all and then wait for one after the other, most of which have come by
 * then. That saves most of the sleeps and wake-ups, which are dearer than all else here. */
static int take(struct kaio_req *batch[]) {
    int n = 0;
    struct kaio_req *req = TAILQ_FIRST(&kaio.ready);
    do {
        batch[n++] = req;
        ready_remove(req);
        kaio_req_move(req, KAIO_RUNNING);
        req = TAILQ_FIRST(&kaio.ready);
    } while (n < BATCH && joins(batch[0], req));
    return n;
}

/* How many batches are ready; no more than limit + 1 are counted. */
static unsigned batches(unsigned limit) {
    unsigned n = 0;
    struct kaio_req *req, *first = NULL;
    int length = 0;
    TAILQ_FOREACH(req, &kaio.ready, link) {
        if (first && joins(first, req) && ++length < BATCH) continue;
        if (++n > limit) break;
        first = req;
        length = 0;
    }
    return n;
}

/* Answers whether the last was quick. */
static bool work_off(struct kaio_batch *b) {
    struct kaio_req *batch[BATCH];
    bool quick = true;
    int n = take(batch);
    kaio_leave(b);
    for (int i = 0; i < n && n > 1; i++) kaio_copy_begin(batch[i]);
    for (int i = 0; i < n; i++) {
        struct kaio_req *req = batch[i];
        uint64_t begin = kaio_now_ns();
        long res = kaio_worker_run(req);
        quick = kaio_copy_is_quick(req->nbytes, kaio_now_ns() - begin) && (i == 0 || quick);
        kaio_enter(b);
        /* relaxed: hints */
        atomic_store_explicit(&req->file->slow, !quick, memory_order_relaxed);
        if (req->op == KAIO_READ)
            atomic_store_explicit(&req->file->cold, !quick, memory_order_relaxed);
        kaio_worker_finish(b, req, res);
        if (i < n - 1) kaio_leave(b);
    }
    return quick;
}

static void *worker_main(void *unused) {
    (void)unused;
    struct kaio_batch b;
    bool quick = true;
    kaio_is_ours = true;
    kaio_enter(&b);
    kaio.starting--;
    do {
        while (!TAILQ_EMPTY(&kaio.ready)) quick = work_off(&b);
    } while (wait_for_work(&b, quick));
    kaio.workers--;
    kaio_leave(&b);
    return NULL;
}

/* The last worker could not be started: what is queued can only fail. */
static bool give_up(struct kaio_batch *b) {
    struct kaio_req *req;
    bool any = false;
    while (kaio.workers == 0 && (req = TAILQ_FIRST(&kaio.ready))) {
        ready_remove(req);
        next_writer(req);
        kaio_complete_refused(b, req);
        any = true;
    }
    return any;
}

/* Declined only in its event (a short direct read, say), when no worker is alive and the caller,
 * maybe a signal handler, can start none: one at a time, for another thread may be about to start
 * one. */
static void run_carefully(struct kaio_batch *b) {
    struct kaio_req *req = TAILQ_FIRST(&kaio.ready);
    ready_remove(req);
    run_inline(b, req);
}

/* Under the lock, which it drops meanwhile: if ready holds more than the awake workers expect, and
 * one can be woken or started, does so and answers true. A careful caller starts none: the thread
 * that submitted the request comes here, too, before its call returns. */
bool kaio_worker_call(struct kaio_batch *b) {
    unsigned coming = kaio.looking + kaio.called + kaio.starting;
    if (batches(coming) <= coming) return false;
    if (kaio.idle > kaio.called) {
        kaio.called++; /* taken back by the one that wakes, in wait_for_work() */
        kaio_unlock();
        pthread_cond_signal(&kaio.work);
        kaio_lock();
        return true;
    }
    if (b->careful) {
        if (kaio.workers == 0 && TAILQ_EMPTY(&b->run)) run_carefully(b);
        return false;
    }
    if (kaio.workers == (unsigned)kaio_config.workers) return false;
    if (++kaio.workers > kaio.worker_peak) kaio.worker_peak = kaio.workers;
    kaio.starting++; /* taken back by worker_main() */
    kaio_unlock();
    int err = kaio_thread_start(worker_main, NULL);
    kaio_lock();
    if (err == 0) return true;
    kaio.workers--;
    kaio.starting--;
    if (!kaio.worker_failed) kaio_log("a worker could not be started: %s", strerrordesc_np(-err));
    kaio.worker_failed = true;
    return give_up(b);
}
