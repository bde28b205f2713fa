/* SPDX-License-Identifier: MIT */
/* config.c - the KAIO_* environment variables.
 *
 * The table in options.def is the only place that names an option. kaio_config_load() runs once,
 * from load() in api.c, before there is a second thread of ours; afterwards everything here is only
 * read.
 */
#include "host/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct kaio_config kaio_config;

enum option_kind { CHOICE, NUMBER, OUTPUT, PAGES };

static const struct option {
    const char *name;
    enum option_kind kind;
    void *field;
    const char *accepted; /* CHOICE: words by value, separated by | */
    int initial, min, max;
} options[] = {
#define OPTION(name, kind, field, initial, min, max, accepted, help)                               \
    {name, kind, &kaio_config.field, accepted, initial, min, max},
#include "options.def"
#undef OPTION
};

/* Index of the word in "a|b|c", or -1. */
static int choice_index(const char *words, const char *value) {
    size_t n = strlen(value);
    for (int i = 0; words; i++) {
        if (n == strcspn(words, "|") && !strncmp(words, value, n)) return i;
        words = strchr(words, '|');
        if (words) words++;
    }
    return -1;
}

/* "" for 0, "1" for standard error, or a path: a copy, for programs that set their title write over
 * the environment. A number that means nothing here is no file's name, but a mistake. */
static bool output_set(const struct option *o, const char *value) {
    char *end;
    size_t n = strlen(value);
    if (!strcmp(value, "/dev/stderr")) value = "1"; /* a symbolic link: not followed */
    long number = strtol(value, &end, 10);
    if (n == 0 || n >= KAIO_PATH_MAX || (!*end && (number < 0 || number > o->max))) return false;
    if (!*end) value = number ? "1" : "";
    strcpy(o->field, value);
    return true;
}

static bool is_directory(const char *path) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) syscall(SYS_close, fd);
    return fd >= 0;
}

/* "" for 0, "live", or a directory, which need not be there yet if a / says that it is one. */
static bool pages_set(const struct option *o, const char *value) {
    size_t n = strlen(value);
    if (n == 0 || n >= KAIO_PATH_MAX) return false;
    bool word = !strcmp(value, "0") || !strcmp(value, "live");
    if (!word && value[n - 1] != '/' && !is_directory(value)) return false;
    strcpy(o->field, strcmp(value, "0") ? value : "");
    return true;
}

static bool option_set(const struct option *o, const char *value) {
    if (o->kind == OUTPUT) return output_set(o, value);
    if (o->kind == PAGES) return pages_set(o, value);
    int number;
    if (o->kind == CHOICE) {
        number = choice_index(o->accepted, value);
        if (number < 0) return false;
    } else {
        char *end;
        errno = 0;
        long n = strtol(value, &end, 10);
        if (errno || end == value || *end || n < o->min || n > o->max) return false;
        number = (int)n;
    }
    *(int *)o->field = number;
    return true;
}

/* libkaio-record.so records: it must stand in front, and kaio_recorder is its name. */
static void look_for_recorder(void) {
    const char *file = secure_getenv("KAIO_RECORD");
    if (!file || !strcmp(file, "0")) return;
    if (!dlsym(RTLD_DEFAULT, "kaio_recorder") || dlsym(RTLD_NEXT, "kaio_recorder"))
        kaio_say("KAIO_RECORD=%.200s: nothing is recorded without libkaio-record.so; start the "
                 "program by `kaio record -o FILE PROGRAM`, or with LD_PRELOAD=\"libkaio-record.so "
                 "libkaio.so\"",
                 file);
    dlerror(); /* is the program's again */
}

void kaio_config_load(void) {
    int saved = errno;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct option *o = &options[i];
        if (o->kind >= OUTPUT) *(char *)o->field = 0;
        else *(int *)o->field = o->initial;
        const char *value = secure_getenv(o->name);
        if (!value || option_set(o, value)) continue;
        kaio_say("%s=%.200s is not understood (accepted: %s); the default stays", o->name, value,
                 o->accepted);
    }
    look_for_recorder();
    errno = saved;
}
