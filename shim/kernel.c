/* kernel.c - the kernel AIO context: iocbs in, events out.
 *
 * One context per process, made when first needed and never destroyed (io_destroy() takes 32 ms).
 * Under the lock, except kaio_kernel_pending() (anywhere, also in signal handlers) and io_submit()
 * itself, for which kaio_kernel_submit() drops the lock: ringing a device may take long.
 *
 * Events are taken from the ring that the kernel maps into the process, without a system call.
 * Only the holder of the lock moves the ring's head; the kernel moves its tail. Nobody calls
 * io_getevents(), which writes the head itself, unless the ring's layout is unknown.
 */
#include "kaio.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_MAGIC 0xa10a10a1u
#define REAP_MAX   16 /* by call: the stack may be a signal handler's */

struct kaio_ring { /* struct aio_ring of fs/aio.c, the same since Linux 2.6 */
    unsigned id, nr;
    _Atomic unsigned head, tail;
    unsigned magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};

/* <libaio.h> without its library, which each process would have to load. 0 or more, or -errno. */
static int aio_call(long call, long a, long b, long c, long d, long e) {
    long r = syscall(call, a, b, c, d, e);
    return r < 0 ? -errno : (int)r;
}

static void
    *ring_at; /* of this process, or of the parent; outside kaio, which a child finds wiped */
static size_t ring_bytes;

/* In a child, whose thread may have been about to look at the ring when a handler forked: it finds
 * an empty one. Before Linux 4.17 the address is a hint. */
void kaio_kernel_forget(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (!ring_at) return;
    void *p = mmap(ring_at, ring_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p != MAP_FAILED && p != ring_at) munmap(p, ring_bytes);
    ring_at = NULL;
}

static int context_make(void) {
    int err = -EAGAIN;
    for (kaio.depth = (unsigned)kaio_config.depth; kaio.depth > 0; kaio.depth /= 2) {
        err = aio_call(SYS_io_setup, kaio.depth, (long)&kaio.ctx, 0, 0, 0);
        if (err != -EAGAIN) break; /* EAGAIN: fs.aio-max-nr has less left than was asked for */
    }
    if (err < 0) {
        kaio_log("no kernel AIO: io_setup: %s; workers do everything", strerrordesc_np(-err));
        kaio.ctx = NULL;
        return err;
    }
    kaio.nflights = kaio.depth;
    kaio.flights = kaio_alloc(kaio.nflights * sizeof *kaio.flights); /* NULL: no short way */
    struct kaio_ring *ring = (struct kaio_ring *)kaio.ctx;
    bool known = ring->magic == RING_MAGIC && ring->incompat_features == 0;
    size_t bytes = sizeof *ring + (known ? ring->nr : 0) * sizeof(struct io_event);
    /* The mapping is shared: a forked child that moved its head would corrupt the parent. */
    if (known && madvise(ring, bytes, MADV_DONTFORK) == 0) {
        ring_at = ring;
        ring_bytes = bytes;
        kaio.ring = ring;
    }
    kaio_log("kernel AIO: depth %u, events by %s", kaio.depth, kaio.ring ? "ring" : "io_getevents");
    return 0;
}

bool kaio_kernel_ready(void) {
    if (!kaio.ctx && !kaio.setup_error && kaio_config.mode != KAIO_WORKER)
        kaio.setup_error = context_make();
    return kaio.ctx;
}

static bool ring_pending(struct kaio_ring *ring) {
    /* head: relaxed, a stale one costs one round; tail: acquire, pairs with the kernel's barrier
     * between writing an event and moving the tail (aio_complete) */
    return atomic_load_explicit(&ring->head, memory_order_relaxed) !=
           atomic_load_explicit(&ring->tail, memory_order_acquire);
}

bool kaio_kernel_pending(void) {
    /* relaxed: a thread that does not see the new ring yet has no request of its own in it */
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    if (ring) return ring_pending(ring);
    return __atomic_load_n(&kaio.ctx, __ATOMIC_RELAXED) && kaio_in_kernel();
}

