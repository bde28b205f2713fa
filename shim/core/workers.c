/* SPDX-License-Identifier: MIT */
/* workers.c - the loop of the threads that do with pread(), pwrite() and fsync() what the kernel
 * would not do without waiting: what queue.c has for them.
 *
 * They start on demand, look around before they sleep if their requests are short (waking a thread
 * is the dearest thing here), and end after an idle second. kaio_leave() calls them, once per
 * request that nobody awake is going to see.
 */
#include "core/core.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IDLE_S 1

static bool has_work(const void *unused) {
    (void)unused;
    return kaio_queue_has();
}

/* Under the lock, which it drops meanwhile. False: nobody has called for a while. No call is
 * missed: kaio_workers.work is read under the lock, when there was nothing to do, and changed under
 * it, so the kernel does not let a thread sleep that has been called since. */
LOCKED static bool sleep_for_work(void) {
    static const struct timespec idle = {IDLE_S, 0};
    unsigned seen = kaio_workers.work;
    kaio_workers.idle++;
    kaio_unlock();
    long err = syscall(SYS_futex, &kaio_workers.work, FUTEX_WAIT_PRIVATE, seen, &idle) ? errno : 0;
    kaio_lock();
    kaio_workers.idle--;
    if (kaio_workers.called) kaio_workers.called--; /* at worst one is called too many */
    return err != ETIMEDOUT;
}

/* False: nothing came for a while. Until it sleeps the worker counts as looking, so what is
 * submitted as soon as it has ended a request wakes no other. It spins only if its last request
 * took less time than that: waking a thread adds little to one that waited for a device. */
LOCKED static bool wait_for_work(struct kaio_batch *b, bool quick) {
    static struct kaio_spin spin;
    bool spins = quick && kaio_workers.looking == 0;
    kaio_workers.looking++;
    kaio_leave(b);
    if (spins) kaio_spin(&spin, has_work, NULL);
    kaio_enter(b);
    kaio_workers.looking--;
    while (!kaio_queue_next() && sleep_for_work()) continue;
    return kaio_queue_next();
}

/* What was taken together. False: it took as long as a device. */
static bool begin_all(struct kaio_req *batch[], int n) {
    uint64_t begin = kaio_now_ns();
    size_t bytes = batch[0]->iocb.u.c.nbytes;
    bool continues = true;
    for (int i = 1; i < n; i++) {
        bytes += batch[i]->iocb.u.c.nbytes;
        continues = continues && kaio_req_continues(batch[i - 1], batch[i]);
    }
    if (continues && bytes <= KAIO_BATCH_BYTES) {
        kaio_worker_join(batch, n);
        return kaio_copy_is_quick(bytes, kaio_now_ns() - begin);
    }
    for (int i = 0; i < n; i++) kaio_copy_begin(batch[i]);
    return true;
}

/* Answers whether the last was quick. */
LOCKED static bool work_off(struct kaio_batch *b, struct kaio_file *file) {
    struct kaio_req *batch[KAIO_BATCH];
    int n = kaio_queue_take_batch(file, batch);
    bool gone = kaio_file_is_gone(batch[0]); /* its number is another file's by now, unseen */
    kaio_queue_busy(file, 1);
    kaio_leave(b);
    bool quick = n == 1 || gone || begin_all(batch, n);
    for (int i = 0;;) {
        struct kaio_req *req = batch[i];
        uint64_t begin = kaio_now_ns();
        long res = gone ? -EBADF : kaio_worker_run(req);
        quick = kaio_copy_is_quick(req->iocb.u.c.nbytes, kaio_now_ns() - begin) && quick;
        kaio_enter(b);
        /* relaxed: a hint */
        atomic_store_explicit(&file->slow, !quick, memory_order_relaxed);
        if (req->op <= KAIO_WRITE) kaio_copy_learn(file, req->op, !quick);
        kaio_worker_finish(b, req, res);
        while (++i < n && kaio_worker_is_done(batch[i]))
            kaio_worker_finish(b, batch[i], (long)batch[i]->done);
        kaio_decide(b);
        if (i == n) break;
        kaio_leave(b);
    }
    kaio_queue_busy(file, -1);
    return quick;
}

/* Starts the threads of notifications before anything else is taken: pthread_create() may wait for
 * a lock of libc's whose holder, in a handler, waits for that. */
LOCKED static struct kaio_file *next_work(struct kaio_batch *b) {
    if (!TAILQ_EMPTY(&b->notify) || !TAILQ_EMPTY(&b->lists)) {
        kaio_leave(b);
        kaio_enter(b);
    }
    return kaio_queue_next();
}

void *kaio_worker_main(void *unused) {
    (void)unused;
    struct kaio_batch b;
    struct kaio_file *file;
    bool quick = true;
    kaio_is_ours = true;
    kaio_enter(&b);
    kaio_workers.starting--;
    do {
        while ((file = next_work(&b))) quick = work_off(&b, file);
    } while (wait_for_work(&b, quick));
    kaio_counted.workers--;
    kaio_leave(&b);
    kaio_engine_thread_ended();
    return NULL;
}
