/* SPDX-License-Identifier: MIT */
/* record.c - libkaio-record.so: what the program asks of POSIX AIO, as a fio iolog of version 3,
 * which `fio --read_iolog=FILE` replays. KAIO_RECORD says where.
 *
 * It stands in front of libkaio.so in LD_PRELOAD, or alone in front of glibc's AIO. Each call that
 * makes requests is written down, and then handed to the next definition in line. Nothing is shared
 * with libkaio.so but three files of shim/host (fd.c, output.c, raised.c), which both contain.
 *
 * Each request is one line, written at once with one write() to a file opened for appending. That
 * costs the page cache's 1 to 2 us a request, and in return there is no buffer to fill, no lock, no
 * thread, and nothing to lose when the program ends by _exit() (fio's jobs do), execve() or a
 * signal. Lines of several threads may be some microseconds out of order, which fio does not mind.
 *
 * A descriptor's path is remembered with the file's handle. A number that means another file has
 * another handle, however it came to it; even a new file on the same inode has.
 *
 * The first process that makes a request creates the file; others, forked or started, append to
 * FILE.PID, and what they become by execve() to FILE.PID.2. A file's first request brings its "add"
 * and "open" lines in the same write(). Which files have them is in a table of fixed size; what
 * finds no place there is opened and closed around each request. Behind "open" stands "direct" if
 * the descriptor was O_DIRECT: fio does not look there, kaio-record does.
 *
 * The program may close the descriptor, or put a file of its own on the number. So its mark is
 * looked at before each write, and without it the file is opened anew.
 *
 * Left out and counted: what is not a file or block device, and paths that the format cannot hold.
 */
#include "host/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_MOST  255          /* what fio reads */
#define LINE_MOST  (4 * 384)    /* add, open, the request, close */
#define FILES      1024         /* a power of two */
#define KNOWN      256          /* descriptors whose paths are remembered; a power of two */
#define BYTES_MOST 0x7ffff000ul /* of one read() or write(); fio's count has 32 bits */

#define OPTION(name, kind, field, initial, min, max, accepted, help) accepted
static const char accepted[] =
#include "options.def"
    ;
#undef OPTION

static char wanted[KAIO_PATH_MAX]; /* KAIO_RECORD, absolute; "": nothing is recorded */
static atomic_bool is_loaded;
static _Atomic int log_fd = -1; /* lives on in a child, until it opens its own */

enum output { NONE, OPENING, OPEN, OVER };

/* Which file it is: inode and generation, and by which mount. The kernel writes the handle. */
struct key {
    int mount;
    struct {
        unsigned bytes;
        int type;
        unsigned char data[MAX_HANDLE_SZ];
    } handle;
};

struct known {
    struct key key;
    char path[PATH_MOST + 1];
};
#define WORDS (sizeof(struct known) / sizeof(unsigned))

/* Zeros in a child. */
static struct {
    atomic_int output;
    uint64_t start_ns;
    char path[KAIO_PATH_MAX + 32];
    _Atomic uint64_t files[FILES]; /* a hash of the path; + 1: its lines are being written */
    _Atomic uint64_t streams, names;
    struct {
        atomic_uint version; /* odd: it is being written */
        atomic_uint words[WORDS];
    } known[KNOWN];                      /* by descriptor */
} __attribute__((aligned(4096))) record; /* whole pages: nothing else is wiped with it */

static void end(int err) {
    if (atomic_exchange_explicit(&record.output, OVER, memory_order_relaxed) == OVER) return;
    kaio_say("the recording ends: %s: %s; the program goes on", *record.path ? record.path : wanted,
             kaio_strerror(err));
}

static int open_record(int flags) {
    flags |= O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    return (int)syscall(SYS_openat, AT_FDCWD, record.path, flags | O_LARGEFILE, 0666);
}

static int create(void) {
    snprintf(record.path, sizeof record.path, "%s", wanted);
    int fd = open_record(O_CREAT | O_EXCL), pid = (int)getpid();
    for (int i = 1; fd < 0 && errno == EEXIST && i < 100; i++) {
        const char *format = i == 1 ? "%s.%d" : "%s.%d.%d"; /* after execve() */
        /* cppcheck-suppress wrongPrintfScanfArgNum ; C ignores what the format does not name */
        snprintf(record.path, sizeof record.path, format, wanted, pid, i);
        fd = open_record(O_CREAT | O_EXCL);
    }
    return fd;
}

