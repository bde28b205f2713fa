/* SPDX-License-Identifier: MIT */
/* sockets.c - direct 4 KiB reads, 16 in flight, alone and while 1,000 reads of idle sockets are
 * pending. glibc has 20 threads, so that the sockets leave it none for the file.
 */
#include "bench.h"
#include <sys/resource.h>
#include <sys/socket.h>

#define SOCKETS 1000

int main(void) {
    static struct aiocb cbs[SOCKETS];
    static char bytes[SOCKETS];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    warm_up();
    int fd = data_file(O_RDONLY | O_DIRECT);
    figure("sockets none, direct reads", "1/s", "higher", read_rate(fd, 16, 1));
    for (int i = 0; i < SOCKETS; i++) {
        int ends[2];
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
        cbs[i] = request(ends[0], LIO_READ, &bytes[i], 1, 0);
        start(&cbs[i]);
    }
    figure("sockets 1000 idle, direct reads", "1/s", "higher", read_rate(fd, 16, 1));
    _exit(0);
}
