/* SPDX-License-Identifier: MIT */
/* files.c - figures of single files, for KAIO_STATS: called by watch.c at the program's calls, in
 * every mode, and by stats.c, anywhere; all only if kaio_stats_on.
 *
 * A file is what statx(2) says that it is: device, inode and time of birth. It gets one of a few
 * places in the page. If none is free it takes that of the file with the fewest requests, as in
 * the space-saving algorithm of Metwally, Agrawal and El Abbadi (2005). So whatever makes more than
 * one in KAIO_STATS_FILES of all requests has a place. What a place counts is its file's alone;
 * `before` says how many requests may be missing.
 *
 * A table leads from a descriptor's number to the file, so a request makes no system call. The
 * number may come to mean another file: close() and its kin tell; what they do not see (fclose())
 * is found by a look at one request in TRUST.
 *
 * There is no lock. Two threads may give the same file two places, which readers add up; a request
 * that ends while its file loses the place may be counted for the next one.
 */
#include "observe/watch.h"
#include "observe/stats.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBERS 4096 /* descriptors with an entry; two of them may want the same */
#define TRUST   64
#define BUSY    1 /* an id: the place is being written */

/* An entry, from its lowest bit: for how many more requests it is believed (8), the descriptor
 * above NUMBERS (20), the file's id (32). An id is the place's number and that of the file in all
 * that have come. Zeros in a child. */
static struct {
    _Atomic uint64_t entry[NUMBERS];
    _Atomic uint32_t last; /* of the files that have come */
} numbers __attribute__((aligned(4096)));

/* The request of this thread's last kaio_files_add(). */
static __thread bool was_sequential;

void kaio_files_load(void) {
    madvise(&numbers, sizeof numbers, MADV_WIPEONFORK);
}

static uint64_t get(const kaio_count *count) {
    return atomic_load_explicit(count, memory_order_relaxed);
}

static uint64_t make_entry(int fd, uint32_t id) {
    return (uint64_t)id << 32 | (uint64_t)((unsigned)fd / NUMBERS) << 8 | TRUST;
}

static unsigned fd_of_entry(uint64_t entry, unsigned slot) {
    return (unsigned)(entry >> 8 & 0xfffff) * NUMBERS + slot;
}

static _Atomic uint64_t *slot_of(int fd) {
    return &numbers.entry[(unsigned)fd % NUMBERS];
}

/* 0: the number has none. */
static uint64_t entry_of(int fd) {
    uint64_t entry = atomic_load_explicit(slot_of(fd), memory_order_relaxed);
    bool own = entry && fd_of_entry(entry, (unsigned)fd % NUMBERS) == (unsigned)fd;
    return own ? entry : 0;
}

static uint32_t id_of(const struct kaio_file_counts *place) {
    return atomic_load_explicit(&place->id, memory_order_relaxed);
}

/* Has the file with this id a place still? */
static bool is_there(const struct kaio_counts *c, uint32_t id) {
    return id > BUSY && id_of(&c->files[id % KAIO_STATS_FILES]) == id;
}

/* NULL: it has none. */
static struct kaio_file_counts *place_of(struct kaio_counts *c, uint32_t id) {
    return is_there(c, id) ? &c->files[id % KAIO_STATS_FILES] : NULL;
}

