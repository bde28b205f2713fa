/* SPDX-License-Identifier: MIT */
/* watch.c - watching the program at its calls, for KAIO_STATS: called by
 * api.c in every mode, so that glibc's AIO (KAIO_MODE=off) is measured in the same way.
 *
 * What a request takes is counted from the beginning of the call that submits it to the moment when
 * the program first learns of its end, from aio_error() or aio_return(). Meanwhile its aiocb's
 * address is in a table of fixed size, open-addressed with a small window: a place is claimed by
 * compare-and-swap, written, and then shows its key, so there is no lock, and a signal handler or a
 * forked child finds nothing half done that it would have to wait for. What finds no place in its
 * window is counted, but not timed (`unseen`).
 *
 * All of it lies in pages that are zeros in a child (MADV_WIPEONFORK).
 */
#include "observe/watch.h"
#include "observe/stats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TABLE_BITS 14
#define TABLE_SIZE (1u << TABLE_BITS)
#define WINDOW     8 /* places that an address may have: two cache lines */
#define BUSY       1 /* a key that is no aiocb: being written */

struct place {
    _Atomic uintptr_t key; /* the aiocb's address; 0: free */
    uint64_t start_ns;
};

static struct {
    struct kaio_counts own; /* where nothing is published */
    struct place table[TABLE_SIZE];
    uint32_t files[TABLE_SIZE]; /* of the same request: files.c. Not in the place, for a window
                                 * would have more cache lines */
} __attribute__((aligned(4096))) watch; /* whole pages: nothing else is wiped with it */

bool kaio_stats_on;
__thread uint64_t kaio_call_start_ns;

/* When the process was loaded; in a forked child, at its first request. The pid comes last, and
 * says that the rest is there: acquire and release pair for two threads of a child. */
