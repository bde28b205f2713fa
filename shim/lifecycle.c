/* lifecycle.c - loading, entering and leaving the library, fork and exit.
 *
 * kaio_enter() blocks all signals and takes the one lock; a handler therefore never runs on a
 * thread that holds it, which is what makes aio_error(), aio_return() and aio_suspend() safe to
 * call from handlers. kaio_leave() carries out what was decided, dropping the lock around
 * everything that makes a system call of any length, until nothing is left; then it gives both
 * back.
 *
 * Fork: struct kaio_global lies in pages of its own that the kernel replaces by zeros in a child
 * (MADV_WIPEONFORK, Linux 4.14), however the child was made, so it starts clean and unlocked. Only
 * the threads' records outlive it; the child closes their descriptors, which it shares with
 * the parent.
 */
#include "kaio.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_SPINS 100
#define TURN_SPINS 2000

struct kaio_global kaio;
_Atomic int kaio_epfd = -1;
atomic_bool kaio_loaded;

void *kaio_alloc(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* In a forked child: the descriptors are shared with the parent. kaio itself is zeros. */
static void child_clean(void) {
    for (struct kaio_thread *t = kaio_threads; t; t = t->next) {
        if (kaio_fd_is_marked(t->efd)) syscall(SYS_close, t->efd);
        t->efd = -1;
        t->taken = false;
        t->copied = 0;
        t->nstock = 0;
        kaio_direct_forget(t);
        t->calling = NULL;
        t->levels = 0;
        t->listed = t->owes = t->to_wake = false;
        atomic_store_explicit(&t->sleep, KAIO_AWAKE, memory_order_relaxed);
    }
    memset(kaio_efds, 0, sizeof kaio_efds);
    kaio_kernel_forget();
    if (kaio_fd_is_marked(kaio_epfd)) syscall(SYS_close, kaio_epfd);
    kaio_epfd = -1;
    kaio_self = NULL;
    kaio_is_ours = false;
}

/* A handler that comes before this one may have made requests already; then begin() has cleaned. */
static void after_fork(void) {
    if (!kaio.started) child_clean();
}

void kaio_load(void) {
    if (atomic_load_explicit(&kaio_loaded, memory_order_acquire)) return;
    kaio_clock_load();
    kaio_next_load();
    kaio_config_load();
    kaio_thread_load();
    pthread_atfork(NULL, NULL, after_fork);
    static const char *const modes[] = {"auto", "kernel", "worker", "off"};
    kaio_log("active: mode %s", modes[kaio_config.mode]);
    /* release: pairs with the acquire above */
    atomic_store_explicit(&kaio_loaded, true, memory_order_release);
}

__attribute__((constructor)) static void loaded(void) {
    kaio_load();
}

__attribute__((destructor)) static void unloaded(void) {
    kaio_stats_report();
}

/* Before the lock is taken for the first time: a child that is forked meanwhile by another thread
 * must not find it taken. Whoever else comes for the first time does it again. Not in kaio_load():
 * programs without requests need not pay for it. */
static void mark_memory(void) {
    if (madvise(&kaio, sizeof kaio, MADV_WIPEONFORK)) kaio_log("no MADV_WIPEONFORK: do not fork");
}

static void begin(void) {
    child_clean(); /* after _Fork(), which runs no handlers */
    kaio.pid = getpid();
    kaio.load = kaio_kernel_load(kaio.pid);
    TAILQ_INIT(&kaio.free);
    TAILQ_INIT(&kaio.free_lios);
    TAILQ_INIT(&kaio.backlog);
    TAILQ_INIT(&kaio.ready);
    TAILQ_INIT(&kaio.blockers);
    TAILQ_INIT(&kaio.handover);
    TAILQ_INIT(&kaio.handover_lists);
    TAILQ_INIT(&kaio.waiting);
    TAILQ_INIT(&kaio.gone_files);
    TAILQ_INIT(&kaio.ending);
    kaio.started = true;
}

/* It is held for less than a microsecond: looking again is cheaper than to sleep and be woken. If
 * the holder is not on a CPU, this has cost a fraction of the sleep that follows. */
void kaio_lock(void) {
    for (int i = 0; i < LOCK_SPINS; i++) {
        if (pthread_mutex_trylock(&kaio.lock) == 0) return;
        __builtin_ia32_pause();
    }
    atomic_fetch_add_explicit(&kaio.lock_waits, 1, memory_order_relaxed);
    pthread_mutex_lock(&kaio.lock);
    atomic_fetch_sub_explicit(&kaio.lock_waits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&kaio.lock_turns, 1, memory_order_relaxed);
}

void kaio_unlock(void) {
    pthread_mutex_unlock(&kaio.lock);
}

/* A mutex is not fair: who is woken for it finds it taken again. So if there is somebody, its turn
 * is awaited for a moment, here or on another CPU. */
void kaio_stand_aside(void) {
    kaio_unlock();
    unsigned turn = atomic_load_explicit(&kaio.lock_turns, memory_order_relaxed);
    bool waits = atomic_load_explicit(&kaio.lock_waits, memory_order_relaxed) > 0;
    if (waits) syscall(SYS_sched_yield);
    for (int i = 0; i < TURN_SPINS && waits; i++) {
        __builtin_ia32_pause();
        waits = atomic_load_explicit(&kaio.lock_turns, memory_order_relaxed) == turn;
    }
    kaio_lock();
}

static void batch_init(struct kaio_batch *b) {
    TAILQ_INIT(&b->offer);
    TAILQ_INIT(&b->run);
    TAILQ_INIT(&b->notify);
    TAILQ_INIT(&b->lists);
    b->careful = false;
    b->cb = NULL;
    b->list = 0;
    b->no_thread = false;
    b->writes = false;
}

void kaio_enter(struct kaio_batch *b) {
    batch_init(b);
    sigset_t all;
    sigfillset(&all);
    if (!kaio_is_ours) pthread_sigmask(SIG_SETMASK, &all, &b->mask);
    /* relaxed: at worst it is marked once more */
    if (!atomic_load_explicit(&kaio.started, memory_order_relaxed)) mark_memory();
    kaio_lock();
    if (!kaio.started) begin();
    b->self = kaio_thread_self();
}

void kaio_enter_careful(struct kaio_batch *b) {
    kaio_enter(b);
    b->careful = !kaio_is_ours;
}

/* Each of the following takes its share of the batch and drops the lock while it acts. */

static bool wake(void) {
    struct kaio_thread *thread = kaio.wake;
    if (!thread) return false;
    kaio.wake = thread->wake_next;
    thread->to_wake = false;
    kaio_unlock();
    kaio_thread_wake(thread);
    kaio_lock();
    return true;
}

static void notify_request(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_lio *lio = req->lio; /* the new thread frees req */
    bool failed = req->failed;
    TAILQ_REMOVE(&b->notify, req, link);
    kaio_unlock();
    bool told = kaio_notify_request(req);
    kaio_lock();
    if (!told) kaio_req_free(req);
    if (lio) kaio_complete_item(b, lio, failed);
}

static void notify_list(struct kaio_batch *b, struct kaio_lio *lio) {
    TAILQ_REMOVE(&b->lists, lio, link);
    kaio_unlock();
    bool told = kaio_notify_list(lio);
    kaio_lock();
    if (!told) kaio_lio_free(lio);
}

/* Threads are started by ours, but for that of the very request which the caller submits and which
 * has ended in the call: waking the reaper for it would cost as much. Without a reaper anybody
 * tries, or a list would wait for its items' for ever. */
static bool notify(struct kaio_batch *b) {
    if (b->self == kaio.reaper || (kaio.unattended && !b->careful)) kaio_reaper_take(b);
    struct kaio_req *req = TAILQ_FIRST(&b->notify);
    bool own = req && b->cb && req->cb == b->cb;
    if (!kaio_is_ours && !own && (b->careful || !kaio.unattended)) {
        kaio_reaper_hand(b);
        return false;
    }
    struct kaio_lio *lio = TAILQ_FIRST(&b->lists);
    if (req) notify_request(b, req);
    else if (lio) notify_list(b, lio);
    return req || lio;
}

static bool submit(struct kaio_batch *b) {
    if (TAILQ_EMPTY(&b->offer)) return false;
    kaio_kernel_submit(b);
    return true;
}

static bool run(struct kaio_batch *b) {
    struct kaio_req *req = TAILQ_FIRST(&b->run);
    if (!req) return false;
    TAILQ_REMOVE(&b->run, req, link);
    bool offer = req->state == KAIO_OFFERED;
    if (req->op == KAIO_WRITE) kaio_raised_before(b);
    kaio_unlock();
    long res = offer ? kaio_copy(req) : kaio_worker_run(req);
    kaio_lock();
    if (!offer) kaio.raised++; /* maybe, after a part */
    if (offer) kaio_submit_result(b, req, res);
    else kaio_worker_finish(b, req, res);
    return true;
}

static bool stand_aside_for(bool more) {
    if (more) kaio_stand_aside();
    return more;
}

void kaio_leave(struct kaio_batch *b) {
    bool more;
    do {
        more = kaio_kernel_reap(b);
        kaio_kernel_backlog(b);
        if (kaio.owed && !kaio.watching) kaio_reaper_watch(b);
    } while (submit(b) || wake() || notify(b) || kaio_reaper_start(b) || kaio_blocker_create(b) ||
             kaio_worker_call(b) || kaio_file_end_covered(b) || run(b) || stand_aside_for(more));
    bool raised = b->writes && kaio.raised != b->raised;
    if (__builtin_expect(kaio_stats_on, false)) kaio_stats_update();
    kaio_direct_stock(b->self);
    kaio_unlock();
    if (b->self->unseen) kaio_thread_watch(b->self, b->careful);
    if (b->writes) kaio_raised_after(b, raised);
    if (!kaio_is_ours) pthread_sigmask(SIG_SETMASK, &b->mask, NULL);
}

void kaio_poll(void) {
    struct kaio_batch b;
    kaio_enter_careful(&b);
    kaio_leave(&b);
}
