/* SPDX-License-Identifier: MIT */
/* options.c - libFuzzer on the parsing of KAIO_*, and on the paths of the log: shim/host/config.c and
 * shim/host/output.c themselves. The first byte of the input chooses the variable, the rest is its
 * value. Whatever it is, each option ends with a value that the table allows, and each path fits.
 * For options.sh.
 */
#include "../../../shim/host/config.c"
#include "../../../shim/host/output.c"

void kaio_watch_load(void) {
}

int kaio_fd_raise(int fd) {
    return fd;
}

unsigned kaio_raised_pending(const sigset_t *mask) {
    (void)mask;
    return 0;
}

void kaio_raised_take(unsigned before) {
    (void)before;
}

static void check(const struct option *o) {
    int value = *(int *)o->field, most = o->max;
    if (o->kind == OUTPUT || o->kind == PAGES) {
        char path[KAIO_PATH_MAX + 16];
        if (strnlen(o->field, KAIO_PATH_MAX) == KAIO_PATH_MAX) __builtin_trap();
        with_pid(path, o->field);
        return;
    }
    for (const char *c = o->kind == CHOICE ? o->accepted : ""; *c; c++) most += *c == '|';
    if (value < o->min || value > most) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const size_t count = sizeof options / sizeof *options;
    if (n == 0) return 0;
    const struct option *o = &options[data[0] % count];
    char *value = strndup((const char *)data + 1, n - 1);
    setenv(o->name, value, 1);
    kaio_config_load();
    unsetenv(o->name);
    free(value);
    for (size_t i = 0; i < count; i++) check(&options[i]);
    return 0;
}
