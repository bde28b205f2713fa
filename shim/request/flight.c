/* SPDX-License-Identifier: MIT */
/* flight.c - requests that lanes/direct.c has submitted without the lock: they enter the books when
 * their event comes, or when a sync of their file begins.
 */
#include "request/request.h"

static struct {
    struct kaio_req *_Atomic *_Atomic places; /* never given back */
    atomic_uint n;
} flights KAIO_WIPED;

bool kaio_flight_ready(unsigned depth) {
    if (flights.n > 0) return true;
    flights.places = kaio_alloc(depth * sizeof *flights.places);
    /* release: pairs with the acquire in kaio_flight_place() */
    if (flights.places) atomic_store_explicit(&flights.n, depth, memory_order_release);
    return flights.places;
}

/* There is a free place, as less than the context's depth is in flight. In a child, that a handler
 * has forked, n is 0, or what has been read here is the parent's and harms nobody. */
bool kaio_flight_place(struct kaio_req *req) {
    struct kaio_req *_Atomic *places = flights.places;
    unsigned n = atomic_load_explicit(&flights.n, memory_order_acquire);
    struct kaio_req *none = NULL;
    if (n == 0 || !places) return false;
    for (unsigned i = req->index % n; !atomic_compare_exchange_strong(&places[i], &none, req);
         i = (i + 1) % n)
        none = NULL;
    return true;
}

bool kaio_flight_remove(const struct kaio_req *req) {
    unsigned n = flights.n, i = n > 0 ? req->index % n : 0;
    for (unsigned looks = 0; looks < n; looks++, i = (i + 1) % n) {
        if (atomic_load_explicit(&flights.places[i], memory_order_relaxed) != req) continue;
        atomic_store_explicit(&flights.places[i], NULL, memory_order_relaxed);
        return true;
    }
    return false;
}

/* Under the lock. What kaio_req_get(), kaio_order_start() and kaio_kernel_submit() do for others.
 */
void kaio_flight_count(struct kaio_req *req) {
    kaio_flight_remove(req);
    kaio_counted.submits++;
    kaio_counted.submitted++;
    kaio_file_count(req);
}

/* Those in flight. acquire: pairs with the release in prepare_short() in direct.c; then its other
 * members are there, too */
static struct kaio_req *flight(unsigned i) {
    struct kaio_req *req = atomic_load_explicit(&flights.places[i], memory_order_relaxed);
    bool submitted = req && __atomic_load_n(&req->state, __ATOMIC_ACQUIRE) == KAIO_SUBMITTED;
    return submitted ? req : NULL;
}

/* Under the lock: does one of them refer to the record, which nobody counts? */
bool kaio_flight_names(const struct kaio_file *file) {
    for (unsigned i = 0; i < flights.n; i++) {
        const struct kaio_req *req = flight(i);
        if (req && req->file == file) return true;
    }
    return false;
}

/* Under the lock: a sync of the file begins. As many looks as the context is deep. */
void kaio_flight_count_all(struct kaio_file *file) {
    for (unsigned i = 0; i < flights.n; i++) {
        struct kaio_req *req = flight(i);
        if (req && req->file == file && !kaio_is_calling(req->submitter, req->cb))
            kaio_flight_count(req);
    }
}
