/* SPDX-License-Identifier: MIT */
/* check.c - kaio check: will libkaio help a program, does it serve a process, which way do reads
 * and writes take at a path? Findings, a line each.
 */
#include "early.h"

#include "elf.h"
#include "kaio.h"
#include "printable.h"

#include <getopt.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LINE (4 * PATH_MAX)

static bool bad; /* a "no" was among the findings */

void kaio_finding(const char *kind, const char *format, ...) {
    char sentence[LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    printf("%-6s", kind);
    printable(stdout, sentence, INT_MAX);
    printf("\n");
    if (!strcmp(kind, "no")) bad = true;
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Which AIO calls it and its libraries want. */
static void check_uses(const char *path) {
    struct object **family = object_family(object_get(path));
    const char *native = NULL, *other;
    bool used = false;
    for (; *family; family++) {
        const char *name = base_of((*family)->path);
        char text[256] = "";
        for (unsigned i = 0; object_call(i); i++)
            if ((*family)->calls & 1u << i) strcat(strcat(text, " "), object_call(i));
        if (*text) kaio_finding("ok", "uses POSIX AIO: %s calls%s", (*family)->path, text);
        if (*text) used = true;
        other = !strncmp(name, "libaio.so", 9)      ? "libaio.so"
                : !strncmp(name, "liburing.so", 11) ? "liburing.so"
                                                    : NULL;
        if (!native) native = other;
    }
    if (used) return;
    if (native)
        kaio_finding("warn",
                     "no POSIX AIO: it uses %s, which is the kernel's AIO already; libkaio changes "
                     "nothing",
                     native);
    else
        kaio_finding("warn", "no POSIX AIO in it or its libraries: libkaio changes nothing, unless "
                             "it starts a program or loads a plug-in that has some");
}

/* Is the runtime of ASan among the libraries that it wants? (A runtime inside it bears ours.) */
static bool has_asan(const char *path) {
    struct object **family = object_family(object_get(path));
    while (*++family) { /* behind the program itself */
        const char *name = base_of((*family)->path);
        if (!strncmp(name, "lib", 3) && strstr(name, "asan") && strstr(name, ".so")) return true;
    }
    return false;
}

static void check_program(const char *path) {
    char why[2 * PATH_MAX];
    const char *script = kaio_interpreter_of(path);
    if (script) {
        kaio_finding("ok", "%s: a script for %s, which is checked instead", path, script);
        if (access(script, X_OK)) return kaio_finding("no", "%s: cannot be run", script);
        path = script;
    }
    if (kaio_reach(path, true, why, sizeof why)) return kaio_finding("no", "%s: %s", path, why);
    kaio_finding("ok", "%s: a dynamic program of glibc, neither setuid nor with capabilities",
                 path);
    if (has_asan(path))
        kaio_finding("ok",
                     "ASan's runtime refuses a plain LD_PRELOAD=libkaio.so: kaio tells it not "
                     "to; by hand ASAN_OPTIONS=verify_asan_link_order=0");
    check_uses(path);
}

/* The value that a process got in its environment. The text is the caller's to free. */
static char *value_in(const char *pid, const char *name) {
    char path[64], *variable = NULL, *value = NULL;
    size_t size = 0, n = strlen(name);
    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    FILE *environment = fopen(path, "re");
    while (environment && getdelim(&variable, &size, 0, environment) > 0) {
        if (strncmp(variable, name, n) || variable[n] != '=') continue;
        free(value);
        value = strdup(variable + n + 1);
    }
    free(variable);
    if (environment) fclose(environment);
    return value;
}

struct maps {
    bool readable, context;
    char library[PATH_MAX], recorder[PATH_MAX]; /* "": not loaded */
};

static void read_maps(const char *pid, struct maps *maps) {
    char path[64], *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "/proc/%.20s/maps", pid);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) > 0) {
        char *name = strchr(line, '/');
        maps->readable = true;
        if (!name) continue;
        name[strcspn(name, "\n")] = 0;
        if (!strncmp(name, "/[aio]", 6)) maps->context = true;
        enum kaio_part part = kaio_part_of(name);
        if (part == KAIO_NO_PART) continue;
        char *found = part == KAIO_RECORDER ? maps->recorder : maps->library;
        if (!*found) snprintf(found, PATH_MAX, "%s", name);
    }
    free(line);
    if (file) fclose(file);
}

