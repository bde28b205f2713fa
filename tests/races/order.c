/* SPDX-License-Identifier: MIT */
/* order.c - a sync neither ends nor begins before the writes that were queued before it; appended
 * records are whole and in order. ORDER says which part (order.sh runs it, and compares):
 *
 *   sync     rounds of writes and aio_fsync() on the files of slowfs, in the working directory
 *   call     the same with fsync() and fdatasync() of the program
 *   disk     rounds of large and small direct writes and aio_fsync(), or fsync(), on a real file
 *   append   threads append to one descriptor, and each to its own
 */
#include "test.h"

enum { FILES = 8, ROUNDS = 125, WRITES = 8, LATER = 2, ALL = WRITES + LATER, SIZE = 8192 };

/* One of FILES, with a thread that makes ROUNDS rounds on it. */
struct file {
    int index, fd, early, bad;
    unsigned seed;
    bool call;
    char *buf; /* ALL times SIZE */
    struct aiocb cbs[ALL];
};

struct share {
    struct aiocb *cbs;
    int n, bad;
};

static int in_progress(const struct aiocb *cbs, int n) {
    int count = 0;
    for (int i = 0; i < n; i++) count += aio_error(&cbs[i]) == EINPROGRESS;
    return count;
}

static void *submit(void *arg) {
    struct share *share = arg;
    for (int i = 0; i < share->n; i++) share->bad += aio_write(&share->cbs[i]) != 0;
    return NULL;
}

/* n threads share the writes; all are queued when it returns. */
static int submit_by(struct aiocb *cbs, int n) {
    struct share shares[3];
    pthread_t threads[3];
    int bad = 0;
    for (int i = n - 1; i >= 0; i--) {
        int from = WRITES * i / n;
        shares[i] = (struct share){cbs + from, WRITES * (i + 1) / n - from, 0};
        if (i == 0) submit(&shares[i]);
        else need(pthread_create(&threads[i], NULL, submit, &shares[i]) == 0, "thread");
    }
    for (int i = 1; i < n; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++) bad += shares[i].bad;
    return bad;
}

/* The data carries the number of the round; 0 for what comes after the sync. None begins where
 * another ends: those would be one write for slowfs. */
static void prepare(struct file *file, int round) {
    for (int i = 0; i < ALL; i++) {
        char *buf = file->buf + i * SIZE;
        *(int *)buf = i < WRITES ? round : 0;
        size_t n = 512 + 1024 * ((unsigned)rand_r(&file->seed) % (SIZE / 1024));
        file->cbs[i] = request(file->fd, buf, n, (unsigned)rand_r(&file->seed) % 256 * 1024);
    }
}

static void slow_round(struct file *file, int round) {
    struct aiocb sync = request(file->fd, NULL, 0, 0);
    prepare(file, round);
    file->bad += submit_by(file->cbs, round % 3 + 1);
    if (!file->call) file->bad += aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &sync) != 0;
    else file->bad += (round % 2 ? fsync(file->fd) : fdatasync(file->fd)) != 0;
    if (file->call) file->early += in_progress(file->cbs, WRITES) != 0;
    for (int i = WRITES; i < ALL; i++) file->bad += aio_write(&file->cbs[i]) != 0;
    if (!file->call) {
        while (round % 4 < 2 && aio_error(&sync) == EINPROGRESS) usleep(50);
        file->bad += finish(&sync) != 0;
        file->early += in_progress(file->cbs, WRITES) != 0;
        file->bad += aio_return(&sync) != 0;
    }
    for (int i = 0; i < ALL; i++) {
        struct aiocb *cb = &file->cbs[i];
        file->bad += finish(cb) != 0 || aio_return(cb) != (ssize_t)cb->aio_nbytes;
    }
}

static void *slow_rounds(void *arg) {
    struct file *file = arg;
    char path[16];
    snprintf(path, sizeof path, "%d", file->index);
    file->fd = open(path, O_RDWR | (file->index % 2 ? O_DIRECT : 0));
    need(file->fd >= 0, path);
    file->buf = pages(ALL * SIZE);
    for (int round = 1; round <= ROUNDS; round++) slow_round(file, round);
    close(file->fd);
    free(file->buf);
    return NULL;
}

/* slowfs has its own record of what ended before the syncs; order.sh looks at it. */
static void slow(bool call) {
    static struct file files[FILES];
    pthread_t threads[FILES];
    int early = 0, bad = 0;
    for (int i = 0; i < FILES; i++) {
        files[i] = (struct file){.index = i, .seed = (unsigned)i, .call = call};
        need(pthread_create(&threads[i], NULL, slow_rounds, &files[i]) == 0, "thread");
    }
    for (int i = 0; i < FILES; i++) {
        pthread_join(threads[i], NULL);
        early += files[i].early;
        bad += files[i].bad;
    }
    say("%d rounds: %d bad", FILES * ROUNDS, bad);
    if (!call || is_shim()) say("%d syncs too early", early); /* glibc's fsync() knows nothing */
}

/* Overwrites go through the kernel, the last write extends the file and may not. Then a sync: by
 * aio_fsync(), or by fsync(), of which glibc knows nothing. */
