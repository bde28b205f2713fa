/* SPDX-License-Identifier: MIT */
/* load.c - 16 threads use 64 files of all kinds, with 4,096 requests in progress at most: reads,
 * writes, syncs, lists and cancels, every notification and every way to wait. load.sh runs it for
 * LOAD_SECONDS. Most requests end at once; at the beginning of each round 4,096 really wait.
 *
 * A request belongs to a slot, and a slot to one thread. In a file each slot has blocks of its own,
 * so what they contain is known; into streams and appended files it sends records, which must all
 * come out. All threads use all files. The load comes in rounds: new threads, new descriptors;
 * after each everything must have ended, and a line tells what the process has: it may not grow.
 */
#include "test.h"
#include "load.h"

#include <sched.h>

enum { ITEMS = 8, PATIENCE_S = 30 };

struct thread {
    pthread_t thread;
    unsigned random;
    bool waits; /* all its slots read, from streams that are empty */
    struct slot slots[DEPTH];
    struct notice listed; /* of the thread's list */
};

static struct thread threads[THREADS];
static atomic_bool stop;
static atomic_int in_progress, most, waiting; /* waiting: when a round begins */
static atomic_long seen_pending, looks;
static pthread_barrier_t all;

static unsigned pick(struct thread *t, unsigned n) {
    return (unsigned)rand_r(&t->random) / 7 % n;
}

static struct file *own_file(const struct slot *slot) {
    return &files[slot->id % FILES];
}

static bool is_busy_stream(const struct slot *slot) {
    return slot->busy && is_stream(slot->file);
}

static void raise_to(atomic_int *highest, int now) {
    int seen = *highest;
    while (now > seen && !atomic_compare_exchange_weak(highest, &seen, now)) continue;
}

/* The aiocb and what is to be expected of it. */
static void prepare(struct thread *t, struct slot *slot) {
    struct file *file = slot->file;
    bool writes = pick(t, file->kind == UNCACHED ? 16 : 2) == 0;
    slot->op = writes ? LIO_WRITE : LIO_READ;
    if (is_stream(file)) slot->op = slot->index % 2 && !t->waits ? LIO_WRITE : LIO_READ;
    else if (pick(t, 64) == 0) slot->op = SYNC;
    else if (file->kind == APPEND) slot->op = LIO_WRITE;
    slot->blocks = 1 + (int)pick(t, BLOCKS);
    bool in_blocks = !is_stream(file) && file->kind != APPEND;
    size_t size = in_blocks ? (size_t)slot->blocks * BLOCK : RECORD;
    off_t offset = in_blocks ? (off_t)slot->index * BLOCKS * BLOCK : 0;
    int fd = is_stream(file) && slot->op == LIO_WRITE ? file->peer : file->fd;
    if (slot->op == LIO_WRITE) {
        slot->last++;
        for (int i = 0; i < (in_blocks ? slot->blocks : 1); i++)
            stamp(slot->buf + i * BLOCK, in_blocks ? BLOCK : RECORD, slot->id, slot->last);
    } else if (slot->op == LIO_READ) {
        memset(slot->buf, 0xee, size);
        if (file->kind == UNCACHED) posix_fadvise(fd, offset, (off_t)size, POSIX_FADV_DONTNEED);
    }
    slot->cb = request(fd, slot->buf, size, offset);
    slot->cb.aio_lio_opcode = slot->op;
    slot->cb.aio_sigevent = notification(&slot->notice, pick(t, 8));
    slot->busy = true;
    made[slot->op]++;
    raise_to(&most, ++in_progress);
}

static void start(struct slot *slot) {
    int r = slot->op == SYNC        ? aio_fsync(slot->id % 2 ? O_SYNC : O_DSYNC, &slot->cb)
            : slot->op == LIO_WRITE ? aio_write(&slot->cb)
                                    : aio_read(&slot->cb);
    if (r != 0) wrong(slot, "not accepted", errno);
}

