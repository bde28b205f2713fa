/* SPDX-License-Identifier: MIT */
/* A list of 64 neighbouring reads of a file whose pages are in memory, and one of a file in memory:
 * what joined.sh counts the calls of. */
#include "test.h"

#include <sys/mman.h>

#define N 64

static void read_list(int fd) {
    static char data[N][4096];
    static struct aiocb cbs[N], *list[N];
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], sizeof data[i], (off_t)(i * sizeof data[i]));
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    need(lio_listio(LIO_WAIT, list, N, NULL) == 0, "lio_listio");
    for (int i = 0; i < N; i++) need(aio_return(&cbs[i]) == sizeof data[i], "read");
}

static void test(void) {
    static char all[N * 4096];
    int files[] = {open("file", O_RDWR | O_CREAT, 0600), memfd_create("joined", 0)};
    for (int i = 0; i < 2; i++) {
        need(write(files[i], all, sizeof all) == sizeof all, "file");
        read_list(files[i]);
    }
}
