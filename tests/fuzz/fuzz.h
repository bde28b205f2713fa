/* SPDX-License-Identifier: MIT */
/* fuzz.h - for fuzz.c: files of every kind and the model of what they hold, and random requests.
 *
 * Each thread has its own objects (files) and slots (requests), so its model is exact whatever the
 * others do; the library's state and the descriptors' numbers are shared by all. Of a file, blocks
 * that a write in progress covers are used by nobody else, and its size is known. Of a stream, and
 * of appended writes, what arrives is the sequence of what was sent, in call order.
 *
 * The kinds: b buffered, d O_DIRECT, m memfd, a O_APPEND, p pipe, s socketpair, e eventfd; and
 * streams that the library's blockers serve: i named FIFO, open once or twice, o socketpair with
 * time limits, which are longer than any run.
 */
#ifndef FUZZ_H
#define FUZZ_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 192, MOST = BLOCK * BLOCKS };
enum { THREADS = 4, OBJECTS = 6, SLOTS = 24, LISTS = 4, ITEMS = 8 };
enum kind { BUFFERED, DIRECT, MEMORY, APPEND, PIPE, SOCKET, EVENT, FIFO, LIMITED, ALL_KINDS };
static const char KINDS[] = "bdmapseio";
enum what { NOTHING, READ, WRITE, SYNC, WRONG };

struct slot;
struct list;
struct bytes {
    unsigned char *p;
    size_t n;
};

/* What is sent one way: requests in call order, and the bytes of those that have ended. */
struct lane {
    struct slot *first[2], **last[2]; /* reads, writes */
    struct bytes bytes[2];            /* received, sent, that have not been compared yet */
    size_t flying[2];
};

struct object {
    enum kind kind;
    int fd, peer; /* requests use both; peer: the other end, or -1: there is one descriptor */
    int check;    /* the same file opened once more, or -1 */
    bool closed;  /* fd means another file by now */
    int flying;   /* requests in progress */
    unsigned char *model;
    size_t size;
    int readers[BLOCKS];
    bool writer[BLOCKS], resized;
    int sized; /* reads that go past the end */
    struct lane lanes[2];
    uint64_t added, taken; /* eventfd */
};

struct slot {
    struct aiocb own, *cb; /* cb: own, or malloc()ed for each request and freed once it has ended */
    enum what what;
    unsigned char *buf;
    struct object *object;
    struct slot *next; /* in its lane */
    struct lane *lane;
    struct list *list;
    uint64_t order;
    int expected; /* of WRONG */
    bool cancelled, overtaken, ended, past;
    int err;
    ssize_t r;
    bool notifies;
    unsigned generation;
    atomic_uint notified;
};

struct list {
    int pending; /* items that have not ended */
    bool used;   /* its notification has not been awaited */
    unsigned generation;
    atomic_uint notified;
};

struct thread {
    uint64_t random, order;
    int index;
    struct object *objects[OBJECTS];
    struct slot slots[SLOTS];
    struct list lists[LISTS];
    pthread_t thread;
};

static struct thread threads[THREADS];
static int nthreads = THREADS;
static const char *without = "", *seed = "0";
static bool glibc; /* its aio_cancel() loses requests: they never end */
static long ops = 20000;
static int patience_s = 20; /* FUZZ_PATIENCE: for what must come */
static atomic_long done, requests;
static int directory, read_only, rt_signal;
static int fault; /* errno that a system call gets injected, see faults.sh; requests may say it */
static const char *const whats[] = {"nothing", "read", "write", "sync", "wrong"};

static bool has(char letter) {
    return !strchr(without, letter);
}

