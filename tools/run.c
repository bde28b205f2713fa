/* SPDX-License-Identifier: MIT */
/* run.c - kaio run, and kaio record, which is the same with the recorder in front: the mistakes of
 * LD_PRELOAD=libkaio.so COMMAND caught, then one execve(), of kaio record two.
 */
#include "early.h"

#include "kaio.h"

#include <getopt.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

static bool is_directory(const char *path) {
    struct stat st;
    return !kaio_stat(path, &st) && S_ISDIR(st.st_mode);
}

static int run(char *command[]) {
    kaio_need_library();
    kaio_check_options();
    if (!*command) kaio_fail(KAIO_FAILED, "no command; 'kaio --help' shows how it is used");
    kaio_find_program(*command);
    const char *preload = kaio_preload(), *stats = getenv("KAIO_STATS");
    if (stats && strcmp(stats, "0") && strcmp(stats, "live") && !is_directory(stats))
        return kaio_stats(stats, preload, command);
    setenv("LD_PRELOAD", preload, 1);
    execvp(*command, command);
    kaio_fail(errno == ENOENT ? KAIO_MISSING : KAIO_REFUSED, "%s: %m", *command);
}

int kaio_run(int argc, char *argv[]) {
    while (kaio_next_option("run", argc, argv) != -1) continue;
    return run(argv + optind);
}

/* kaio-record is the parent, runs kaio again and says what is in the file. */
static int record(const char *file, char *command[]) {
    char helper[PATH_MAX + 16];
    size_t n = 0;
    while (command[n]) n++;
    char **words = calloc(n + 6, sizeof *words);
    if (!words) kaio_fail(KAIO_FAILED, "%m");
    snprintf(helper, sizeof helper, "%s/kaio-record", kaio_place.tools);
    setenv("KAIO_RECORD", file, 1);
    words[0] = helper;
    words[1] = strdup(file);
    words[2] = kaio_place.self;
    words[3] = "run";
    words[4] = "--";
    memcpy(words + 5, command, n * sizeof *words);
    execv(helper, words);
    kaio_fail(KAIO_FAILED, "%s cannot be run: %m", helper);
}

int kaio_record(int argc, char *argv[]) {
    const char *file = NULL;
    struct stat st;
    char byte;
    while (kaio_next_option("record", argc, argv) != -1) file = optarg;
    if (!file) kaio_fail(KAIO_FAILED, "no file to write to; name one with -o FILE");
    if (optind == argc)
        kaio_fail(KAIO_FAILED, "no command; 'kaio record --help' shows how it is used");
    char *copy = strdup(file);
    const char *directory = copy ? dirname(copy) : ".";
    if (!is_directory(directory) || access(directory, W_OK))
        kaio_fail(KAIO_FAILED, "%s cannot be written to; choose another place with -o", directory);
    if (access(file, F_OK) == 0 || readlink(file, &byte, 1) > 0) {
        if (kaio_stat(file, &st) || !S_ISREG(st.st_mode))
            kaio_fail(KAIO_FAILED, "%s is there and is not a file; choose another name with -o",
                      file);
        if (unlink(file))
            kaio_fail(KAIO_FAILED, "%s cannot be replaced; choose another name with -o", file);
    }
    free(copy);
    return record(kaio_absolute(file), argv + optind);
}
