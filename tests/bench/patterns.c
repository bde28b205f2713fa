/* SPDX-License-Identifier: MIT */
/* patterns.c - the ways in which known programs use the calls: requests per second, and CPU time of
 * the whole process for each. What is read is compared with what the file holds, and what was
 * written is read back. With an argument, only those whose name contains it.
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

#define PIECE   65536
#define DEPTH   64
#define MARK(n) ((uint64_t)(n)*0x9e3779b97f4a7c15u)

static off_t marked_size = 64 << 20;
static const char *only = "";
static double ends;           /* now_ns() at which a pattern makes no more requests */
static void (*check)(int fd); /* what a pattern has written; not measured */

/* A file of its own: each 4 KiB begin with what depends on their place. */
static int marked(int flags) {
    int fd = open("bench.marked", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    need(fd >= 0, "bench.marked");
    char *buf = pages(1 << 20);
    for (off_t at = 0; at < marked_size; at += 1 << 20) {
        for (off_t i = 0; i < 1 << 20; i += BLOCK) *(uint64_t *)(buf + i) = MARK((at + i) / BLOCK);
        need(pwrite(fd, buf, 1 << 20, at) == 1 << 20, "bench.marked");
    }
    need(fsync(fd) == 0 && close(fd) == 0, "bench.marked");
    fd = open("bench.marked", flags);
    unlink("bench.marked");
    need(fd >= 0, "bench.marked");
    if (!(flags & O_DIRECT))
        for (off_t at = 0; at < marked_size; at += 1 << 20)
            need(pread(fd, buf, 1 << 20, at) == 1 << 20, "bench.marked");
    free(buf);
    return fd;
}

static off_t place(size_t n) {
    return (off_t)((size_t)random() % ((size_t)marked_size / n) * n);
}

static void verify(const struct aiocb *cb) {
    for (size_t i = 0; i < cb->aio_nbytes; i += BLOCK) {
        const uint64_t *mark = (const uint64_t *)((volatile const char *)cb->aio_buf + i);
        need(*mark == MARK(((size_t)cb->aio_offset + i) / BLOCK), "another piece of the file");
    }
}

static void ended(struct aiocb *cb) {
    errno = aio_error(cb);
    need(errno == 0 && aio_return(cb) == (ssize_t)cb->aio_nbytes, "result of a request");
    if (cb->aio_lio_opcode == LIO_READ) verify(cb);
}

/* A gateway's cache: SIGEV_THREAD, whose function asks aio_error(), never aio_return(), and frees
 * the aiocb. */
struct piece {
    struct aiocb cb;
    char *data;
};
static sem_t done;

static void gateway_ended(union sigval value) {
    struct piece *piece = value.sival_ptr;
    need(aio_error(&piece->cb) == 0, "result of a request");
    verify(&piece->cb);
    free(piece->data);
    free(piece);
    sem_post(&done);
}

static void gateway_read(int fd) {
    struct piece *piece = malloc(sizeof *piece);
    piece->data = pages(PIECE);
    piece->cb = request(fd, LIO_READ, piece->data, PIECE, place(PIECE));
    piece->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    piece->cb.aio_sigevent.sigev_notify_function = gateway_ended;
    piece->cb.aio_sigevent.sigev_value.sival_ptr = piece;
    start(&piece->cb);
}

static void await(void) {
    while (sem_wait(&done) < 0) continue;
}

static long gateway(int fd) {
    long n = 0;
    sem_init(&done, 0, 0);
    for (int i = 0; i < 16; i++) gateway_read(fd);
    for (; now_ns() < ends; n++) {
        await();
        gateway_read(fd);
    }
    for (int i = 0; i < 16; i++) await();
    return n + 16;
}

/* A parallel file system's server: lists of eight pieces, LIO_NOWAIT, a function for the list. */
#define LISTS 8
#define ITEMS 8
static struct aiocb items[LISTS][ITEMS];
static int ready_lists[LISTS];
static unsigned lists_head, lists_tail;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void list_ended(union sigval value) {
    pthread_mutex_lock(&lock);
    ready_lists[lists_tail++ % LISTS] = value.sival_int;
    pthread_mutex_unlock(&lock);
    sem_post(&done);
}

static void list_start(int fd, int which, int op, char *data) {
    struct aiocb *list[ITEMS];
    struct sigevent event;
    off_t at = place(PIECE * ITEMS);
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = list_ended;
    event.sigev_value.sival_int = which;
    for (int i = 0; i < ITEMS; i++) {
        struct aiocb *cb = list[i] = &items[which][i];
        *cb = request(fd, op, data + (which * ITEMS + i) * PIECE, PIECE, at + i * PIECE);
        for (off_t j = 0; op == LIO_WRITE && j < PIECE; j += BLOCK)
            *(uint64_t *)((char *)cb->aio_buf + j) = ~MARK((cb->aio_offset + j) / BLOCK);
    }
    need(lio_listio(LIO_NOWAIT, list, ITEMS, &event) == 0, "lio_listio");
}

static int list_next(void) {
    await();
    pthread_mutex_lock(&lock);
    int which = ready_lists[lists_head++ % LISTS];
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < ITEMS; i++) ended(&items[which][i]);
    return which;
}

