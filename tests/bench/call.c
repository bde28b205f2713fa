/* call.c - the time inside aio_read(), aio_write() and lio_listio() for every kind of file: how
 * long a program is kept from its own work. Beside it, as "native", io_submit() of the same request
 * with RWF_NOWAIT: what the kernel itself takes to accept or decline it.
 */
#include "bench.h"
#include <libaio.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define MAX_SAMPLES 50000
#define DEEP        256
#define LIST        16
#define MIB         (1 << 20)

enum source { DATA, EMPTY, SPARSE, MEMORY, PIPE };

static const struct kind {
    const char *name;
    enum source source;
    int flags, opcode;
    size_t size;
    bool cold; /* out of the page cache before each call */
} kinds[] = {
    {"direct read", DATA, O_DIRECT, LIO_READ, BLOCK, false},
    {"direct overwrite", DATA, O_DIRECT, LIO_WRITE, BLOCK, false},
    {"direct extending write", EMPTY, O_DIRECT, LIO_WRITE, BLOCK, false},
    {"direct write into a hole", SPARSE, O_DIRECT, LIO_WRITE, BLOCK, false},
    {"cached read", DATA, 0, LIO_READ, BLOCK, false},
    {"uncached read", DATA, 0, LIO_READ, BLOCK, true},
    {"buffered write", DATA, 0, LIO_WRITE, BLOCK, false},
    {"cached read 1 MiB", DATA, 0, LIO_READ, MIB, false},
    {"buffered write 1 MiB", DATA, 0, LIO_WRITE, MIB, false},
    {"O_APPEND write", EMPTY, O_APPEND, LIO_WRITE, BLOCK, false},
    {"tmpfs read", MEMORY, 0, LIO_READ, BLOCK, false},
    {"tmpfs write", MEMORY, 0, LIO_WRITE, BLOCK, false},
    {"pipe read that waits", PIPE, 0, LIO_READ, BLOCK, false},
    {"pipe write", PIPE, 0, LIO_WRITE, BLOCK, false},
};

static double samples[MAX_SAMPLES];
static char *buffer;
static io_context_t context;

static void report(const char *name, const char *suffix, int n) {
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};
    for (int i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof line, "call %s %s%s", name, shares[i].name, suffix);
        figure(line, "ns", "lower", quantile(samples, n, shares[i].share));
    }
}

/* Opens the kind's file; a pipe's two ends. */
static void open_kind(const struct kind *k, int fds[2]) {
    int access = k->source == DATA && k->opcode == LIO_READ ? O_RDONLY : O_RDWR;
    if (k->source == PIPE) {
        need(pipe(fds) == 0, "pipe");
    } else if (k->source == MEMORY) {
        fds[0] = memfd_create("bench", 0);
        for (off_t at = 0; at < 64 * MIB; at += MIB)
            need(pwrite(fds[0], buffer, MIB, at) == MIB, "memory file");
    } else if (k->source == DATA) {
        fds[0] = data_file(access | k->flags);
        if (!(k->flags & O_DIRECT) && !k->cold) load(fds[0]);
        if (k->cold) posix_fadvise(fds[0], 0, 0, POSIX_FADV_RANDOM);
    } else {
        fds[0] = open("bench.new", access | k->flags | O_CREAT | O_TRUNC, 0600);
        unlink("bench.new");
        if (k->source == SPARSE) need(ftruncate(fds[0], DATA_SIZE) == 0, "sparse file");
    }
    need(fds[0] >= 0, "file");
}

static off_t place(const struct kind *k, int i) {
    if (k->source == EMPTY) return (off_t)i * (off_t)k->size;
    if (k->source == SPARSE) return (off_t)i * 2 * BLOCK % DATA_SIZE;
    return k->source == DATA     ? anywhere(k->size)
           : k->source == MEMORY ? anywhere(BLOCK) % (64 * MIB)
                                 : 0;
}

/* Makes calls one after the other, each with nothing else in flight. */
static int sample_call(const struct kind *k, int fds[2]) {
    int fd = fds[k->source == PIPE && k->opcode == LIO_WRITE], n = 0;
    for (double end = now_ns() + span_ns(0.15); n < MAX_SAMPLES && now_ns() < end; n++) {
        struct aiocb cb = request(fd, k->opcode, buffer, k->size, place(k, n));
        if (k->cold) drop(fd);
        double begin = now_ns();
        start(&cb);
        samples[n] = now_ns() - begin;
        if (k->source == PIPE && k->opcode == LIO_READ)
            need(write(fds[1], buffer, BLOCK) == BLOCK, "pipe");
        finish(&cb);
        if (k->source == PIPE && k->opcode == LIO_WRITE)
            need(read(fds[0], buffer, BLOCK) == BLOCK, "pipe");
    }
    return n;
}

