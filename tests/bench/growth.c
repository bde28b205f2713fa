/* SPDX-License-Identifier: MIT */
/* growth.c - what a request costs when there is much of something: CPU time of the whole process.
 *
 *   growth             prints the axes, each with the sizes to try
 *   growth AXIS SIZE   prints the nanoseconds of CPU time for each request at that size
 *
 * scripts/bench --growth runs it in pairs, and looks whether the cost grows with the size. It takes
 * as many rounds as a second has room for, one at least; what is set up before them is not counted.
 */
#include "bench.h"
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define STACK 65536

static double began_ns, began_cpu_ns;

static void begin(void) {
    began_ns = now_ns();
    began_cpu_ns = cpu_ns();
}

static bool is_time_left(void) {
    return now_ns() < began_ns + span_ns(1);
}

static void report(double requests) {
    printf("%.6g\n", (cpu_ns() - began_cpu_ns) / requests);
    fflush(stdout);
}

static void *array(int n, size_t size) {
    void *p = calloc((size_t)n, size);
    need(p != NULL, "memory");
    memset(p, 0, (size_t)n * size); /* its pages are not the requests' cost */
    return p;
}

static void allow_descriptors(void) {
    struct rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static pthread_t thread(void *(*run)(void *), void *argument) {
    pthread_t id;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    need((errno = pthread_create(&id, &attr, run, argument)) == 0, "thread");
    return id;
}

/* n reads of one pipe are pending, then there is a byte for each. */
static void pending_pipe(int n) {
    struct aiocb *cbs = array(n, sizeof *cbs);
    char *bytes = array(n, 1), *sent = array(n, 1);
    double count = 0;
    int fds[2];
    need(pipe(fds) == 0, "pipe");
    for (int i = 0; i < n; i++) sent[i] = (char)(i % 251);
    for (begin(); count == 0 || is_time_left(); count += n) {
        for (int i = 0; i < n; i++) {
            cbs[i] = request(fds[0], LIO_READ, &bytes[i], 1, 0);
            start(&cbs[i]);
        }
        for (int i = 0; i < n;) {
            ssize_t wrote = write(fds[1], sent + i, (size_t)(n - i));
            need(wrote > 0, "pipe");
            i += (int)wrote;
        }
        for (int i = 0; i < n; i++) finish(&cbs[i]);
        need(memcmp(bytes, sent, (size_t)n) == 0, "bytes in another order");
        memset(bytes, 0xff, (size_t)n);
    }
    report(count);
}

/* n direct reads of one file are made, then all of them are waited for. */
static void pending_direct(int n) {
    struct aiocb *cbs = array(n, sizeof *cbs);
    char *data = pages(64 * BLOCK);
    double count = 0;
    warm_up();
    int fd = data_file(O_RDONLY | O_DIRECT);
    for (begin(); count == 0 || is_time_left(); count += n) {
        for (int i = 0; i < n; i++) {
            cbs[i] = request(fd, LIO_READ, data + i % 64 * BLOCK, BLOCK, anywhere(BLOCK));
            start(&cbs[i]);
        }
        for (int i = 0; i < n; i++) finish(&cbs[i]);
    }
    report(count);
}

/* A list of n cached reads. */
static void list(int n) {
    struct aiocb *cbs = array(n, sizeof *cbs), **items = array(n, sizeof *items);
    char *data = array(n, 512);
    double count = 0;
    warm_up();
    int fd = data_file(O_RDONLY);
    load(fd);
    for (begin(); count == 0 || is_time_left(); count += n) {
        for (int i = 0; i < n; i++) {
            cbs[i] = request(fd, LIO_READ, data + i * 512l, 512, anywhere(512));
            items[i] = &cbs[i];
        }
        need(lio_listio(LIO_WAIT, items, n, NULL) == 0, "lio_listio");
    }
    for (int i = 0; i < n; i++) finish(&cbs[i]);
    report(count);
}

/* n threads at the same time, each with one direct read after another. */
struct threads {
    pthread_barrier_t barrier;
    int fd;
    int each;
};

static void *reader(void *argument) {
    struct threads *threads = argument;
    char *data = pages(BLOCK);
    struct aiocb cb;
    unsigned seed = (unsigned)(uintptr_t)data;
    for (int i = -1; i < threads->each; i++) { /* the first makes what a thread has */
        cb = request(threads->fd, LIO_READ, data, BLOCK, (off_t)rand_r(&seed) % 65536 * BLOCK);
        start(&cb);
        finish(&cb);
        if (i >= 0) continue;
        pthread_barrier_wait(&threads->barrier);
        pthread_barrier_wait(&threads->barrier);
    }
    pthread_barrier_wait(&threads->barrier);
    return NULL;
}

static int share_of(int n, int at_least) {
    int all = getenv("BENCH_QUICK") ? 2000 : 40000;
    return all / n > at_least ? all / n : at_least;
}

static void threads_direct(int n) {
    static struct threads threads;
    warm_up();
    threads.fd = data_file(O_RDONLY | O_DIRECT);
    threads.each = share_of(n, 10);
    pthread_barrier_init(&threads.barrier, NULL, (unsigned)n + 1);
    for (int i = 0; i < n; i++) thread(reader, &threads);
    pthread_barrier_wait(&threads.barrier);
    begin();
    pthread_barrier_wait(&threads.barrier);
    pthread_barrier_wait(&threads.barrier);
    report((double)n * threads.each);
}

/* n threads, each waiting for a byte of its own socket; all get one. */
static sem_t armed;

static void *waiter(void *argument) {
    const int *fd = argument;
    char byte;
    for (;;) {
        struct aiocb cb = request(*fd, LIO_READ, &byte, 1, 0);
        start(&cb);
        sem_post(&armed);
        finish(&cb);
    }
    return NULL;
}

static void await_armed(int n) {
    while (n > 0)
        if (sem_wait(&armed) == 0) n--;
}

static void threads_waiting(int n) {
    int *fds = array(n, 2 * sizeof *fds);
    double count = 0;
    allow_descriptors();
    sem_init(&armed, 0, 0);
    for (int i = 0; i < n; i++) {
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, &fds[2 * i]) == 0, "socketpair");
        thread(waiter, &fds[2 * i]);
    }
    await_armed(n);
    for (begin(); count == 0 || is_time_left(); count += n) {
        for (int i = 0; i < n; i++) need(write(fds[2 * i + 1], "x", 1) == 1, "socket");
        await_armed(n);
    }
    report(count);
}