/* Of files only: nobody may be there any more to send what a stream's read waits for. */
static void list(struct thread *t, struct slot *first) {
    struct aiocb *items[ITEMS];
    int n = 0, mode = pick(t, 2) ? LIO_WAIT : LIO_NOWAIT;
    for (struct slot *slot = first; slot < t->slots + DEPTH && n < ITEMS; slot++) {
        if (slot->busy || (mode == LIO_WAIT && is_stream(slot->file))) continue;
        prepare(t, slot);
        if (slot->op == SYNC) start(slot);
        else items[n++] = &slot->cb;
    }
    struct sigevent event = notification(&t->listed, mode == LIO_WAIT ? 0 : pick(t, 8));
    if (lio_listio(mode, items, n, &event) == 0) return;
    if (mode != LIO_WAIT || (errno != EINTR && errno != EIO)) wrong(first, "list", errno);
}

/* The request has ended, its notification has come: does its result fit? */
static void harvest(struct slot *slot) {
    int err = aio_error(&slot->cb);
    if (err == EINPROGRESS || !has_come(&slot->notice)) return;
    ssize_t r = aio_return(&slot->cb);
    slot->busy = false;
    in_progress--;
    ended[slot->op]++;
    if (err == ECANCELED && r == -1) cancelled++;
    else if (err != 0) wrong(slot, "error", err);
    else if (r != (slot->op == SYNC ? 0 : (ssize_t)slot->cb.aio_nbytes))
        wrong(slot, "count", (int)r);
    else take(slot);
    slot->file = own_file(slot);
}

/* What it answers and what becomes of the request must agree; another thread may cancel it, too. */
static void cancel(struct thread *t, struct slot *slot) {
    if (pick(t, 256) == 0) {
        if (aio_cancel(slot->cb.aio_fildes, NULL) < 0) wrong(slot, "cancel of all", errno);
        return;
    }
    bool had_ended = aio_error(&slot->cb) != EINPROGRESS;
    int r = aio_cancel(slot->cb.aio_fildes, &slot->cb), err = aio_error(&slot->cb);
    bool fits = r == AIO_CANCELED      ? !had_ended && err == ECANCELED
                : r == AIO_NOTCANCELED ? !had_ended
                                       : r == AIO_ALLDONE && err != EINPROGRESS;
    if (!fits) wrong(slot, "cancel", r);
}

/* Until one of the requests has ended, or a little longer. */
static void wait_some(struct thread *t) {
    const struct aiocb *cbs[DEPTH];
    struct timespec limit = {0, 1000000}, *how_long = &limit;
    int n = 0;
    unsigned how = pick(t, 5);
    for (struct slot *slot = t->slots; slot < t->slots + DEPTH; slot++)
        if (slot->busy && (how != 0 || !is_stream(slot->file))) cbs[n++] = &slot->cb;
    if (how == 0 && n > 0) how_long = NULL;
    if (how <= 1) {
        if (aio_suspend(cbs, n, how_long) < 0 && errno != EINTR && errno != EAGAIN)
            wrong(t->slots, "aio_suspend", errno);
    } else if (how == 2) {
        for (int tries = 0, i = 0; i < n && tries < 10000; tries++, i = tries % n)
            if (aio_error(cbs[i]) != EINPROGRESS) break;
    } else if (how == 3) take_signals(100000);
    else sched_yield();
    take_signals(0);
}

/* Each slot has a request then. */
static void fill(struct thread *t) {
    for (struct slot *slot = t->slots; slot < t->slots + DEPTH; slot++) {
        if (slot->busy) continue;
        if (pick(t, 16) == 0 && has_come(&t->listed)) list(t, slot);
        if (slot->busy) continue;
        prepare(t, slot);
        start(slot);
    }
}

static int pending(const struct thread *t) {
    int n = 0;
    for (const struct slot *slot = t->slots; slot < t->slots + DEPTH; slot++)
        n += slot->busy && aio_error(&slot->cb) == EINPROGRESS;
    return n;
}

static void look_around(const struct thread *t) {
    seen_pending += pending(t);
    looks++;
}