static void prepare(struct iocb *iocb, const struct kind *k, int fd, off_t offset) {
    if (k->opcode == LIO_READ) io_prep_pread(iocb, fd, buffer, k->size, offset);
    else io_prep_pwrite(iocb, fd, buffer, k->size, offset);
    iocb->aio_rw_flags = RWF_NOWAIT;
}

static int sample_native(const struct kind *k, int fd) {
    int n = 0;
    for (double end = now_ns() + span_ns(0.15); n < MAX_SAMPLES && now_ns() < end; n++) {
        struct iocb iocb, *list[] = {&iocb};
        struct io_event event;
        prepare(&iocb, k, fd, place(k, n));
        if (k->cold) drop(fd);
        double begin = now_ns();
        int accepted = io_submit(context, 1, list);
        samples[n] = now_ns() - begin;
        if (accepted == 1) io_getevents(context, 1, 1, &event, NULL);
    }
    return n;
}

/* The call while 256 direct reads are in flight: one is added whenever one has ended. */
static int sample_deep_call(int fd) {
    static struct aiocb cbs[DEEP];
    const struct aiocb *list[DEEP];
    int n = 0;
    for (int i = 0; i < DEEP; i++) {
        cbs[i] = request(fd, LIO_READ, buffer + i * BLOCK, BLOCK, anywhere(BLOCK));
        list[i] = &cbs[i];
        start(&cbs[i]);
    }
    for (double end = now_ns() + span_ns(0.3); now_ns() < end;) {
        aio_suspend(list, DEEP, NULL);
        for (int i = 0; i < DEEP && n < MAX_SAMPLES; i++) {
            if (aio_error(&cbs[i]) == EINPROGRESS) continue;
            finish(&cbs[i]);
            cbs[i].aio_offset = anywhere(BLOCK);
            double begin = now_ns();
            start(&cbs[i]);
            samples[n++] = now_ns() - begin;
        }
    }
    for (int i = 0; i < DEEP; i++) finish(&cbs[i]);
    return n;
}

static int sample_deep_native(const struct kind *k, int fd) {
    static struct iocb iocbs[DEEP];
    struct io_event event;
    int n = 0, in_flight = 0;
    for (double end = now_ns() + span_ns(0.3); n < MAX_SAMPLES && now_ns() < end;) {
        struct iocb *iocb = &iocbs[in_flight];
        if (in_flight == DEEP) {
            in_flight -= io_getevents(context, 1, 1, &event, NULL);
            iocb = event.obj;
        }
        prepare(iocb, k, fd, anywhere(BLOCK));
        double begin = now_ns();
        int accepted = io_submit(context, 1, &iocb);
        double took = now_ns() - begin;
        if (in_flight == DEEP - 1) samples[n++] = took;
        if (accepted == 1) in_flight++;
    }
    while (in_flight > 0) in_flight -= io_getevents(context, 1, 1, &event, NULL);
    return n;
}

static int sample_list(int fd) {
    int n = 0;
    for (double end = now_ns() + span_ns(0.3); n < MAX_SAMPLES && now_ns() < end; n++) {
        struct aiocb cbs[LIST], *list[LIST];
        for (int i = 0; i < LIST; i++) {
            cbs[i] = request(fd, LIO_READ, buffer + i * BLOCK, BLOCK, anywhere(BLOCK));
            list[i] = &cbs[i];
        }
        double begin = now_ns();
        need(lio_listio(LIO_NOWAIT, list, LIST, NULL) == 0, "lio_listio");
        samples[n] = now_ns() - begin;
        for (int i = 0; i < LIST; i++) finish(&cbs[i]);
    }
    return n;
}

int main(void) {
    buffer = pages(MIB);
    warm_up();
    need(io_setup(DEEP, &context) == 0, "io_setup");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int fds[2] = {-1, -1};
        open_kind(&kinds[i], fds);
        report(kinds[i].name, "", sample_call(&kinds[i], fds));
        close(fds[0]);
        close(fds[1]);
        if (kinds[i].source == PIPE) continue;
        open_kind(&kinds[i], fds);
        report(kinds[i].name, " native", sample_native(&kinds[i], fds[0]));
        close(fds[0]);
    }
    int fd = data_file(O_RDONLY | O_DIRECT);
    report("direct read, 256 in flight", "", sample_deep_call(fd));
    report("direct read, 256 in flight", " native", sample_deep_native(&kinds[0], fd));
    report("lio_listio of 16 direct reads", "", sample_list(fd));
    return 0;
}