static bool put(const char *text, size_t n);

static void begin(uint64_t now) {
    static const char header[] = "fio version 3 iolog\n";
    int inherited = log_fd;
    if (kaio_fd_is_marked(inherited)) syscall(SYS_close, inherited);
    record.start_ns = now;
    log_fd = kaio_fd_raise(create());
    if (log_fd < 0) end(errno);
    else if (put(header, sizeof header - 1)) /* release: pairs with the acquire in is_open() */
        atomic_store_explicit(&record.output, OPEN, memory_order_release);
}

/* Opens it if need be, with signals blocked, so that no handler waits for its own thread. */
static bool is_open(uint64_t now) {
    int output = atomic_load_explicit(&record.output, memory_order_acquire);
    if (output == OPEN || output == OVER) return output == OPEN;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    output = NONE;
    if (atomic_compare_exchange_strong(&record.output, &output, OPENING)) begin(now);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    while ((output = atomic_load_explicit(&record.output, memory_order_acquire)) == OPENING)
        sched_yield();
    return output == OPEN;
}

/* The descriptor, opened anew if the program has closed it; or -errno. Of several threads that see
 * it at once, one leaves its own. */
static int current(void) {
    int fd = log_fd;
    while (!kaio_fd_is_marked(fd)) {
        int again = kaio_fd_raise(open_record(0));
        if (again < 0) return -errno;
        if (atomic_compare_exchange_strong(&log_fd, &fd, again)) return again;
        syscall(SYS_close, again);
    }
    return fd;
}

/* False: the recording has ended; a line that is not all there is taken back. */
static bool put(const char *text, size_t n) {
    struct stat st;
    size_t done = 0;
    int fd = current();
    int err = fd < 0 ? -fd : -kaio_output_put(fd, text, n, &done);
    if (err == 0) return true;
    if (done && kaio_fstat(fd, &st) == 0 && ftruncate(fd, st.st_size - (off_t)done)) err = errno;
    end(err);
    return false;
}

/* False: the filesystem has no handles, or the descriptor is no file. */
static bool key_of(int fd, struct key *key) {
    memset(key, 0, sizeof *key);
    key->handle.bytes = sizeof key->handle.data;
    return syscall(SYS_name_to_handle_at, fd, "", &key->handle, &key->mount, AT_EMPTY_PATH) == 0;
}

/* Nobody waits here: what is being written, maybe by the thread that this handler has interrupted,
 * is not known. */
static bool recall(int fd, struct known *known) {
    unsigned words[WORDS] = {0}, at = (unsigned)fd % KNOWN;
    /* acquire: pairs with the release that ends remember() */
    unsigned version = atomic_load_explicit(&record.known[at].version, memory_order_acquire);
    for (size_t i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&record.known[at].words[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire); /* pairs with the release fence in remember() */
    if (version % 2 || memcmp(words, &known->key, sizeof known->key) != 0) return false;
    if (atomic_load_explicit(&record.known[at].version, memory_order_relaxed) != version)
        return false;
    memcpy(known, words, sizeof *known);
    return true;
}

static void remember(int fd, const struct known *known) {
    unsigned words[WORDS], at = (unsigned)fd % KNOWN;
    atomic_uint *version = &record.known[at].version;
    unsigned before = atomic_load_explicit(version, memory_order_relaxed);
    if (before % 2 || !atomic_compare_exchange_strong(version, &before, before + 1)) return;
    memcpy(words, known, sizeof words);
    atomic_thread_fence(memory_order_release); /* who sees a new word sees the odd version */
    for (size_t i = 0; i < WORDS; i++)
        atomic_store_explicit(&record.known[at].words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(version, before + 2, memory_order_release); /* pairs with recall() */
}

/* As the format can hold it; false: it is left out. */
static bool look_up(int fd, char path[PATH_MOST + 1]) {
    struct stat st;
    char link[32];
    if (kaio_fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
        atomic_fetch_add_explicit(&record.streams, 1, memory_order_relaxed);
        return false;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MOST + 1);
    if (n > 0 && n <= PATH_MOST) path[n] = 0;
    if (n > 0 && n <= PATH_MOST && *path == '/' && !strpbrk(path, " \t\n\v\f\r")) return true;
    atomic_fetch_add_explicit(&record.names, 1, memory_order_relaxed); /* deleted, too */
    return false;
}

/* The path of a descriptor's file, as it was when it was first seen; false: it is left out. What
 * has become another file during the look-up is not remembered. */
static bool path_of(int fd, struct known *known) {
    struct key again;
    memset(known, 0, sizeof *known);
    bool has_key = key_of(fd, &known->key);
    if (has_key && recall(fd, known)) return true;
    if (!look_up(fd, known->path)) return false;
    if (has_key && key_of(fd, &again) && !memcmp(&again, &known->key, sizeof again))
        remember(fd, known);
    return true;
}

static uint64_t hash(const char *path) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *path; path++) h = (h ^ (unsigned char)*path) * 0x100000001b3u;
    return (h | 2) & ~1ul; /* neither 0 nor "being written" */
}