static void disk(bool call) {
    enum { LARGE = 1 << 20 };
    const int rounds = getenv("TEST_LONG") ? 1000 : 250;
    static const size_t sizes[WRITES] = {LARGE, 4096, 4096, LARGE, 4096, 4096, 65536, 4096};
    int fd = scratch(O_RDWR | O_DIRECT, WRITES * LARGE), early = 0, bad = 0;
    char *buf = pages(LARGE);
    for (int round = 1; round <= rounds; round++) {
        struct aiocb cbs[WRITES], sync = request(fd, NULL, 0, 0);
        for (int i = 0; i < WRITES; i++) {
            off_t at = i < WRITES - 1 || round % 4 ? i * LARGE : WRITES * LARGE + round * 4096;
            cbs[i] = request(fd, buf, sizes[i], at);
        }
        bad += submit_by(cbs, round % 3 + 1);
        if (call) bad += (round % 2 ? fsync(fd) : fdatasync(fd)) != 0;
        else bad += aio_fsync(round % 2 ? O_SYNC : O_DSYNC, &sync) != 0;
        while (!call && round % 4 < 2 && aio_error(&sync) == EINPROGRESS) continue;
        bad += !call && finish(&sync) != 0;
        early += (!call || is_shim()) && in_progress(cbs, WRITES) != 0;
        bad += !call && aio_return(&sync) != 0;
        for (int i = 0; i < WRITES; i++)
            bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (ssize_t)sizes[i];
    }
    say("%s: %d rounds, %d syncs too early, %d bad", call ? "fsync()" : "aio_fsync()", rounds,
        early, bad);
    close(fd);
    free(buf);
}

enum { THREADS = 4, RECORDS = 500, RECORD = 6000 };

struct record {
    int thread, number, size; /* all of it; the rest is filled with the number */
};

struct appender {
    int thread, fd, bad;
    struct aiocb cbs[RECORDS];
};

static size_t record_size(int thread, int number, int flags) {
    return flags & O_DIRECT ? 4096
                            : sizeof(struct record) + (unsigned)(number * 97 + thread) % RECORD;
}

static void *appends(void *arg) {
    struct appender *a = arg;
    int flags = fcntl(a->fd, F_GETFL);
    for (int i = 0; i < RECORDS; i++) {
        size_t size = record_size(a->thread, i, flags);
        struct record *record = pages(size);
        memset(record, i, size);
        *record = (struct record){a->thread, i, (int)size};
        a->cbs[i] = request(a->fd, record, size, 0);
        a->bad += aio_write(&a->cbs[i]) != 0;
    }
    for (int i = 0; i < RECORDS; i++) {
        struct aiocb *cb = &a->cbs[i];
        a->bad += finish(cb) != 0 || aio_return(cb) != (ssize_t)cb->aio_nbytes;
        free((void *)cb->aio_buf);
    }
    return NULL;
}

static bool is_whole(const struct record *record, int flags) {
    const char *data = (const char *)(record + 1);
    if ((unsigned)record->thread >= THREADS || (unsigned)record->number >= RECORDS) return false;
    if (record->size != (int)record_size(record->thread, record->number, flags)) return false;
    for (size_t i = 0; i < (size_t)record->size - sizeof *record; i++)
        if (data[i] != (char)record->number) return false;
    return true;
}

/* Every record is there once and whole, and each thread's are in its call order. */
static void look_through(const char *what, const char *path, int flags) {
    int next[THREADS] = {0}, fd = open(path, O_RDONLY), whole = 0, wrong = 0;
    struct stat st;
    need(fd >= 0 && fstat(fd, &st) == 0, "open");
    char *all = pages((size_t)st.st_size + 2 * RECORD), *p = all;
    need(read(fd, all, (size_t)st.st_size) == st.st_size, "read");
    while (p < all + st.st_size && is_whole((struct record *)p, flags)) {
        struct record *record = (struct record *)p;
        wrong += record->number != next[record->thread]++;
        whole++;
        p += record->size;
    }
    say("%s: %d whole, %d out of order, more: %d", what, whole, wrong, p != all + st.st_size);
    free(all);
    close(fd);
}

static void append(const char *what, int flags, bool shared) {
    static struct appender appenders[THREADS];
    pthread_t threads[THREADS];
    int bad = 0, fd = -1;
    for (int i = 0; i < THREADS; i++) {
        if (i == 0 || !shared) fd = open(what, O_WRONLY | O_CREAT | O_APPEND | flags, 0600);
        need(fd >= 0, "open");
        appenders[i] = (struct appender){.thread = i, .fd = fd};
    }
    for (int i = 0; i < THREADS; i++)
        need(pthread_create(&threads[i], NULL, appends, &appenders[i]) == 0, "thread");
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        bad += appenders[i].bad;
    }
    for (int i = 0; i < (shared ? 1 : THREADS); i++) close(appenders[i].fd);
    say("%s: %d bad", what, bad);
    look_through(what, what, flags);
    unlink(what);
}

static void test(void) {
    const char *part = getenv("ORDER");
    if (part && !strcmp(part, "sync")) slow(false);
    if (part && !strcmp(part, "call")) slow(true);
    if (part && !strcmp(part, "disk")) disk(false), disk(true);
    if (part && !strcmp(part, "append")) {
        append("append", 0, true);
        append("append, own descriptors", 0, false);
        append("append, direct", O_DIRECT, true);
        append("append, direct, own descriptors", O_DIRECT, false);
    }
}