/* A byte goes through a pipe while a read of each of n eventfds waits. */
static void idle_streams(int n) {
    struct aiocb *cbs = array(n + 1, sizeof *cbs), cb;
    uint64_t *values = array(n + 1, sizeof *values);
    double count = 0;
    int fds[2];
    char byte;
    allow_descriptors();
    need(pipe(fds) == 0, "pipe");
    for (int i = 0; i < n; i++) {
        int fd = eventfd(0, 0);
        need(fd >= 0, "eventfd");
        cbs[i] = request(fd, LIO_READ, &values[i], sizeof values[i], 0);
        start(&cbs[i]);
    }
    for (begin(); count == 0 || is_time_left(); count++) {
        cb = request(fds[0], LIO_READ, &byte, 1, 0);
        start(&cb);
        need(write(fds[1], "x", 1) == 1, "pipe");
        finish(&cb);
    }
    report(count);
}

/* Cached reads by one of n descriptors after the other, 16 at a time. */
static void descriptors(int n) {
    struct aiocb cbs[16];
    char data[16][512];
    int *fds = array(n, sizeof *fds), next = 0;
    double count = -n;
    allow_descriptors();
    warm_up();
    fds[0] = data_file(O_RDONLY);
    load(fds[0]);
    for (int i = 1; i < n; i++) fds[i] = data_file(O_RDONLY);
    while (count < n || is_time_left()) {
        for (int i = 0; i < 16; i++, next = (next + 1) % n) {
            cbs[i] = request(fds[next], LIO_READ, data[i], 512, anywhere(512));
            start(&cbs[i]);
        }
        for (int i = 0; i < 16; i++) finish(&cbs[i]);
        if (count < 0 && count + 16 >= 0) { /* each has been used */
            begin();
            count = 0;
        } else count += 16;
    }
    report(count);
}

