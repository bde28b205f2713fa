/* SPDX-License-Identifier: MIT */
/* list.c - requests per second by lio_listio(LIO_WAIT): lists of 1, 16, 64 and 256 random direct
 * 4 KiB reads, and of 64 that are neighbours.
 */
#include "bench.h"

#define LONGEST 256

static double rate(int fd, int n, bool neighbours, char *buffer) {
    static struct aiocb cbs[LONGEST];
    struct aiocb *list[LONGEST];
    double begin = now_ns(), end = begin + span_ns(0.6);
    long count = 0;
    for (; now_ns() < end; count += n) {
        off_t first = anywhere((size_t)n * BLOCK);
        for (int i = 0; i < n; i++) {
            off_t at = neighbours ? first + i * BLOCK : anywhere(BLOCK);
            cbs[i] = request(fd, LIO_READ, buffer + i * BLOCK, BLOCK, at);
            list[i] = &cbs[i];
        }
        need(lio_listio(LIO_WAIT, list, n, NULL) == 0, "lio_listio");
    }
    return (double)count / ((now_ns() - begin) / 1e9);
}

int main(void) {
    static const int lengths[] = {1, 16, 64, 256};
    char *buffer = pages(LONGEST * BLOCK), name[64];
    warm_up();
    int fd = data_file(O_RDONLY | O_DIRECT);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "list of %d direct reads", lengths[i]);
        figure(name, "1/s", "higher", rate(fd, lengths[i], false, buffer));
    }
    figure("list of 64 neighbouring direct reads", "1/s", "higher", rate(fd, 64, true, buffer));
    return 0;
}
