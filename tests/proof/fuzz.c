/* fuzz SEED [OPS [WITHOUT]]: a random program over the whole API, checked against a model; fuzz.sh
 * runs it. Plain <aio.h>: under glibc (TEST_SIDE=glibc) it leaves out what glibc cannot do.
 *
 * Each thread has its own objects (files of every kind) and slots (requests), so its model is exact
 * whatever the others do; the library's state and the descriptors' numbers are shared by all. Of a
 * file, blocks that a write in progress covers are used by nobody else, and its size is known. Of a
 * stream, and of appended writes, what arrives is the sequence of what was sent, in call order.
 * Each request must end once, with what the model allows, and be notified once. A seed repeats the
 * program's decisions as far as they do not depend on what has ended when.
 *
 * WITHOUT: letters of what is left out: kinds b d m a p s e, see KINDS; l lists, c cancel, f fork,
 * x close and dup2 with requests in progress, y syncs, n notifications, h a handler that interrupts
 * and asks, w wrong requests, t threads (one is left), z large requests.
 */
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
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 192, MOST = BLOCK * BLOCKS };
enum { THREADS = 4, OBJECTS = 6, SLOTS = 24, LISTS = 4, ITEMS = 8 };
enum kind { BUFFERED, DIRECT, MEMORY, APPEND, PIPE, SOCKET, EVENT };
static const char KINDS[] = "bdmapse";
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
    int fd, peer; /* requests use both; peer: the pipe's or socket's other end, or -1 */
    int check;    /* the same file opened once more */
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

