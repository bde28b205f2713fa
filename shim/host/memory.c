/* memory.c - the one lock, and the state that it guards, in pages that a forked child finds wiped.
 *
 * kaio_alloc() and kaio_memory_mark() anywhere; the rest as the names say. A thread that holds the
 * lock has all signals blocked (kaio_enter() in core/engine.c).
 */
#include "host/host.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_SPINS 100
#define TURN_SPINS 2000
#define PAGE_MAX   65536 /* the largest that a kernel has; pages of the section are whole */

struct kaio_process kaio KAIO_WIPED;
__thread bool kaio_is_ours;

struct kaio_lock kaio_the_lock KAIO_WIPED __attribute__((aligned(PAGE_MAX)));

/* by the linker; NOLINTNEXTLINE(bugprone-reserved-identifier) */
extern char __start_kaio_wiped[], __stop_kaio_wiped[];

void *kaio_alloc(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Before the lock is taken for the first time: a child that is forked meanwhile by another thread
 * must not find it taken. Whoever else comes for the first time does it again. Not in load() in
 * api.c: programs without requests need not pay for it. */
bool kaio_memory_mark(void) {
    size_t size = (uintptr_t)__stop_kaio_wiped - (uintptr_t)__start_kaio_wiped;
    return madvise(__start_kaio_wiped, size, MADV_WIPEONFORK) == 0;
}

/* It is held for less than a microsecond: looking again is cheaper than to sleep and be woken. If
 * the holder is not on a CPU, this has cost a fraction of the sleep that follows. */
UNLOCKED void kaio_lock(void) {
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (pthread_mutex_trylock(&kaio_the_lock.mutex) == 0) return;
        __builtin_ia32_pause();
    }
    atomic_fetch_add_explicit(&kaio_the_lock.waits, 1, memory_order_relaxed);
    pthread_mutex_lock(&kaio_the_lock.mutex);
    atomic_fetch_sub_explicit(&kaio_the_lock.waits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&kaio_the_lock.turns, 1, memory_order_relaxed);
}

#ifdef KAIO_DEBUG
bool kaio_is_locked(void) {
    return kaio_the_lock.mutex.__data.__owner !=
           0; /* glibc's; a raw clone() has the parent's number there */
}
#endif

UNLOCKED void kaio_unlock(void) {
    pthread_mutex_unlock(&kaio_the_lock.mutex);
}

/* A mutex is not fair: who is woken for it finds it taken again. So if there is somebody, its turn
 * is awaited for a moment, here or on another CPU. */
UNLOCKED void kaio_stand_aside(void) {
    kaio_unlock();
    unsigned turn = atomic_load_explicit(&kaio_the_lock.turns, memory_order_relaxed);
    bool waits = atomic_load_explicit(&kaio_the_lock.waits, memory_order_relaxed) > 0;
    if (waits) syscall(SYS_sched_yield);
    for (int i = 0; i < TURN_SPINS && waits; i++) {
        __builtin_ia32_pause();
        waits = atomic_load_explicit(&kaio_the_lock.turns, memory_order_relaxed) == turn;
    }
    kaio_lock();
}
