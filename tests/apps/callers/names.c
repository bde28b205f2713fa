/* SPDX-License-Identifier: MIT */
/* The large-file names, mixed with the others, beyond 4 GiB; and aio_init() with odd values before
 * and after the first request: the results do not depend on it. */
#define _LARGEFILE64_SOURCE
#include "use.h"

static void init(int threads, int num, int idle) {
    struct aioinit odd;
    memset(&odd, 0xa5, sizeof odd);
    odd.aio_threads = threads;
    odd.aio_num = num;
    odd.aio_idle_time = idle;
    aio_init(&odd);
}

static struct aiocb64 large(int fd, char *buf, size_t n) {
    struct aiocb64 cb = {.aio_fildes = fd, .aio_buf = buf, .aio_nbytes = n};
    cb.aio_offset = 5ll << 30;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static void result(const char *what, struct aiocb64 *cb) {
    const struct aiocb64 *list[] = {cb};
    while (aio_error64(cb) == EINPROGRESS) aio_suspend64(list, 1, NULL);
    int err = aio_error64(cb);
    printf("%s: %d, %zd; by the other name: %d, %zd\n", what, err, aio_return64(cb),
           aio_error((struct aiocb *)cb), aio_return((struct aiocb *)cb));
}

static void names(void) {
    char path[] = "names.XXXXXX", text[] = "beyond", buf[8] = "";
    int fd = mkstemp(path);
    unlink(path);
    struct aiocb64 cb = large(fd, text, 6), *list[] = {&cb};
    printf("aio_write64: %d\n", aio_write64(&cb));
    result("write", &cb);
    printf("aio_fsync64: %d, %d\n", aio_fsync64(O_SYNC, &cb), aio_fsync64(77, &cb));
    result("sync", &cb);
    cb = large(fd, buf, 6);
    printf("aio_read64: %d\n", aio_read64(&cb));
    result("read", &cb);
    printf("%s at %lld\n", buf, (long long)lseek(fd, 0, SEEK_END));
    memset(buf, 0, sizeof buf);
    cb.aio_lio_opcode = LIO_READ;
    printf("lio_listio64: %d, %s\n", lio_listio64(LIO_WAIT, list, 1, NULL), buf);
    printf("aio_cancel64: %d\n", aio_cancel64(fd, &cb) == AIO_ALLDONE);
    cb = large(fd, buf, 6);
    cb.aio_reqprio = -1;
    printf("priority -1: %d %d, %d\n", aio_read64(&cb), errno, aio_error64(&cb));
    printf("mode 9: %d %d\n", lio_listio64(9, list, 1, NULL), errno);
    close(fd);
}

int main(void) {
    init(-1, -1, -1);
    init(0, 0, 0);
    init(1 << 30, 7, 1 << 30);
    init(3, 10000, 1);
    names();
    use_aio("after");
    init(-1, -1, -1);
    init(0, 0, 0);
    init(1, 1, 1);
    names();
    use_aio("after that");
    return 0;
}