static void check_unloaded(const char *pid, const char *name) {
    char path[64], program[PATH_MAX], *preload = value_in(pid, "LD_PRELOAD");
    kaio_finding("no",
                 "process %s (%s): libkaio is not loaded; it has to be started with it: kaio "
                 "COMMAND",
                 pid, name);
    snprintf(path, sizeof path, "/proc/%.20s/exe", pid);
    ssize_t n = readlink(path, program, sizeof program - 1);
    if (preload && strstr(preload, "libkaio.so")) {
        kaio_finding("no", "its LD_PRELOAD names libkaio, but the file was not found or not "
                           "accepted; LD_DEBUG=libs shows why");
    } else if (n > 0) {
        program[n] = 0;
        check_program(program);
    }
    free(preload);
}

static void check_process(const char *pid) {
    static struct maps maps;
    char path[64], name[64] = "";
    maps = (struct maps){.readable = false};
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    if (fd >= 0) close(fd);
    if (n > 0) name[n - (name[n - 1] == '\n')] = 0;
    read_maps(pid, &maps);
    if (!maps.readable)
        return kaio_finding("warn",
                            "process %s (%s): may not be looked at; run kaio check as its user or "
                            "as root",
                            pid, name);
    if (*maps.recorder)
        kaio_finding("ok", "process %s (%s): libkaio-record is loaded: %s", pid, name,
                     maps.recorder);
    if (!*maps.library) return check_unloaded(pid, name);
    kaio_finding("ok", "process %s (%s): libkaio is loaded: %s", pid, name, maps.library);
    char *mode = value_in(pid, "KAIO_MODE");
    if (mode && !strcmp(mode, "off"))
        kaio_finding("no", "not active: it was started with KAIO_MODE=off");
    else if (maps.context) kaio_finding("ok", "active: it has a kernel context");
    else
        kaio_finding("ok",
                     "active, without a kernel context: fewer than 65 requests needed one so far, "
                     "or io_setup was refused (KAIO_LOG=1 tells)");
    free(mode);
}

/* Of the last mount on the way to it. The text is good until the next call. */
static const char *filesystem_of(const char *path) {
    static char type[64];
    char real[PATH_MAX];
    size_t longest = 0;
    strcpy(type, "unknown");
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts) return type;
    if (!realpath(path, real)) *real = 0;
    for (struct mntent *mount; (mount = getmntent(mounts));) {
        size_t n = strlen(mount->mnt_dir);
        bool above =
            !strncmp(mount->mnt_dir, real, n) && (real[n] == '/' || !real[n] || real[n - 1] == '/');
        if (!above || n < longest) continue;
        longest = n;
        snprintf(type, sizeof type, "%s", mount->mnt_type);
    }
    endmntent(mounts);
    return type;
}

static bool is_process(const char *what) {
    char path[64];
    if (!*what || what[strspn(what, "0123456789")]) return false;
    snprintf(path, sizeof path, "/proc/%.20s", what);
    return access(path, F_OK) == 0;
}

static bool is_there(const char *what) {
    if (access(what, F_OK) == 0) return true;
    return *what && !strchr(what, '/') && (is_process(what) || kaio_in_path(what));
}

/* A name means a program in PATH before a file here. */
static void check_one(const char *what) {
    struct stat st;
    const char *found = strchr(what, '/') ? NULL : kaio_in_path(what);
    printf("\n");
    if (is_process(what)) return check_process(what);
    if (found) return check_program(found);
    if (strchr(what, '/') && !kaio_stat(what, &st) && S_ISREG(st.st_mode) && !access(what, X_OK))
        return check_program(what);
    kaio_finding("ok", "%s: filesystem %s", what, filesystem_of(what));
    kaio_probe_path(what);
}

int kaio_check(int argc, char *argv[]) {
    while (kaio_next_option("check", argc, argv) != -1) continue;
    kaio_need_library();
    /* What is not there is said first; with nothing else to look at, that is all. */
    int missing = 0;
    for (int i = optind; i < argc; i++) {
        if (is_there(argv[i])) continue;
        missing++;
        if (strchr(argv[i], '/')) kaio_probe_path(argv[i]); /* says why */
        else kaio_finding("no", "%s: neither a command, nor a process, nor a file", argv[i]);
    }
    if (missing > 0 && missing == argc - optind) return bad;
    kaio_probe_system();
    for (int i = optind; i < argc; i++)
        if (is_there(argv[i])) check_one(argv[i]);
    return bad;
}
