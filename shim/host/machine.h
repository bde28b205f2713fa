/* SPDX-License-Identifier: MIT */
/* machine.h - what differs between processors and C libraries. Comes before any other header.
 *
 * Where off_t has 32 bits, <aio.h> then gives aio_read() and its kin their large-file names: see
 * api.c. The library needs no glibc newer than 2.17, or the first of a younger architecture, and
 * whatever it is built on: what glibc has later is called by number here, and what has moved into
 * libc.so.6 since (2.32, 2.34) is named by its first version.
 */
#ifndef KAIO_MACHINE_H
#define KAIO_MACHINE_H

#ifndef __LP64__ /* whatever the build says */
#undef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#undef _TIME_BITS
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifndef STATX_TYPE /* before glibc 2.28, and musl */
#include <linux/stat.h>
#endif

/* Between two looks at what another processor is about to change; and what F_GETFL says of
 * O_LARGEFILE, whatever <fcntl.h> makes of it (<asm/fcntl.h>). */
#if defined(__x86_64__) || defined(__i386__)
#define KAIO_PAUSE()   __builtin_ia32_pause()
#define KAIO_LARGEFILE 0100000
#elif defined(__aarch64__) || defined(__arm__)
#define KAIO_PAUSE()   __asm__ volatile("yield" ::: "memory")
#define KAIO_LARGEFILE 0400000
#elif defined(__powerpc__)
#define KAIO_PAUSE()   __asm__ volatile("or 27,27,27" ::: "memory")
#define KAIO_LARGEFILE 0200000
#else
#define KAIO_PAUSE()   __asm__ volatile("" ::: "memory")
#define KAIO_LARGEFILE 0100000
#endif

/* A section's type, and the assembler's mark for a comment, which hides what gcc writes there. */
#if defined(__arm__)
#define KAIO_NOBITS "%nobits@"
#elif defined(__aarch64__)
#define KAIO_NOBITS "%nobits//"
#else
#define KAIO_NOBITS "@nobits#"
#endif

/* The offset as the last arguments of the raw pread64(2) and pwrite64(2), and of preadv2(2). */
#if defined(__LP64__)
#define KAIO_AT(offset)   (long)(offset)
#define KAIO_AT_V(offset) (long)(offset), 0l
#elif defined(__arm__) /* pairs begin at even registers */
#define KAIO_AT(offset)   0l, KAIO_AT_V(offset)
#define KAIO_AT_V(offset) (long)(offset), (long)((int64_t)(offset) >> 32)
#else
#define KAIO_AT(offset)   KAIO_AT_V(offset)
#define KAIO_AT_V(offset) (long)(offset), (long)((int64_t)(offset) >> 32)
#endif

#define KAIO_LINE 128 /* of the cache: 64, or 128 (ppc64le, some of arm64) */

/* fstat(2): libc's is a new symbol (glibc 2.33). */
static inline int kaio_fstat(int fd, struct stat *st) {
#if defined(__LP64__)
    return (int)syscall(SYS_fstat, fd, st);
#else
    return (int)syscall(SYS_fstat64, fd, st);
#endif
}

/* poll(2), by the call that all processors have. n descriptors, ms < 0: no limit. */
static inline int kaio_poll_fds(struct pollfd *fds, long n, int ms) {
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000l};
    return (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &limit, NULL, 0l);
}

static inline pid_t kaio_gettid(void) { /* glibc 2.30 */
    return (pid_t)syscall(SYS_gettid);
}

#define EXPORT __attribute__((visibility("default")))
/* A function of <aio.h> under both its names. Where off_t has 64 bits they mean the same. Else the
 * function has got the large-file one, and the plain one is to be had; struct aiocb differs in this
 * only: the upper half of aio_offset is padding, the program's memory but libc's to use. Of a list
 * the opcodes differ, too. */
