/* config.c - the KAIO_* environment variables and the log.
 *
 * The table in options.def is the only place that names an option. kaio_config_load() runs once,
 * from kaio_load(), before there is a second thread of ours; afterwards everything here is only
 * read.
 */
#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct kaio_config kaio_config;

enum option_kind { CHOICE, NUMBER, OUTPUT };

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

static bool option_set(const struct option *o, const char *value) {
    if (o->kind == OUTPUT) {
        size_t n = strlen(value);
        if (n == 0 || n >= KAIO_PATH_MAX) return false;
        /* a copy: programs that set their title write over the environment */
        strcpy(o->field, strcmp(value, "0") ? value : "");
        return true;
    }
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

void kaio_config_load(void) {
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct option *o = &options[i];
        if (o->kind == OUTPUT) *(char *)o->field = 0;
        else *(int *)o->field = o->initial;
        const char *value = secure_getenv(o->name);
        if (!value || option_set(o, value)) continue;
        fprintf(stderr, "libkaio: %s=%s is not understood (accepted: %s); the default stays\n",
                o->name, value, o->accepted);
    }
    kaio_watch_load();
}

/* %p is the process's number, which a forked child has of its own. */
static void with_pid(char path[KAIO_PATH_MAX + 16], const char *where) {
    const char *p = strstr(where, "%p");
    int before = p ? (int)(p - where) : (int)strlen(where);
    strcpy(path, where);
    if (p) sprintf(path + before, "%d%s", (int)getpid(), p + 2);
}

int kaio_output_open(const char *where) {
    char path[KAIO_PATH_MAX + 16];
    if (!*where) return -1;
    if (!strcmp(where, "1")) return kaio_fd_raise(fcntl(2, F_DUPFD_CLOEXEC, 3));
    with_pid(path, where);
    return kaio_fd_raise(
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
}

/* One line, in one write, to where KAIO_LOG says. */
void kaio_log(const char *format, ...) {
    if (!*kaio_config.log) return;
    char line[512];
    int n = snprintf(line, sizeof line, "libkaio[%d]: ", (int)getpid());
    va_list args;
    va_start(args, format);
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    va_end(args);
    if (n > (int)sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    bool standard = !strcmp(kaio_config.log, "1"); /* needs no descriptor, maybe there is none */
    int fd = standard ? 2 : kaio_output_open(kaio_config.log);
    if (fd >= 0) syscall(SYS_write, fd, line, (size_t)n);
    if (fd >= 0 && !standard) syscall(SYS_close, fd);
}
