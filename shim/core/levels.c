/* SPDX-License-Identifier: MIT */
/* levels.c - what the waits of a thread have entered into the books, and taking it out again. Under
 * the lock; of the calling thread, or of one that has ended. See struct kaio_level.
 */
#include "core/core.h"

void kaio_level_owe(struct kaio_thread *thread, bool owes) {
    kaio_reaper.owed += (unsigned)owes - (unsigned)thread->owes;
    thread->owes = owes;
}

void kaio_level_leave_list(struct kaio_lio *lio) {
    lio->wait = false; /* from now on it ends by itself */
    lio->waiter = NULL;
    if (lio->pending == 0) kaio_lio_free(lio);
}

/* Under the lock. */
void kaio_level_drop(struct kaio_thread *thread, unsigned left) {
    while (thread->levels > left) {
        struct kaio_level *level = &thread->level[thread->levels - 1];
        if (level->lio) kaio_level_leave_list(level->lio);
        level->lio = NULL;
        thread->levels--;
    }
    const struct kaio_level *below = left > 0 ? &thread->level[left - 1] : NULL;
    kaio_level_owe(thread, below && below->owes);
    kaio_thread_list(thread, below && below->listed);
}

void kaio_level_abandon(struct kaio_thread *thread) {
    kaio_level_drop(thread, 0);
    atomic_store_explicit(&thread->sleep, KAIO_AWAKE, memory_order_relaxed);
    atomic_store_explicit(&thread->polled, 0, memory_order_release);
}