/* n files, each written to and synced, all at the same time: a sync for each write. */
static void synced_files(int n) {
    struct aiocb *writes = array(n, sizeof *writes), *syncs = array(n, sizeof *syncs);
    char name[32], data[512] = "";
    int *fds = array(n, sizeof *fds);
    double count = 0;
    allow_descriptors();
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "bench.synced.%d", i);
        fds[i] = open(name, O_RDWR | O_CREAT, 0600);
        need(fds[i] >= 0 && unlink(name) == 0, name);
    }
    for (begin(); count == 0 || is_time_left(); count += 2 * n) {
        for (int i = 0; i < n; i++) {
            writes[i] = request(fds[i], LIO_WRITE, data, sizeof data, 0);
            start(&writes[i]);
            syncs[i] = request(fds[i], LIO_NOP, NULL, 0, 0);
            need(aio_fsync(O_SYNC, &syncs[i]) == 0, "aio_fsync");
        }
        for (int i = 0; i < n; i++) {
            finish(&syncs[i]);
            finish(&writes[i]);
        }
    }
    report(count);
}

/* n processes at the same time, each with four direct reads outstanding. */
struct processes {
    pthread_barrier_t barrier;
    double cpu_ns; /* of them all */
    pthread_mutex_t lock;
};

static void process(struct processes *all, int each) {
    struct aiocb cbs[4];
    char *data = pages(4 * BLOCK);
    warm_up();
    int fd = data_file(O_RDONLY | O_DIRECT);
    pthread_barrier_wait(&all->barrier);
    double before = cpu_ns();
    for (int i = 0; i < each; i += 4) {
        for (int j = 0; j < 4; j++) {
            cbs[j] = request(fd, LIO_READ, data + j * BLOCK, BLOCK, anywhere(BLOCK));
            start(&cbs[j]);
        }
        for (int j = 0; j < 4; j++) finish(&cbs[j]);
    }
    double used = cpu_ns() - before;
    pthread_mutex_lock(&all->lock);
    all->cpu_ns += used;
    pthread_mutex_unlock(&all->lock);
}

static void processes(int n) {
    struct processes *all =
        mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t shared;
    pthread_mutexattr_t locked;
    int each = share_of(n, 200), status;
    need(all != MAP_FAILED, "memory");
    close(data_file(O_RDONLY));
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&all->barrier, &shared, (unsigned)n);
    pthread_mutexattr_init(&locked);
    pthread_mutexattr_setpshared(&locked, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&all->lock, &locked);
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0) {
            process(all, each);
            _exit(0);
        }
    }
    for (int i = 0; i < n; i++) need(wait(&status) > 0 && status == 0, "a process");
    printf("%.6g\n", all->cpu_ns / ((double)n * each));
    fflush(stdout);
}

static const struct {
    const char *name;
    void (*run)(int n);
    int sizes[8]; /* ends with -1 */
} axes[] = {
    {"reads pending on a pipe", pending_pipe, {1, 10, 100, 1000, 10000, 100000, 200000, -1}},
    {"direct reads pending", pending_direct, {1, 10, 100, 1000, 10000, 100000, 200000, -1}},
    {"items of a list", list, {1, 10, 100, 1000, 10000, 100000, -1}},
    {"threads", threads_direct, {1, 4, 16, 64, 256, 1000, 2000, -1}},
    {"threads waiting on sockets", threads_waiting, {1, 4, 16, 64, 256, 1000, 2000, -1}},
    {"idle streams", idle_streams, {0, 10, 100, 1000, 10000, 50000, -1}},
    {"descriptors", descriptors, {10, 100, 1000, 10000, 100000, -1}},
    {"files synced", synced_files, {1, 10, 100, 1000, 10000, -1}},
    {"processes", processes, {1, 4, 16, 64, 256, -1}},
};

int main(int argc, char **argv) {
    int most = getenv("BENCH_QUICK") ? 100 : 1 << 30;
    for (size_t i = 0; i < sizeof axes / sizeof axes[0]; i++) {
        if (argc == 1) {
            printf("%s\t", axes[i].name);
            for (const int *size = axes[i].sizes; *size >= 0 && *size <= most; size++)
                printf(" %d", *size);
            printf("\n");
        } else if (argc == 3 && strcmp(argv[1], axes[i].name) == 0) {
            axes[i].run(atoi(argv[2]));
            _exit(0); /* what still waits ends with the process */
        }
    }
    need(argc == 1, "growth: no such axis");
    return 0;
}
