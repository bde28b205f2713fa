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

static int open_by(const char *name, const char *path, int flags, mode_t mode) {
    int (*libc)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    return libc(path, with_append(path, flags), mode);
}

static mode_t mode_of(va_list list, int flags) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(list, flags);
    va_end(list);
    return open_by("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(list, flags);
    va_end(list);
    return open_by("open64", path, flags, mode);
}
