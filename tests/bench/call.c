/* SPDX-License-Identifier: MIT */
/* call.c - the time inside aio_read(), aio_write() and lio_listio() for every kind of file: how
 * long a program is kept from its own work. Beside it, as "native", io_submit() of the same request
 * with RWF_NOWAIT: what the kernel itself takes to accept or decline it.
 */
#include "bench.h"
#include "samples.h"
#include <libaio.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define MIB (1 << 20)

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

static char *buffer;
static io_context_t context;

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
    for (double first = now_ns(); more(n, first, 0.15); n++) {
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
    for (double first = now_ns(); more(n, first, 0.15); n++) {
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

int main(void) {
    buffer = pages(MIB);
    warm_up();
    need(io_setup(1, &context) == 0, "io_setup");
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
    return 0;
}
