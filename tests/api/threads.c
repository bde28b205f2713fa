/* SPDX-License-Identifier: MIT */
/* Four threads read and write at once, each in files of its own and in one that all share, and wait
 * in three ways. Every block that is read must hold what was last written there. */
#include "test.h"

enum { THREADS = 4, BATCHES = 250, BATCH = 8, BLOCKS = 64, BLOCK = 4096 };

/* Where a thread works: BLOCKS blocks from the offset; what each holds is known by its version. */
struct area {
    int fd;
    off_t offset;
    uint32_t versions[BLOCKS];
};

struct worker {
    uint32_t id, random, next_version;
    struct area areas[4]; /* direct, buffered, shared direct, shared buffered */
    char *memory;
    struct aiocb cbs[BATCH];
    uint32_t expected[BATCH]; /* 0: a write */
    int requests, bad, wrong;
};

static uint32_t pick(struct worker *w, uint32_t n) {
    w->random = w->random * 1664525u + 1013904223u;
    return (w->random >> 8) % n;
}

static void stamp(char *block, uint32_t id, uint32_t version, off_t at) {
    uint64_t *words = (uint64_t *)block;
    for (size_t i = 0; i < BLOCK / 8; i++)
        words[i] = ((uint64_t)version << 32 | id << 28) + (uint64_t)at + i;
}

static bool is_stamped(const char *block, uint32_t id, uint32_t version, off_t at) {
    const uint64_t *words = (const uint64_t *)block;
    for (size_t i = 0; i < BLOCK / 8; i++)
        if (words[i] != ((uint64_t)version << 32 | id << 28) + (uint64_t)at + i) return false;
    return true;
}

/* Blocks of one batch differ, so it does not matter which request ends first. */
static void prepare(struct worker *w) {
    uint32_t first = pick(w, BLOCKS);
    for (uint32_t i = 0; i < BATCH; i++) {
        struct area *area = &w->areas[pick(w, 4)];
        uint32_t block = (first + i * 5) % BLOCKS;
        off_t at = area->offset + (off_t)block * BLOCK;
        char *buf = w->memory + i * BLOCK;
        bool write = pick(w, 2);
        w->cbs[i] = request(area->fd, buf, BLOCK, at);
        w->cbs[i].aio_lio_opcode = write ? LIO_WRITE : LIO_READ;
        w->expected[i] = write ? 0 : area->versions[block];
        if (write) stamp(buf, w->id, area->versions[block] = ++w->next_version, at);
        else memset(buf, 0, BLOCK);
    }
}

static void submit(struct worker *w, bool use_list) {
    struct aiocb *list[BATCH];
    for (int i = 0; i < BATCH; i++) {
        list[i] = &w->cbs[i];
        if (use_list) continue;
        bool write = list[i]->aio_lio_opcode == LIO_WRITE;
        w->bad += (write ? aio_write(list[i]) : aio_read(list[i])) != 0;
    }
    if (use_list) w->bad += lio_listio(LIO_WAIT, list, BATCH, NULL) != 0;
}

/* Until every one has ended, always for any of those that have not. */
static void suspend_for_all(struct worker *w) {
    for (;;) {
        const struct aiocb *list[BATCH] = {NULL};
        int left = 0;
        for (int i = 0; i < BATCH; i++)
            if (aio_error(&w->cbs[i]) == EINPROGRESS) list[i] = &w->cbs[i], left++;
        if (left == 0) return;
        w->bad += aio_suspend(list, BATCH, NULL) != 0;
    }
}

static void check(struct worker *w, bool ended) {
    for (int i = 0; i < BATCH; i++) {
        struct aiocb *cb = &w->cbs[i];
        if (ended) w->bad += aio_error(cb) == EINPROGRESS;
        else
            while (aio_error(cb) == EINPROGRESS) continue;
        w->bad += aio_error(cb) != 0 || aio_return(cb) != BLOCK;
        w->requests++;
        char *buf = w->memory + i * BLOCK;
        if (w->expected[i]) w->wrong += !is_stamped(buf, w->id, w->expected[i], cb->aio_offset);
    }
}

static void *work(void *arg) {
    struct worker *w = arg;
    for (int batch = 0; batch < BATCHES; batch++) {
        int way = batch % 3;
        prepare(w);
        submit(w, way == 2);
        if (way == 0) suspend_for_all(w);
        check(w, way != 1);
    }
    return NULL;
}

/* Every block is written once before, so that each read has something to find. */
static void fill(struct worker *w, struct area *area, int fd, off_t offset) {
    area->fd = fd;
    area->offset = offset;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        off_t at = offset + (off_t)i * BLOCK;
        stamp(w->memory, w->id, area->versions[i] = ++w->next_version, at);
        need(pwrite(fd, w->memory, BLOCK, at) == BLOCK, "fill");
    }
}

static void at_once(void) {
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    size_t size = (size_t)BLOCKS * BLOCK;
    int shared = scratch(O_RDWR, THREADS * size);
    int shared_direct = scratch(O_RDWR | O_DIRECT, THREADS * size);
    for (uint32_t i = 0; i < THREADS; i++) {
        struct worker *w = &workers[i];
        w->id = i + 1;
        w->random = i * 77 + 1;
        w->memory = pages(BATCH * BLOCK);
        fill(w, &w->areas[0], scratch(O_RDWR | O_DIRECT, size), 0);
        fill(w, &w->areas[1], scratch(O_RDWR, size), 0);
        fill(w, &w->areas[2], shared_direct, (off_t)(i * size));
        fill(w, &w->areas[3], shared, (off_t)(i * size));
    }
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, work, &workers[i]) == 0, "thread");
    for (int i = 0; i < THREADS; i++) {
        struct worker *w = &workers[i];
        pthread_join(threads[i], NULL);
        say("thread %d: %d requests, %d bad, %d wrong", i, w->requests, w->bad, w->wrong);
    }
}

static void test(void) {
    CASE("at-once") at_once();
}
