/* SPDX-License-Identifier: MIT */
/* load.h - what load.c works with: files of seven kinds and what they must contain, notifications
 * and their count, and samples of what the process has. */
#include "test.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

#if defined __SANITIZE_THREAD__ /* which delays signals, and keeps one of a number */
enum { SIGNALS = 0, IS_MEMORY_OURS = 0 };
#elif defined __SANITIZE_ADDRESS__ /* which keeps what was freed */
enum { SIGNALS = 1, IS_MEMORY_OURS = 0 };
#else
enum { SIGNALS = 1, IS_MEMORY_OURS = 1 };
#endif

enum { THREADS = 16, DEPTH = 256, FILES = 64, BLOCK = 4096, BLOCKS = 4, RECORD = 512 };
enum { SYNC = LIO_NOP + 1, OPS };
enum kind { DIRECT, CACHED, UNCACHED, MEMORY, APPEND, PIPE, SOCKET, KINDS };

struct file {
    enum kind kind;
    int fd, peer;         /* a stream's end that is written to */
    atomic_ulong in, out; /* records, and in the upper half a sum of what they contain */
};

struct notice {
    atomic_uint came;
    unsigned wanted;
    struct aiocb *cb; /* ended, if it belongs to a request */
};

struct slot {
    struct aiocb cb;
    struct notice notice;
    struct file *file;
    char *buf;
    int id, index, op, blocks; /* index: among the file's slots */
    unsigned last, version[BLOCKS];
    bool busy;
};

static struct file files[FILES];
static atomic_long made[OPS], ended[OPS], cancelled;
static atomic_int bad;
static int handled, restarting, taken; /* signals */

/* The library keeps descriptors for as many threads as have asked it something at once; so those of
 * SIGEV_THREAD, of which there may be many, ask nothing. */
static _Thread_local bool asks;

static void wrong(const struct slot *slot, const char *what, int value) {
    static const char *const kinds[] = {"direct", "cached", "uncached", "tmpfs",
                                        "append", "pipe",   "socket"};
    static const char *const ops[] = {"read", "write", "", "sync"};
    if (bad++ < 20)
        say("%s of a %s file, slot %d: %s: %d (%s); notified %u of %u", ops[slot->op],
            kinds[slot->file->kind], slot->id, what, value, name(value), slot->notice.came + 0,
            slot->notice.wanted);
}

static bool is_stream(const struct file *file) {
    return file->kind >= PIPE;
}

