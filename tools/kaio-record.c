/* SPDX-License-Identifier: MIT */
/* kaio-record - runs a command that is recorded, and says what is in the recording and how fio
 * replays it; for kaio record.
 *
 *   kaio-record FILE COMMAND [ARGUMENT ...]
 *
 * FILE is absolute, and what libkaio-record.so is told (KAIO_RECORD). The recordings of other
 * processes are FILE.PID and FILE.PID.N; of those, what was there before is somebody else's. On
 * standard error, once the command has ended; then it ends as the command did.
 */
#include "early.h"

#include "parent.h"
#include "printable.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *file, *name; /* its path; its name in the directory */

static struct {
    unsigned long long reads, bytes_read, writes, bytes_written, syncs, opened, direct;
} sum;

/* FILE, or FILE and numbers behind points. */
static int is_ours(const struct dirent *entry) {
    size_t n = strlen(name);
    if (strncmp(entry->d_name, name, n) != 0) return 0;
    const char *rest = entry->d_name + n;
    return !*rest || (*rest == '.' && rest[1] && rest[strspn(rest, ".0123456789")] == 0);
}

static int look(struct dirent ***names) {
    char *directory = strndup(file, (size_t)(name - file));
    int n = directory ? scandir(directory, names, is_ours, versionsort) : -1;
    free(directory);
    return n;
}

static bool has(struct dirent **names, int n, const char *wanted) {
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i]->d_name, wanted)) return true;
    return false;
}

/* A line is: time, path, what, and of a request offset and length. */
static void add_line(const char *line) {
    char what[16], more[16] = "";
    unsigned long long bytes = 0;
    if (sscanf(line, "%*u %*s %15s %15s %llu", what, more, &bytes) < 1) return;
    if (!strcmp(what, "open")) sum.opened++, sum.direct += !strcmp(more, "direct");
    if (!strcmp(what, "read")) sum.reads++, sum.bytes_read += bytes;
    if (!strcmp(what, "write")) sum.writes++, sum.bytes_written += bytes;
    if (!strcmp(what, "sync") || !strcmp(what, "datasync")) sum.syncs++;
}

static bool add(const char *path) {
    char *line = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "re");
    while (in && getline(&line, &size, in) > 0) add_line(line);
    free(line);
    return in && fclose(in) == 0;
}

static void put_bytes(FILE *out, unsigned long long bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++) value /= 1024;
    fprintf(out, "%.*f %s", unit == 0 || value >= 100 ? 0 : 1, value, units[unit]);
}

static void put_sum(FILE *out) {
    fprintf(out, "%llu read%s of ", sum.reads, sum.reads == 1 ? "" : "s");
    put_bytes(out, sum.bytes_read);
    fprintf(out, ", %llu write%s of ", sum.writes, sum.writes == 1 ? "" : "s");
    put_bytes(out, sum.bytes_written);
    fprintf(out, ", %llu sync%s", sum.syncs, sum.syncs == 1 ? "" : "s");
}

/* For a shell, which then hands fio a list of paths: there a colon separates, unless it has a \. */
static void put_path(FILE *out, const char *path) {
    for (; *path; path++) {
        if (*path == ':') fputs("'\\:'", out);
        else if (*path == '\'') fputs("\\'", out);
        else if (strchr(" \t\n!\"#$&()*;<>?[\\]`{|}~^", *path)) fprintf(out, "'%c'", *path);
        else fputc(*path, out);
    }
}

/* Adds up what the recordings have, and puts their paths for fio; how many. */
static int put_recordings(FILE *paths, struct dirent **names, int n) {
    int directory = (int)(name - file), logs = 0;
    char path[PATH_MAX];
    for (int i = 0; i < n; i++) {
        if (!*names[i]->d_name) continue;
        snprintf(path, sizeof path, "%.*s%s", directory, file, names[i]->d_name);
        if (!add(path)) continue;
        if (logs++) fputc(':', paths);
        put_path(paths, path);
    }
    return logs;
}

static void put_report(FILE *out, int logs, const char *paths) {
    bool direct = sum.direct && sum.direct == sum.opened;
    fputs("kaio: ", out);
    put_sum(out);
    fputs(" recorded in ", out);
    printable(out, file, INT_MAX);
    if (logs > 1) fprintf(out, " and %d more, a file for each process", logs - 1);
    fputs("; fio replays them:\n\n    fio --name=replay", out);
    if (logs > 1) fprintf(out, " --numjobs=%d", logs);
    fprintf(out, " --read_iolog=%s --ioengine=libaio --iodepth=32%s\n\n", paths,
            direct ? " --direct=1" : "");
    if (sum.direct && !direct)
        fputs("Only some of the files were open with O_DIRECT; fio has one --direct for all.\n",
              out);
    if (sum.writes) fputs("It writes where the command wrote: replay on copies.\n", out);
}

static void report(struct dirent **names, int n) {
    char *list = NULL;
    size_t size = 0;
    FILE *paths = open_memstream(&list, &size);
    int logs = paths ? put_recordings(paths, names, n) : 0;
    if (paths) fclose(paths);
    if (list && sum.reads + sum.writes + sum.syncs > 0) put_report(stderr, logs, list);
    else
        fputs("kaio: nothing is recorded: the command made no request of a file by POSIX AIO\n",
              stderr);
    free(list);
}

int main(int argc, char *argv[]) {
    struct dirent **before = NULL, **after = NULL;
    if (argc < 3 || *argv[1] != '/') return errno = EINVAL, perror("kaio: kaio-record"), 125;
    file = argv[1];
    name = strrchr(file, '/') + 1;
    int nbefore = look(&before);
    parent_begin();
    pid_t pid = parent_start(argv + 2);
    if (pid < 0) return perror("kaio: fork"), 125;
    setlinebuf(stderr);
    int status = parent_wait(pid);
    int nafter = look(&after), made = nafter;
    for (int i = 0; i < nafter; i++)
        if (has(before, nbefore, after[i]->d_name)) *after[i]->d_name = 0, made--;
    /* 125, 126, 127: kaio has said why the command did not start */
    bool ran = !WIFEXITED(status) || WEXITSTATUS(status) < 125 || WEXITSTATUS(status) > 127;
    if (ran || made > 0) report(after, nafter);
    return parent_end_as(status);
}
