/* SPDX-License-Identifier: MIT */
/* holds.c - counts and times the holds of the library's lock. build/tests/bench/libkaio-holds.so is
 * the library with this around kaio_lock() (ld --wrap); tests/bench/locks.c asks it. The lock
 * itself guards the counts. With HOLDS_ADD_NS in the environment each hold is that much longer.
 * What the clock takes is not counted.
 */
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct counts {
    double holds, held_ns, waited_ns;
};
__attribute__((visibility("default"))) void kaio_holds(struct counts *now);

void __real_kaio_lock(void);
void __real_kaio_unlock(void);
void __wrap_kaio_lock(void);
void __wrap_kaio_unlock(void);
void __wrap_kaio_stand_aside(void);

static struct counts counts;
static double since_ns, add_ns, clock_ns;

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

__attribute__((constructor)) static void begin(void) {
    const char *add = getenv("HOLDS_ADD_NS");
    add_ns = add ? atof(add) : 0;
    double began_ns = now_ns();
    for (int i = 0; i < 1000; i++) clock_ns = (now_ns() - began_ns) / (i + 1);
}

UNLOCKED void __wrap_kaio_lock(void) {
    double began_ns = now_ns();
    __real_kaio_lock();
    since_ns = now_ns();
    counts.waited_ns += since_ns - began_ns;
    counts.holds++;
}

UNLOCKED void __wrap_kaio_unlock(void) {
    double end_ns = now_ns(), held_ns = end_ns - since_ns - clock_ns;
    counts.held_ns += (held_ns > 0 ? held_ns : 0) + add_ns;
    for (double until_ns = end_ns + add_ns; end_ns < until_ns;) end_ns = now_ns();
    __real_kaio_unlock();
}

/* As the real one, which calls the lock's functions unseen from here: it drops the lock for others.
 */
UNLOCKED void __wrap_kaio_stand_aside(void) {
    unsigned waits = atomic_load_explicit(&kaio_the_lock.waits, memory_order_relaxed);
    if (waits == 0) return;
    __wrap_kaio_unlock();
    __wrap_kaio_lock();
}

UNLOCKED void kaio_holds(struct counts *now) {
    __real_kaio_lock();
    *now = counts;
    __real_kaio_unlock();
}
