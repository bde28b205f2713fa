/* file.c - what must be kept in order on one descriptor: syncs behind earlier requests, and
 * everything before the number may mean another file.
 *
 * Under the lock, but for kaio_file_used() and what fsync() and close() call. Records are found by
 * descriptor number and made on first use. When a number means another file, it loses its record
 * (file_detach()), with which all goes that is known of the file; requests in progress keep it.
 * Numbers 2^20 apart, which no default allows, share a record.
 *
 * A sync (with KAIO_ORDER=fd: every request) is a barrier: it waits in file->held until all that
 * started before it has finished, while later requests go past it. Two counters do it: requests
 * count in active[epoch]; a barrier that becomes the first of held flips the epoch once the other
 * counter is 0 and then waits for the counter that no new request raises any more.
 *
 * A sync that starts when nothing else is in progress covers the syncs that are held behind it,
 * too: they stay in held, and end with it. If it fails, each has its own turn.
 */
#include "kaio.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOMENT_NS  50000
#define FILES_MADE 16 /* records that are allocated together */
#define GONE_LOOKS 8  /* for one that can be used again */

static _Atomic(kaio_number *) *chunk_of(int fd) {
    return &kaio.numbers[((unsigned)fd / KAIO_FILE_CHUNK) % KAIO_FILE_CHUNKS];
}

static kaio_number *number_of(int fd) {
    kaio_number *chunk = atomic_load_explicit(chunk_of(fd), memory_order_relaxed);
    if (!chunk) chunk = kaio_alloc(KAIO_FILE_CHUNK * sizeof *chunk);
    /* release: pairs with the acquire in kaio_file_used() */
    if (chunk) atomic_store_explicit(chunk_of(fd), chunk, memory_order_release);
    return chunk ? &chunk[(unsigned)fd % KAIO_FILE_CHUNK] : NULL;
}

static void file_init(struct kaio_file *file) {
    uint32_t generation = file->generation;
    memset(file, 0, sizeof *file);
    file->generation = generation;
    TAILQ_INIT(&file->held);
    TAILQ_INIT(&file->line[KAIO_READ]);
    TAILQ_INIT(&file->line[KAIO_WRITE]);
    TAILQ_INIT(&file->reads);
    TAILQ_INIT(&file->writes);
    TAILQ_INIT(&file->backlog);
}

/* Does no request need it? What has ended, but is not free yet, finds its memory mapped. */
static bool is_idle(const struct kaio_file *file) {
    return file->active[0] + file->active[1] + file->unsubmitted + file->workers == 0 &&
           TAILQ_EMPTY(&file->held) && !file->ending;
}

/* Of those whose number means another file now; some may still have requests in progress. */
static struct kaio_file *file_again(void) {
    for (int i = 0; i < GONE_LOOKS; i++) {
        struct kaio_file *file = TAILQ_FIRST(&kaio.gone_files);
        if (!file) return NULL;
        TAILQ_REMOVE(&kaio.gone_files, file, gone);
        if (is_idle(file)) return file;
        TAILQ_INSERT_TAIL(&kaio.gone_files, file, gone);
    }
    return NULL;
}

static struct kaio_file *file_new(void) {
    struct kaio_file *file = file_again(), *chunk = NULL;
    if (!file) file = chunk = kaio_alloc(FILES_MADE * sizeof *chunk);
    for (int i = 1; chunk && i < FILES_MADE; i++) {
        file_init(&chunk[i]);
        TAILQ_INSERT_HEAD(&kaio.gone_files, &chunk[i], gone);
    }
    if (file) file_init(file);
    return file;
}

struct kaio_file *kaio_file_get(int fd) {
    kaio_number *number = number_of(fd);
    if (!number) return NULL;
    struct kaio_file *file = atomic_load_explicit(number, memory_order_relaxed);
    if (!file) file = file_new();
    /* release: pairs with the acquire in kaio_file_used() */
    atomic_store_explicit(number, file, memory_order_release);
    return file;
}

/* A program orders its own aio_read() and close() of one descriptor. */
struct kaio_file *kaio_file_used(int fd) {
    if (fd < 0) return NULL;
    kaio_number *chunk = atomic_load_explicit(chunk_of(fd), memory_order_acquire);
    kaio_number *number = chunk ? &chunk[(unsigned)fd % KAIO_FILE_CHUNK] : NULL;
    return number ? atomic_load_explicit(number, memory_order_acquire) : NULL;
}

