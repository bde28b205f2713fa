/* flight.c - requests that lanes/direct.c has submitted without the lock: they enter the books when
 * their event comes, or when a sync of their file begins.
 */
#include "request/request.h"

/* There is a free place, as less than the context's depth is in flight. */
void kaio_flight_place(struct kaio_req *_Atomic *flights, unsigned n, struct kaio_req *req) {
    for (unsigned i = req->index % n;; i = (i + 1) % n) {
        struct kaio_req *none = NULL;
        if (atomic_compare_exchange_strong(&flights[i], &none, req)) return;
    }
}

bool kaio_flight_remove(const struct kaio_req *req) {
    unsigned n = kaio.nflights, i = n > 0 ? req->index % n : 0;
    for (unsigned looks = 0; looks < n; looks++, i = (i + 1) % n) {
        if (atomic_load_explicit(&kaio.flights[i], memory_order_relaxed) != req) continue;
        atomic_store_explicit(&kaio.flights[i], NULL, memory_order_relaxed);
        return true;
    }
    return false;
}

/* Under the lock. What kaio_req_get(), kaio_order_start() and kaio_kernel_submit() do for others.
 */
void kaio_flight_count(struct kaio_req *req) {
    kaio_flight_remove(req);
    kaio.submits++;
    kaio.submitted++;
    kaio_file_count(req);
}

/* Those in flight. acquire: pairs with the release in begin() in direct.c; then its other members
 * are there, too */
static struct kaio_req *flight(unsigned i) {
    struct kaio_req *req = atomic_load_explicit(&kaio.flights[i], memory_order_relaxed);
    bool submitted = req && __atomic_load_n(&req->state, __ATOMIC_ACQUIRE) == KAIO_SUBMITTED;
    return submitted ? req : NULL;
}

/* Under the lock: does one of them refer to the record, which nobody counts? */
bool kaio_flight_names(const struct kaio_file *file) {
    for (unsigned i = 0; i < kaio.nflights; i++) {
        const struct kaio_req *req = flight(i);
        if (req && req->file == file) return true;
    }
    return false;
}

/* Under the lock: a sync of the file begins. As many looks as the context is deep. */
void kaio_flight_count_all(struct kaio_file *file) {
    for (unsigned i = 0; i < kaio.nflights; i++) {
        struct kaio_req *req = flight(i);
        if (req && req->file == file && !kaio_is_calling(req->submitter, req->cb))
            kaio_flight_count(req);
    }
}