/* The place of the key, or a free one for it; NULL: the table is full. */
static _Atomic uint64_t *place_of(uint64_t key) {
    for (unsigned i = 0; i < FILES; i++) {
        _Atomic uint64_t *place = &record.files[(key / 2 + i) % FILES];
        uint64_t found;
        while ((found = atomic_load_explicit(place, memory_order_acquire)) == key + 1)
            sched_yield(); /* its thread is inside write() */
        if (found == key || found == 0) return place;
    }
    return NULL;
}

static int line(char *text, uint64_t us, const char *path, const struct aiocb *cb,
                enum kaio_op op) {
    if (op > KAIO_WRITE)
        return sprintf(text, "%llu %s %s 0 0\n", (unsigned long long)us, path,
                       op == KAIO_FSYNC ? "sync" : "datasync");
    size_t n = cb->aio_nbytes < BYTES_MOST ? cb->aio_nbytes : BYTES_MOST;
    return sprintf(text, "%llu %s %s %lld %zu\n", (unsigned long long)us, path,
                   op == KAIO_READ ? "read" : "write", (long long)cb->aio_offset, n);
}

/* The first request of a file brings the lines that make it known. Signals are blocked while a
 * place is claimed: a handler would wait for it for ever. False: another thread has been faster. */
static bool put_first(_Atomic uint64_t *place, uint64_t key, const char *text, int n) {
    sigset_t all, mask;
    uint64_t none = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    bool claimed = atomic_compare_exchange_strong(place, &none, key + 1);
    if (claimed) put(text, (size_t)n);
    if (claimed) atomic_store_explicit(place, key, memory_order_release);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return claimed;
}

/* The lines that make the file known. */
static int opening(char *text, unsigned long long us, const char *path, int fd) {
    bool direct = fcntl(fd, F_GETFL) & O_DIRECT;
    return sprintf(text, "%llu %s add\n%llu %s open%s\n", us, path, us, path,
                   direct ? " direct" : "");
}

static void put_request(const struct aiocb *cb, enum kaio_op op, const char *path, uint64_t us) {
    char text[LINE_MOST];
    uint64_t key = hash(path);
    int n = 0;
    _Atomic uint64_t *place;
    while ((place = place_of(key)) && *place != key) {
        n = opening(text, us, path, cb->aio_fildes);
        n += line(text + n, us, path, cb, op);
        if (put_first(place, key, text, n)) return;
    }
    n = place ? 0 : opening(text, us, path, cb->aio_fildes);
    n += line(text + n, us, path, cb, op);
    if (!place) n += sprintf(text + n, "%llu %s close\n", (unsigned long long)us, path);
    put(text, (size_t)n);
}

static void record_one(const struct aiocb *cb, enum kaio_op op, uint64_t now) {
    struct known file;
    bool nothing = op <= KAIO_WRITE && (cb->aio_nbytes == 0 || cb->aio_offset < 0);
    if (nothing || !is_open(now) || !path_of(cb->aio_fildes, &file)) return;
    put_request(cb, op, file.path, now > record.start_ns ? (now - record.start_ns) / 1000 : 0);
}