unsigned kaio_kernel_tail(void) {
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    return ring ? atomic_load_explicit(&ring->tail, memory_order_acquire) : 0;
}

/* Right after io_submit() of this one: is its event, which then lies behind the tail before, no
 * count? Without the lock: others may be moving the ring on, and then see to it themselves. */
bool kaio_kernel_has_declined(const struct iocb *iocb, unsigned tail) {
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    if (!ring) return kaio_kernel_pending();
    unsigned n = ring->nr; /* 0 in a child */
    for (unsigned end = kaio_kernel_tail(); tail != end && tail < n; tail = (tail + 1) % n) {
        const struct io_event *ev = &ring->events[tail];
        if (__atomic_load_n(&ev->obj, __ATOMIC_RELAXED) == iocb)
            return (long)__atomic_load_n(&ev->res, __ATOMIC_RELAXED) <= 0;
    }
    return false;
}

bool kaio_kernel_is_poll(const struct kaio_req *req) {
    return req->iocb.aio_lio_opcode == IO_CMD_POLL;
}

static void event(struct kaio_batch *b, const struct io_event *ev) {
    struct kaio_req *req = ev->data;
    /* acquire: pairs with the release in direct.c, whose thread may never have had the lock */
    enum kaio_state state = __atomic_load_n(&req->state, __ATOMIC_ACQUIRE);
    req->in_kernel = false;
    atomic_fetch_sub(&kaio.load, 1);
    if (kaio_kernel_is_poll(req)) {
        kaio.polls--;
    } else {
        kaio.ends++;
        kaio.stuck = false;
    }
    if (req->flight) kaio_direct_count(req);
    if (state == KAIO_SUBMITTED) kaio_submit_result(b, req, (long)ev->res);
    else if (state == KAIO_POLLING)
        kaio_submit_ready(b, req, (long)ev->res > 0 ? (unsigned)ev->res : 0);
    else if (state == KAIO_ZOMBIE) kaio_req_free(req);
}

static bool reap_by_call(struct kaio_batch *b) {
    struct io_event events[REAP_MAX];
    struct timespec now = {0, 0};
    int n = 0;
    if (kaio_in_kernel())
        n = aio_call(SYS_io_getevents, (long)kaio.ctx, 0, REAP_MAX, (long)events, (long)&now);
    for (int i = 0; i < n; i++) event(b, &events[i]);
    return n == REAP_MAX;
}

bool kaio_kernel_reap(struct kaio_batch *b) {
    struct kaio_ring *ring = kaio.ring;
    if (!ring) return reap_by_call(b);
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (int n = 0; ring_pending(ring); n++) {
        if (n == KAIO_HOLD) return true;
        struct io_event ev = ring->events[head];
        head = (head + 1) % ring->nr;
        /* release: the event has been copied before the kernel may use its place again */
        atomic_store_explicit(&ring->head, head, memory_order_release);
        event(b, &ev);
    }
    return false;
}

/* Somebody must act on the end of these, whatever the program's threads do. */
static bool needs_reaper(const struct kaio_req *req) {
    return kaio_kernel_is_poll(req) || kaio_notify_wanted(&req->sigev) ||
           (req->lio && kaio_notify_wanted(&req->lio->sigev));
}

/* By file, so that those of one can be found; files have their turns. A stream's others wait behind
 * it, so it goes first. */
static void queue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    bool first = TAILQ_EMPTY(&file->backlog);
    TAILQ_INSERT_TAIL(&file->backlog, req, link);
    if (first && req->in_line) TAILQ_INSERT_HEAD(&kaio.backlog, file, full);
    else if (first) TAILQ_INSERT_TAIL(&kaio.backlog, file, full);
}

struct kaio_req *kaio_kernel_waiting(void) {
    struct kaio_file *file = TAILQ_FIRST(&kaio.backlog);
    return file ? TAILQ_FIRST(&file->backlog) : NULL;
}