static uint64_t device_of(const struct statx *st) {
    return (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

static uint64_t born_ns_of(const struct statx *st) {
    if (!(st->stx_mask & STATX_BTIME)) return 0;
    return (uint64_t)st->stx_btime.tv_sec * 1000000000u + st->stx_btime.tv_nsec;
}

static bool is_same(const struct kaio_file_counts *place, const struct statx *st) {
    return get(&place->inode) == st->stx_ino && get(&place->device) == device_of(st) &&
           get(&place->born_ns) == born_ns_of(st);
}

/* The search begins at the place that `last` names. acquire: pairs with the release in describe()
 */
static struct kaio_file_counts *find(struct kaio_counts *c, uint32_t last, const struct statx *st) {
    for (unsigned i = 0; i < KAIO_STATS_FILES; i++) {
        struct kaio_file_counts *place = &c->files[(last + i) % KAIO_STATS_FILES];
        if (atomic_load_explicit(&place->id, memory_order_acquire) > BUSY && is_same(place, st))
            return place;
    }
    return NULL;
}

static uint64_t requests_of(const struct kaio_file_counts *place) {
    uint64_t n = 0;
    for (unsigned op = 0; op < KAIO_STATS_OPS; op++) n += kaio_file_requests(place, op);
    return n;
}

/* A free one, or that of the file with the fewest requests, those before it included. */
static unsigned choose(const struct kaio_counts *c) {
    unsigned best = 0;
    uint64_t fewest = UINT64_MAX;
    for (unsigned i = 0; i < KAIO_STATS_FILES; i++) {
        const struct kaio_file_counts *place = &c->files[i];
        uint32_t id = id_of(place);
        if (id == 0) return i;
        uint64_t n = get(&place->before) + requests_of(place);
        if (id == BUSY || n >= fewest) continue;
        fewest = n;
        best = i;
    }
    return best;
}

/* `before` takes what is lost. */
static void clear(struct kaio_file_counts *place) {
    kaio_count *words = (kaio_count *)((char *)place + KAIO_FILE_BEGIN);
    kaio_count_set(&place->before, get(&place->before) + requests_of(place));
    for (int i = 0; i < 2; i++) kaio_count_set(&place->next[i], 0);
    for (size_t i = 0; i < KAIO_FILE_WORDS; i++) kaio_count_set(&words[i], 0);
}

/* A raw call, as what it names may be replaced. A path that is longer ends with dots. */
static void find_path(char *path, size_t size, int fd) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, size);
    bool cut = n == (long)size;
    /* it lies in the page; NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    path[n < 0 ? 0 : cut ? n - 1 : n] = 0;
    if (cut) memcpy(path + n - 4, "...", 4);
}

/* Its id; 0: other threads are at all places, and this request counts for no file. */
static uint32_t describe(struct kaio_counts *c, int fd, const struct statx *st, bool stream) {
    struct kaio_file_counts *place;
    unsigned chosen;
    uint32_t id;
    do {
        chosen = choose(c);
        place = &c->files[chosen];
        id = id_of(place);
        if (id == BUSY) return 0;
    } while (!atomic_compare_exchange_weak_explicit(&place->id, &id, BUSY, memory_order_acquire,
                                                    memory_order_relaxed));
    clear(place);
    kaio_count_set(&place->stream, stream);
    kaio_count_set(&place->device, device_of(st));
    kaio_count_set(&place->inode, st->stx_ino);
    kaio_count_set(&place->born_ns, born_ns_of(st));
    find_path(place->path, sizeof place->path, fd);
    id = atomic_fetch_add_explicit(&numbers.last, 1, memory_order_relaxed);
    id = (id % (UINT32_MAX / KAIO_STATS_FILES) + 1) * KAIO_STATS_FILES + chosen;
    /* release: pairs with the acquire in find() */
    atomic_store_explicit(&place->id, id, memory_order_release);
    return id;
}

/* What the number means, by statx(). */
static uint32_t look_up(struct kaio_counts *c, int fd) {
    struct statx st;
    enum kaio_kind kind = kaio_kind_of(fd, &st);
    if (kind == KAIO_UNKNOWN) return 0;
    struct kaio_file_counts *place = find(c, kaio_files_id(fd), &st);
    uint32_t id = place ? id_of(place) : describe(c, fd, &st, kind == KAIO_STREAM);
    atomic_store_explicit(slot_of(fd), make_entry(fd, id), memory_order_relaxed);
    return id;
}

uint32_t kaio_files_id(int fd) {
    return (uint32_t)(entry_of(fd) >> 32);
}

/* Uses up one unit of trust. Two threads may spend the same: the next look comes later. */
static struct kaio_file_counts *place_at(struct kaio_counts *c, int fd) {
    uint64_t entry = entry_of(fd);
    uint32_t id = (uint32_t)(entry >> 32);
    bool trusts = entry & 0xff && is_there(c, id);
    if (trusts) atomic_store_explicit(slot_of(fd), entry - 1, memory_order_relaxed);
    return place_of(c, trusts ? id : look_up(c, fd));
}

/* n: 1 or -1 */
static void count_request(struct kaio_file_counts *place, const struct aiocb *cb, unsigned op,
                          uint64_t n) {
    if (op > 1) {
        kaio_count_add(&place->syncs[op - 2], n);
        return;
    }
    kaio_count_add(&place->bytes[op], n * cb->aio_nbytes);
    kaio_count_add(
        &place->sizes[op][was_sequential][kaio_size_index(cb->aio_nbytes, KAIO_FILE_SIZES)], n);
}

uint32_t kaio_files_add(struct kaio_counts *c, const struct aiocb *cb, unsigned op) {
    struct kaio_file_counts *place = place_at(c, cb->aio_fildes);
    if (!place) return 0;
    if (op <= 1) {
        uint64_t offset = (uint64_t)cb->aio_offset;
        was_sequential = !get(&place->stream) && get(&place->next[op]) == offset;
        kaio_count_set(&place->next[op], offset + cb->aio_nbytes);
    }
    count_request(place, cb, op, 1);
    return id_of(place);
}

/* The thread's last: the call was refused. */
void kaio_files_take_back(struct kaio_counts *c, const struct aiocb *cb, unsigned op) {
    struct kaio_file_counts *place = place_of(c, kaio_files_id(cb->aio_fildes));
    if (!place) return;
    count_request(place, cb, op, (uint64_t)-1);
    if (op <= 1 && was_sequential) kaio_count_set(&place->next[op], (uint64_t)cb->aio_offset);
}

void kaio_files_ended(struct kaio_counts *c, uint32_t id, enum kaio_lane lane) {
    struct kaio_file_counts *place = place_of(c, id);
    if (place) kaio_count_add(&place->lanes[lane - 1], 1);
}

void kaio_files_declined(struct kaio_counts *c, uint32_t id, enum kaio_reason reason) {
    struct kaio_file_counts *place = place_of(c, id);
    if (place) kaio_count_add(&place->whys[reason], 1);
}

void kaio_files_seen(struct kaio_counts *c, uint32_t id, uint64_t took_ns) {
    struct kaio_file_counts *place = place_of(c, id);
    unsigned i = kaio_step_index(took_ns, 2);
    if (place) kaio_count_add(&place->latency[i < KAIO_FILE_TIMES ? i : KAIO_FILE_TIMES - 1], 1);
}

/* Before libc closes them. */
void kaio_files_closed(unsigned first, unsigned last) {
    for (unsigned i = 0; i < NUMBERS && first + i >= first && first + i <= last; i++) {
        unsigned slot = (first + i) % NUMBERS;
        uint64_t entry = atomic_load_explicit(&numbers.entry[slot], memory_order_relaxed);
        unsigned number = fd_of_entry(entry, slot);
        if (entry && number >= first && number <= last)
            atomic_store_explicit(&numbers.entry[slot], 0, memory_order_relaxed);
    }
}