static void identify(void) {
    struct kaio_counts *own = &watch.own;
    if (__atomic_load_n(&own->pid, __ATOMIC_ACQUIRE)) return;
    own->size = sizeof *own;
    own->mode = (uint32_t)kaio_config.mode;
    snprintf(own->command, sizeof own->command, "%s", program_invocation_short_name);
    own->start_ns = kaio_now_ns();
    __atomic_store_n(&own->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
}

void kaio_watch_load(void) {
    kaio_stats_on = *kaio_config.stats;
    if (!kaio_stats_on) return;
    identify();
    madvise(&watch, sizeof watch, MADV_WIPEONFORK);
    kaio_files_load();
    kaio_share_load();
}

struct kaio_counts *kaio_watch_counts(void) {
    struct kaio_counts *shared = kaio_share_page();
    return shared ? shared : &watch.own;
}

static void ends(struct kaio_counts *c, uint64_t now) {
    atomic_store_explicit(&c->end_ns, now, memory_order_relaxed);
}

void kaio_watch_time(struct kaio_hist *hist, uint64_t value) {
    kaio_count_add(&hist->bucket[kaio_hist_index(value)], 1);
}

static struct place *nth_place(uintptr_t key, unsigned i) {
    uint64_t hash = (uint64_t)(key >> 3) * 0x9e3779b97f4a7c15u;
    return &watch.table[((hash >> (64 - TABLE_BITS)) + i) % TABLE_SIZE];
}

/* Claims the place that has this key; acquire: pairs with the release of fill(). NULL: none. */
static struct place *claim(uintptr_t key, uintptr_t wanted) {
    for (unsigned i = 0; i < WINDOW; i++) {
        struct place *place = nth_place(key, i);
        uintptr_t found = wanted;
        if (atomic_load_explicit(&place->key, memory_order_relaxed) != wanted) continue;
        if (atomic_compare_exchange_strong_explicit(&place->key, &found, BUSY, memory_order_acquire,
                                                    memory_order_relaxed))
            return place;
    }
    return NULL;
}

static void fill(struct place *place, uintptr_t key, uint32_t file, uint64_t start_ns) {
    watch.files[place - watch.table] = file;
    place->start_ns = start_ns;
    atomic_store_explicit(&place->key, key, memory_order_release);
}

static void insert(struct kaio_counts *c, const struct aiocb *cb, uint32_t file,
                   uint64_t start_ns) {
    uintptr_t key = (uintptr_t)cb;
    struct place *place = claim(key, key); /* made again before its end was seen */
    if (place) {
        kaio_count_add(&c->unseen, 1);
        kaio_watch_time(&c->depth, c->in_progress);
    } else if ((place = claim(key, 0))) {
        kaio_count_add(&c->in_progress, 1);
        kaio_watch_time(&c->depth, c->in_progress);
    } else {
        kaio_count_add(&c->unseen, 1);
    }
    if (place) fill(place, key, file, start_ns);
}

/* True, and when it began, on what file: it was in progress as far as the program knew. */
static bool take_out(struct kaio_counts *c, const struct aiocb *cb, uint32_t *file,
                     uint64_t *start_ns) {
    struct place *place = claim((uintptr_t)cb, (uintptr_t)cb);
    if (!place) return false;
    *file = watch.files[place - watch.table];
    *start_ns = place->start_ns;
    atomic_store_explicit(&place->key, 0, memory_order_release);
    kaio_count_add(&c->in_progress, (uint64_t)-1);
    return true;
}

/* n: 1 or -1 */
static void count_call(struct kaio_counts *c, const struct aiocb *cb, unsigned op, uint64_t n) {
    kaio_count_add(&c->requests[op], n);
    if (op > 1) return;
    kaio_count_add(&c->bytes[op], n * cb->aio_nbytes);
    kaio_count_add(&c->sizes[kaio_size_index(cb->aio_nbytes, KAIO_SIZE_BUCKETS)], n);
}

/* What one request of a call asks for; false: nothing, it is a list's empty place. */
static bool operation(const struct aiocb *cb, int op, enum kaio_op *found) {
    *found = (enum kaio_op)op;
    if (op < KAIO_WATCH_LIST) return true;
    int opcode = cb ? cb->aio_lio_opcode & ~OPCODE_64 : LIO_NOP;
    if (opcode != LIO_READ && opcode != LIO_WRITE) return false;
    *found = opcode == LIO_READ ? KAIO_READ : KAIO_WRITE;
    return true;
}

/* Index among the operations that are counted: without KAIO_INVALID. */
unsigned kaio_watch_op(enum kaio_op op) {
    return op <= KAIO_WRITE ? op : (unsigned)op - 1;
}

uint64_t kaio_watch_begin(struct aiocb *const list[], int n, int op) {
    int saved = errno;
    uint64_t now = kaio_now_ns();
    identify();
    kaio_share_begin(&watch.own);
    struct kaio_counts *c = kaio_watch_counts();
    ends(c, now);
    for (int i = 0; i < n; i++) {
        enum kaio_op one;
        if (!operation(list[i], op, &one)) continue;
        unsigned counted = kaio_watch_op(one);
        count_call(c, list[i], counted, 1);
        insert(c, list[i], kaio_files_add(c, list[i], counted), now);
    }
    kaio_call_start_ns = now;
    errno = saved;
    return now;
}

/* A call that was refused made no request. Of a list, some may have been made. */
void kaio_watch_end(struct aiocb *const list[], int op, uint64_t start_ns, int res) {
    struct kaio_counts *c = kaio_watch_counts();
    if (op != KAIO_WATCH_WAIT) kaio_watch_time(&c->call, kaio_now_ns() - start_ns);
    if (res == 0 || op >= KAIO_WATCH_LIST) return;
    unsigned counted = kaio_watch_op((enum kaio_op)op);
    uint32_t file;
    count_call(c, list[0], counted, (uint64_t)-1);
    kaio_files_take_back(c, list[0], counted);
    take_out(c, list[0], &file, &start_ns);
}

void kaio_watch_seen(const struct aiocb *cb) {
    struct kaio_counts *c = kaio_watch_counts();
    uint64_t start_ns;
    uint32_t file;
    if (!take_out(c, cb, &file, &start_ns)) return;
    uint64_t now = kaio_now_ns();
    kaio_watch_time(&c->latency, now - start_ns);
    kaio_files_seen(c, file, now - start_ns);
    ends(c, now);
}
