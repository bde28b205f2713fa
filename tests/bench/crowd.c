/* SPDX-License-Identifier: MIT */
/* crowd.c - the time inside the calls when much is in flight: aio_read() beside 256 direct reads,
 * with io_submit() of the same request as "native", and lio_listio(LIO_NOWAIT) of 16 direct reads.
 */
#include "bench.h"
#include "samples.h"
#include <libaio.h>
#include <sys/uio.h>

#define DEEP 256
#define LIST 16

static char *buffer;
static io_context_t context;

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
    for (double first = now_ns(); more(n, first, 0.3);) {
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

static int sample_deep_native(int fd) {
    static struct iocb iocbs[DEEP];
    struct io_event event;
    int n = 0, in_flight = 0;
    for (double first = now_ns(); more(n, first, 0.3);) {
        struct iocb *iocb = &iocbs[in_flight];
        if (in_flight == DEEP) {
            in_flight -= io_getevents(context, 1, 1, &event, NULL);
            iocb = event.obj;
        }
        io_prep_pread(iocb, fd, buffer, BLOCK, anywhere(BLOCK));
        iocb->aio_rw_flags = RWF_NOWAIT;
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
    for (double first = now_ns(); more(n, first, 0.3); n++) {
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
    buffer = pages(DEEP * BLOCK);
    warm_up();
    need(io_setup(DEEP, &context) == 0, "io_setup");
    int fd = data_file(O_RDONLY | O_DIRECT);
    report("direct read, 256 in flight", "", sample_deep_call(fd));
    report("direct read, 256 in flight", " native", sample_deep_native(fd));
    report("lio_listio of 16 direct reads", "", sample_list(fd));
    return 0;
}
