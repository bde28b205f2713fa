/* SPDX-License-Identifier: MIT */
/* share.c - the counts lie in a file that others read, which survives any end of the process:
 *
 * KAIO_STATS=live        libkaio-UID-PID in memory, for `kaio top`. Removed at exit. What a process
 *                        left that was killed or has become another program is removed by the next
 *                        one that publishes, and by `kaio top`.
 * KAIO_STATS=DIRECTORY   libkaio-UID-PID.NANOSECONDS there, for `kaio top --report`. Stays. No name
 *                        comes twice, so what a process counted before execve() stays, too.
 *
 * Made by the first request of a process (a forked child's own, too), mapped, and closed; only the
 * owner can read it.
 *
 * Nothing here may stop the program: the file's memory is reserved before it is touched, and what
 * fails leaves the counts in our own pages. Raw system calls, for aio_read() is no cancellation
 * point.
 */
#include "observe/watch.h"
#include "observe/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_NS 20000

/* Zeros in a child. */
static struct {
    _Atomic enum { NOT_YET, BEGUN, DONE } state;
    struct kaio_counts *_Atomic page;
    char path[KAIO_PATH_MAX + 64];
} __attribute__((aligned(4096))) share; /* whole pages: nothing else is wiped with it */

static bool live;
static char directory[KAIO_PATH_MAX];

void kaio_share_load(void) {
    live = !strcmp(kaio_config.stats, "live");
    const char *own = secure_getenv("XDG_RUNTIME_DIR");
    bool usable = own && *own == '/' && strlen(own) < sizeof directory && !access(own, W_OK | X_OK);
    strcpy(directory, !live ? kaio_config.stats : usable ? own : "/dev/shm");
    char *slash = strrchr(directory, '/');
    if (slash && !slash[1]) *slash = 0;
    madvise(&share, sizeof share, MADV_WIPEONFORK);
}

/* Files of processes that are gone. */
static void sweep(void) {
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, KAIO_PAGE_PREFIX "%u-", geteuid());
    DIR *dir = opendir(directory);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, (size_t)n)) continue;
        char *end;
        long pid = strtol(entry->d_name + n, &end, 10);
        if (*end == 0 && pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

static void name_file(void) {
    int n = snprintf(share.path, sizeof share.path, "%s/" KAIO_PAGE_PREFIX "%u-%d", directory,
                     geteuid(), (int)getpid());
    if (!live) sprintf(share.path + n, ".%llu", (unsigned long long)kaio_now_ns());
}

/* Written, not only made longer: its room is there then. */
static int make_file(const struct kaio_counts *own) {
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    if (live) unlink(share.path); /* of one that was us before execve(), or is gone */
    int fd =
        kaio_fd_raise((int)syscall(SYS_openat, AT_FDCWD, share.path, flags | O_LARGEFILE, 0600));
    if (fd < 0) return fd;
    long n = syscall(SYS_write, fd, own, sizeof *own);
    if (n == (long)sizeof *own) return fd;
    int err = n < 0 ? errno : ENOSPC;
    unlink(share.path);
    syscall(SYS_close, fd);
    errno = err;
    return -1;
}

/* 0 or -errno */
static int publish_page(const struct kaio_counts *own) {
    size_t size = sizeof(struct kaio_counts);
    name_file();
    int fd = make_file(own);
    struct kaio_counts *page = MAP_FAILED;
    if (fd >= 0) page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int err = page == MAP_FAILED ? -errno : 0;
    if (err) {
        (live ? kaio_log : kaio_say)("nothing is published: %s: %s", share.path,
                                     kaio_strerror(-err));
        share.path[0] = 0;
    } else {
        madvise(page, size, MADV_DONTFORK);
        /* release: pairs with the acquire in kaio_share_page() */
        atomic_store_explicit(&share.page, page, memory_order_release);
        page->magic = KAIO_PAGE_MAGIC;
    }
    if (fd >= 0) syscall(SYS_close, fd);
    return err;
}

struct kaio_counts *kaio_share_page(void) {
    return atomic_load_explicit(&share.page, memory_order_acquire);
}

/* One thread makes it; others that come meanwhile wait, for what they counted would be lost. No
 * handler comes between: it would wait for the thread that it interrupts. */
void kaio_share_begin(const struct kaio_counts *own) {
    if (atomic_load_explicit(&share.state, memory_order_acquire) == DONE) return;
    struct kaio_output o;
    int err = 0;
    kaio_output_begin(&o); /* a write past RLIMIT_FSIZE raises SIGXFSZ */
    unsigned state = NOT_YET;
    if (atomic_compare_exchange_strong_explicit(&share.state, &state, BEGUN, memory_order_relaxed,
                                                memory_order_relaxed)) {
        if (live) sweep();
        err = publish_page(own);
        /* release: pairs with both acquires */
        atomic_store_explicit(&share.state, DONE, memory_order_release);
    }
    while (atomic_load_explicit(&share.state, memory_order_acquire) != DONE)
        kaio_clock_nap(LOOK_NS, false);
    kaio_output_end(&o, err);
}

/* Counting goes on, live in memory that has no name. */
void kaio_share_end(void) {
    if (live && share.path[0]) unlink(share.path);
}
