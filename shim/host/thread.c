/* SPDX-License-Identifier: MIT */
/* thread.c - threads: the record of each that ever came here, with the eventfd that it sleeps on,
 * and how those of the library are started.
 *
 * Under the lock, but for kaio_thread_load(), kaio_thread_start(), kaio_thread_drain(),
 * kaio_thread_watch() and kaio_thread_give_back(). A record serves the next thread when its own has
 * ended, of which we are told; or, if it only ever made calls that may not allocate, when another
 * record would have to be made and the kernel knows no such thread. It is never freed. While there
 * is no memory for another, threads come as kaio_nobody: it has nothing that one could be woken by,
 * so who waits looks again and again.
 */
#include "host/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define OURS (32 << 10) /* bytes of stack; tests/lanes/stacks.c measures what is used */
#define KEYS 32 /* values of the first are in the thread itself; for others libc allocates */

struct kaio_thread kaio_nobody = {.efd = KAIO_NEVER, .taken = true, .sleep = KAIO_AWAKE};
struct kaio_thread *_Atomic kaio_threads, *_Atomic kaio_efds[KAIO_EFDS + 1];
__thread struct kaio_thread *kaio_self;
struct kaio_reaper kaio_reaper KAIO_WIPED;

static struct {
    struct kaio_waiting waiting; /* threads that wait for requests of others */
    struct kaio_thread *wake;    /* to be woken; the next kaio_leave() does */
    bool efd_failed;             /* one has none, and the log has said so */
} sleepers KAIO_WIPED GUARDED;

static pthread_key_t thread_end;
static size_t stack_size; /* 0: libc's default */

/* What libc takes for itself, the program's thread-local data most of all, comes on top of what
 * ours need; only glibc tells. So does the frame of a signal: setuid() sends one to all threads.
 * Its size grows with the processor's registers; kernels before 5.14 do not tell it, but do not
 * know those that need more than a page. */
static size_t stack_size_of_ours(void) {
    size_t (*least)(const pthread_attr_t *), frame = getauxval(AT_MINSIGSTKSZ);
    pthread_attr_t attr;
    *(void **)&least = dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
    if (!least || pthread_attr_init(&attr)) return 0;
    size_t size = least(&attr) + (frame > PAGE ? frame : PAGE) + OURS;
    pthread_attr_destroy(&attr);
    return (size + PAGE - 1) / PAGE * PAGE;
}

/* The calling thread ends; its record and eventfd serve the next one. Its requests still signal it.
 */
void kaio_thread_give_back(void) {
    struct kaio_thread *self = kaio_self;
    kaio_self = NULL;
    /* release: pairs with the exchange in kaio_thread_record() */
    if (self) atomic_store_explicit(&self->taken, false, memory_order_release);
}

void kaio_thread_begin(void) {
    TAILQ_INIT(&sleepers.waiting);
}

void kaio_thread_load(void (*ended)(void *)) {
    pthread_key_create(&thread_end, ended);
    stack_size = stack_size_of_ours();
}

/* Pages, not malloc(): a handler that interrupted malloc() may be the first to come here. */
static struct kaio_thread *thread_new(void) {
    static struct kaio_thread first[4], *chunk = first; /* so that there is one in any case */
    static unsigned left = sizeof first / sizeof *first;
    if (left == 0 && (chunk = kaio_alloc(PAGE))) left = PAGE / sizeof *chunk;
    if (left == 0) return NULL;
    struct kaio_thread *thread = &chunk[--left];
    thread->efd = -1;
    thread->next = kaio_threads;
    kaio_threads = thread;
    return thread;
}

/* Has it ended unseen? Another may have its number by now; that one ends, too. */
static bool has_ended_unseen(const struct kaio_thread *thread) {
    bool unseen = atomic_load_explicit(&thread->unseen, memory_order_relaxed);
    if (!unseen || thread == kaio_self) return false;
    return thread->tid == kaio_gettid() ||
           (syscall(SYS_tgkill, kaio.pid, thread->tid, 0l) && errno == ESRCH);
}

static struct kaio_thread *first_gone(void) {
    struct kaio_thread *thread = kaio_threads;
    while (thread && !has_ended_unseen(thread)) thread = thread->next;
    return thread;
}

