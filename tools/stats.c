/* SPDX-License-Identifier: MIT */
/* stats.c - runs a command and reports what all its processes asked of AIO, whatever ends them; for
 * kaio --stats.
 *
 * WHERE: 1, standard error; or a file, to which the report is appended: the sum as text, or if its
 * name ends in .json an object for each process on a line. %p becomes the command's number, or that
 * of the process. No link at the end of a path is followed, and no block device written to.
 *
 * The processes count in a directory of their own (KAIO_STATS=DIRECTORY/), in memory if possible.
 * This one waits (parent.h), and ends as the command did, by the same signal, too.
 */
#include "early.h"

#include "kaio.h"
#include "pages.h"
#include "parent.h"
#include "printable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char directory[PATH_MAX];
static int dir; /* the same, open */

/* To a file in one piece. For a reader who is behind it waits a second at most. */
static bool write_all(int fd, const char *text, size_t n) {
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    struct stat st;
    bool file = kaio_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    while (n > 0) {
        if (poll(&room, 1, 1000) != 1) return errno = EAGAIN, false;
        ssize_t done = write(fd, text, file || n < PIPE_BUF ? n : PIPE_BUF);
        if (done <= 0) return false;
        text += done;
        n -= (size_t)done;
    }
    return true;
}

/* A line on standard error. */
static void say(const char *before, const char *name, const char *after) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out) return;
    fprintf(out, "kaio: %s", before);
    printable(out, name, INT_MAX);
    fprintf(out, ": %s\n", after);
    fclose(out);
    write_all(2, text, n);
    free(text);
}

static int fail(const char *what) {
    say("", what, strerror(errno));
    return 125;
}

/* With room for a page: one that cannot be made would be missing in the sum. */
static bool make_directory(const char *parent) {
    if (!parent || strlen(parent) > 900) return false;
    sprintf(directory, "%s/kaio-stats.XXXXXX", parent);
    if (!mkdtemp(directory)) return false;
    dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(dir, "room", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = fd < 0 ? errno : posix_fallocate(fd, 0, sizeof(struct kaio_counts));
    if (fd >= 0) close(fd);
    unlinkat(dir, "room", 0);
    /* a program of root's may become another user before it makes its first request */
    if (!err && (geteuid() || !fchmod(dir, S_ISVTX | 0733))) return true;
    rmdir(directory);
    errno = err;
    return false;
}

static bool set_environment(const char *preload) {
    char where[PATH_MAX + 2];
    snprintf(where, sizeof where, "%s/", directory);
    return setenv("KAIO_STATS", where, 1) == 0 && setenv("LD_PRELOAD", preload, 1) == 0;
}

static bool counts_here(const char *variable) {
    return !strncmp(variable, "KAIO_STATS=", 11) &&
           !strncmp(variable + 11, directory, strlen(directory));
}

/* How many processes go on. */
static int still_running(void) {
    int n = 0;
    DIR *proc = opendir("/proc");
    if (!proc) return 0;
    for (struct dirent *entry; (entry = readdir(proc));)
        if (*entry->d_name >= '1' && *entry->d_name <= '9')
            n += kaio_process_has(entry->d_name, "environ", 0, counts_here);
    closedir(proc);
    return n;
}

/* A descriptor or -1: standard error, or the file at WHERE. */
static int open_report(const char *where, unsigned pid) {
    if (!strcmp(where, "1")) return dup(2);
    char path[PATH_MAX];
    struct stat st;
    const char *p = strstr(where, "%p");
    int before = p ? (int)(p - where) : (int)strlen(where);
    int n = snprintf(path, sizeof path, "%.*s", before, where);
    if (p) snprintf(path + n, sizeof path - (size_t)n, "%u%s", pid, p + 2);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = open(path, flags, 0666);
    if (fd < 0 || (kaio_fstat(fd, &st) == 0 && !S_ISBLK(st.st_mode))) return fd;
    close(fd);
    return errno = ENOTSUP, -1;
}

static void put(const char *where, unsigned pid, const char *text, size_t n) {
    int fd = open_report(where, pid);
    if ((fd < 0 || !write_all(fd, text, n)) && strcmp(where, "1"))
        say("the report cannot be written: ", where, strerror(errno));
    if (fd >= 0) close(fd);
}

static bool is_json(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".json");
}

/* One page as JSON, or NULL the sum as text. */
static void put_page(const char *where, unsigned pid, const struct kaio_counts *page,
                     const char *command) {
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    if (!out) return;
    if (page) json_page(out, page);
    else pages_print(out, command);
    fclose(out);
    put(where, pid, text, n);
    free(text);
}

static void report(const char *where, pid_t child, const char *command) {
    static struct kaio_counts page;
    struct dirent **names;
    bool json = is_json(where);
    int running = still_running(), found = 0;
    for (int i = 0; running && i < 20; i++) { /* some are just ending */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        running = still_running();
    }
    int n = scandir(directory, &names, NULL, versionsort); /* by process, then by time */
    for (int i = 0; i < n; i++) {
        if (!page_read(dir, names[i]->d_name, NULL, &page)) continue;
        if (json) put_page(where, page.pid, &page, NULL);
        else pages_add(&page);
        found++;
    }
    if (!json) put_page(where, (unsigned)child, NULL, command);
    else if (!found) put(where, (unsigned)child, "", 0); /* nobody has asked for anything */
    char text[PATH_MAX + 128];
    int length = snprintf(
        text, sizeof text,
        "  still running: %d; when they have ended, 'kaio top --report %s/*' has all of it\n",
        running, directory);
    if (running) write_all(2, text, (size_t)length);
    for (int i = 0; !running && i < n; i++) unlinkat(dir, names[i]->d_name, 0);
    if (!running) rmdir(directory);
}

int kaio_stats(const char *where, const char *preload, char *argv[]) {
    parent_begin();
    if (!make_directory("/dev/shm") && !make_directory(getenv("TMPDIR")) && !make_directory("/tmp"))
        return fail("no room for statistics in /dev/shm, $TMPDIR or /tmp");
    if (!set_environment(preload)) return fail("LD_PRELOAD");
    pid_t pid = parent_start(argv);
    if (pid < 0) return fail("fork");
    int status = parent_wait(pid);
    report(where, pid, *argv);
    return parent_end_as(status);
}
