/* SPDX-License-Identifier: MIT */
/* kind.c - what a descriptor is. Anywhere; only statx(), fstat() and lseek(), which wait for
 * nothing. */
#include "host/host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Filters of containers may know fstat(), but not statx(); nor do kernels before 4.11. errno stays.
 */
static bool look_at(int fd, struct statx *st) {
    struct stat found;
    int saved = errno;
    static atomic_bool missing; /* relaxed: at worst it is asked for once more */
    const long flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    const long what = STATX_TYPE | STATX_SIZE | STATX_INO | STATX_BTIME;
    if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
        if (!syscall(SYS_statx, fd, "", flags, what, st)) return true;
        if (errno == ENOSYS) atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
    bool known = kaio_fstat(fd, &found) == 0;
    errno = saved;
    if (!known) return false;
    st->stx_mask = 0; /* no STATX_BTIME */
    st->stx_mode = (uint16_t)found.st_mode;
    st->stx_size = (uint64_t)found.st_size;
    st->stx_ino = found.st_ino;
    st->stx_dev_major = major(found.st_dev);
    st->stx_dev_minor = minor(found.st_dev);
    return true;
}

/* lseek(2): not pipes, sockets, terminals. A third of what statx() takes. */
bool kaio_kind_seeks(int fd) {
    return lseek(fd, 0, SEEK_CUR) >= 0;
}

/* Has the descriptor positions (files, block devices, some character devices), or a peer? */
enum kaio_kind kaio_kind_of(int fd, struct statx *st) {
    if (!look_at(fd, st)) return KAIO_UNKNOWN; /* pread() will tell what is wrong */
    mode_t mode = st->stx_mode;
    bool file =
        S_ISREG(mode) || S_ISBLK(mode) || S_ISDIR(mode) || (S_ISCHR(mode) && kaio_kind_seeks(fd));
    return file ? KAIO_FILE_LIKE : KAIO_STREAM;
}

/* A file whose filesystem stores, and so knows when it was made. Those of sysfs, control groups and
 * the like do not; there each write is a command. */
bool kaio_kind_is_storage(int fd) {
    struct statx st;
    return look_at(fd, &st) && S_ISREG(st.stx_mode) && st.stx_mask & STATX_BTIME;
}

bool kaio_kind_is_stream(int fd) {
    struct statx st;
    return kaio_kind_of(fd, &st) == KAIO_STREAM;
}