/* A round begins with reads of all slots that really wait, for nobody has sent anything yet; most
 * are cancelled then. */
static void wait_together(struct thread *t) {
    struct slot *slot;
    t->waits = true;
    for (slot = t->slots; slot < t->slots + DEPTH; slot++) {
        while (!is_stream(slot->file)) slot->file = &files[(slot->file - files + 1) % FILES];
        prepare(t, slot);
        start(slot);
    }
    t->waits = false;
    pthread_barrier_wait(&all);
    waiting += pending(t);
    pthread_barrier_wait(&all);
    for (slot = t->slots; slot < t->slots + DEPTH; slot++)
        if (slot->index % 2 || slot->file != own_file(slot)) cancel(t, slot);
}

static void *run(void *arg) {
    struct thread *t = arg;
    bool busy = true;
    use_signals();
    wait_together(t);
    while (busy) {
        bool stops = stop;
        if (!stops) fill(t);
        if (pick(t, 64) == 0) look_around(t);
        struct slot *slot = &t->slots[pick(t, DEPTH)];
        if (slot->busy) cancel(t, slot);
        wait_some(t);
        busy = !stops || !has_come(&t->listed);
        for (slot = t->slots; slot < t->slots + DEPTH; slot++) {
            if (stops && is_busy_stream(slot)) cancel(t, slot);
            if (slot->busy) harvest(slot);
            busy |= slot->busy;
        }
    }
    return NULL;
}

static void give_up(void) {
    for (int i = 0; i < THREADS * DEPTH; i++) {
        struct slot *slot = &threads[i / DEPTH].slots[i % DEPTH];
        if (slot->busy) wrong(slot, "does not end", aio_error(&slot->cb));
    }
    say("a thread does not end");
    exit(1);
}

/* The seconds are counted, not measured: the process may be stopped for a while. */
static void one_round(int seconds) {
    stop = false;
    waiting = 0;
    open_files();
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i].thread, NULL, run, &threads[i]) == 0, "thread");
    for (int i = 0; i < seconds; i++) sleep_ms(1000);
    stop = true;
    bad += waiting != THREADS * DEPTH;
    if (waiting != THREADS * DEPTH) say("%d requests have waited", waiting + 0);
    for (int i = 0, waited = 0; i < THREADS; waited++)
        if (pthread_tryjoin_np(threads[i].thread, NULL) == 0) i++;
        else if (waited < PATIENCE_S * 100) sleep_ms(10);
        else give_up();
    close_files();
}

static void test(void) {
    const char *length = getenv("LOAD_SECONDS");
    int seconds = length ? atoi(length) : 8, each = seconds < 40 ? 1 : seconds / 20;
    alarm(0);
    char *bufs = pages((size_t)THREADS * DEPTH * BLOCKS * BLOCK);
    for (int i = 0; i < THREADS * DEPTH; i++) {
        struct thread *t = &threads[i / DEPTH];
        t->random = (unsigned)(i / DEPTH + 1);
        struct slot *slot = &t->slots[i % DEPTH];
        slot->index = i / FILES;
        slot->id = i;
        slot->file = own_file(slot);
        slot->buf = bufs + (size_t)i * BLOCKS * BLOCK;
        slot->notice.cb = &slot->cb;
    }
    block_signals();
    pthread_barrier_init(&all, NULL, THREADS);
    struct sample early = {0}, last = {0};
    for (int at = each; at <= seconds; at += each) {
        one_round(each);
        last = take_sample(at);
        if (at <= each * 2 || at <= seconds / 4) early = largest(early, last);
    }
    say("%ld reads, %ld writes, %ld syncs; %ld of them cancelled; %d at once, %ld pending on "
        "average",
        ended[LIO_READ] + 0, ended[LIO_WRITE] + 0, ended[SYNC] + 0, cancelled + 0, most + 0,
        seen_pending * THREADS / (looks + 1));
    if (has_grown(early, last) || bad) exit(1);
}