static void broken(const struct slot *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    flockfile(stdout);
    printf("broken: ");
    vprintf(format, args);
    va_end(args);
    if (s)
        printf(": %s of %c, %zu at %ld: errno %d, %zd%s%s", whats[s->what],
               s->object ? KINDS[s->object->kind] : '-', s->cb->aio_nbytes, (long)s->cb->aio_offset,
               s->err, s->r, s->cancelled ? ", cancelled" : "", s->overtaken ? ", overtaken" : "");
    printf("; after %ld operations\nrepeat: fuzz %s %ld %s\n", atomic_load(&done), seed, ops,
           without);
    fflush(stdout);
    if (getenv("FUZZ_ABORT")) abort();
    _exit(1);
}

static void need(bool ok, const char *what) {
    if (!ok) broken(NULL, "the test: %s: %s", what, strerror(errno));
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static unsigned below(struct thread *t, unsigned n) {
    return (unsigned)(next_random(&t->random) % n);
}

static bool one_in(struct thread *t, unsigned n) {
    return below(t, n) == 0;
}

static time_t now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* Objects. */

static bool is_file(const struct object *o) {
    return o->kind <= MEMORY;
}

static bool is_socket(const struct object *o) {
    return o->kind == SOCKET || o->kind == LIMITED;
}

static void to_high(int *fd) { /* check descriptors: out of the numbers that are reused */
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 2000);
    need(high >= 0, "dup");
    close(*fd);
    *fd = high;
}

static void open_file(struct thread *t, struct object *o) {
    char path[60];
    snprintf(path, sizeof path, "fuzz.%d.%d", getpid(), t->index);
    o->check = o->kind == MEMORY ? memfd_create("fuzz", MFD_CLOEXEC)
                                 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    need(o->check >= 0, "file");
    if (o->kind == MEMORY) snprintf(path, sizeof path, "/proc/self/fd/%d", o->check);
    o->model = calloc(1, MOST);
    if (o->kind != APPEND) o->size = below(t, 17) * BLOCK;
    for (size_t i = 0; i < o->size; i += 8) {
        uint64_t word = next_random(&t->random);
        memcpy(o->model + i, &word, 8);
    }
    struct iovec all = {o->model, o->size};
    need(pwritev(o->check, &all, 1, 0) == (ssize_t)o->size, "fill");
    bool cold = o->kind == BUFFERED && one_in(t, 2) && fdatasync(o->check) == 0;
    if (cold) posix_fadvise(o->check, 0, 0, POSIX_FADV_DONTNEED);
    o->fd = open(path, O_RDWR | O_CLOEXEC | (o->kind == DIRECT ? O_DIRECT : 0) |
                           (o->kind == APPEND ? O_APPEND : 0));
    need(o->fd >= 0, "open");
    if (o->kind != MEMORY) unlink(path);
    to_high(&o->check);
}

/* Open for both directions; or for one each, as a pipe is. Checked by one that reads at once. */
static void open_fifo(struct thread *t, struct object *o, int pair[2]) {
    char path[60];
    snprintf(path, sizeof path, "fuzz.%d.%d", getpid(), t->index);
    need(mkfifo(path, 0600) == 0, "mkfifo");
    int both = open(path, O_RDWR | O_CLOEXEC);
    o->check = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    need(both >= 0 && o->check >= 0, "open");
    pair[0] = both;
    if (one_in(t, 2)) {
        pair[0] = open(path, O_RDONLY | O_CLOEXEC);
        pair[1] = open(path, O_WRONLY | O_CLOEXEC);
        need(pair[0] >= 0 && pair[1] >= 0, "open");
        close(both);
    }
    unlink(path);
    to_high(&o->check);
}

/* Most directions: beside a limited one the library may poll the other. */
static void limit(struct thread *t, const int pair[2]) {
    const int options[] = {SO_RCVTIMEO, SO_SNDTIMEO};
    const struct timeval long_time = {1000, 0};
    for (int i = 0; i < 4; i++)
        if (!one_in(t, 4))
            need(!setsockopt(pair[i / 2], SOL_SOCKET, options[i % 2], &long_time, sizeof long_time),
                 "setsockopt");
}