/* The kernel's clock: another library may fake what the name means. */
static uint64_t now_ns(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The next definitions in line: looked up at load, for dlsym() takes locks and may allocate; or
 * before, since other libraries' constructors may make requests. */
static struct {
    __typeof__(&aio_read) read;
    __typeof__(&aio_write) write;
    __typeof__(&aio_fsync) sync;
    __typeof__(&lio_listio) list;
} next;

/* False: KAIO_RECORD is not what it can be. A copy, for programs that set their title write over
 * the environment; absolute, for they may change their directory, too. */
static bool set_wanted(const char *value) {
    char *end, path[2 * KAIO_PATH_MAX] = "";
    long number = strtol(value, &end, 10);
    if (*value && !*end) return number == 0; /* no file's name, but a mistake */
    bool fits = *value && strlen(value) < KAIO_PATH_MAX && strcmp(value, "/dev/stderr") != 0;
    if (!fits || (*value != '/' && !getcwd(path, KAIO_PATH_MAX))) return false;
    if (*path) strcat(path, "/");
    strcat(path, value);
    if (strlen(path) >= sizeof wanted) return false;
    strcpy(wanted, path);
    return true;
}

/* Idempotent; what is found twice is the same. */
static void load(void) {
    if (atomic_load_explicit(&is_loaded, memory_order_acquire)) return;
    int saved = errno;
    next.read = (__typeof__(next.read))dlsym(RTLD_NEXT, LARGE("aio_read"));
    next.write = (__typeof__(next.write))dlsym(RTLD_NEXT, LARGE("aio_write"));
    next.sync = (__typeof__(next.sync))dlsym(RTLD_NEXT, LARGE("aio_fsync"));
    next.list = (__typeof__(next.list))dlsym(RTLD_NEXT, LARGE("lio_listio"));
    kaio_output_load("");
    const char *value = secure_getenv("KAIO_RECORD");
    if (value && !set_wanted(value))
        kaio_say("KAIO_RECORD=%.200s is not understood (accepted: %s); nothing is recorded", value,
                 accepted);
    madvise(&record, sizeof record, MADV_WIPEONFORK);
    errno = saved;
    /* release: pairs with the acquire above */
    atomic_store_explicit(&is_loaded, true, memory_order_release);
}

__attribute__((constructor)) static void loaded(void) {
    load();
}

__attribute__((destructor)) static void unloaded(void) {
    unsigned long long streams = record.streams, names = record.names;
    if (streams + names == 0) return;
    kaio_say("requests left out of the recording: %llu of streams, %llu of files that are deleted "
             "or have spaces or too long a path",
             streams, names);
}

static bool is_wanted(void) {
    load();
    return *wanted;
}

static void record_request(const struct aiocb *cb, enum kaio_op op) {
    if (!is_wanted()) return;
    int saved = errno;
    record_one(cb, op, now_ns());
    errno = saved;
}

static void record_list(struct aiocb *const list[], int n) {
    if (!is_wanted()) return;
    int saved = errno;
    uint64_t now = now_ns();
    for (int i = 0; i < n; i++) {
        if (!list[i]) continue;
        int opcode = list[i]->aio_lio_opcode & ~OPCODE_64;
        if (opcode == LIO_READ) record_one(list[i], KAIO_READ, now);
        if (opcode == LIO_WRITE) record_one(list[i], KAIO_WRITE, now);
    }
    errno = saved;
}

/* libkaio.so looks for this name, to say so if KAIO_RECORD is set and nobody records. */
EXPORT const char kaio_recorder = 1;

/* Each is written down before it is made, so what is refused then is in the file, too. Results,
 * errors and errno are those of the next in line. */
EXPORT int aio_read(struct aiocb *cb) {
    record_request(cb, KAIO_READ);
    return next.read(cb);
}
EXPORT_PLAIN(aio_read, aio_read(cb))

EXPORT int aio_write(struct aiocb *cb) {
    record_request(cb, KAIO_WRITE);
    return next.write(cb);
}
EXPORT_PLAIN(aio_write, aio_write(cb))

EXPORT int aio_fsync(int op, struct aiocb *cb) {
    record_request(cb, op == O_DSYNC ? KAIO_FDSYNC : KAIO_FSYNC);
    return next.sync(op, cb);
}
EXPORT_64(aio_fsync);

EXPORT int lio_listio(int mode, struct aiocb KAIO_LIST, int n, struct sigevent *restrict sigev) {
    struct aiocb *const *items = (struct aiocb *const *)list;
    if (mode == LIO_WAIT || mode == LIO_NOWAIT) record_list(items, n);
    else load();
    return next.list(mode, list, n, sigev);
}
EXPORT_PLAIN_LIST(lio_listio)
