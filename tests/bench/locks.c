/* SPDX-License-Identifier: MIT */
/* locks.c - how often a request takes the library's lock, for how long, and what a second thread
 * gains beside it.
 *
 *   locks                 prints the kinds of requests
 *   locks KIND THREADS    so many threads, each with a file of its own, for half a second; prints
 *                         requests per second, holds per request, ns per hold, ns waited per hold
 *
 * scripts/bench --locks preloads the library that counts (preload/holds.c); docs/scaling.md says
 * what follows from it.
 */
#include "bench.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define MOST  16
#define DEPTH 16

static double end_ns;
static pthread_barrier_t barrier;

struct self {
    struct aiocb cbs[DEPTH];
    int fd, other;
    unsigned seed;
    char *data;
    long count;
};

/* rand_r(): the lock inside random() would be another to wait for */
static off_t somewhere(struct self *self) {
    return (off_t)rand_r(&self->seed) % (4096) * BLOCK;
}

static void make(struct self *self, int i, int op) {
    self->cbs[i] = request(self->fd, op, self->data + i * BLOCK, BLOCK, somewhere(self));
}

static int one(struct self *self, int op) {
    make(self, 0, op);
    start(&self->cbs[0]);
    finish(&self->cbs[0]);
    return 1;
}

static void open_cached(struct self *self) {
    self->fd = data_file(O_RDONLY);
    for (int i = 0; i < 4096; i++)
        need(pread(self->fd, self->data, BLOCK, i * BLOCK) == BLOCK, "read");
}
static int cached_read(struct self *self) {
    return one(self, LIO_READ);
}

static void open_memory(struct self *self) {
    self->fd = memfd_create("bench", 0);
    need(self->fd >= 0 && ftruncate(self->fd, 4096l * BLOCK) == 0, "memfd");
    for (int i = 0; i < 4096; i++)
        need(pwrite(self->fd, self->data, BLOCK, i * BLOCK) == BLOCK, "memfd");
}
static int memory_write(struct self *self) {
    return one(self, LIO_WRITE);
}

static int cached_list(struct self *self) {
    struct aiocb *list[DEPTH];
    for (int i = 0; i < DEPTH; i++) {
        make(self, i, LIO_READ);
        list[i] = &self->cbs[i];
    }
    need(lio_listio(LIO_WAIT, list, DEPTH, NULL) == 0, "lio_listio");
    return DEPTH;
}

static void open_direct(struct self *self) {
    self->fd = data_file(O_RDONLY | O_DIRECT);
}
/* As many as there are, at once. */
static int all(struct self *self, int opcode) {
    for (int i = 0; i < DEPTH; i++) {
        make(self, i, opcode);
        start(&self->cbs[i]);
    }
    for (int i = 0; i < DEPTH; i++) finish(&self->cbs[i]);
    return DEPTH;
}
static int direct_read(struct self *self) {
    return all(self, LIO_READ);
}

static void open_own(struct self *self) {
    char name[32];
    snprintf(name, sizeof name, "bench.own.%u", self->seed);
    self->fd = open(name, O_RDWR | O_CREAT, 0600);
    need(self->fd >= 0 && unlink(name) == 0, name);
    for (int i = 0; i < 4096; i++)
        need(pwrite(self->fd, self->data, BLOCK, i * BLOCK) == BLOCK, name);
}
static int buffered_write(struct self *self) {
    return all(self, LIO_WRITE);
}

static void open_socket(struct self *self) {
    int fds[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    self->fd = fds[0];
    self->other = fds[1];
}
static int waiting_read(struct self *self) {
    make(self, 0, LIO_READ);
    start(&self->cbs[0]);
    need(write(self->other, self->data, BLOCK) == BLOCK, "socket");
    finish(&self->cbs[0]);
    return 1;
}

static const struct kind {
    const char *name;
    void (*open)(struct self *self);
    int (*make)(struct self *self); /* answers how many requests that were */
} kinds[] = {
    {"cached read", open_cached, cached_read},
    {"list of 16 cached reads", open_cached, cached_list},
    {"write to memory", open_memory, memory_write},
    {"16 direct reads", open_direct, direct_read},
    {"16 buffered writes", open_own, buffered_write},
    {"socket read that waits", open_socket, waiting_read},
};
static const struct kind *kind;

static void *run(void *argument) {
    struct self *self = argument;
    self->data = pages(DEPTH * BLOCK);
    kind->open(self);
    for (int i = 0; i < 10; i++) kind->make(self);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    while (now_ns() < end_ns) self->count += kind->make(self);
    return NULL;
}

static void measure(int threads) {
    static struct self selves[MOST];
    struct {
        double holds, held_ns, waited_ns;
    } before = {0}, after = {0};
    pthread_t ids[MOST];
    double count = 0;
    void (*holds)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "kaio_holds");
    warm_up();
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        selves[i].seed = (unsigned)i;
        need((errno = pthread_create(&ids[i], NULL, run, &selves[i])) == 0, "thread");
    }
    pthread_barrier_wait(&barrier);
    if (holds) holds(&before);
    double began_ns = now_ns();
    end_ns = began_ns + span_ns(0.5);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        count += (double)selves[i].count;
    }
    double took_ns = now_ns() - began_ns;
    if (holds) holds(&after);
    double n = after.holds - before.holds;
    printf("%.6g\t%.6g\t%.6g\t%.6g\n", count / took_ns * 1e9, n / count,
           n > 0 ? (after.held_ns - before.held_ns) / n : 0,
           n > 0 ? (after.waited_ns - before.waited_ns) / n : 0);
    fflush(stdout);
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        kind = &kinds[i];
        if (argc == 1) printf("%s\n", kind->name);
        if (argc != 3 || strcmp(argv[1], kind->name) != 0) continue;
        int threads = atoi(argv[2]);
        need(threads >= 1 && threads <= MOST, "threads: 1 to 16");
        measure(threads);
        return 0;
    }
    need(argc == 1, "locks: no such kind");
    return 0;
}
