/* SPDX-License-Identifier: MIT */
/* A thread of the library is held up where its read() begins, by a tracer (entering.sh), while
 * close() gives the number to another file. What that holds is its own.
 */
#include "test.h"

#include <sys/stat.h>

static void test(void) {
    char byte, text[8] = "";
    int other[2];
    need(mkfifo("fifo", 0600) == 0, "mkfifo");
    int fd = open("fifo", O_RDONLY | O_NONBLOCK);
    fcntl(fd, F_SETFL, 0); /* without a writer poll() waits for one, read() does not */
    struct aiocb cb = request(fd, &byte, 1, 0);
    need(pipe(other) == 0 && write(other[1], "its own", 7) == 7, "pipe");
    need(aio_read(&cb) == 0, "aio_read");
    while (aio_error(&cb) == EINPROGRESS && !is_read(fd)) sleep_ms(1);
    say("closed: %d", close(fd));
    need(dup2(other[0], fd) == fd, "dup2");
    report("read", &cb);
    say("left: %zd", read(fd, text, 7));
}