struct kaio_thread *kaio_thread_record(void) {
    struct kaio_thread *thread = kaio_threads;
    /* acquire: pairs with the release in kaio_thread_give_back() */
    while (thread && atomic_exchange_explicit(&thread->taken, true, memory_order_acquire))
        thread = thread->next;
    if (!thread) thread = first_gone();
    if (!thread) thread = thread_new();
    if (!thread) return NULL;
    thread->taken = true;
    atomic_store_explicit(&thread->unseen, false, memory_order_relaxed);
    thread->calling = NULL;
    return thread;
}

/* The calling thread's, made when it first comes here. Under the lock. */
struct kaio_thread *kaio_thread_self(void) {
    if (kaio_self && kaio_self != &kaio_nobody) return kaio_self;
    struct kaio_thread *record = kaio_thread_record();
    kaio_self = record ? record : &kaio_nobody;
    if (!record) return kaio_self;
    record->tid = kaio_gettid();
    atomic_store_explicit(&record->unseen, true, memory_order_relaxed);
    return record;
}

/* From now on we are told when the thread ends. Without the lock, for libc may allocate; not when
 * careful if it would. Ours say so themselves. */
void kaio_thread_watch(struct kaio_thread *self, bool careful) {
    if (kaio_is_ours || (careful && thread_end >= KEYS)) return;
    bool failed = pthread_setspecific(thread_end, self);
    atomic_store_explicit(&self->unseen, failed, memory_order_relaxed);
}

void kaio_reaper_kick(void) {
    static const uint64_t one = 1;
    if (kaio_reaper.thread && kaio_fd_is_marked(kaio_reaper.thread->efd))
        syscall(SYS_write, kaio_reaper.thread->efd, &one, sizeof one);
}

void kaio_reaper_look(void) {
    if (kaio_reaper.blind) return;
    kaio_reaper.blind = true;
    kaio_reaper_kick();
}

/* Requests in the kernel signal an eventfd that was closed unseen; a new one would not help. */
void kaio_thread_check(struct kaio_thread *thread) {
    int efd = thread->efd; /* kaio_fd_evade() may just be giving it another */
    if (efd >= 0 && !kaio_fd_is_marked(efd))
        atomic_compare_exchange_strong(&thread->efd, &efd, KAIO_LOST);
    if (thread->efd == KAIO_LOST) kaio_reaper_look();
}

/* How many of the program's threads may have one: a small part of the descriptors that there are.
 */
static int efds_most(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return 1;
    rlim_t most = limit.rlim_cur / KAIO_EFDS_SHARE;
    return most < 1 ? 1 : most < KAIO_EFDS ? (int)most : KAIO_EFDS;
}

/* A place in kaio_efds; NULL: there are enough. The eventfd of a record that no thread has moves
 * on: what still signals it wakes the new owner once too often. */
LOCKED static struct kaio_thread *_Atomic *efd_place(struct kaio_thread *thread) {
    struct kaio_thread *_Atomic *place = NULL;
    int used = 0;
    for (int i = 0; i <= KAIO_EFDS; i++) {
        struct kaio_thread *owner = kaio_efds[i];
        bool serves = owner && (owner->taken || owner->efd < 0);
        if (!serves && (!place || owner)) place = &kaio_efds[i];
        used += serves && owner != kaio_reaper.thread;
    }
    return used < efds_most() || thread == kaio_reaper.thread ? place : NULL;
}

static int efd_move(struct kaio_thread *from, struct kaio_thread *to) {
    int efd = from->efd;
    to->watched = from->watched; /* the reaper's set does not name the thread */
    from->watched = false;
    from->efd = -1;
    return efd;
}

LOCKED static int efd_new(void) {
    /* raw, as they are closed: ThreadSanitizer would take the number for open */
    int efd = kaio_fd_raise((int)syscall(SYS_eventfd2, 0, EFD_CLOEXEC));
    if (efd < 0 && !sleepers.efd_failed)
        kaio_log("no descriptor for a thread to sleep on: another reaps for it");
    sleepers.efd_failed |= efd < 0;
    return efd;
}

int kaio_thread_efd(struct kaio_thread *thread) {
    if (thread->efd != -1) return thread->efd;
    struct kaio_thread *_Atomic *place = efd_place(thread);
    if (!place) return -1;
    struct kaio_thread *before = *place;
    int efd = before ? efd_move(before, thread) : efd_new();
    if (efd < 0) return -1;
    *place = thread;
    thread->efd = efd;
    kaio_reaper.watching = false; /* kaio_leave() watches again, this one too */
    /* It may sleep on the futex, where the kernel's signal does not reach it. seq_cst: pairs with
     * the fence in arm_own() in wait.c */
    atomic_thread_fence(memory_order_seq_cst);
    kaio_thread_wake_later(thread);
    return efd;
}