static struct object *object_new(struct thread *t) {
    struct object *o = calloc(1, sizeof *o);
    do {
        o->kind = below(t, ALL_KINDS);
    } while (!has(KINDS[o->kind]) || (glibc && o->kind > PIPE));
    for (int i = 0; i < 2; i++)
        for (int way = 0; way < 2; way++) o->lanes[i].last[way] = &o->lanes[i].first[way];
    int pair[2] = {-1, -1};
    o->peer = o->check = -1;
    if (o->kind <= APPEND) {
        open_file(t, o);
        return o;
    }
    if (o->kind == PIPE) need(pipe2(pair, O_CLOEXEC) == 0, "pipe");
    if (is_socket(o)) need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
    if (o->kind == LIMITED) limit(t, pair);
    if (o->kind == FIFO) open_fifo(t, o, pair);
    if (o->kind == EVENT) need((pair[0] = eventfd(0, EFD_CLOEXEC)) >= 0, "eventfd");
    o->fd = pair[0];
    o->peer = pair[1];
    return o;
}

static void append(struct bytes *b, const unsigned char *p, size_t n) {
    b->p = realloc(b->p, b->n + n + 1);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

/* What there is to be read at once. */
static void drain(struct bytes *b, int fd) {
    unsigned char buf[BLOCK];
    struct iovec all = {buf, sizeof buf}; /* a call that gets no fault, see faults.sh */
    for (ssize_t n; (n = readv(fd, &all, 1)) > 0;) append(b, buf, (size_t)n);
}

static void compare(struct lane *lane, const struct slot *s) {
    struct bytes *a = &lane->bytes[0], *b = &lane->bytes[1];
    size_t n = a->n < b->n ? a->n : b->n;
    if (n && memcmp(a->p, b->p, n)) broken(s, "what arrived is not what was sent");
    for (int i = 0; i < 2 && n; i++) {
        lane->bytes[i].n -= n;
        memmove(lane->bytes[i].p, lane->bytes[i].p + n, lane->bytes[i].n);
    }
}

/* Nothing of it is in progress: does it hold what the model says? */
static void object_check(struct object *o) {
    if (is_file(o) || o->kind == APPEND) {
        if (o->kind == APPEND) {
            o->size = o->lanes[0].bytes[1].n;
            free(o->model);
            o->model = o->lanes[0].bytes[1].p;
        }
        unsigned char *found = malloc(o->size + 2);
        struct iovec all = {found, o->size + 1}; /* a call that gets no fault, as below */
        ssize_t n = preadv(o->check, &all, 1, 0);
        if (n != (ssize_t)o->size)
            broken(NULL, "%c: size %zd, not %zu", KINDS[o->kind], n, o->size);
        for (size_t i = 0; i < o->size; i++)
            if (found[i] != o->model[i]) broken(NULL, "%c: byte %zu differs", KINDS[o->kind], i);
        free(found);
        return;
    }
    if (o->kind == EVENT) {
        uint64_t left = 0;
        if (o->closed) return;
        fcntl(o->fd, F_SETFL, O_NONBLOCK);
        if (read(o->fd, &left, 8) < 0) left = 0;
        if (left + o->taken != o->added) broken(NULL, "eventfd: sum differs");
        return;
    }
    for (int way = 0; way < 2; way++) {
        struct lane *lane = &o->lanes[way];
        int fd = way ? o->peer : o->fd;
        if (!o->closed && (way == 0 || is_socket(o))) {
            fcntl(fd, F_SETFL, O_NONBLOCK);
            drain(&lane->bytes[0], fd);
        }
        compare(lane, NULL);
        if (lane->bytes[0].n) broken(NULL, "%c: more arrived than was sent", KINDS[o->kind]);
        if (!o->closed && lane->bytes[1].n) broken(NULL, "%c: lost bytes", KINDS[o->kind]);
    }
}

static void object_free(struct object *o) {
    object_check(o);
    if (o->check >= 0) close(o->check);
    if (!o->closed) close(o->fd);
    if (!o->closed && o->peer >= 0) close(o->peer);
    free(o->model);
    for (int i = 0; i < 4; i++)
        if (o->kind != APPEND) free(o->lanes[i / 2].bytes[i % 2].p);
    free(o);
}

/* Requests: preparing. */

static void locked(struct slot *s, int change) {
    struct object *o = s->object;
    size_t from = (size_t)s->cb->aio_offset / BLOCK, n = s->cb->aio_nbytes;
    size_t to = ((size_t)s->cb->aio_offset + n + BLOCK - 1) / BLOCK;
    for (size_t i = from; i < to && i < BLOCKS; i++) {
        if (s->what == READ) o->readers[i] += change;
        else o->writer[i] = change > 0;
    }
    if (s->past && s->what == READ) o->sized += change;
    if (s->past && s->what == WRITE) o->resized = change > 0;
}

/* before: a request where the end of which this one begins; or NULL */
static bool prepare_file(struct thread *t, struct slot *s, struct object *o,
                         const struct slot *before) {
    size_t unit = before || o->kind == DIRECT ? BLOCK : one_in(t, 2) ? 1 : BLOCK;
    size_t most = one_in(t, 50) && has('z') ? MOST : 4 * BLOCK;
    size_t n = below(t, (unsigned)(most / unit) + 1) * unit;
    size_t offset = below(t, (unsigned)((MOST - n) / unit) + 1) * unit;
    if (!one_in(t, 4)) offset = below(t, (unsigned)(o->size / unit) + 1) * unit;
    if (before) offset = (size_t)before->cb->aio_offset + before->cb->aio_nbytes;
    if (offset + n > MOST) n = (MOST - offset) / unit * unit;
    s->past = offset + n > o->size;
    if (s->past && (o->resized || (s->what == WRITE && o->sized))) return false;
    for (size_t i = offset / BLOCK; i < (offset + n + BLOCK - 1) / BLOCK; i++)
        if (o->writer[i] || (s->what == WRITE && o->readers[i])) return false;
    s->cb->aio_nbytes = n;
    s->cb->aio_offset = (off_t)offset;
    locked(s, 1);
    return true;
}

static bool prepare_stream(struct thread *t, struct slot *s, struct object *o) {
    size_t n = 1 + below(t, one_in(t, 8) ? 3 * 65536 : 600);
    int way = is_socket(o) ? (int)below(t, 2) : 0;
    struct lane *lane = &o->lanes[way];
    bool writes = s->what == WRITE;
    if (o->kind == EVENT) n = 8;
    if (o->kind == APPEND) s->what = WRITE, writes = true, n = 1 + n % 5000;
    else s->cb->aio_fildes = writes == (way == 0) && o->peer >= 0 ? o->peer : o->fd;
    size_t filled = lane->bytes[1].n + lane->flying[1];
    if (glibc && o->kind == PIPE && writes && filled + n > 16 * BLOCK / 2) return false;
    if (glibc && o->kind == PIPE && !writes && lane->flying[0] + n > lane->bytes[1].n) return false;
    s->cb->aio_nbytes = n;
    s->cb->aio_offset = o->kind == APPEND ? 0 : below(t, 2) * 100;
    s->lane = lane;
    s->next = NULL;
    *lane->last[writes] = s;
    lane->last[writes] = &s->next;
    lane->flying[writes] += n;
    return true;
}

static void prepare_wrong(struct thread *t, struct slot *s) {
    s->cb->aio_nbytes = 10;
    s->cb->aio_fildes = directory;
    s->expected = EISDIR;
    s->cb->aio_lio_opcode = LIO_READ;
    switch (below(t, 5)) {
    case 0: s->cb->aio_fildes = -1, s->expected = EBADF; break;
    case 1: s->cb->aio_fildes = 15000, s->expected = EBADF; break;
    case 2:
        s->cb->aio_fildes = read_only, s->expected = EBADF;
        s->cb->aio_lio_opcode = LIO_WRITE;
        break;
    case 3: s->cb->aio_fildes = read_only, s->cb->aio_offset = -1, s->expected = EINVAL; break;
    }
}

static void prepare_notification(struct thread *t, struct slot *s) {
    struct sigevent *sigev = &s->cb->aio_sigevent;
    extern void notified_by_thread(union sigval value);
    sigev->sigev_notify = one_in(t, 10) ? SIGEV_SIGNAL : SIGEV_NONE; /* signal 0 */
    unsigned index = (unsigned)(t->index * SLOTS + (s - t->slots));
    sigev->sigev_value.sival_int = (int)(s->generation << 8 | index);
    s->notifies = has('n') && one_in(t, 3);
    if (!s->notifies) return;
    if (one_in(t, 4)) {
        sigev->sigev_notify = SIGEV_THREAD;
        sigev->sigev_notify_function = notified_by_thread;
    } else if (!glibc && one_in(t, 6)) {
        sigev->sigev_notify = SIGEV_THREAD_ID;
        sigev->_sigev_un._tid = gettid();
        sigev->sigev_signo = rt_signal;
    } else {
        sigev->sigev_notify = SIGEV_SIGNAL;
        sigev->sigev_signo = rt_signal;
    }
}

/* A free slot with a request that may be made now, or NULL. sure: it ends by itself. */
/* Does it end where another block begins? Then an item of a list may continue it. */
static bool may_go_on(const struct slot *s) {
    bool transfers = s->what == READ || s->what == WRITE;
    return transfers && is_file(s->object) &&
           (s->cb->aio_offset + (off_t)s->cb->aio_nbytes) % BLOCK == 0;
}

/* before: the item before it in its list, or NULL */
static struct slot *prepare(struct thread *t, bool sure, const struct slot *before) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    if (s->what != NOTHING) return NULL;
    if (before && (!may_go_on(before) || one_in(t, 3))) before = NULL;
    struct object *o = before ? before->object : t->objects[below(t, OBJECTS)];
    s->cb = (s - t->slots) % 2 ? malloc(sizeof *s->cb) : &s->own;
    memset(s->cb, one_in(t, 2) ? 0 : 0x5a, sizeof *s->cb); /* private fields may hold anything */
    s->cb->aio_offset = 0;
    s->cb->aio_reqprio = 0;
    s->cb->aio_fildes = o->fd;
    s->cb->aio_buf = s->buf;
    memset(&s->cb->aio_sigevent, 0, sizeof s->cb->aio_sigevent);
    s->generation++;
    atomic_store(&s->notified, 0);
    s->cancelled = s->overtaken = s->ended = s->past = false;
    s->lane = NULL;
    s->list = NULL;
    s->object = o;
    s->order = ++t->order;
    s->what = before ? before->what : one_in(t, 2) ? READ : WRITE;
    bool ok = true;
    if (has('w') && one_in(t, 20)) {
        s->what = WRONG;
        s->object = NULL;
        prepare_wrong(t, s);
    } else if (is_file(o)) {
        ok = prepare_file(t, s, o, before);
    } else {
        ok = (!sure || o->kind == APPEND) && prepare_stream(t, s, o);
    }
    if (!ok) {
        if (s->cb != &s->own) free(s->cb);
        s->cb = &s->own;
        s->what = NOTHING;
        return NULL;
    }
    prepare_notification(t, s);
    if (s->what != WRONG) s->cb->aio_lio_opcode = s->what == READ ? LIO_READ : LIO_WRITE;
    if (s->object) s->object->flying++;
    if (s->what == WRITE) {
        unsigned char *p = s->buf;
        uint64_t word = next_random(&t->random);
        for (size_t i = 0; i < s->cb->aio_nbytes; i += 8, word = word * 25214903917 + 11)
            memcpy(p + i, &word, 8);
        if (o->kind == EVENT) memcpy(p, &(uint64_t){1 + word % 1000}, 8);
    } else if (s->what == READ) {
        memset(s->buf, 0xee, s->cb->aio_nbytes);
    }
    atomic_fetch_add(&requests, 1);
    return s;
}

#endif
