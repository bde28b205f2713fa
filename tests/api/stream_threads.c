/* SPDX-License-Identifier: MIT */
/* The order of a stream's requests when much happens at once: threads that write to one socket, in
 * both directions; lists of reads and of writes whose other end is served meanwhile; all that alone
 * and while the kernel is full of direct reads. */
#include "test.h"

#include <sys/socket.h>

enum { THREADS = 3, MESSAGES = 60, LARGEST = 20000, AHEAD = 4, CHUNK = 5000, SMALL = 8192 };
enum { ITEMS = 32, PIECE = 4096, ROUNDS = 40, HOGS = 300 };

struct header {
    int sender, seq, size;
};

struct writer {
    pthread_t thread;
    int fd, id, bad;
};

/* One end of the socket: its writers, and a reader for what comes from the other end. */
struct end {
    int fd, read_fd, bad;
    struct writer writers[THREADS];
    pthread_t reader;
    char *got;
    size_t size; /* of got */
};

static int size_of(int id, int seq) {
    int most = seq % 10 == 0 ? LARGEST : 200;
    return (int)sizeof(struct header) + (id * 7919 + seq * 104729) % most;
}

/* With AHEAD messages under way. */
static void *write_all(void *arg) {
    struct writer *w = arg;
    struct aiocb cbs[AHEAD];
    char *bufs = pages(AHEAD * (LARGEST + 100));
    for (int seq = 0; seq < MESSAGES + AHEAD; seq++) {
        struct aiocb *cb = &cbs[seq % AHEAD];
        char *buf = bufs + seq % AHEAD * (LARGEST + 100);
        if (seq >= AHEAD) w->bad += finish(cb) != 0 || aio_return(cb) != (ssize_t)cb->aio_nbytes;
        if (seq >= MESSAGES) continue;
        struct header header = {w->id, seq, size_of(w->id, seq)};
        memset(buf, w->id * 40 + seq, (size_t)header.size);
        memcpy(buf, &header, sizeof header);
        *cb = request(w->fd, buf, (size_t)header.size, 0);
        w->bad += aio_write(cb) != 0;
    }
    free(bufs);
    return NULL;
}

/* Until the end of file, with AHEAD reads under way. */
static void *read_all(void *arg) {
    struct end *end = arg;
    static _Thread_local struct aiocb cbs[AHEAD];
    static _Thread_local char bufs[AHEAD][CHUNK];
    size_t at = 0;
    ssize_t n = 1;
    for (int i = 0; n > 0; i++) {
        struct aiocb *cb = &cbs[i % AHEAD];
        if (i >= AHEAD) {
            if (finish(cb) || at + (size_t)(n = aio_return(cb)) > end->size) break;
            memcpy(end->got + at, bufs[i % AHEAD], (size_t)n);
            at += (size_t)n;
        }
        *cb = request(end->read_fd, bufs[i % AHEAD], CHUNK, 0);
        end->bad += aio_read(cb) != 0;
    }
    for (int i = 0; i < AHEAD; i++) end->bad += finish(&cbs[i]) != 0;
    end->bad += n != 0 || at != end->size;
    return NULL;
}

/* Messages must be whole, and each writer's in its order. */
static int check(const struct end *end, int first_sender) {
    int next[THREADS] = {0}, bad = 0;
    for (size_t at = 0; at < end->size;) {
        struct header h = {0, 0, 0};
        if (end->size - at >= sizeof h) memcpy(&h, end->got + at, sizeof h);
        int k = h.sender - first_sender;
        if (k < 0 || k >= THREADS || h.size == 0 || h.size != size_of(h.sender, h.seq)) return -1;
        if (end->size - at < (size_t)h.size) return -1;
        bad += h.seq != next[k]++;
        for (size_t i = sizeof h; i < (size_t)h.size; i++)
            bad += end->got[at + i] != (char)(h.sender * 40 + h.seq);
        at += (size_t)h.size;
    }
    return bad;
}

/* In glibc's order a read that waits holds up all writes of its descriptor. */
static bool one_at_a_time(void) {
    const char *order = getenv("KAIO_ORDER");
    return !is_shim() || (order && !strcmp(order, "fd"));
}

static void begin(struct end *end, int fd, int id) {
    memset(end, 0, sizeof *end);
    end->fd = fd;
    end->read_fd = one_at_a_time() ? dup(fd) : fd;
    for (int i = 0; i < THREADS; i++)
        for (int seq = 0; seq < MESSAGES; seq++)
            end->size += (size_t)size_of((1 - id) * THREADS + i, seq);
    end->got = calloc(1, end->size);
    need(end->got && end->read_fd >= 0, "memory");
    need(pthread_create(&end->reader, NULL, read_all, end) == 0, "thread");
    for (int i = 0; i < THREADS; i++) {
        struct writer *w = &end->writers[i];
        w->fd = fd;
        w->id = id * THREADS + i;
        need(pthread_create(&w->thread, NULL, write_all, w) == 0, "thread");
    }
}