/* From here on the number means another file, of which nothing is known. */
static void file_detach(struct kaio_file *file, int fd) {
    if (kaio_file_used(fd) != file) return;
    atomic_store_explicit(number_of(fd), NULL, memory_order_relaxed);
    __atomic_store_n(&file->generation, file->generation + 1, __ATOMIC_RELAXED);
    TAILQ_INSERT_TAIL(&kaio.gone_files, file, gone);
}

static bool is_barrier(const struct kaio_req *req) {
    return req->op >= KAIO_FSYNC || kaio_config.order;
}

void kaio_file_count(struct kaio_req *req) {
    req->epoch = req->file->epoch;
    req->file->active[req->epoch]++;
    req->counted = true;
}

static void start(struct kaio_batch *b, struct kaio_req *req) {
    kaio_file_count(req);
    kaio_submit(b, req);
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
    file->ending = true;
    file->ending_lane = sync->lane;
    TAILQ_INSERT_TAIL(&kaio.ending, file, ends);
}

static void release(struct kaio_batch *b, struct kaio_file *file) {
    /* What start() ends at once comes back through kaio_file_finish(), and so does what is covered:
     * the next sync starts when all of that has ended. */
    if (file->releasing || file->ending) return;
    file->releasing = true;
    struct kaio_req *req;
    while ((req = TAILQ_FIRST(&file->held)) && !is_covered(file, req) &&
           file->active[file->epoch ^ 1] == 0) {
        if (!req->armed) {
            file->epoch ^= 1;
            req->armed = true;
        } else {
            TAILQ_REMOVE(&file->held, req, link);
            file->covers = is_sync(req) && file->active[file->epoch] == 0 ? kaio.serial : 0;
            file->covers_op = req->op;
            start(b, req);
        }
    }
    file->releasing = false;
}

bool kaio_file_end_covered(struct kaio_batch *b) {
    struct kaio_req *req;
    struct kaio_file *file = TAILQ_FIRST(&kaio.ending);
    if (!file) return false;
    for (int n = 0; (req = TAILQ_FIRST(&file->held)) && is_covered(file, req); n++) {
        if (n == KAIO_HOLD) {
            kaio_stand_aside();
            return true;
        }
        TAILQ_REMOVE(&file->held, req, link);
        req->lane = file->ending_lane;
        kaio_complete(b, req, 0);
    }
    TAILQ_REMOVE(&kaio.ending, file, ends);
    file->ending = false;
    file->covers = 0;
    release(b, file);
    return true;
}

/* With KAIO_ORDER=fd by priority, as in glibc, but none goes past a sync or comes before what it
 * covers. */
static void hold(struct kaio_req *req) {
    struct kaio_reqs *held = &req->file->held;
    struct kaio_req *before = TAILQ_LAST(held, kaio_reqs);
    kaio_req_rank(req);
    while (before && before->op <= KAIO_WRITE && req->op <= KAIO_WRITE &&
           before->priority > req->priority)
        before = TAILQ_PREV(before, kaio_reqs, link);
    if (before) TAILQ_INSERT_AFTER(held, before, req, link);
    else TAILQ_INSERT_HEAD(held, req, link);
    struct kaio_req *next = TAILQ_NEXT(req, link);
    if (!next || !next->armed) return;
    req->armed = true; /* the new head: the epoch has been flipped, and waits for the same */
    next->armed = false;
}

void kaio_file_start(struct kaio_batch *b, struct kaio_req *req) {
    if (!is_barrier(req)) {
        start(b, req);
        return;
    }
    kaio_submit_look(b, req); /* nothing of another file holds it up */
    kaio_direct_count_all(req->file);
    kaio_req_move(req, KAIO_HELD);
    hold(req);
    release(b, req->file);
}

void kaio_file_finish(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (req->counted) { /* not if it ends while held */
        req->file->active[req->epoch]--;
        if (is_sync(req)) sync_ended(req, res);
    }
    release(b, req->file);
}

