/* context.c - the kernel AIO context, and the ring of its events.
 *
 * One context per process, made when first needed and never destroyed (io_destroy() takes 32 ms).
 * Under the lock, except kaio_context_pending() (anywhere, also in signal handlers) and what
 * lanes/direct.c asks of the ring.
 *
 * Events are taken from the ring that the kernel maps into the process, without a system call.
 * Only the holder of the lock moves the ring's head; the kernel moves its tail. Nobody calls
 * io_getevents(), which writes the head itself, unless the ring's layout is unknown.
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

static int context_make(void) {
    int err = -EAGAIN;
    for (kaio.depth = (unsigned)kaio_config.depth; kaio.depth > 0; kaio.depth /= 2) {
        err = kaio_context_call(SYS_io_setup, kaio.depth, (long)&kaio.ctx, 0, 0, 0);
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

bool kaio_context_ready(void) {
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

bool kaio_context_pending(void) {
    /* relaxed: a thread that does not see the new ring yet has no request of its own in it */
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    if (ring) return ring_pending(ring);
    return __atomic_load_n(&kaio.ctx, __ATOMIC_RELAXED) && kaio_in_kernel();
}

unsigned kaio_context_tail(void) {
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    return ring ? atomic_load_explicit(&ring->tail, memory_order_acquire) : 0;
}

/* Right after io_submit() of this one: is its event, which then lies behind the tail before, no
 * count? Without the lock: others may be moving the ring on, and then see to it themselves. */
bool kaio_context_has_declined(const struct iocb *iocb, unsigned tail) {
    struct kaio_ring *ring = atomic_load_explicit(&kaio.ring, memory_order_relaxed);
    if (!ring) return kaio_context_pending();
    unsigned n = ring->nr; /* 0 in a child */
    for (unsigned end = kaio_context_tail(); tail != end && tail < n; tail = (tail + 1) % n) {
        const struct io_event *ev = &ring->events[tail];
        if (__atomic_load_n(&ev->obj, __ATOMIC_RELAXED) == iocb)
            return (long)__atomic_load_n(&ev->res, __ATOMIC_RELAXED) <= 0;
    }
    return false;
}

/* The next event; false: there is none. */
bool kaio_context_event(struct io_event *ev) {
    static struct timespec now; /* zeros */
    struct kaio_ring *ring = kaio.ring;
    if (!ring)
        return kaio_in_kernel() &&
               kaio_context_call(SYS_io_getevents, (long)kaio.ctx, 0, 1, (long)ev, (long)&now) == 1;
    if (!ring_pending(ring)) return false;
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    *ev = ring->events[head];
    /* release: the event has been copied before the kernel may use its place again */
    atomic_store_explicit(&ring->head, (head + 1) % ring->nr, memory_order_release);
    return true;
}
