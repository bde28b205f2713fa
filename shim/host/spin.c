/* SPDX-License-Identifier: MIT */
/* spin.c - looking again for a moment before sleeping, where that pays: by a worker that expects
 * more work, and by who waits for a request that a worker is about to end.
 *
 * To sleep and be woken costs some 5 us and more; a moment of looking costs as much if it is in
 * vain. There are two ways, and which of them is worth anything depends on where the other thread
 * is. On another CPU: look, by pausing. On this one, for whatever reason (affinity, other programs,
 * a quota, the scheduler's choice): no look can find anything; a yield lets it go on. Neither need
 * be known, as both are bets that are judged by what has come of them:
 *   - A look is won if it has found in time what it looks for. If time has vanished in its middle
 *     (the CPU was another's, or the quota was spent), it is lost in any case.
 *   - A yield is won if it has found it, and the CPU was this process's meanwhile: a worker may
 *     end all that is queued before it gives the CPU back. If other programs want it, a yield may
 *     last milliseconds: then it is lost, and costs as much.
 * Each loss in a row doubles the time for which that bet is not made again, up to 128 times what it
 * has cost; a turn of another program counts as three losses. So on a busy host bets take a
 * hundredth of the time, and a quiet one is noticed within 2 ms. Each win halves it.
 *
 * On any thread, without the lock. What is learned is a hint: threads may overwrite each other's.
 */
#include "host/host.h"

#include <sys/syscall.h>
#include <unistd.h>

#define MOMENT_NS 15000ul
#define LOOKS     1024   /* what a moment has at most: clocks may stand still (libfaketime) */
#define CALLS_NS  2000   /* what a yield costs that changes nothing */
#define TURN_NS   200000 /* another program's turn takes longer */
#define DOUBT_MAX 7
#define FOREIGN   3

static bool is_due(const struct kaio_bet *bet, uint64_t now) {
    return now >= atomic_load_explicit(&bet->not_before_ns, memory_order_relaxed);
}

static void won(struct kaio_bet *bet) {
    unsigned doubt = atomic_load_explicit(&bet->doubt, memory_order_relaxed);
    if (doubt) atomic_store_explicit(&bet->doubt, doubt - 1, memory_order_relaxed);
}

/* cost_ns: what the next one will cost if it is lost, too */
static void lost(struct kaio_bet *bet, uint64_t now, uint64_t cost_ns) {
    unsigned doubt = atomic_load_explicit(&bet->doubt, memory_order_relaxed);
    doubt += cost_ns > TURN_NS ? FOREIGN : 1;
    if (doubt > DOUBT_MAX) doubt = DOUBT_MAX;
    atomic_store_explicit(&bet->doubt, doubt, memory_order_relaxed);
    atomic_store_explicit(&bet->not_before_ns, now + (cost_ns << doubt), memory_order_relaxed);
}

static bool look_around(struct kaio_bet *bet, bool (*is_found)(const void *), const void *arg,
                        uint64_t begin) {
    bool found = false;
    uint64_t now = begin;
    for (int i = 1; i <= LOOKS && !found && now < begin + MOMENT_NS; i++) {
        KAIO_PAUSE();
        found = is_found(arg);
        if (found || i % 16 == 0) now = kaio_now_ns();
    }
    if (found && now < begin + 2 * MOMENT_NS) won(bet);
    else lost(bet, now, MOMENT_NS);
    return found;
}

/* All threads of this process together. */
static uint64_t cpu_ns(void) {
    struct timespec used;
    syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void yield(struct kaio_bet *bet, bool (*is_found)(const void *), const void *arg) {
    uint64_t used = cpu_ns(), begin = kaio_now_ns();
    syscall(SYS_sched_yield);
    uint64_t now = kaio_now_ns(), took = now - begin, ours = cpu_ns() - used;
    uint64_t foreign = took > ours ? took - ours : 0;
    if (is_found(arg) && foreign < TURN_NS) won(bet);
    else lost(bet, now, foreign + CALLS_NS);
}

void kaio_spin(struct kaio_spin *spin, bool (*is_found)(const void *), const void *arg) {
    uint64_t now = kaio_now_ns();
    if (is_due(&spin->look, now)) {
        if (look_around(&spin->look, is_found, arg, now)) return;
        now = kaio_now_ns();
    }
    if (is_due(&spin->yield, now)) yield(&spin->yield, is_found, arg);
}