/* Without an aiocb, which would lie on a stack that the thread may leave: its list is waited for.
 * NULL: no memory. */
static struct kaio_lio *start_barrier(struct kaio_batch *b, int fd) {
    struct kaio_lio *lio = kaio_lio_get();
    struct kaio_req *req = lio ? kaio_req_get(NULL, KAIO_BARRIER, fd) : NULL;
    if (!req) {
        if (lio) kaio_lio_free(lio);
        return NULL;
    }
    lio->wait = true;
    lio->pending = 1;
    req->lio = lio;
    TAILQ_INSERT_TAIL(&lio->items, req, item);
    kaio_file_start(b, req);
    return lio;
}

/* fsync() and fdatasync(): POSIX wants them to cover the requests queued so far. Streams cannot be
 * synced, and a read of one may wait for ever. */
void kaio_file_sync(int fd) {
    struct kaio_file *file = kaio_file_used(fd);
    if (!file || kaio_submit_is_stream(fd)) return;
    struct kaio_batch b;
    kaio_enter_careful(&b);
    kaio_direct_count_all(file);
    bool waits = file->active[0] || file->active[1] || !TAILQ_EMPTY(&file->held);
    struct kaio_lio *lio = waits ? start_barrier(&b, fd) : NULL;
    kaio_leave(&b);
    if (lio) kaio_wait_list(lio, true);
}

/* The request is the first that meets the file which the number means now, unseen (fclose()). It
 * and those to come have a record of their own. Those before it were of another file: what of them
 * would use the number again ends. Without memory all stays as it is. */
void kaio_file_renew(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *old = req->file;
    int fd = req->iocb.aio_fildes;
    if (kaio_file_is_gone(req)) return;
    file_detach(old, fd);
    struct kaio_file *file = kaio_file_get(fd);
    if (!file) return;
    uint32_t unsubmitted = kaio_req_leave_file(req);
    __atomic_store_n(&req->file, file, __ATOMIC_RELAXED);
    req->generation = file->generation;
    kaio_file_unsubmitted(file, (int)unsubmitted);
    if (!req->counted) return;
    old->active[req->epoch]--;
    kaio_file_count(req);
    release(b, old);
}

/* Under the lock: nobody needs the number of the file as it is now any more? Then it is another. */
static bool let_go(struct kaio_file *file, int fd) {
    if (file->unsubmitted > 0 || kaio_blocker_enters(file)) return false;
    file_detach(file, fd);
    return true;
}

/* Sleeps until all that is unsubmitted has been, or, if only a blocker is on its way, a moment: it
 * takes no lock before its call, so nobody would wake this thread, which must not keep the CPU from
 * it. */
static void await(struct kaio_file *file, bool unsubmitted) {
    if (unsubmitted) kaio_wait_unsubmitted(file);
    else kaio_clock_nap(MOMENT_NS, false);
}

/* close(), dup2(), dup3(): streams are cancelled, or their POLL iocb would keep the peer from
 * seeing the end; file requests go on until none needs the number any more. What was on its way
 * into the kernel is met in the next round. */
void kaio_file_release(int fd) {
    struct kaio_file *file = kaio_file_used(fd);
    if (!file || getpid() != kaio.pid) return; /* a vfork()ed child closes only its own copy */
    struct kaio_batch b;
    bool stream = kaio_submit_is_stream(fd), done = false;
    while (!done) {
        kaio_enter_careful(&b);
        kaio_kernel_reap(&b);
        bool more = stream && kaio_cancel_stream(&b, file);
        done = !more && (kaio_file_used(fd) != file || let_go(file, fd));
        bool unsubmitted = file->unsubmitted > 0;
        kaio_leave(&b);
        if (!done && !more) await(file, unsubmitted);
    }
}

/* Those in the table; most have nothing there. */
void kaio_file_release_range(unsigned first, unsigned last) {
    const unsigned most = KAIO_FILE_CHUNK * KAIO_FILE_CHUNKS - 1;
    if (last > most) last = most;
    for (unsigned fd = first; fd <= last; fd++) {
        if (!atomic_load_explicit(chunk_of((int)fd), memory_order_acquire))
            fd |= KAIO_FILE_CHUNK - 1;
        else kaio_file_release((int)fd);
    }
}
