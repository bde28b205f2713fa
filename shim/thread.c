/* thread.c - threads: the record of each that ever came here, with the eventfd that it sleeps on,
 * and how those of the library are started.
 *
 * Under the lock, but for kaio_thread_load(), kaio_thread_start() and kaio_thread_drain(). A record
 * serves the next thread when its own has ended; it is never freed.
 */
#include "kaio.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define LOST (-2)

struct kaio_thread *_Atomic kaio_threads;
__thread struct kaio_thread *kaio_self;
__thread bool kaio_is_ours;
static pthread_key_t thread_end;

/* The thread has ended; its record and eventfd serve the next one. Its requests still signal it. */
static void thread_ended(void *thread) {
    kaio_self = NULL;
    /* release: pairs with the exchange in kaio_thread_record() */
    atomic_store_explicit(&((struct kaio_thread *)thread)->taken, false, memory_order_release);
}

void kaio_thread_load(void) {
    pthread_key_create(&thread_end, thread_ended);
}

/* Pages, not malloc(): a handler that interrupted malloc() may be the first to come here. */
static struct kaio_thread *thread_new(void) {
    static struct kaio_thread first[4], *chunk = first; /* so that there is one in any case */
    static unsigned left = sizeof first / sizeof *first, count;
    if (left == 0 && (chunk = kaio_alloc(PAGE))) left = PAGE / sizeof *chunk;
    if (left == 0) { /* no memory: shares a record; who sleeps on it is to nap from now on */
        kaio_threads->shared = true;
        kaio.wake |= kaio_bit(kaio_threads);
        return kaio_threads;
    }
    struct kaio_thread *thread = &chunk[--left];
    thread->index = count++;
    thread->efd = -1;
    thread->next = kaio_threads;
    kaio_threads = thread;
    return thread;
}

struct kaio_thread *kaio_thread_record(void) {
    struct kaio_thread *thread = kaio_threads;
    /* acquire: pairs with the release in thread_ended() */
    while (thread && atomic_exchange_explicit(&thread->taken, true, memory_order_acquire))
        thread = thread->next;
    if (!thread) thread = thread_new();
    thread->taken = true;
    if (thread->shared) return thread;
    thread->asleep = false;
    thread->calling = NULL;
    atomic_store_explicit(&thread->woken, true, memory_order_relaxed);
    return thread;
}

/* The calling thread's, made when it first comes here. Under the lock. */
struct kaio_thread *kaio_thread_self(void) {
    if (kaio_self) return kaio_self;
    kaio_self = kaio_thread_record();
    pthread_setspecific(thread_end, kaio_self);
    return kaio_self;
}

/* Requests in the kernel signal an eventfd that was closed unseen; a new one would not help. */
void kaio_thread_check(struct kaio_thread *thread) {
    if (thread->efd >= 0 && !kaio_fd_is_marked(thread->efd)) thread->efd = LOST;
}

int kaio_thread_efd(struct kaio_thread *thread) {
    if (thread->efd != -1) return thread->efd;
    /* raw, as they are closed: ThreadSanitizer would take the number for open */
    thread->efd = kaio_fd_raise((int)syscall(SYS_eventfd2, 0, EFD_CLOEXEC));
    thread->watched = false;
    if (thread->efd < 0 && !kaio.efd_failed)
        kaio_log("no descriptor for a thread to sleep on: it looks four times a millisecond");
    kaio.efd_failed |= thread->efd < 0;
    kaio.watching = false; /* kaio_leave() watches again, this one too */
    return thread->efd;
}

/* Its number may have changed or been lost since it was polled (kaio_fd_evade(), close_range()). */
void kaio_thread_drain(struct kaio_thread *thread) {
    uint64_t count;
    struct iovec iov = {&count, sizeof count};
    int efd = thread->efd;
    if (kaio_fd_is_marked(efd)) syscall(SYS_preadv2, efd, &iov, 1, -1l, -1l, RWF_NOWAIT);
}

/* The creator has all signals blocked (kaio_enter), so the new thread has, too. */
int kaio_thread_start(void *(*run)(void *), void *arg) {
    pthread_attr_t attr;
    pthread_t thread;
    size_t usual;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_getstacksize(&attr, &usual);
    pthread_attr_setstacksize(&attr, 64 << 10);
    int err = pthread_create(&thread, &attr, run, arg);
    if (err == EINVAL) { /* too small for the program's thread-local data, which is on the stack */
        pthread_attr_setstacksize(&attr, usual);
        err = pthread_create(&thread, &attr, run, arg);
    }
    pthread_attr_destroy(&attr);
    return -err;
}