void kaio_kernel_unqueue(struct kaio_req *req) {
    struct kaio_file *file = req->file;
    TAILQ_REMOVE(&file->backlog, req, link);
    kaio.polls -= kaio_kernel_is_poll(req);
    TAILQ_REMOVE(&kaio.backlog, file, full);
    if (!TAILQ_EMPTY(&file->backlog)) TAILQ_INSERT_TAIL(&kaio.backlog, file, full);
}

/* Into b->offer, or behind those for which the context has no room; once that is stuck, as if it
 * had been declined. Nor is a number used that is another file's by now. The iocb is complete. */
static void enqueue(struct kaio_batch *b, struct kaio_req *req) {
    bool room = kaio_in_kernel() < kaio.depth;
    if (kaio_file_is_gone(req) || (!room && kaio.stuck)) {
        kaio_submit_result(b, req, -EAGAIN);
        return;
    }
    kaio.polls += kaio_kernel_is_poll(req);
    if (room) atomic_fetch_add(&kaio.load, 1);
    req->in_kernel = room;
    kaio_req_move(req, room ? KAIO_OFFERED : KAIO_BACKLOG);
    if (room) TAILQ_INSERT_TAIL(&b->offer, req, link);
    else queue(req);
}

static void flag_and_enqueue(struct kaio_batch *b, struct kaio_req *req) {
    req->iocb.data = req;
    kaio_thread_check(req->owner);
    bool own = !needs_reaper(req) && kaio_thread_efd(req->owner) >= 0;
    if (!own && kaio_reaper_ready(b)) {
        req->owner = kaio.reaper;
        kaio_thread_check(req->owner);
    }
    int efd = kaio_thread_efd(req->owner);
    if (efd >= 0) io_set_eventfd(&req->iocb, efd);
    else req->owner->unflagged = true;
    enqueue(b, req);
}

void kaio_kernel_offer(struct kaio_batch *b, struct kaio_req *req) {
    struct iocb *iocb = &req->iocb;
    req->lane = KAIO_BY_KERNEL;
    int fd = iocb->aio_fildes;
    char *buf = req->buf + req->done;
    size_t rest = req->nbytes - req->done;
    bool seeks = !req->in_line || req->offset < 0; /* which is wrong for a stream, too */
    off_t offset = seeks ? req->offset + (off_t)req->done : 0;
    if (req->op == KAIO_READ) io_prep_pread(iocb, fd, buf, rest, offset);
    else if (req->op == KAIO_WRITE) io_prep_pwrite(iocb, fd, buf, rest, offset);
    else if (req->op == KAIO_FSYNC) io_prep_fsync(iocb, fd);
    else io_prep_fdsync(iocb, fd);
    if (req->op <= KAIO_WRITE && !req->blocking) iocb->aio_rw_flags = RWF_NOWAIT;
    flag_and_enqueue(b, req);
}

void kaio_kernel_poll(struct kaio_batch *b, struct kaio_req *req) {
    io_prep_poll(&req->iocb, req->iocb.aio_fildes, req->op == KAIO_READ ? POLLIN : POLLOUT);
    flag_and_enqueue(b, req);
}

/* The event of a cancelled poll still arrives; when the poll is just ending, so does it. */
void kaio_kernel_unpoll(struct kaio_req *req) {
    struct io_event unused;
    aio_call(SYS_io_cancel, (long)kaio.ctx, (long)&req->iocb, (long)&unused, 0, 0);
}

void kaio_kernel_backlog(struct kaio_batch *b) {
    struct kaio_req *req;
    for (int n = 0; n < KAIO_SUBMIT_MAX && kaio_in_kernel() < kaio.depth; n++) {
        if (!(req = kaio_kernel_waiting())) break;
        kaio_kernel_unqueue(req);
        enqueue(b, req);
    }
}

/* io_submit() failed since the eventfd that the iocb names is ours no more: without it then. */
static bool has_lost_eventfd(struct kaio_req *req, int err) {
    if ((err != -EBADF && err != -EINVAL) || req->owner->efd == -1) return false;
    kaio_thread_check(req->owner);
    if (req->owner->efd >= 0 || !(req->iocb.u.c.flags & IOCB_FLAG_RESFD)) return false;
    req->iocb.u.c.flags = 0;
    req->owner->unflagged = true;
    return true;
}

