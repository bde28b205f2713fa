/* SPDX-License-Identifier: MIT */
/* output.c - can KAIO_LOG, KAIO_STATS or KAIO_RECORD be written where it says? Tried as they
 * are written, and nothing stays: a file that was not there is removed again.
 */
#include "early.h"

#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONGEST 1023 /* KAIO_PATH_MAX - 1 */

static int try_directory(const char *path) {
    struct stat st;
    if (kaio_stat(path, &st)) return errno;
    if (!S_ISDIR(st.st_mode)) return ENOTDIR;
    return access(path, W_OK | X_OK) ? errno : 0;
}

/* Never waits, as for a FIFO that nobody reads; follows no link at its end. */
static int try_file(const char *path) {
    int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_CREAT | O_EXCL, 0600);
        if (fd >= 0) unlink(path);
    }
    if (fd < 0) return errno;
    close(fd);
    return 0;
}

const char *kaio_try_output(const char *variable, const char *path) {
    char name[PATH_MAX];
    const char *p = strcmp(variable, "KAIO_RECORD") ? strstr(path, "%p") : NULL;
    int before = p ? (int)(p - path) : (int)strlen(path), err = ENAMETOOLONG;
    if (strlen(path) <= LONGEST) {
        snprintf(name, sizeof name, "%.*s", before, path);
        if (p) snprintf(name + before, sizeof name - (size_t)before, "%d%s", (int)getpid(), p + 2);
        /* a recording that is there stays; it goes to a file beside it */
        if (!strcmp(variable, "KAIO_RECORD") && !access(path, F_OK))
            snprintf(name, sizeof name, "%s.%d", path, (int)getpid());
        struct stat st;
        bool directory =
            !strcmp(variable, "KAIO_STATS") &&
            (path[strlen(path) - 1] == '/' || (!kaio_stat(path, &st) && S_ISDIR(st.st_mode)));
        err = directory ? try_directory(path) : try_file(name);
    }
    if (err == ELOOP) return "it is a symbolic link, which is not followed";
    if (err == ENXIO) return "nobody reads it";
    return err ? strerror(err) : NULL;
}
