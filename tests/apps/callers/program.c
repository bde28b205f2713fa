/* SPDX-License-Identifier: MIT */
/* Uses AIO in main() and at exit, where it also waits for a request that main() has left. LOCAL
 * bytes of thread-local data make its threads' stacks larger. */
#include "use.h"

#ifndef LOCAL
#define LOCAL 1
#endif

static _Thread_local char local[LOCAL];
static char left_data[BLOCK];
static struct aiocb left;

static void at_exit(void) {
    printf("left: %d\n", ended(&left, BLOCK) && !memchr(left_data, '?', BLOCK));
    use_aio("atexit");
}

int main(void) {
    int zero = open("/dev/zero", O_RDONLY);
    memset(local, 1, LOCAL);
    memset(left_data, '?', BLOCK);
    use_aio("main");
    atexit(at_exit);
    left = request(zero, left_data, BLOCK, 0);
    printf("aio_read: %d\n", aio_read(&left));
    return local[LOCAL - 1] - 1;
}