/* By aio_cancel() or close() while it was on its way as a POLL iocb. The state first: direct.c may
 * be filling it for another by now. */
static bool is_cancelled(const struct kaio_req *req) {
    enum kaio_state state = __atomic_load_n(&req->state, __ATOMIC_RELAXED);
    return (state == KAIO_ZOMBIE || state == KAIO_DONE) && req->in_kernel;
}

/* How many will end by themselves? Not the polls of idle streams, nor what direct.c is just
 * submitting, perhaps in vain. Under the lock, without which none leaves; so it may
 * answer too few, never too many. */
static unsigned will_end(void) {
    uint64_t load = atomic_load(&kaio.load);
    unsigned all = kaio_kernel_count(load), others = kaio_kernel_calling(load) + kaio.polls;
    return all > others ? all - others : 0;
}

/* io_submit() did not take this request; err 0: because of one before it. */
static void refused(struct kaio_batch *b, struct kaio_req *req, int err) {
    bool cancelled = is_cancelled(req);
    kaio.polls -= kaio_kernel_is_poll(req);
    atomic_fetch_sub(&kaio.load, 1);
    req->in_kernel = false;
    if (req->state == KAIO_ZOMBIE) kaio_req_free(req);
    if (cancelled) return;
    kaio_req_move(req, KAIO_OFFERED);
    if (err == 0 || has_lost_eventfd(req, err)) {
        enqueue(b, req);
    } else if (kaio_kernel_is_poll(req) && err != -EAGAIN) {
        kaio_submit_unpollable(b, req);
    } else if (err != -EAGAIN) {
        kaio_submit_result(b, req, err);
    } else if (will_end() == 0) { /* no event need ever make room */
        kaio_submit_result(b, req, -ENOSYS);
    } else {
        kaio.depth = kaio_in_kernel(); /* the kernel's limit is less than it promised */
        enqueue(b, req);
    }
}

static int submit(long n, struct iocb **iocbs) {
    return aio_call(SYS_io_submit, (long)kaio.ctx, n, (long)iocbs, 0, 0);
}

/* Submits of b->offer what one call takes: all of a list, but little where the stack may be a
 * signal handler's. io_submit() stops at the first iocb that it refuses; its error comes when it is
 * the first of a call. Those behind it are offered again. */
void kaio_kernel_submit(struct kaio_batch *b) {
    const long most = b->list || kaio_is_ours ? KAIO_SUBMIT_MAX : KAIO_SUBMIT_FEW;
    struct iocb *iocbs[most];
    struct kaio_file *files[most];
    long n = 0, taken = 0, r = 0;
    struct kaio_req *req;
    while (n < most && (req = TAILQ_FIRST(&b->offer))) {
        TAILQ_REMOVE(&b->offer, req, link);
        kaio_req_move(req, kaio_kernel_is_poll(req) ? KAIO_POLLING : KAIO_SUBMITTED);
        if (req->op == KAIO_WRITE) kaio_raised_before(b);
        iocbs[n] = &req->iocb;
        files[n] = req->file; /* an accepted request may be gone when io_submit() returns */
        kaio_file_unsubmitted(files[n++], 1);
    }
    kaio.submits++;
    kaio.submitted += (uint64_t)n;
    kaio_unlock();
    while (taken < n && (r = submit(n - taken, iocbs + taken)) > 0) taken += r;
    kaio_lock();
    for (long i = 0; i < n; i++) kaio_file_unsubmitted(files[i], -1);
    for (long i = 0; i < taken; i++) { /* io_cancel() came too early for these */
        /* maybe another by now; requests are never unmapped */
        /* cppcheck-suppress uninitvar ; those below n are set */
        req = (struct kaio_req *)iocbs[i];
        if (is_cancelled(req) && kaio_kernel_is_poll(req)) kaio_kernel_unpoll(req);
    }
    for (long i = taken; i < n; i++) {
        req = (struct kaio_req *)iocbs[i];
        refused(b, req, i == taken || r == -EAGAIN ? (int)r : 0);
    }
}
