/* SPDX-License-Identifier: MIT */
/* memory.c - the one lock, and the state that it guards, in pages that a forked child finds wiped.
 *
 * kaio_alloc() and kaio_memory_mark() anywhere; the rest as the names say. A thread that holds the
 * lock has all signals blocked (kaio_enter() in core/engine.c).
 */
#include "host/host.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_SPINS  100
#define TURN_SPINS  2000
#define PATIENCE_NS 100000
#define PAGE_MAX    65536 /* the largest that a kernel has; pages of the section are whole */

struct kaio_process kaio KAIO_WIPED;
__thread bool kaio_is_ours;

struct kaio_lock kaio_the_lock KAIO_WIPED __attribute__((aligned(PAGE_MAX)));

/* by the linker; NOLINTNEXTLINE(bugprone-reserved-identifier) */
extern char __start_kaio_wiped[], __stop_kaio_wiped[];

void *kaio_alloc(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Whose the state is, by the pid, if the kernel wipes nothing (before 4.14); 0: it does. Outside
 * the section, so a child inherits it. WIPING: some thread of a child is at it. */
_Atomic pid_t kaio_memory_owner;
#define WIPING (-1)

static size_t wiped_size(void) {
    return (uintptr_t)__stop_kaio_wiped - (uintptr_t)__start_kaio_wiped;
}

static pid_t pid_of_kernel(void) { /* glibc before 2.25 remembers one */
    return (pid_t)syscall(SYS_getpid);
}

/* Before the lock is taken for the first time: a child that is forked meanwhile by another thread
 * must not find it taken. Whoever else comes for the first time does it again. Not in load() in
 * api.c: programs without requests need not pay for it. */
void kaio_memory_mark(void) {
    if (madvise(__start_kaio_wiped, wiped_size(), MADV_WIPEONFORK))
        kaio_memory_owner = pid_of_kernel();
    /* release: pairs with fork(). A child that finds the lock taken finds owner, too */
    atomic_thread_fence(memory_order_release);
}

bool kaio_memory_is_of_another(pid_t whose) {
    return whose != pid_of_kernel();
}

/* Signals are blocked: a handler in the middle would wait for its own thread. acquire: pairs with
 * the release, before which the state has become zeros */
void kaio_memory_wipe(void) {
    sigset_t all, mask;
    pid_t self = pid_of_kernel(), whose;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    while ((whose = atomic_load_explicit(&kaio_memory_owner, memory_order_acquire)) != self) {
        if (whose == WIPING || !atomic_compare_exchange_strong(&kaio_memory_owner, &whose, WIPING))
            continue;
        memset(__start_kaio_wiped, 0, wiped_size());
        atomic_store_explicit(&kaio_memory_owner, self, memory_order_release);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* relaxed, all: hints */
static void note_time(void) {
    atomic_store_explicit(&kaio_the_lock.since_ns, kaio_now_ns(), memory_order_relaxed);
}

static bool has_sleeper(void) {
    return atomic_load_explicit(&kaio_the_lock.waits, memory_order_relaxed) > 0;
}

static bool has_slept_long(void) {
    uint64_t since = atomic_load_explicit(&kaio_the_lock.since_ns, memory_order_relaxed);
    return has_sleeper() && kaio_now_ns() - since > PATIENCE_NS;
}

/* It is held for less than a microsecond: looking again is cheaper than to sleep and be woken. If
 * the holder is not on a CPU, this has cost a fraction of the sleep that follows. */
UNLOCKED void kaio_lock(void) {
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (pthread_mutex_trylock(&kaio_the_lock.mutex) == 0) return;
        KAIO_PAUSE();
    }
    if (atomic_fetch_add_explicit(&kaio_the_lock.waits, 1, memory_order_relaxed) == 0) note_time();
    pthread_mutex_lock(&kaio_the_lock.mutex);
    if (atomic_fetch_sub_explicit(&kaio_the_lock.waits, 1, memory_order_relaxed) > 1) note_time();
    atomic_fetch_add_explicit(&kaio_the_lock.turns, 1, memory_order_relaxed);
}

#ifdef KAIO_DEBUG
bool kaio_is_locked(void) {
    return kaio_the_lock.mutex.__data.__owner !=
           0; /* glibc's; a raw clone() has the parent's number there */
}
#endif

UNLOCKED static void drop(bool yields) {
    pthread_mutex_unlock(&kaio_the_lock.mutex);
    if (yields) syscall(SYS_sched_yield);
}

/* Who sleeps for it is woken. But on the same CPU this thread goes on to the end of its slice, for
 * milliseconds, unless it gives way; so it does if that has lasted for a while. (At each unlock it
 * would cost throughput: the CPU may go to other programs.) */
UNLOCKED void kaio_unlock(void) {
    drop(has_slept_long());
}

/* A mutex is not fair: who is woken for it finds it taken again. So if there is somebody, its turn
 * is awaited for a moment, here or on another CPU. */
UNLOCKED void kaio_stand_aside(void) {
    unsigned turn = atomic_load_explicit(&kaio_the_lock.turns, memory_order_relaxed);
    bool waits = has_sleeper();
    drop(waits);
    for (int i = 0; i < TURN_SPINS && waits; i++) {
        KAIO_PAUSE();
        waits = atomic_load_explicit(&kaio_the_lock.turns, memory_order_relaxed) == turn;
    }
    kaio_lock();
}
