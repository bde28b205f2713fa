/* flight.c - requests that lanes/direct.c has submitted without the lock: they enter the books when
 * their event comes, or when a sync of their file begins.
 */
#include "request/request.h"

/* There is a free place, as less than the context's depth is in flight. */
uint32_t kaio_flight_place(struct kaio_req *_Atomic *flights, unsigned n, struct kaio_req *req) {
    for (unsigned i = req->index % n;; i = (i + 1) % n) {
        struct kaio_req *none = NULL;
        if (atomic_compare_exchange_strong(&flights[i], &none, req)) return i + 1;
    }
}

/* Under the lock. What kaio_req_get(), kaio_order_start() and kaio_kernel_submit() do for others.
 */
void kaio_flight_count(struct kaio_req *req) {
    atomic_store_explicit(&kaio.flights[req->flight - 1], NULL, memory_order_relaxed);
    req->flight = 0;
    kaio.by_op[req->op]++;
    kaio.submits++;
    kaio.submitted++;
    kaio_file_count(req);
}

/* Under the lock: a sync of the file begins. As many looks as the context is deep. */
void kaio_flight_count_all(struct kaio_file *file) {
    for (unsigned i = 0; kaio.flights && i < kaio.nflights; i++) {
        struct kaio_req *req = atomic_load_explicit(&kaio.flights[i], memory_order_relaxed);
        /* acquire: pairs with the release in begin(); then its other members are there, too */
        if (!req || __atomic_load_n(&req->state, __ATOMIC_ACQUIRE) != KAIO_SUBMITTED) continue;
        if (req->file == file && !kaio_file_is_gone(req) &&
            !kaio_is_calling(req->submitter, req->cb))
            kaio_flight_count(req);
    }
}