/* poll() looks at the number each time that it wakes up, and read() when it is restarted, so
 * kaio_fd_evade() must not give it to another file meanwhile. seq_cst, as there: either the number
 * that has changed is seen here, or there that it is polled. */
bool kaio_thread_polls(struct kaio_thread *thread, int efd) {
    atomic_store(&thread->polled, efd);
    return atomic_load(&thread->efd) == efd;
}

void kaio_thread_list(struct kaio_thread *thread, bool listed) {
    if (listed == thread->listed || thread == &kaio_nobody) return;
    if (listed) TAILQ_INSERT_TAIL(&sleepers.waiting, thread, waiting);
    else TAILQ_REMOVE(&sleepers.waiting, thread, waiting);
    thread->listed = listed;
}

void kaio_thread_add_waiter(struct kaio_thread **waiter, struct kaio_thread *thread) {
    *waiter = *waiter && *waiter != thread ? KAIO_EVERYONE : thread;
}

void kaio_thread_wake_later(struct kaio_thread *thread) {
    bool awake = atomic_load_explicit(&thread->sleep, memory_order_relaxed) == KAIO_AWAKE;
    if (awake || thread->to_wake) return;
    thread->to_wake = true;
    thread->wake_next = sleepers.wake;
    sleepers.wake = thread;
}

void kaio_thread_wake_waiter(struct kaio_thread *waiter) {
    if (waiter && waiter != KAIO_EVERYONE) kaio_thread_wake_later(waiter);
    if (waiter != KAIO_EVERYONE) return;
    TAILQ_FOREACH(waiter, &sleepers.waiting, waiting) kaio_thread_wake_later(waiter);
}

struct kaio_thread *kaio_thread_next_to_wake(void) {
    struct kaio_thread *thread = sleepers.wake;
    if (!thread) return NULL;
    sleepers.wake = thread->wake_next;
    thread->to_wake = false;
    return thread;
}

/* One wake-up for all that ends before the thread looks again: it says that it sleeps before it
 * lets itself be found (under the lock), or before its last look at its own requests, and whoever
 * turns that to KAIO_AWAKE wakes it. acquire: pairs with the release in fall_asleep() in wait.c;
 * the eventfd on which it sleeps is seen, too, though another may just have made it */
void kaio_thread_wake(struct kaio_thread *thread) {
    static const uint64_t one = 1;
    switch (atomic_exchange_explicit(&thread->sleep, KAIO_AWAKE, memory_order_acquire)) {
    case KAIO_ON_EVENTFD:
        if (kaio_fd_is_marked(thread->efd)) syscall(SYS_write, thread->efd, &one, sizeof one);
        break;
    case KAIO_ON_FUTEX:
        syscall(SYS_futex, &thread->sleep, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
}

/* Before Linux 5.8 eventfds know no RWF_NOWAIT. Only this thread and its handlers read this one. */
static void drain_blocked(int efd) {
    uint64_t count;
    struct pollfd ready = {.fd = efd, .events = POLLIN};
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    if (kaio_poll_fds(&ready, 1, 0) > 0) syscall(SYS_read, efd, &count, sizeof count);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* Its number may have changed or been lost since it was polled (kaio_fd_evade(), close_range()). */
void kaio_thread_drain(struct kaio_thread *thread) {
    uint64_t count;
    struct iovec iov = {&count, sizeof count};
    int efd = thread->efd;
    if (!kaio_fd_is_marked(efd)) return;
    static atomic_bool waits; /* relaxed: at worst it is tried once more */
    bool tried = !atomic_load_explicit(&waits, memory_order_relaxed);
    if (tried && syscall(SYS_preadv2, efd, &iov, 1l, -1l, -1l, (long)RWF_NOWAIT) >= 0) return;
    if (tried && (errno == EAGAIN || errno == EBADF)) return;
    atomic_store_explicit(&waits, true, memory_order_relaxed);
    drain_blocked(efd);
}

/* The creator has all signals blocked (kaio_enter), so the new thread has, too. */
int kaio_thread_start(void *(*run)(void *), void *arg) {
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack_size) pthread_attr_setstacksize(&attr, stack_size);
    int err = pthread_create(&thread, &attr, run, arg);
    pthread_attr_destroy(&attr);
    return -err;
}
