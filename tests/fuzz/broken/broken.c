/* SPDX-License-Identifier: MIT */
/* broken.c - preloaded before the library: breaks it on purpose, as BREAK says, for minimise.sh.
 *   short    one read in 20 returns one byte less
 *   lost     one signal in 10 is not sent
 *   early    one read in 20 has ended before its data is there
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct late {
    void *to;
    size_t n;
    char data[];
};

static void *copy_late(void *arg) {
    struct late *late = arg;
    usleep(500);
    memcpy(late->to, late->data, late->n);
    free(late);
    return NULL;
}

/* Takes the data back for half a millisecond. */
static void delay(void *buf, size_t n) {
    pthread_t thread;
    struct late *late = malloc(sizeof *late + n);
    late->to = buf;
    late->n = n;
    memcpy(late->data, buf, n);
    memset(buf, 0, n);
    pthread_create(&thread, NULL, copy_late, late);
    pthread_detach(thread);
}

static int is(const char *what) {
    const char *broken = getenv("BREAK");
    return broken && !strcmp(broken, what);
}

long syscall(long nr, ...) {
    static atomic_uint reads, signals;
    va_list list;
    long a[6];
    va_start(list, nr);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (nr == SYS_rt_sigqueueinfo && is("lost") && ++signals % 10 == 0) return 0;
    static long (*next)(long, ...);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    long r = next(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if ((nr != SYS_preadv2 && nr != SYS_pread64) || r < 16) return r;
    void *buf = nr == SYS_pread64 ? (void *)a[1] : ((struct iovec *)a[1])->iov_base;
    if (++reads % 20) return r;
    if (is("early")) delay(buf, (size_t)r);
    return is("short") ? r - 1 : r;
}
