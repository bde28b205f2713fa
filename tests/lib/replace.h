/* SPDX-License-Identifier: MIT */
/* replace.h - the test answers system calls of the library. Included after test.h; the program
 * defines at_call().
 *
 * The loader looks for syscall(), fcntl(), mmap() and the like in the program first, so the
 * definitions here are what the library finds: the very file that is shipped, at full speed, with
 * no tracer. at_call() is called on the library's thread, maybe under its lock, for each such call
 * that the library makes; it answers GO_ON, or the result, -errno for an error. The program's own
 * calls, and libc's, go to the kernel. replace_begin() comes before the first request.
 */
#ifndef REPLACE_H
#define REPLACE_H

#include <limits.h>
#include <link.h>
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define GO_ON LONG_MIN

struct call {
    long nr; /* SYS_clone3 stands for pthread_create() */
    long args[6];
};

static long at_call(const struct call *call);

static uintptr_t library_begin, library_end;

static int find_library(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size, (void)unused;
    if (!strstr(info->dlpi_name, "libkaio")) return 0;
    library_begin = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > library_end) library_end = end;
    }
    return 1;
}

static inline void replace_begin(void) {
    if (!dl_iterate_phdr(find_library, NULL)) skip("the library is not loaded");
}

/* -errno, and errno as it was */
static inline long perform(const struct call *call) {
    register long r10 __asm__("r10") = call->args[3];
    register long r8 __asm__("r8") = call->args[4];
    register long r9 __asm__("r9") = call->args[5];
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(call->nr), "D"(call->args[0]), "S"(call->args[1]), "d"(call->args[2]),
                       "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

static inline long replaced(const void *caller, const struct call *call) {
    bool inside = (uintptr_t)caller >= library_begin && (uintptr_t)caller < library_end;
    long r = inside ? at_call(call) : GO_ON;
    if (r == GO_ON) r = perform(call);
    if (r >= 0 || r < -4095) return r;
    errno = (int)-r;
    return -1;
}

/* What follows has the types of libc's headers. */
#define REPLACED(nr, ...)                                                                          \
    replaced(__builtin_return_address(0), &(const struct call){nr, {__VA_ARGS__}})

long syscall(long nr, ...) {
    va_list list;
    long a[6];
    va_start(list, nr);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    return REPLACED(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int fcntl(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    long arg = va_arg(list, long);
    va_end(list);
    return (int)REPLACED(SYS_fcntl, fd, command, arg);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return (void *)REPLACED(SYS_mmap, (long)at, (long)n, protection, flags, fd, offset);
}

int madvise(void *at, size_t n, int advice) {
    return (int)REPLACED(SYS_madvise, (long)at, (long)n, advice);
}

int eventfd(unsigned count, int flags) {
    return (int)REPLACED(SYS_eventfd2, count, flags);
}

int timerfd_create(clockid_t clock, int flags) {
    return (int)REPLACED(SYS_timerfd_create, clock, flags);
}

int epoll_create1(int flags) {
    return (int)REPLACED(SYS_epoll_create1, flags);
}

int epoll_ctl(int set, int op, int fd, struct epoll_event *event) {
    return (int)REPLACED(SYS_epoll_ctl, set, op, fd, (long)event);
}

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *st) {
    return (int)REPLACED(SYS_statx, dir, (long)path, flags, mask, (long)st);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *n) {
    return (int)REPLACED(SYS_getsockopt, fd, level, option, (long)value, (long)n);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!create) *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    struct call call = {SYS_clone3, {(long)run, (long)arg, (long)attr}};
    long r = caller >= library_begin && caller < library_end ? at_call(&call) : GO_ON;
    return r == GO_ON ? create(thread, attr, run, arg) : (int)-r;
}

#endif