static void both_directions(void) {
    static struct end ends[2];
    int fds[2], bad = 0;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    for (int i = 0; i < 2; i++) /* so small that it takes messages in parts */
        need(!setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &(int){SMALL}, sizeof(int)), "SO_SNDBUF");
    for (int i = 0; i < 2; i++) begin(&ends[i], fds[i], i);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < THREADS; k++) {
            pthread_join(ends[i].writers[k].thread, NULL);
            bad += ends[i].writers[k].bad;
        }
        shutdown(fds[i], SHUT_WR);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(ends[i].reader, NULL);
        bad += ends[i].bad;
        say("messages to end %d: %d out of order or not whole", i,
            check(&ends[i], (1 - i) * THREADS));
        if (ends[i].read_fd != ends[i].fd) close(ends[i].read_fd);
        free(ends[i].got);
    }
    say("both directions: %d bad", bad);
    for (int i = 0; i < 2; i++) close(fds[i]);
}

struct peer {
    int fd;
    bool writes;
    int bad;
};

/* The other end of many requests: piece k consists of the byte k. */
static void *serve(void *arg) {
    struct peer *p = arg;
    char buf[PIECE];
    for (int k = 0; k < ITEMS; k++) {
        size_t n = 0;
        ssize_t r = 1;
        memset(buf, k, PIECE);
        if (p->writes) p->bad += write(p->fd, buf, PIECE) != PIECE;
        while (!p->writes && n < PIECE && (r = read(p->fd, buf + n, PIECE - n)) > 0) n += (size_t)r;
        for (size_t i = 0; i < n; i++) p->bad += buf[i] != (char)k;
        p->bad += r <= 0;
    }
    return NULL;
}

/* How many pieces are wrong? */
static int round_of(bool use_list, bool use_socket, bool write) {
    static struct aiocb cbs[ITEMS];
    static char bufs[ITEMS][PIECE];
    struct aiocb *list[ITEMS];
    int fds[2];
    pthread_t thread;
    if (use_socket) need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    else need(pipe(fds) == 0, "pipe");
    struct peer peer = {.fd = fds[write ? 0 : 1], .writes = !write};
    for (int i = 0; i < ITEMS; i++) {
        memset(bufs[i], write ? i : -1, PIECE);
        cbs[i] = request(fds[write ? 1 : 0], bufs[i], PIECE, 0);
        cbs[i].aio_lio_opcode = write ? LIO_WRITE : LIO_READ;
        list[i] = &cbs[i];
    }
    need(pthread_create(&thread, NULL, serve, &peer) == 0, "thread");
    int bad = use_list && lio_listio(LIO_WAIT, list, ITEMS, NULL) != 0;
    for (int i = 0; i < ITEMS && !use_list; i++)
        bad += (write ? aio_write(&cbs[i]) : aio_read(&cbs[i])) != 0;
    for (int i = 0; i < ITEMS; i++) bad += finish(&cbs[i]) != 0;
    pthread_join(thread, NULL);
    for (int i = 0; i < ITEMS; i++)
        bad += aio_return(&cbs[i]) != PIECE || bufs[i][0] != (char)i || bufs[i][PIECE - 1] != i;
    close(fds[0]);
    close(fds[1]);
    return bad + peer.bad;
}

static void many_pieces(int rounds) {
    for (int kind = 0; kind < 8; kind++) {
        bool use_list = kind & 4, use_socket = kind & 2, write = kind & 1;
        int bad = 0;
        for (int i = 0; i < rounds; i++) bad += round_of(use_list, use_socket, write);
        say("%s of a %s, %s: %d bad", write ? "writes" : "reads", use_socket ? "socket" : "pipe",
            use_list ? "a list" : "one by one", bad);
    }
}

static _Atomic bool stop;

/* Keeps more direct reads under way than the library's context takes. */
static void *hog(void *arg) {
    static struct aiocb cbs[HOGS];
    struct aiocb *list[HOGS];
    int *bad = arg, fd = scratch(O_RDONLY | O_DIRECT, HOGS * 4096);
    char *buf = pages(HOGS * 4096);
    while (!stop) {
        for (int i = 0; i < HOGS; i++) {
            cbs[i] = request(fd, buf + i * 4096, 4096, i * 4096);
            cbs[i].aio_lio_opcode = LIO_READ;
            list[i] = &cbs[i];
        }
        *bad += lio_listio(LIO_WAIT, list, HOGS, NULL) != 0;
    }
    close(fd);
    free(buf);
    return NULL;
}

static void test(void) {
    CASE("both-directions") both_directions();
    CASE("many-pieces") many_pieces(ROUNDS);
    CASE("with-direct-reads") {
        pthread_t thread;
        int bad = 0;
        need(pthread_create(&thread, NULL, hog, &bad) == 0, "thread");
        both_directions();
        many_pieces(ROUNDS / 8);
        stop = true;
        pthread_join(thread, NULL);
        say("direct reads: %d bad", bad);
    }
}