static long server_of_lists(int fd, int op) {
    char *data = pages(LISTS * ITEMS * PIECE);
    long n = 0;
    sem_init(&done, 0, 0);
    lists_head = lists_tail = 0;
    for (int i = 0; i < LISTS; i++) list_start(fd, i, op, data);
    for (; now_ns() < ends; n += ITEMS) list_start(fd, list_next(), op, data);
    for (int i = 0; i < LISTS; i++) list_next();
    free(data);
    return n + LISTS * ITEMS;
}
static long lists_of_reads(int fd) {
    return server_of_lists(fd, LIO_READ);
}

/* Those of the last lists, which have been written over what was there. */
static void check_lists(int fd) {
    char *data = pages(PIECE);
    for (int i = 0; i < LISTS * ITEMS; i++) {
        off_t at = items[i / ITEMS][i % ITEMS].aio_offset;
        need(pread(fd, data, PIECE, at) == PIECE, "reading back");
        for (off_t j = 0; j < PIECE; j += BLOCK)
            need(*(uint64_t *)(data + j) == ~MARK((at + j) / BLOCK), "not what was written");
    }
    free(data);
}
static long lists_of_writes(int fd) {
    check = check_lists;
    return server_of_lists(fd, LIO_WRITE);
}

/* A file server: a real-time signal for each request, with a pointer, taken by sigtimedwait(). */
static long file_server(int fd) {
    static struct aiocb cbs[16];
    char *data = pages(16 * PIECE);
    sigset_t set;
    siginfo_t info;
    struct timespec limit = {5, 0};
    long n = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    for (int i = 0; i < 16; i++) {
        cbs[i] = request(fd, LIO_READ, data + i * PIECE, PIECE, place(PIECE));
        cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cbs[i].aio_sigevent.sigev_signo = SIGRTMIN;
        cbs[i].aio_sigevent.sigev_value.sival_ptr = &cbs[i];
        start(&cbs[i]);
    }
    for (int left = 16; left; n++) {
        need(sigtimedwait(&set, &info, &limit) == SIGRTMIN, "signal");
        struct aiocb *cb = info.si_value.sival_ptr;
        ended(cb);
        if (now_ns() < ends) {
            cb->aio_offset = place(PIECE);
            start(cb);
        } else left--;
    }
    free(data);
    return n;
}

/* aio_suspend() over all that are outstanding, of which a few end each time: a benchmark's queue;
 * with a signal for each that ends, a proactor. signo 0: none. */
static long queue_of(int fd, int depth, int signo) {
    static struct aiocb cbs[DEPTH];
    const struct aiocb *list[DEPTH];
    char *data = pages((size_t)depth * BLOCK);
    long n = 0;
    for (int i = 0; i < depth; i++) {
        list[i] = &cbs[i];
        cbs[i] = request(fd, LIO_READ, data + i * BLOCK, BLOCK, place(BLOCK));
        if (signo) cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        if (signo) cbs[i].aio_sigevent.sigev_signo = signo;
        start(&cbs[i]);
    }
    for (int left = depth; left;) {
        aio_suspend(list, depth, NULL);
        double now = now_ns();
        for (int i = 0; i < depth; i++) {
            if (!list[i] || aio_error(&cbs[i]) == EINPROGRESS) continue;
            ended(&cbs[i]);
            n++;
            if (now < ends) {
                cbs[i].aio_offset = place(BLOCK);
                start(&cbs[i]);
            } else {
                list[i] = NULL;
                left--;
            }
        }
    }
    free(data);
    return n;
}
static long queue(int fd) {
    return queue_of(fd, 32, 0);
}
static long proactor(int fd) {
    return queue_of(fd, 32, SIGRTMIN + 1);
}

/* An update log: so many records outstanding on O_APPEND, the oldest is waited for. */
static int log_fd;
static long log_records;

static void check_log(int unused) {
    uint64_t record[64];
    (void)unused;
    for (long i = 0; i < log_records; i++) {
        need(pread(log_fd, record, sizeof record, i * (long)sizeof record) == sizeof record,
             "the log");
        need(record[0] == MARK(i), "records in another order");
    }
    need(pread(log_fd, record, 1, log_records * (long)sizeof record) == 0, "the log's end");
    close(log_fd);
}