#ifdef __LP64__
#define LARGE(name)             name
#define OPCODE_64               0
#define EXPORT_64(name)         __asm__(".globl " #name "64\n.set " #name "64, " #name)
#define EXPORT_PLAIN(name, ...) EXPORT_64(name);
#define EXPORT_PLAIN_LIST(name) EXPORT_64(name);
#else
#define LARGE(name)              name "64"
#define OPCODE_64                128 /* what glibc adds to aio_lio_opcode, and leaves there */
#define EXPORT_64(name)          __asm__(".globl " #name "\n.set " #name ", " #name "64")
#define EXTEND(cb)               ((cb)->aio_offset = (int32_t)(cb)->aio_offset)
#define EXPORT_PLAIN(name, call) /* what it does, once cb is extended */                           \
    EXPORT int plain_##name(struct aiocb *cb) __asm__(#name);                                      \
    EXPORT int plain_##name(struct aiocb *cb) {                                                    \
        EXTEND(cb);                                                                                \
        return call;                                                                               \
    }
#define EXPORT_PLAIN_LIST(name)                                                                    \
    EXPORT int plain_##name(int mode, struct aiocb KAIO_LIST, int n,                               \
                            struct sigevent *sigev) __asm__(#name);                                \
    EXPORT int plain_##name(int mode, struct aiocb KAIO_LIST, int n, struct sigevent *sigev) {     \
        for (int i = 0; i < n; i++)                                                                \
            if (list[i]) EXTEND(list[i]);                                                          \
        return name(mode, list, n, sigev);                                                         \
    }
#endif

#ifndef __GLIBC__ /* musl: struct aiocb has the same layout, with names of its own */
#define __abs_prio      __lock[0]
#define __error_code    __err
#define __return_value  __ret
#define KAIO_LIST       *restrict const *restrict list
#define KAIO_TID(sigev) ((sigev)->sigev_notify_thread_id)
struct aioinit; /* GNU's; nobody calls these there */
void aio_init(const struct aioinit *init);
int close_range(unsigned first, unsigned last, int flags);
void closefrom(int low);
#else
#define KAIO_LIST       *const list[]
/* sigevent's union, as the kernel has it; <bits/types/sigevent_t.h> names only two members */
#define KAIO_TID(sigev) ((sigev)->_sigev_un._tid)
#if defined(__x86_64__)
#define KAIO_FIRST     "GLIBC_2.2.5"
#define KAIO_FIRST_NEW KAIO_FIRST
#elif defined(__i386__) /* what 2.1 has changed is named by that */
#define KAIO_FIRST     "GLIBC_2.0"
#define KAIO_FIRST_NEW "GLIBC_2.1"
#elif defined(__aarch64__) || (defined(__powerpc64__) && _CALL_ELF == 2)
#define KAIO_FIRST     "GLIBC_2.17"
#define KAIO_FIRST_NEW KAIO_FIRST
#elif defined(__arm__)
#define KAIO_FIRST     "GLIBC_2.4"
#define KAIO_FIRST_NEW KAIO_FIRST
#elif defined(__s390x__)
#define KAIO_FIRST     "GLIBC_2.2"
#define KAIO_FIRST_NEW KAIO_FIRST
#elif defined(__riscv)
#define KAIO_FIRST     "GLIBC_2.27"
#define KAIO_FIRST_NEW KAIO_FIRST
#endif
#define KAIO_NAMED(name, version) __asm__(".symver " #name "," #name "@" version)
#ifndef __LP64__
__asm__(".symver fcntl64,fcntl@" KAIO_FIRST); /* by _FILE_OFFSET_BITS; glibc 2.28 */
#endif
KAIO_NAMED(dlclose, KAIO_FIRST);
KAIO_NAMED(dlerror, KAIO_FIRST);
KAIO_NAMED(dlopen, KAIO_FIRST_NEW);
KAIO_NAMED(dlsym, KAIO_FIRST);
KAIO_NAMED(pthread_attr_setstacksize, KAIO_FIRST_NEW);
KAIO_NAMED(pthread_create, KAIO_FIRST_NEW);
KAIO_NAMED(pthread_key_create, KAIO_FIRST);
KAIO_NAMED(pthread_mutex_trylock, KAIO_FIRST);
KAIO_NAMED(pthread_setspecific, KAIO_FIRST);
KAIO_NAMED(pthread_sigmask, KAIO_FIRST);
#endif

#endif
