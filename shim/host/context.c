/* SPDX-License-Identifier: MIT */
/* context.c - the kernel AIO context, and the ring of its events.
 *
 * One context per process, made when first needed and never destroyed (io_destroy() takes 32 ms).
 * Under the lock, except kaio_context_pending() (anywhere, also in signal handlers) and what
 * lanes/direct.c asks of the ring.
 *
 * Events are taken from the ring that the kernel maps into the process, at the context's address,
 * without a system call. Only the holder of the lock moves the ring's head; the kernel moves its
 * tail. Nobody calls io_getevents(), which writes the head itself.
 */
#include "host/host.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_MAGIC 0xa10a10a1u

struct kaio_ring { /* struct aio_ring of fs/aio.c, the same since Linux 2.6 */
    unsigned id, nr;
    _Atomic unsigned head, tail;
    unsigned magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};

struct kaio_context kaio_context KAIO_WIPED;

/* Of this process, or of the parent; outside kaio, which a child finds wiped. */
static void *ring_at;
static size_t ring_bytes;

/* <libaio.h> without its library, which each process would have to load. 0 or more, or -errno. */
int kaio_context_call(long call, long a, long b, long c, long d, long e) {
    long r = syscall(call, a, b, c, d, e);
    return r < 0 ? -errno : (int)r;
}

/* In a child, whose thread may have been about to look at the ring when a handler forked: it finds
 * an empty one. Before Linux 4.17 the address is a hint. */
void kaio_context_forget(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (!ring_at) return;
    void *p = mmap(ring_at, ring_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p != MAP_FAILED && p != ring_at) munmap(p, ring_bytes);
    ring_at = NULL;
}

/* The ring of this context is one that we know, and no child sees it: a child that moved its head
 * would corrupt the parent's. */
static bool ring_take(struct kaio_ring *ring) {
    if (ring->magic != RING_MAGIC || ring->incompat_features) return false;
    size_t bytes = sizeof *ring + ring->nr * sizeof(struct io_event);
    if (madvise(ring, bytes, MADV_DONTFORK)) return false;
    ring_at = ring;
    ring_bytes = bytes;
    return true;
}

/* May an iocb say that it must not wait (RWF_NOWAIT, Linux 4.13)? Before, the field is reserved:
 * EINVAL, and only then is the descriptor looked at, EBADF. */
static bool knows_nowait(io_context_t ctx) {
    struct iocb probe = {.aio_lio_opcode = IO_CMD_PREAD, .aio_fildes = -1}, *iocbs = &probe;
    probe.aio_rw_flags = RWF_NOWAIT;
    return kaio_context_call(SYS_io_submit, (long)ctx, 1, (long)&iocbs, 0, 0) != -EINVAL;
}

static int context_make(void) {
    io_context_t ctx = NULL;
    int err = -EAGAIN;
    for (kaio_context.depth = (unsigned)kaio_config.depth; kaio_context.depth > 0;
         kaio_context.depth /= 2) {
        err = kaio_context_call(SYS_io_setup, kaio_context.depth, (long)&ctx, 0, 0, 0);
        if (err != -EAGAIN) break; /* EAGAIN: fs.aio-max-nr has less left than was asked for */
    }
    if (err == 0 && !ring_take((struct kaio_ring *)ctx)) {
        kaio_context_call(SYS_io_destroy, (long)ctx, 0, 0, 0, 0);
        err = -ENOSYS;
    }
    if (err < 0) {
        kaio_log("no kernel AIO: io_setup: %s; workers do everything", kaio_strerror(-err));
        return err;
    }
    kaio_context.waits = !knows_nowait(ctx);
    if (kaio_context.waits) kaio_log("no RWF_NOWAIT: kernel AIO for direct I/O only");
    /* relaxed: a thread that does not see it yet has no request of its own in it */
    __atomic_store_n(&kaio_context.ctx, ctx, __ATOMIC_RELAXED);
    kaio_log("kernel AIO: depth %u", kaio_context.depth);
    return 0;
}

bool kaio_context_ready(void) {
    if (!kaio_context.ctx && !kaio_context.setup_error && kaio_config.mode != KAIO_WORKER)
        kaio_context.setup_error = context_make();
    return kaio_context.ctx;
}

/* NULL: there is no context. */
static struct kaio_ring *ring_of_process(void) {
    return (struct kaio_ring *)__atomic_load_n(&kaio_context.ctx, __ATOMIC_RELAXED);
}

static bool ring_pending(struct kaio_ring *ring) {
    /* head: relaxed, a stale one costs one round; tail: acquire, pairs with the kernel's barrier
     * between writing an event and moving the tail (aio_complete) */
    return atomic_load_explicit(&ring->head, memory_order_relaxed) !=
           atomic_load_explicit(&ring->tail, memory_order_acquire);
}

bool kaio_context_pending(void) {
    struct kaio_ring *ring = ring_of_process();
    return ring && ring_pending(ring);
}

unsigned kaio_context_tail(void) {
    struct kaio_ring *ring = ring_of_process();
    return ring ? atomic_load_explicit(&ring->tail, memory_order_acquire) : 0;
}

/* Right after io_submit() of this one: is its event, which then lies behind the tail before, no
 * count? Without the lock: others may be moving the ring on, and then see to it themselves. */
bool kaio_context_has_declined(const struct iocb *iocb, unsigned tail) {
    struct kaio_ring *ring = ring_of_process();
    unsigned n = ring ? ring->nr : 0; /* 0 in a child */
    for (unsigned end = kaio_context_tail(); tail != end && tail < n; tail = (tail + 1) % n) {
        const struct io_event *ev = &ring->events[tail];
        if (__atomic_load_n(&ev->obj, __ATOMIC_RELAXED) == iocb)
            return (long)__atomic_load_n(&ev->res, __ATOMIC_RELAXED) <= 0;
    }
    return false;
}

/* The next event; false: there is none. */
bool kaio_context_event(struct io_event *ev) {
    struct kaio_ring *ring = ring_of_process();
    if (!ring || !ring_pending(ring)) return false;
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    *ev = ring->events[head];
    /* release: the event has been copied before the kernel may use its place again */
    atomic_store_explicit(&ring->head, (head + 1) % ring->nr, memory_order_release);
    return true;
}
