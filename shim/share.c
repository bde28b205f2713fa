/* share.c - KAIO_STATS=live: the counts lie in a file in memory that `kaio top` reads.
 *
 * Made by the first request of a process (a forked child's own, too), mapped, and closed; only the
 * owner can read it. Removed at exit. What a process left that was killed or has become another
 * program is removed by the next one that publishes, and by `kaio top`.
 *
 * Nothing here may stop the program: the file's memory is reserved before it is touched, and what
 * fails leaves the counts in our own pages. Raw system calls, for aio_read() is no cancellation
 * point.
 */
#include "kaio.h"
#include "stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Zeros in a child. */
static struct {
    atomic_bool begun;
    char path[KAIO_PATH_MAX];
} __attribute__((aligned(4096))) share; /* whole pages: nothing else is wiped with it */

static bool live;
static char directory[KAIO_PATH_MAX / 2];

void kaio_share_load(void) {
    live = !strcmp(kaio_config.stats, "live");
    if (!live) return;
    const char *own = secure_getenv("XDG_RUNTIME_DIR");
    bool usable = own && *own == '/' && strlen(own) < sizeof directory && !access(own, W_OK | X_OK);
    strcpy(directory, usable ? own : "/dev/shm");
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

/* A file of our own number is that of a process which was us before execve(), or is gone. */
static int make_file(void) {
    int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    size_t size = sizeof(struct kaio_counts);
    unlink(share.path);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, share.path, flags, 0600);
    if (fd < 0 || syscall(SYS_fallocate, fd, 0, 0l, size) == 0) return fd;
    int err = errno;
    unlink(share.path);
    syscall(SYS_close, fd);
    errno = err;
    return -1;
}

static void publish(void) {
    size_t size = sizeof(struct kaio_counts);
    snprintf(share.path, sizeof share.path, "%s/" KAIO_PAGE_PREFIX "%u-%d", directory, geteuid(),
             (int)getpid());
    int fd = make_file();
    struct kaio_counts *page = MAP_FAILED;
    if (fd >= 0) page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || page == MAP_FAILED) {
        kaio_log("nothing is published: %s: %s", share.path, strerror(errno));
        share.path[0] = 0;
    } else {
        madvise(page, size, MADV_DONTFORK);
        page->size = size;
        page->pid = (uint32_t)getpid();
        page->mode = (uint32_t)kaio_config.mode;
        snprintf(page->command, sizeof page->command, "%s", program_invocation_short_name);
        kaio_watch_share(page);
        page->magic = KAIO_PAGE_MAGIC;
    }
    if (fd >= 0) syscall(SYS_close, fd);
}

/* One thread makes it; what others count meanwhile stays in our own pages. */
void kaio_share_begin(void) {
    if (!live || atomic_load_explicit(&share.begun, memory_order_relaxed)) return;
    if (atomic_exchange_explicit(&share.begun, true, memory_order_relaxed)) return;
    sweep();
    publish();
}

/* At exit. Counting goes on in memory that has no name. */
void kaio_share_end(void) {
    if (share.path[0]) unlink(share.path);
}
