/* worker.c - threads that do with pread(), pwrite() and fsync() what the kernel would not do
 * without waiting: what queue.c has for them.
 *
 * They start on demand, look around before they sleep if their requests are short (waking a thread
 * is the dearest thing here), and end after an idle second. kaio_leave() calls them, once per
 * request that nobody awake is going to see.
 */
#include "kaio.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IDLE_S 1

static void *worker_main(void *unused);

/* By the calling thread, at its kaio_leave(). */
static void run_inline(struct kaio_batch *b, struct kaio_req *req) {
    kaio_req_move(req, KAIO_RUNNING);
    TAILQ_INSERT_TAIL(&b->run, req, link);
}

void kaio_worker_queue(struct kaio_batch *b, struct kaio_req *req) {
    if (kaio_config.mode == KAIO_KERNEL) run_inline(b, req); /* for comparison: the caller blocks */
    else kaio_queue_add(req);
}

/* A stream, seen only now, is not waited for here: see kaio_worker_finish(). errno stays ESPIPE. */
static bool has_become_stream(const struct kaio_req *req) {
    return !req->in_line && kaio_submit_is_stream(req->iocb.aio_fildes);
}

/* A stream's read() may end by EINTR though signals are blocked: of a socket with a time limit, by
 * SIGSTOP (signal(7)), and of some devices. close() waits only until it has begun. The lock: under
 * it let_go() in file.c sees a thread asleep in its call and gives the number away. */
static bool may_call_again(const struct kaio_req *req) {
    if (!req->in_line) return true;
    kaio_lock();
    bool same = !kaio_file_is_gone(req);
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
    kaio_queue_ended(req);
    req->lane = kaio_is_ours ? KAIO_BY_WORKER : KAIO_BY_CALLER;
    if (res == -ESPIPE) {
        kaio_req_move(req, KAIO_OFFERED);
        kaio_submit_result(b, req, res);
        return;
    }
    kaio_complete(b, req, res);
}

static bool is_ready(const void *unused) {
    (void)unused;
    return atomic_load_explicit(&kaio.nready, memory_order_relaxed) > 0;
}

/* Under the lock, which it drops meanwhile. False: nobody has called for a while. No call is
 * missed: kaio.work is read under the lock, when there was nothing to do, and changed under it, so
 * the kernel does not let a thread sleep that has been called since. */
static bool sleep_for_work(void) {
    static const struct timespec idle = {IDLE_S, 0};
    unsigned seen = kaio.work;
    kaio.idle++;
    kaio_unlock();
    long err = syscall(SYS_futex, &kaio.work, FUTEX_WAIT_PRIVATE, seen, &idle) ? errno : 0;
    kaio_lock();
    kaio.idle--;
    if (kaio.called) kaio.called--; /* at worst one is called too many */
    return err != ETIMEDOUT;
}

/* Wakes one that sleeps there, without the lock. */
static void wake_one(void) {
    syscall(SYS_futex, &kaio.work, FUTEX_WAKE_PRIVATE, 1l);
}

/* False: nothing came for a while. Until it sleeps the worker counts as looking, so what is
 * submitted as soon as it has ended a request wakes no other. It spins only if its last request
 * took less time than that: waking a thread adds little to one that waited for a device. */
static bool wait_for_work(struct kaio_batch *b, bool quick) {
    static struct kaio_spin spin;
    bool spins = quick && kaio.looking == 0;
    kaio.looking++;
    kaio_leave(b);
    if (spins) kaio_spin(&spin, is_ready, NULL);
    kaio_enter(b);
    kaio.looking--;
    while (!kaio_queue_next() && sleep_for_work()) continue;
    return kaio_queue_next();
}

/* Answers whether the last was quick. */
static bool work_off(struct kaio_batch *b, struct kaio_file *file) {
    struct kaio_req *batch[KAIO_BATCH];
    bool quick = true;
    int n = kaio_queue_take_batch(file, batch);
    bool gone = kaio_file_is_gone(batch[0]); /* its number is another file's by now, unseen */
    kaio.busy++;
    file->workers++;
    kaio_leave(b);
    for (int i = 0; i < n && n > 1 && !gone; i++) kaio_copy_begin(batch[i]);
    for (int i = 0; i < n; i++) {
        struct kaio_req *req = batch[i];
        uint64_t begin = kaio_now_ns();
        long res = gone ? -EBADF : kaio_worker_run(req);
        quick = kaio_copy_is_quick(req->nbytes, kaio_now_ns() - begin) && (i == 0 || quick);
        kaio_enter(b);
        /* relaxed: a hint */
        atomic_store_explicit(&file->slow, !quick, memory_order_relaxed);
        if (req->op <= KAIO_WRITE) kaio_copy_learn(file, req->op, !quick);
        kaio_worker_finish(b, req, res);
        if (i < n - 1) kaio_leave(b);
    }
    kaio.busy--;
    file->workers--;
    return quick;
}

/* Starts the threads of notifications before anything else is taken: pthread_create() may wait for
 * a lock of libc's whose holder, in a handler, waits for that. */
static struct kaio_file *next_work(struct kaio_batch *b) {
    if (!TAILQ_EMPTY(&b->notify) || !TAILQ_EMPTY(&b->lists)) {
        kaio_leave(b);
        kaio_enter(b);
    }
    return kaio_queue_next();
}

static void *worker_main(void *unused) {
    (void)unused;
    struct kaio_batch b;
    struct kaio_file *file;
    bool quick = true;
    kaio_is_ours = true;
    kaio_enter(&b);
    kaio.starting--;
    do {
        while ((file = next_work(&b))) quick = work_off(&b, file);
    } while (wait_for_work(&b, quick));
    kaio.workers--;
    kaio_leave(&b);
    kaio_thread_ended();
    return NULL;
}

/* The last worker could not be started: what is queued can only fail. */
static bool give_up(struct kaio_batch *b) {
    struct kaio_file *file;
    bool any = false;
    while (kaio.workers == 0 && (file = TAILQ_FIRST(&kaio.ready))) {
        struct kaio_req *req = kaio_queue_take(file);
        kaio_queue_ended(req);
        kaio_complete_refused(b, req);
        any = true;
    }
    return any;
}

/* Declined only in its event (a short direct read, say), when no worker is alive and the caller,
 * maybe a signal handler, can start none: one at a time, for another thread may be about to start
 * one. */
static void run_carefully(struct kaio_batch *b) {
    run_inline(b, kaio_queue_take(TAILQ_FIRST(&kaio.ready)));
}

/* Under the lock, which it drops meanwhile: if ready holds more than the awake workers expect, and
 * one can be woken or started, does so and answers true. A careful caller starts none: the thread
 * that submitted the request comes here, too, before its call returns. */
bool kaio_worker_call(struct kaio_batch *b) {
    unsigned coming = kaio.looking + kaio.called + kaio.starting;
    if (kaio_queue_batches(coming) <= coming) return false;
    if (kaio.idle > kaio.called) {
        kaio.called++; /* taken back by the one that wakes, in sleep_for_work() */
        kaio.work++;
        kaio_unlock();
        wake_one();
        kaio_lock();
        return true;
    }
    if (kaio.workers == (unsigned)kaio_config.workers + KAIO_SPARE) return false;
    if (b->careful) {
        if (kaio.workers == 0 && TAILQ_EMPTY(&b->run)) run_carefully(b);
        else if (kaio.reaper && !kaio.unattended) kaio_reaper_kick(); /* it starts one */
        return false;
    }
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
