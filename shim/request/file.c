/* SPDX-License-Identifier: MIT */
/* file.c - the record of each open file with requests, as far as that can be told.
 *
 * Under the lock, but for kaio_file_used(), kaio_file_trust() and kaio_file_trusts(). Records are
 * found by descriptor number and made on first use. When a number means another file, it loses its
 * record (kaio_file_detach()), with which all goes that is known of the file; requests in progress
 * keep it. Numbers 2^20 apart, which no default allows, share a record.
 */
#include "request/request.h"

#include <string.h>

#define FILES_MADE 16 /* records that are allocated together */
#define GONE_LOOKS 8  /* for one that can be used again */
#define TRUST      32 /* reads of a file before its flags are asked again */

static struct {
    _Atomic(kaio_number *) numbers[KAIO_FILE_CHUNKS];
    struct kaio_files gone; /* records that no number leads to */
} table KAIO_WIPED GUARDED;

void kaio_file_begin(void) {
    TAILQ_INIT(&table.gone);
}

/* The table's places are atomic, and chunks stay. */
UNLOCKED _Atomic(kaio_number *) *kaio_file_chunk(int fd) {
    return &table.numbers[((unsigned)fd / KAIO_FILE_CHUNK) % KAIO_FILE_CHUNKS];
}

static kaio_number *number_of(int fd) {
    kaio_number *chunk = atomic_load_explicit(kaio_file_chunk(fd), memory_order_relaxed);
    if (!chunk) chunk = kaio_alloc(KAIO_FILE_CHUNK * sizeof *chunk);
    /* release: pairs with the acquire in kaio_file_used() */
    if (chunk) atomic_store_explicit(kaio_file_chunk(fd), chunk, memory_order_release);
    return chunk ? &chunk[(unsigned)fd % KAIO_FILE_CHUNK] : NULL;
}

static void file_init(struct kaio_file *file) {
    memset(file, 0, sizeof *file);
    TAILQ_INIT(&file->held);
    TAILQ_INIT(&file->line[KAIO_READ]);
    TAILQ_INIT(&file->line[KAIO_WRITE]);
    TAILQ_INIT(&file->reads);
    TAILQ_INIT(&file->writes);
    TAILQ_INIT(&file->backlog);
}

/* Does no request need it? What has ended, but is not free yet, finds its memory mapped. */
static bool is_idle(const struct kaio_file *file) {
    return file->active[0] + file->active[1] + file->unsubmitted + file->workers == 0 &&
           TAILQ_EMPTY(&file->held) && !file->ending && !kaio_flight_names(file);
}

/* Of those whose number means another file now; some may still have requests in progress. */
static struct kaio_file *file_again(void) {
    for (int i = 0; i < GONE_LOOKS; i++) {
        struct kaio_file *file = TAILQ_FIRST(&table.gone);
        if (!file) return NULL;
        TAILQ_REMOVE(&table.gone, file, gone);
        if (is_idle(file)) return file;
        TAILQ_INSERT_TAIL(&table.gone, file, gone);
    }
    return NULL;
}

static struct kaio_file *file_new(void) {
    struct kaio_file *file = file_again(), *chunk = NULL;
    if (!file) file = chunk = kaio_alloc(FILES_MADE * sizeof *chunk);
    for (int i = 1; chunk && i < FILES_MADE; i++) {
        file_init(&chunk[i]);
        TAILQ_INSERT_HEAD(&table.gone, &chunk[i], gone);
    }
    if (file) file_init(file);
    return file;
}

struct kaio_file *kaio_file_get(int fd) {
    kaio_number *number = number_of(fd);
    if (!number) return NULL;
    struct kaio_file *file = atomic_load_explicit(number, memory_order_relaxed);
    if (!file) file = file_new();
    /* release: pairs with the acquire in kaio_file_used() */
    atomic_store_explicit(number, file, memory_order_release);
    return file;
}

/* A program orders its own aio_read() and close() of one descriptor. */
UNLOCKED struct kaio_file *kaio_file_used(int fd) {
    if (fd < 0) return NULL;
    kaio_number *chunk = atomic_load_explicit(kaio_file_chunk(fd), memory_order_acquire);
    kaio_number *number = chunk ? &chunk[(unsigned)fd % KAIO_FILE_CHUNK] : NULL;
    return number ? atomic_load_explicit(number, memory_order_acquire) : NULL;
}

/* From here on the number means another file, of which nothing is known. */
void kaio_file_detach(struct kaio_file *file, int fd) {
    if (!file || kaio_file_used(fd) != file) return;
    atomic_store_explicit(number_of(fd), NULL, memory_order_relaxed);
    __atomic_store_n(&file->detached, true, __ATOMIC_RELAXED);
    TAILQ_INSERT_TAIL(&table.gone, file, gone);
}

bool kaio_file_trust(struct kaio_file *file) {
    atomic_store_explicit(&file->trust, TRUST, memory_order_relaxed);
    return true;
}

/* For one read more. Without the lock: two threads may spend the same, which costs a detour. */
bool kaio_file_trusts(struct kaio_file *file) {
    uint8_t left = atomic_load_explicit(&file->trust, memory_order_relaxed);
    if (left == 0) return false;
    atomic_store_explicit(&file->trust, (uint8_t)(left - 1), memory_order_relaxed);
    return true;
}

void kaio_file_unsubmitted(struct kaio_file *file, int change) {
    KAIO_ASSERT(kaio_is_locked() && (int)file->unsubmitted + change >= 0);
    /* relaxed: is_over() in wait.c looks without the lock, and later with it */
    __atomic_store_n(&file->unsubmitted, file->unsubmitted + (unsigned)change, __ATOMIC_RELAXED);
    if (file->unsubmitted == 0) { /* close() sleeps in wait.c */
        kaio_thread_wake_waiter(file->waiter);
        file->waiter = NULL;
    }
}
