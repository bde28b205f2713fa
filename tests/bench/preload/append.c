/* SPDX-License-Identifier: MIT */
/* append.c - opens fio's file "appended" with O_APPEND, for which fio has no option; a library that
 * scripts/bench preloads for each engine of a cell that appends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#define FILE_NAME "/appended"

static int with_append(const char *path, int flags) {
    size_t n = strlen(path), suffix = strlen(FILE_NAME);
    return n >= suffix && strcmp(path + n - suffix, FILE_NAME) == 0 ? flags | O_APPEND : flags;
}

/* off_t has 64 bits, so the other name means the same. */
int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int open(const char *path, int flags, ...) {
    int (*libc)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return libc(path, with_append(path, flags), mode);
}