/* A block or record tells whose it is and which of its writes made it. */
static uint64_t mixed(int id, unsigned version) {
    uint64_t x = ((uint64_t)(unsigned)id << 32 | version) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

static void stamp(void *buf, size_t size, int id, unsigned version) {
    uint64_t *words = buf, x = mixed(id, version);
    words[0] = (uint64_t)(unsigned)id << 32 | version;
    for (size_t i = 1; i < size / 8; i++) words[i] = x + i;
}

static bool is_whole(const void *buf, size_t size) {
    const uint64_t *words = buf, x = mixed((int)(words[0] >> 32), (unsigned)words[0]);
    for (size_t i = 1; i < size / 8; i++)
        if (words[i] != x + i) return false;
    return true;
}

static bool is_version(const void *buf, int id, unsigned version) {
    const uint64_t *words = buf;
    if (version > 0)
        return words[0] == ((uint64_t)(unsigned)id << 32 | version) && is_whole(buf, BLOCK);
    for (size_t i = 0; i < BLOCK / 8; i++)
        if (words[i] != 0) return false;
    return true;
}

static void count(atomic_ulong *sum, const void *record) {
    const uint64_t *words = record;
    *sum += mixed((int)(words[0] >> 32), (unsigned)words[0]) << 32 | 1;
}

/* The data of a request that has ended well. */
static void take(struct slot *slot) {
    struct file *file = slot->file;
    bool in_blocks = !is_stream(file) && file->kind != APPEND;
    if (slot->op == SYNC) return;
    if (!in_blocks && slot->op == LIO_READ && !is_whole(slot->buf, RECORD))
        wrong(slot, "record", 0);
    if (!in_blocks) count(slot->op == LIO_WRITE ? &file->in : &file->out, slot->buf);
    for (int i = 0; in_blocks && i < slot->blocks; i++)
        if (slot->op == LIO_WRITE) slot->version[i] = slot->last;
        else if (!is_version(slot->buf + i * BLOCK, slot->id, slot->version[i]))
            wrong(slot, "data of block", i);
}

static const char *path_of(const struct file *file) {
    static char path[32];
    snprintf(path, sizeof path, "data.%td", file - files);
    return path;
}

static void open_files(void) {
    static const int flags[] = {[DIRECT] = O_DIRECT, [APPEND] = O_APPEND, [SOCKET] = 0};
    static int memories[FILES];
    for (struct file *file = files; file < files + FILES; file++) {
        int ends[2], i = (int)(file - files);
        file->kind = (enum kind)(i % KINDS);
        file->peer = -1;
        if (file->kind == PIPE) need(pipe(ends) == 0, "pipe");
        else if (file->kind == SOCKET)
            need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
        else if (file->kind == MEMORY) {
            if (memories[i] == 0) memories[i] = memfd_create("load", MFD_CLOEXEC);
            file->fd = dup(memories[i]);
        } else file->fd = open(path_of(file), O_RDWR | O_CREAT | flags[file->kind], 0600);
        if (is_stream(file)) file->fd = ends[0], file->peer = ends[1];
        need(file->fd >= 0, "open");
        off_t size = THREADS * DEPTH / FILES * BLOCKS * BLOCK;
        if (!is_stream(file) && file->kind != APPEND)
            need(ftruncate(file->fd, size) == 0, "ftruncate");
    }
}

/* What nobody has read, or nobody reads: appended records. */
static void drain(struct file *file) {
    char record[RECORD];
    ssize_t n;
    if (is_stream(file)) fcntl(file->fd, F_SETFL, O_NONBLOCK);
    while ((n = read(file->fd, record, RECORD)) == RECORD) {
        bad += !is_whole(record, RECORD);
        count(&file->out, record);
    }
    if (n > 0 || file->in != file->out) {
        bad++;
        say("file %td: other records than were sent", file - files);
    }
    if (file->kind == APPEND) need(ftruncate(file->fd, 0) == 0, "ftruncate");
}

static void close_files(void) {
    for (struct file *file = files; file < files + FILES; file++) {
        if (is_stream(file) || file->kind == APPEND) drain(file);
        close(file->fd);
        if (file->peer >= 0) close(file->peer);
    }
}

static void arrived(union sigval value) {
    ((struct notice *)value.sival_ptr)->came++;
}

static void on_signal(int signo, siginfo_t *info, void *context) {
    int err = errno;
    (void)signo, (void)context;
    if (info->si_code != SI_ASYNCIO) bad++;
    struct aiocb *cb = ((struct notice *)info->si_value.sival_ptr)->cb;
    if (asks && cb && aio_error(cb) == EINPROGRESS) bad++;
    arrived(info->si_value);
    errno = err;
}

/* All but the threads of SIGEV_THREAD have them blocked or wait for the taken one. */
static void block_signals(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigset_t set;
    handled = SIGRTMIN + 1, restarting = SIGRTMIN + 2, taken = SIGRTMIN + 3;
    sigaction(handled, &action, NULL);
    sigaction(taken, &action, NULL);
    action.sa_flags |= SA_RESTART;
    sigaction(restarting, &action, NULL);
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void use_signals(void) {
    sigset_t set;
    asks = true;
    sigemptyset(&set);
    sigaddset(&set, handled);
    sigaddset(&set, restarting);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void take_signals(long ns) {
    struct timespec limit = {0, ns};
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, taken);
    while (sigtimedwait(&set, &info, &limit) == taken) arrived(info.si_value);
}

/* `how` is 0 to 7: half of them want none. */
static struct sigevent notification(struct notice *notice, unsigned how) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE, .sigev_value.sival_ptr = notice};
    if (how < 4) return event;
    notice->wanted++;
    if (!SIGNALS) how = 6;
    event.sigev_notify = how == 6 ? SIGEV_THREAD : how == 7 ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
    event.sigev_signo = how == 4 ? handled : how == 5 ? taken : restarting;
    if (how == 6) event.sigev_notify_function = arrived;
    if (how == 7) event._sigev_un._tid = gettid();
    return event;
}

static bool has_come(const struct notice *notice) {
    return notice->came == notice->wanted;
}

struct sample {
    long requests, rss_kib, descriptors, threads;
};

static struct sample take_sample(int seconds) {
    struct sample now = {.descriptors = open_descriptors(), .threads = entries("/proc/self/task")};
    FILE *file = fopen("/proc/self/statm", "r");
    need(file && fscanf(file, "%*d %ld", &now.rss_kib) == 1, "statm");
    fclose(file);
    now.rss_kib *= sysconf(_SC_PAGESIZE) / 1024;
    for (int op = 0; op < OPS; op++) {
        now.requests += ended[op];
        bad += made[op] != ended[op];
    }
    say("%5d s %10ld requests %8ld KiB %4ld descriptors %4ld threads, %d bad", seconds,
        now.requests, now.rss_kib, now.descriptors, now.threads, bad + 0);
    return now;
}

static struct sample largest(struct sample a, struct sample b) {
    if (a.rss_kib > b.rss_kib) b.rss_kib = a.rss_kib;
    if (a.descriptors > b.descriptors) b.descriptors = a.descriptors;
    if (a.threads > b.threads) b.threads = a.threads;
    return b;
}

/* Idle workers and the reaper may be there or not; for each thread that it has seen at once (those
 * and ours) the library keeps a descriptor, but the next ones use it again. */
static bool has_grown(struct sample from, struct sample to) {
    bool grown = (IS_MEMORY_OURS && to.rss_kib >= from.rss_kib + 1024) ||
                 to.descriptors >= from.descriptors + THREADS ||
                 to.threads >= from.threads + THREADS + 4;
    if (grown) say("has grown");
    return grown;
}