static struct object *object_new(struct thread *t) {
    struct object *o = calloc(1, sizeof *o);
    do {
        o->kind = below(t, EVENT + 1);
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
    if (o->kind == SOCKET)
        need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
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
        unsigned char buf[BLOCK];
        struct lane *lane = &o->lanes[way];
        int fd = way ? o->peer : o->fd;
        if (!o->closed && (way == 0 || o->kind == SOCKET)) {
            fcntl(fd, F_SETFL, O_NONBLOCK);
            for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
                append(&lane->bytes[0], buf, (size_t)n);
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

static bool prepare_file(struct thread *t, struct slot *s, struct object *o) {
    size_t unit = o->kind == DIRECT ? BLOCK : one_in(t, 2) ? 1 : BLOCK;
    size_t most = one_in(t, 50) && has('z') ? MOST : 4 * BLOCK;
    size_t n = below(t, (unsigned)(most / unit) + 1) * unit;
    size_t offset = below(t, (unsigned)((MOST - n) / unit) + 1) * unit;
    if (!one_in(t, 4)) offset = below(t, (unsigned)(o->size / unit) + 1) * unit;
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
    int way = o->kind == SOCKET ? (int)below(t, 2) : 0;
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
static struct slot *prepare(struct thread *t, bool sure) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    if (s->what != NOTHING) return NULL;
    struct object *o = t->objects[below(t, OBJECTS)];
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
    s->what = one_in(t, 2) ? READ : WRITE;
    bool ok = true;
    if (has('w') && one_in(t, 20)) {
        s->what = WRONG;
        s->object = NULL;
        prepare_wrong(t, s);
    } else if (is_file(o)) {
        ok = prepare_file(t, s, o);
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

/* Requests: their end. */

static void slot_free(struct slot *s) {
    if (s->cb != &s->own) free(s->cb);
    s->cb = &s->own;
    s->what = NOTHING;
}

/* In call order, or it is not known what it got. */
static void end_in_lane(struct slot *s) {
    struct lane *lane = s->lane;
    struct object *o = s->object;
    int writes = s->what == WRITE;
    while ((s = lane->first[writes]) && s->ended) {
        lane->first[writes] = s->next;
        if (!s->next) lane->last[writes] = &lane->first[writes];
        lane->flying[writes] -= s->cb->aio_nbytes;
        uint64_t value = 0;
        if (s->r == 8) memcpy(&value, s->buf, 8);
        if (o->kind == EVENT) *(writes ? &o->added : &o->taken) += value;
        else if (s->r > 0) append(&lane->bytes[writes], s->buf, (size_t)s->r);
        if (o->kind != APPEND && o->kind != EVENT) compare(lane, s);
        slot_free(s);
    }
}

/* May it have ended with nothing done? */
static bool may_fail(const struct slot *s) {
    if (s->err == ECANCELED) return s->cancelled || s->overtaken;
    if (fault && (s->err == fault || s->err == EAGAIN)) return true;
    return s->err == EBADF && s->overtaken;
}

static void end_of_file(struct slot *s) {
    struct object *o = s->object;
    size_t offset = (size_t)s->cb->aio_offset, n = s->cb->aio_nbytes;
    locked(s, -1);
    bool part = s->overtaken || fault;
    if (s->err && !may_fail(s)) broken(s, "another error");
    if (s->err) return;
    if (s->what == WRITE) {
        if ((size_t)s->r != n && !part) broken(s, "short write");
        memcpy(o->model + offset, s->buf, (size_t)s->r);
        if (s->r > 0 && offset + (size_t)s->r > o->size) o->size = offset + (size_t)s->r;
        return;
    }
    size_t expected = offset >= o->size ? 0 : o->size - offset < n ? o->size - offset : n;
    if ((size_t)s->r != expected && !(part && (size_t)s->r < expected))
        broken(s, "count is not %zu", expected);
    if (memcmp(s->buf, o->model + offset, (size_t)s->r)) broken(s, "other data");
}

static void end_of_stream(struct slot *s) {
    size_t n = s->cb->aio_nbytes;
    bool cut = s->overtaken && (s->err == EPIPE || s->err == ECONNRESET);
    if (s->err && !cut && !may_fail(s)) broken(s, "another error");
    bool part = s->overtaken || fault || (s->cancelled && s->r > 0); /* it had begun */
    if (!s->err && s->what == WRITE && (size_t)s->r != n && !part) broken(s, "short write");
    if (!s->err && s->what == READ && (s->r > (ssize_t)n || (s->r < 1 && !s->overtaken)))
        broken(s, "count");
    if (!s->err && s->object->kind == EVENT && s->r != 8) broken(s, "eventfd count");
}

static void end_of_sync(struct thread *t, struct slot *s) {
    bool stream = !is_file(s->object) && s->object->kind != APPEND;
    if (s->err && may_fail(s)) return;
    if (s->err != (stream ? EINVAL : 0)) broken(s, "another error");
    if (s->overtaken) return;
    for (struct slot *i = t->slots; i < t->slots + SLOTS; i++)
        if (i->what && !i->ended && i->object == s->object && i->order < s->order &&
            i->cb->aio_fildes == s->cb->aio_fildes && aio_error(i->cb) == EINPROGRESS)
            broken(i, "a sync did not cover this");
}

static void await_notification(const struct slot *s, atomic_uint *notified) {
    time_t start = now_s();
    for (int i = 0; atomic_load(notified) == 0; i++) {
        if (i > 1000) usleep(200);
        if (now_s() > start + patience_s) broken(s, "no notification");
    }
    if (atomic_load(notified) != 1) broken(s, "%u notifications", atomic_load(notified));
}

/* Looks at one; true: it has ended, or its slot is free. */
static bool look(struct thread *t, struct slot *s) {
    if (s->what == NOTHING || s->ended) return true;
    s->err = aio_error(s->cb);
    if (s->err == EINPROGRESS) return false;
    s->r = aio_return(s->cb);
    if (aio_return(s->cb) != s->r) broken(s, "aio_return changed its mind");
    if ((s->err != 0) != (s->r < 0)) broken(s, "error and result disagree");
    if (s->notifies && !(fault && s->err == EAGAIN)) await_notification(s, &s->notified);
    else if (!s->notifies && atomic_load(&s->notified)) broken(s, "notified unasked");
    if (s->object) s->object->flying--;
    if (s->list) s->list->pending--;
    if (s->what == WRONG) {
        if (s->err != s->expected && !(s->err && may_fail(s)))
            broken(s, "not %s", strerrorname_np(s->expected));
    } else if (s->what == SYNC) {
        end_of_sync(t, s);
    } else if (s->lane) {
        end_of_stream(s);
        s->ended = true;
        end_in_lane(s);
        return true;
    } else {
        end_of_file(s);
    }
    slot_free(s);
    return true;
}

static bool look_at_all(struct thread *t, const struct object *o) {
    bool all = true;
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (!o || s->object == o) all &= look(t, s);
    for (struct list *l = t->lists; l < t->lists + LISTS; l++) {
        if (!l->used || l->pending) continue;
        await_notification(NULL, &l->notified);
        l->used = false;
    }
    return all;
}

static void look_until_ended(struct thread *t, const struct object *o) {
    time_t start = now_s();
    for (int i = 0; !look_at_all(t, o); i++) {
        if (i > 100) usleep(100);
        for (struct slot *s = t->slots; now_s() > start + patience_s && s < t->slots + SLOTS; s++)
            if (s->what && !s->ended && s->object == o) broken(s, "never ends");
    }
}

/* Notifications and interruptions. */

static void notified(int value) {
    unsigned index = (unsigned)value & 255, generation = (unsigned)value >> 8;
    if (index >= THREADS * SLOTS) { /* a list's */
        index -= THREADS * SLOTS;
        struct list *l = &threads[index / LISTS].lists[index % LISTS];
        if (l->generation != generation) broken(NULL, "a list was notified late");
        atomic_fetch_add(&l->notified, 1);
        return;
    }
    struct slot *s = &threads[index / SLOTS].slots[index % SLOTS];
    if ((s->generation & 0x7fffff) != generation) broken(NULL, "notified once more, or late");
    if (aio_error(s->cb) == EINPROGRESS) broken(s, "notified before its end");
    atomic_fetch_add(&s->notified, 1);
}

void notified_by_thread(union sigval value);
void notified_by_thread(union sigval value) {
    notified(value.sival_int);
}

static void on_notification(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    int saved = errno;
    if (info->si_code != SI_ASYNCIO) broken(NULL, "si_code %d", info->si_code);
    notified(info->si_value.sival_int);
    errno = saved;
}

/* Asks for what any thread has in progress: such as have their own aiocb are never freed. */
static void on_interruption(int signo) {
    static atomic_uint turn;
    int saved = errno;
    unsigned n = atomic_fetch_add(&turn, 7) + (unsigned)signo;
    struct slot *s = &threads[n / SLOTS % THREADS].slots[n % SLOTS & ~1u];
    const struct aiocb *list[] = {NULL, &s->own};
    struct timespec wait = {0, n % 3 * 100000};
    if (s->what && aio_error(&s->own) != EINPROGRESS && n % 5 == 0) aio_return(&s->own);
    aio_suspend(list, 2, &wait);
    errno = saved;
}

/* Operations. */

static void refused(struct slot *s) { /* else it is looked at like any that has ended */
    if (!fault || errno != EAGAIN || aio_error(s->cb) != EAGAIN)
        broken(s, "refused: %s", strerror(errno));
}

static void op_request(struct thread *t) {
    struct slot *s = prepare(t, false);
    if (!s) return;
    int r = s->cb->aio_lio_opcode == LIO_READ ? aio_read(s->cb) : aio_write(s->cb);
    if (r) refused(s);
}

static void op_sync(struct thread *t) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    struct object *o = t->objects[below(t, OBJECTS)];
    if (!has('y') || s->what != NOTHING || (glibc && o->kind == PIPE)) return;
    bool disk = o->kind == BUFFERED || o->kind == DIRECT || o->kind == APPEND;
    if (disk && !one_in(t, 4)) return;
    if (one_in(t, 3) && !glibc && (is_file(o) || o->kind == APPEND)) {
        int r = one_in(t, 2) ? fsync(o->fd) : fdatasync(o->fd);
        need(r == 0 || errno == fault, "fsync");
        for (s = t->slots; s < t->slots + SLOTS; s++)
            if (s->what && !s->ended && s->object == o && aio_error(s->cb) == EINPROGRESS)
                broken(s, "fsync() did not cover this");
        return;
    }
    s->cb = &s->own;
    memset(s->cb, 0x5a, sizeof *s->cb);
    memset(&s->cb->aio_sigevent, 0, sizeof s->cb->aio_sigevent);
    s->cb->aio_fildes = o->peer >= 0 && one_in(t, 2) ? o->peer : o->fd;
    s->generation++;
    atomic_store(&s->notified, 0);
    s->cancelled = s->overtaken = s->ended = false;
    s->lane = NULL;
    s->list = NULL;
    s->object = o;
    s->order = ++t->order;
    s->what = SYNC;
    prepare_notification(t, s);
    o->flying++;
    atomic_fetch_add(&requests, 1);
    if (aio_fsync(one_in(t, 2) ? O_SYNC : O_DSYNC, s->cb)) refused(s);
}

static void op_list(struct thread *t) {
    struct list *l = &t->lists[below(t, LISTS)];
    bool wait = one_in(t, 2);
    struct aiocb *cbs[ITEMS + 2];
    struct slot *items[ITEMS];
    int n = 0, failed = 0, nitems = 0;
    if (!has('l') || l->used || l->pending) return;
    for (unsigned k = 1 + below(t, ITEMS); k; k--) {
        if (one_in(t, 9)) cbs[n++] = NULL;
        struct slot *s = n < ITEMS ? prepare(t, wait) : NULL;
        if (!s) continue;
        s->list = l;
        l->pending++;
        items[nitems++] = s;
        cbs[n++] = s->cb;
    }
    struct sigevent sigev = {.sigev_notify = SIGEV_NONE};
    unsigned index = (unsigned)(THREADS * SLOTS + t->index * LISTS + (l - t->lists));
    bool notify = !wait && has('n') && one_in(t, 2);
    if (notify) {
        l->generation = (l->generation + 1) & 0x7fffff;
        atomic_store(&l->notified, 0);
        sigev.sigev_value.sival_int = (int)(l->generation << 8 | index);
        sigev.sigev_notify = one_in(t, 3) ? SIGEV_THREAD : SIGEV_SIGNAL;
        if (sigev.sigev_notify == SIGEV_THREAD) sigev.sigev_notify_function = notified_by_thread;
        else sigev.sigev_signo = rt_signal;
    }
    int r = lio_listio(wait ? LIO_WAIT : LIO_NOWAIT, cbs, n, &sigev), err = errno;
    if (r && err == EINTR && wait) return;
    if (!wait && r) broken(NULL, "lio_listio: %s", strerror(err));
    for (int i = 0; i < nitems && wait; i++) {
        int error = aio_error(items[i]->cb);
        if (error == EINPROGRESS) broken(items[i], "LIO_WAIT did not");
        failed += error != 0;
    }
    if (wait && (failed ? r == 0 || err != EIO : r != 0))
        broken(NULL, "LIO_WAIT: %d %s, %d failed", r, strerror(err), failed);
    l->used = notify;
}

static void cancelled(struct thread *t, const struct object *o, const struct slot *one, int fd) {
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (s->what && (one ? s == one : s->object == o && s->cb->aio_fildes == fd))
            s->cancelled = true;
}

static void op_cancel(struct thread *t) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    struct object *o = s->what && !s->ended ? s->object : NULL;
    if (!has('c') || glibc || !o || o->closed || s->overtaken) return;
    struct slot *one = one_in(t, 2) ? s : NULL;
    int fd = s->cb->aio_fildes;
    if (one && one_in(t, 10)) {
        if (aio_cancel(read_only, s->cb) != -1 || errno != EINVAL) broken(s, "cancel: not EINVAL");
        return;
    }
    bool was_ended = aio_error(s->cb) != EINPROGRESS;
    cancelled(t, o, one, fd);
    int r = aio_cancel(fd, one ? s->cb : NULL), err = aio_error(s->cb);
    if (r < 0) broken(s, "aio_cancel: %s", strerror(errno));
    if (one && was_ended && r != AIO_ALLDONE) broken(s, "aio_cancel of an ended one: %d", r);
    if (r != AIO_NOTCANCELED && err == EINPROGRESS) broken(s, "aio_cancel: %d, in progress", r);
    if (one && r == AIO_CANCELED && err != ECANCELED) broken(s, "not ECANCELED but %d", err);
}

static void op_suspend(struct thread *t) {
    const struct aiocb *list[SLOTS + 2];
    int n = 0;
    bool sure = false, foreign = one_in(t, 5);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &t->slots[i];
        if (one_in(t, 2)) continue;
        bool in = s->what && !s->ended;
        list[n++] = in ? s->cb : NULL;
        sure |= in && (s->what == WRONG || (s->object && is_file(s->object) && s->what != SYNC));
    }
    if (foreign)
        list[n++] = &threads[below(t, (unsigned)nthreads)].slots[below(t, SLOTS) & ~1u].own;
    struct timespec limit = {0, below(t, 3) * 300000l};
    bool any = foreign;
    for (int i = 0; i < n; i++) any |= list[i] != NULL;
    int r = aio_suspend(list, n, sure && one_in(t, 2) ? NULL : &limit), err = errno;
    if (r && err != EAGAIN && err != EINTR) broken(NULL, "aio_suspend: %s", strerror(err));
    if (r == 0 && any && !foreign) {
        bool one = false;
        for (int i = 0; i < n; i++) one |= list[i] && aio_error(list[i]) != EINPROGRESS;
        if (!one) broken(NULL, "aio_suspend: 0, but all are in progress");
    }
}

static int in_child(void) {
    static unsigned char out[BLOCK], in[BLOCK];
    int fd = memfd_create("child", 0);
    for (int i = 0; i < 3; i++) {
        struct aiocb cb[2], *list[] = {&cb[0], &cb[1]};
        memset(cb, 0, sizeof cb);
        for (int k = 0; k < 2; k++) {
            cb[k].aio_fildes = fd;
            cb[k].aio_nbytes = BLOCK / 2;
            cb[k].aio_offset = (off_t)(k * BLOCK / 2);
            cb[k].aio_buf = out + k * BLOCK / 2;
            cb[k].aio_lio_opcode = LIO_WRITE;
        }
        memset(out, 'a' + i, sizeof out);
        while (lio_listio(LIO_WAIT, list, 2, NULL) && errno == EINTR) continue;
        for (int k = 0; k < 2; k++)
            while (aio_error(&cb[k]) == EINPROGRESS)
                aio_suspend((const struct aiocb *[]){&cb[k]}, 1, NULL);
        cb[0].aio_buf = in;
        cb[0].aio_nbytes = BLOCK;
        if (aio_read(&cb[0])) return 10;
        while (aio_error(&cb[0]) == EINPROGRESS)
            aio_suspend((const struct aiocb *[]){&cb[0]}, 1, NULL);
        if (aio_return(&cb[0]) != BLOCK || memcmp(in, out, BLOCK)) return 11;
    }
    return 0;
}

static void op_fork(struct thread *t) {
    if (!has('f') || glibc || !one_in(t, 30)) return;
    fflush(stdout);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm((unsigned)patience_s);
        _exit(in_child());
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (status) broken(NULL, "the child: status %x", status);
}

/* Closes it, or puts another file on its number, with requests in progress. */
static void replace_roughly(struct thread *t, struct object *o, struct object **place) {
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (s->what && s->object == o) s->overtaken = true;
    int fds[] = {o->fd, o->peer}, swap = (int)below(t, 2);
    bool over = one_in(t, 2);
    o->closed = o->flying > 0 || o->lanes[0].first[0] || o->kind >= PIPE;
    *place = over ? object_new(t) : NULL;
    if (over) {
        int fd = o->fd;
        need((one_in(t, 2) ? dup2((*place)->fd, fd) : dup3((*place)->fd, fd, O_CLOEXEC)) == fd,
             "dup2");
        close((*place)->fd);
        (*place)->fd = fd;
        fds[0] = -1;
    }
    for (int i = 0; i < 2; i++)
        if (fds[i ^ swap] >= 0) close(fds[i ^ swap]);
    o->closed = true;
    look_until_ended(t, o);
    object_free(o);
    if (!over) *place = object_new(t);
}

static void op_replace(struct thread *t) {
    struct object **place = &t->objects[below(t, OBJECTS)], *o = *place;
    if (!one_in(t, 10)) return;
    if (!glibc && has('x') && one_in(t, 2)) {
        replace_roughly(t, o, place);
        return;
    }
    for (int i = 0; i < 2; i++) {
        int fd = i ? o->peer : o->fd;
        if (fd < 0 || is_file(o) || glibc) continue;
        cancelled(t, o, NULL, fd);
        aio_cancel(fd, NULL);
    }
    look_until_ended(t, o);
    object_free(o);
    *place = object_new(t);
}

static void *run(void *arg) {
    struct thread *t = arg;
    for (int i = 0; i < OBJECTS; i++) t->objects[i] = object_new(t);
    for (long i = 0; i < ops / nthreads; i++, atomic_fetch_add(&done, 1)) {
        switch (below(t, 20)) {
        default: op_request(t); break;
        case 0: op_sync(t); break;
        case 1:
        case 2: op_list(t); break;
        case 3: op_cancel(t); break;
        case 4:
        case 5: op_suspend(t); break;
        case 6: op_fork(t); break;
        case 7: op_replace(t); break;
        case 8:
        case 9:
        case 10: look_at_all(t, NULL); break;
        case 11:
        case 12: look(t, &t->slots[below(t, SLOTS)]); break;
        }
    }
    for (int i = 0; i < OBJECTS; i++) {
        struct object *o = t->objects[i];
        cancelled(t, o, NULL, o->fd);
        cancelled(t, o, NULL, o->peer);
        if (!glibc) aio_cancel(o->fd, NULL);
        if (!glibc && o->peer >= 0) aio_cancel(o->peer, NULL);
        look_until_ended(t, o);
        object_free(o);
    }
    look_until_ended(t, NULL);
    return NULL;
}

/* Ends a run that hangs, and says what of. */
static void *watch(void *unused) {
    long last = -1;
    for (time_t since = now_s();; usleep(200000)) {
        if (atomic_load(&done) != last) last = atomic_load(&done), since = now_s();
        if (now_s() < since + 2 * patience_s) continue;
        for (int i = 0; i < nthreads * SLOTS; i++) {
            struct slot *s = &threads[i / SLOTS].slots[i % SLOTS];
            if (s->what && !s->ended)
                printf("%d: %s of %c\n", i, whats[s->what],
                       s->object ? KINDS[s->object->kind] : '-');
        }
        broken(NULL, "it hangs");
    }
    return unused;
}

int main(int argc, char *argv[]) {
    if (argc < 2) return 2;
    seed = argv[1];
    if (argc > 2) ops = atol(argv[2]);
    if (argc > 3) without = argv[3];
    const char *side = getenv("TEST_SIDE");
    glibc = side && !strcmp(side, "glibc");
    if (!has('t')) nthreads = 1;
    if (getenv("FUZZ_FAULT")) fault = atoi(getenv("FUZZ_FAULT"));
    if (getenv("FUZZ_PATIENCE")) patience_s = atoi(getenv("FUZZ_PATIENCE"));
    uint64_t state = strtoull(seed, NULL, 0);
    directory = open(".", O_RDONLY | O_CLOEXEC);
    read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    to_high(&directory), to_high(&read_only);
    rt_signal = SIGRTMIN + 3;
    struct sigaction action = {.sa_sigaction = on_notification, .sa_flags = SA_SIGINFO};
    if (glibc || next_random(&state) % 2) action.sa_flags |= SA_RESTART;
    sigaction(rt_signal, &action, NULL);
    action.sa_flags &= ~SA_SIGINFO;
    action.sa_handler = on_interruption;
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < nthreads; i++) {
        threads[i].index = i;
        threads[i].random = next_random(&state);
        for (int k = 0; k < SLOTS; k++) {
            struct slot *s = &threads[i].slots[k];
            s->cb = &s->own;
            need(!posix_memalign((void **)&s->buf, BLOCK, MOST + 8), "memory");
        }
    }
    pthread_t watcher;
    pthread_create(&watcher, NULL, watch, NULL);
    struct itimerval often = {{0, 1500}, {0, 1500}}, never = {{0, 0}, {0, 0}};
    if (!glibc && has('h')) setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < nthreads; i++)
        need(!pthread_create(&threads[i].thread, NULL, run, &threads[i]), "thread");
    for (int i = 0; i < nthreads; i++) pthread_join(threads[i].thread, NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    printf("%ld operations, %ld requests, seed %s: done\n", atomic_load(&done),
           atomic_load(&requests), seed);
    return 0;
}
