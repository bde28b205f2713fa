/* SPDX-License-Identifier: MIT */
/* early.h - the tools, too, run from glibc 2.17 on, whatever they are built on. Comes before any
 * other header, where something is called that glibc has later.
 */
#ifndef KAIO_EARLY_H
#define KAIO_EARLY_H

#include "host/machine.h"

static inline int kaio_stat(const char *path, struct stat *st) { /* glibc 2.33 */
#if defined(__LP64__)
    return (int)syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);
#else
    return (int)syscall(SYS_fstatat64, AT_FDCWD, path, st, 0);
#endif
}

static inline int kaio_lstat(int dir, const char *name, struct stat *st) { /* the same */
#if defined(__LP64__)
    return (int)syscall(SYS_newfstatat, dir, name, st, AT_SYMLINK_NOFOLLOW);
#else
    return (int)syscall(SYS_fstatat64, dir, name, st, AT_SYMLINK_NOFOLLOW);
#endif
}

#endif