static long log_of_updates(int unused) {
    static struct aiocb cbs[DEPTH];
    static uint64_t records[DEPTH][64];
    long n = 0;
    (void)unused;
    check = check_log;
    log_fd = open("bench.log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    need(log_fd >= 0 && unlink("bench.log") == 0, "bench.log");
    for (; now_ns() < ends; n++) {
        struct aiocb *cb = &cbs[n % DEPTH];
        if (n >= DEPTH) finish(cb);
        records[n % DEPTH][0] = MARK(n);
        *cb = request(log_fd, LIO_WRITE, records[n % DEPTH], sizeof records[0], 0);
        start(cb);
    }
    for (long i = n > DEPTH ? n - DEPTH : 0; i < n; i++) finish(&cbs[i % DEPTH]);
    return log_records = n;
}

/* MPI's: turns on aio_error() of all. */
static long turning(int fd) {
    static struct aiocb cbs[DEPTH];
    char *data = pages(DEPTH * BLOCK);
    long n = 0;
    while (now_ns() < ends) {
        for (int i = 0; i < DEPTH; i++) {
            cbs[i] = request(fd, LIO_READ, data + i * BLOCK, BLOCK, place(BLOCK));
            start(&cbs[i]);
        }
        for (int i = 0; i < DEPTH; i++) {
            while (aio_error(&cbs[i]) == EINPROGRESS) continue;
            ended(&cbs[i]);
        }
        n += DEPTH;
    }
    free(data);
    return n;
}

/* stress-ng's: two processes, sixteen small requests, a handler's signal for each. A read must get
 * what the last write has put there. */
static volatile sig_atomic_t signals;
static void on_signal(int signo) {
    (void)signo;
    signals++;
}

static long stress(int fd) {
    static struct aiocb cbs[16];
    static uint64_t data[16][8];
    long n = 0;
    for (bool writes = true; now_ns() < ends; writes = !writes) {
        for (int i = 0; i < 16; i++) {
            data[i][0] = writes ? MARK(n + i) : 0;
            cbs[i] = request(fd, writes ? LIO_WRITE : LIO_READ, data[i], sizeof data[i],
                             i * (off_t)sizeof data[i]);
            cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
            cbs[i].aio_sigevent.sigev_signo = SIGUSR1;
            start(&cbs[i]);
        }
        for (int i = 0; i < 16; i++) {
            while (aio_error(&cbs[i]) == EINPROGRESS) usleep(1);
            need(aio_error(&cbs[i]) == 0 && aio_return(&cbs[i]) == sizeof data[i], "result");
            need(writes || data[i][0] == MARK(n - 16 + i), "not what was written");
        }
        n += 16;
    }
    return n;
}

static long two_processes(int fd) {
    char name[] = "bench.small.XXXXXX";
    int ends_of[2];
    long n, other = 0;
    need(pipe(ends_of) == 0, "pipe");
    (void)fd;
    pid_t pid = fork();
    need(pid >= 0, "fork");
    int own = mkstemp(name);
    need(own >= 0 && ftruncate(own, BLOCK) == 0 && unlink(name) == 0, name);
    n = stress(own);
    if (pid == 0) {
        need(write(ends_of[1], &n, sizeof n) == sizeof n, "pipe");
        _exit(0);
    }
    close(ends_of[1]);
    need(read(ends_of[0], &other, sizeof other) == sizeof other, "the other process");
    need(waitpid(pid, NULL, 0) == pid, "the other process");
    close(own);
    close(ends_of[0]);
    return n + other;
}

static void pattern(const char *name, long (*make)(int fd), int flags) {
    char line[80];
    snprintf(line, sizeof line, "pattern %s", name);
    if (!strstr(line, only)) return;
    int fd = marked(flags);
    check = NULL;
    ends = now_ns() + span_ns(0.6);
    double begin = now_ns(), cpu = cpu_ns();
    double n = (double)make(fd), took = now_ns() - begin;
    cpu = cpu_ns() - cpu;
    figure(line, "1/s", "higher", n / (took / 1e9));
    snprintf(line, sizeof line, "pattern %s, CPU time", name);
    figure(line, "us", "lower", cpu / n / 1e3);
    if (check) check(fd);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc > 1) only = argv[1];
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set;
    if (getenv("BENCH_QUICK")) marked_size = 4 << 20;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMIN + 1, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    /* first, for glibc's AIO does not work in a child once its parent has used it */
    pattern("two processes, a signal each", two_processes, O_RDONLY);
    warm_up();
    pattern("gateway, buffered", gateway, O_RDONLY);
    pattern("gateway, direct", gateway, O_RDONLY | O_DIRECT);
    pattern("lists of reads, buffered", lists_of_reads, O_RDONLY);
    pattern("lists of reads, direct", lists_of_reads, O_RDONLY | O_DIRECT);
    pattern("lists of writes, buffered", lists_of_writes, O_RDWR);
    pattern("lists of writes, direct", lists_of_writes, O_RDWR | O_DIRECT);
    pattern("file server, buffered", file_server, O_RDONLY);
    pattern("file server, direct", file_server, O_RDONLY | O_DIRECT);
    pattern("queue, buffered", queue, O_RDONLY);
    pattern("queue, direct", queue, O_RDONLY | O_DIRECT);
    pattern("log of updates", log_of_updates, O_RDONLY);
    pattern("turning, buffered", turning, O_RDONLY);
    pattern("turning, direct", turning, O_RDONLY | O_DIRECT);
    pattern("proactor, direct", proactor, O_RDONLY | O_DIRECT);
    return 0;
}
