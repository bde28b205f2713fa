/* SPDX-License-Identifier: MIT */
/* clock.c - time is the kernel's, whatever clock the program is shown.
 *
 * Another library that is preloaded may fake clocks and sleeps (libfaketime: other times, other
 * speeds, a clock that stands). So libc's own definitions are looked up in libc itself, when the
 * library is loaded; where speed and cancellation do not matter, sleeps are raw system calls.
 *
 * Called anywhere, without a lock, also in signal handlers.
 */
#include "host/host.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Cancellation points, but for the first, which must be as fast as the vDSO. The names' own
 * meaning stays where libc has another file name. */
static __typeof__(&clock_gettime) get = clock_gettime;
static __typeof__(&nanosleep) nap = nanosleep;
static __typeof__(&ppoll) wait = ppoll;

void kaio_clock_load(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *found[] = {NULL, NULL, NULL};
    if (!libc) return;
    found[0] = dlsym(libc, "clock_gettime");
    found[1] = dlsym(libc, "nanosleep");
    found[2] = dlsym(libc, "ppoll");
    if (found[0]) get = (__typeof__(get))found[0];
    if (found[1]) nap = (__typeof__(nap))found[1];
    if (found[2]) wait = (__typeof__(wait))found[2];
    dlclose(libc);
}

void kaio_clock_get(struct timespec *now) {
    get(CLOCK_MONOTONIC, now);
}

uint64_t kaio_now_ns(void) {
    struct timespec t;
    kaio_clock_get(&t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int kaio_clock_poll(struct pollfd *fd, const struct timespec *limit) {
    return wait(fd, 1, limit, NULL);
}

int kaio_clock_nap(long ns, bool cancellable) {
    const struct timespec moment = {0, ns};
    long r = cancellable ? nap(&moment, NULL) : syscall(SYS_nanosleep, &moment, NULL);
    return r ? -EINTR : 0;
}
