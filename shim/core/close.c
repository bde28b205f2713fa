/* SPDX-License-Identifier: MIT */
/* close.c - fsync(), close() and dup2() beside requests: what they wait for, before a number can
 * mean another file. On the program's threads, without the lock.
 */
#include "core/core.h"

#include <unistd.h>

#define MOMENT_NS 50000

/* Without an aiocb, which would lie on a stack that the thread may leave: its list is waited for.
 * NULL: no memory. */
LOCKED static struct kaio_lio *start_barrier(struct kaio_batch *b, int fd) {
    struct kaio_lio *lio = kaio_lio_get();
    struct kaio_req *req = lio ? kaio_req_get(NULL, KAIO_BARRIER, fd) : NULL;
    if (!req) {
        if (lio) kaio_lio_free(lio);
        return NULL;
    }
    lio->wait = true;
    lio->pending = 1;
    req->lio = lio;
    kaio_order_start(b, req);
    kaio_decide(b);
    return lio;
}

/* fsync() and fdatasync(): POSIX wants them to cover the requests queued so far. Streams cannot be
 * synced, and a read of one may wait for ever. */
void kaio_close_sync(int fd) {
    struct kaio_file *file = kaio_file_used(fd);
    if (!file || kaio_kind_is_stream(fd)) return;
    struct kaio_batch b;
    kaio_enter_careful(&b);
    kaio_flight_count_all(file);
    bool waits = file->active[0] || file->active[1] || !TAILQ_EMPTY(&file->held);
    struct kaio_lio *lio = waits ? start_barrier(&b, fd) : NULL;
    kaio_leave(&b);
    if (lio) kaio_wait_list(lio, true);
}

/* Under the lock: nobody needs the number of the file as it is now any more? Then it is another. */
LOCKED static bool let_go(struct kaio_file *file, int fd) {
    if (file->unsubmitted > 0 || kaio_stream_enters(file)) return false;
    kaio_file_detach(file, fd);
    return true;
}

/* Sleeps until all that is unsubmitted has been, or, if only a blocker is on its way, a moment: it
 * takes no lock before its call, so nobody would wake this thread, which must not keep the CPU from
 * it. */
static void await(struct kaio_file *file, bool unsubmitted) {
    if (unsubmitted) kaio_wait_unsubmitted(file);
    else kaio_clock_nap(MOMENT_NS, false);
}

/* close(), dup2(), dup3(): streams are cancelled, as the epoll set forgets the file and nothing
 * would end them; file requests go on until none needs the number any more. What was on its way
 * into the kernel is met in the next round. */
void kaio_close_release(int fd) {
    struct kaio_file *file = kaio_file_used(fd);
    if (!file || getpid() != kaio.pid) return; /* a vfork()ed child closes only its own copy */
    struct kaio_batch b;
    bool stream = kaio_kind_is_stream(fd), done = false;
    while (!done) {
        kaio_enter_careful(&b);
        kaio_reap(&b);
        bool more = stream && kaio_cancel_stream(&b, file);
        done = !more && (kaio_file_used(fd) != file || let_go(file, fd));
        bool unsubmitted = file->unsubmitted > 0;
        kaio_leave(&b);
        if (!done && !more) await(file, unsubmitted);
    }
}

/* Those in the table; most have nothing there. */
void kaio_close_release_range(unsigned first, unsigned last) {
    const unsigned most = KAIO_FILE_CHUNK * KAIO_FILE_CHUNKS - 1;
    if (last > most) last = most;
    for (unsigned fd = first; fd <= last; fd++) {
        if (!atomic_load_explicit(kaio_file_chunk((int)fd), memory_order_acquire))
            fd |= KAIO_FILE_CHUNK - 1;
        else kaio_close_release((int)fd);
    }
}
