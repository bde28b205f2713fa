/* SPDX-License-Identifier: MIT */
/* program.c - the program that run, ab and check mean: where it is, what LD_PRELOAD is to be for
 * it, and whether that reaches it.
 */
#include "early.h"

#include "elf.h"
#include "kaio.h"

#include <dirent.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* What LD_PRELOAD is to call the library: its path, or one with $LIB; musl's, if the program that
 * was looked at last is of musl. */
static char preload_name[PATH_MAX], musl_name[PATH_MAX];
/* The library's files: of the own class first. */
static char (*libraries)[PATH_MAX];
static size_t nlibraries;

enum kaio_part kaio_part_of(const char *path) {
    const char *slash = strrchr(path, '/'), *name = strstr(slash ? slash : path, "libkaio");
    if (!name || !strstr(name, ".so")) return KAIO_NO_PART;
    return strncmp(name, "libkaio-record.so", 17) ? KAIO_LIBRARY : KAIO_RECORDER;
}

const char *kaio_in_path(const char *name) {
    static char path[2 * PATH_MAX];
    const char *rest = getenv("PATH");
    struct stat st;
    if (!rest) rest = "/bin:/usr/bin";
    for (int n; *name; rest += n + 1) {
        n = (int)strcspn(rest, ":");
        snprintf(path, sizeof path, "%.*s/%s", n ? n : 1, n ? rest : ".", name);
        if (!kaio_stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK)) return path;
        if (!rest[n]) break;
    }
    return NULL;
}

const char *kaio_find_program(const char *name) {
    char why[1024];
    struct stat st;
    const char *program = strchr(name, '/') ? name : kaio_in_path(name);
    if (!program) kaio_fail(KAIO_MISSING, "%s: not found in PATH", name);
    if (kaio_stat(program, &st)) kaio_fail(KAIO_MISSING, "%s: no such file", program);
    if (S_ISDIR(st.st_mode)) kaio_fail(KAIO_REFUSED, "%s: is a directory", program);
    if (access(program, X_OK)) kaio_fail(KAIO_REFUSED, "%s: is not executable", program);
    int status = kaio_reach(program, true, why, sizeof why);
    if (status) kaio_fail(status, "%s: %s", program, why);
    return program;
}

const char *kaio_interpreter_of(const char *script) {
    static char line[256];
    int fd = open(script, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    if (n < 3 || strncmp(line, "#!", 2)) return NULL;
    line[n] = 0;
    char *name = line + 2 + strspn(line + 2, " ");
    name[strcspn(name, " \n")] = 0;
    return *name ? name : NULL;
}

static void add_library(const char *path) {
    char real[PATH_MAX];
    if (!realpath(path, real) || access(path, R_OK)) return;
    for (size_t i = 0; i < nlibraries; i++)
        if (!strcmp(libraries[i], real)) return;
    void *more = realloc(libraries, (nlibraries + 1) * sizeof *libraries);
    if (!more) return;
    libraries = more;
    strcpy(libraries[nlibraries++], real);
}

/* PREFIX/lib*, PREFIX/lib/ *-linux-* */
static void add_libraries(const char *directory, const char *part) {
    char path[PATH_MAX];
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strstr(entry->d_name, part)) continue;
        int n = snprintf(path, sizeof path, "%s/%s/libkaio.so", directory, entry->d_name);
        if (n < PATH_MAX) add_library(path);
    }
    if (dir) closedir(dir);
}

/* Where our own libc lies, ld.so's $LIB leads to under any prefix: lib/x86_64-linux-gnu, lib64,
 * lib. */
static int find_lib(struct dl_phdr_info *info, size_t size, void *lib) {
    (void)size;
    const char *name = strstr(info->dlpi_name, "/libc.so.") ? info->dlpi_name : NULL;
    if (!name) return 0;
    if (!strncmp(name, "/usr/", 5)) name += 4;
    snprintf(lib, PATH_MAX, "%.*s", (int)(strrchr(name, '/') - name - 1), name + 1);
    return 1;
}

/* For a program of another class ld.so would complain of a file. So if there are libraries where
 * $LIB in a path leads to, they are named by that. */
static void find_libraries(void) {
    const char *library = kaio_place.library;
    char prefix[PATH_MAX], directory[PATH_MAX + 8], lib[PATH_MAX] = "", path[3 * PATH_MAX],
                                                    real[PATH_MAX];
    if (nlibraries) return;
    strcpy(preload_name, library);
    add_library(library);
    strcpy(prefix, library);
    for (int i = 0; i < 2; i++) { /* above lib64 and the like */
        char *slash = strrchr(prefix, '/');
        if (slash) *slash = 0;
    }
    const char *last = library + strlen(prefix);
    if (strstr(last, "-linux-")) {
        char *slash = strrchr(prefix, '/');
        if (!slash || strcmp(slash, "/lib")) return;
        *slash = 0;
    } else if (strncmp(last, "/lib", 4) != 0) {
        return;
    }
    add_libraries(prefix, "lib");
    snprintf(directory, sizeof directory, "%s/lib", prefix);
    add_libraries(directory, "-linux-");
    if (nlibraries < 2) return;
    dl_iterate_phdr(find_lib, lib);
    snprintf(path, sizeof path, "%s/%s/libkaio.so", prefix, lib);
    if (realpath(path, real) && !strcmp(real, library))
        snprintf(preload_name, sizeof preload_name, "%s/$LIB/libkaio.so", prefix);
    else nlibraries = 1; /* not installed where $LIB leads to */
}

/* The library in front of what is there, and with KAIO_RECORD the recorder in front of all.
 * ASan's runtime refuses to be loaded behind any other library, lest that takes its malloc() away.
 * Ours does not; of what else is in LD_PRELOAD it shall judge by itself, unless it is there, too.
 * Always set: a program may start one that has it. */
const char *kaio_preload(void) {
    static bool told;
    char *text, *more;
    const char *there = getenv("LD_PRELOAD"), *record = getenv("KAIO_RECORD");
    const char *options = getenv("ASAN_OPTIONS");
    find_libraries();
    const char *name = *musl_name ? musl_name : preload_name;
    if (name[strcspn(name, " \t\n:")])
        kaio_fail(KAIO_FAILED, "LD_PRELOAD cannot hold a path with a space or a colon: %s", name);
    int stem = (int)strlen(name) - 3; /* without .so */
    bool records = record && strcmp(record, "0") && !*musl_name;
    if (asprintf(&text, "%.*s%s%s%s%s", records ? stem : 0, name, records ? "-record.so:" : "",
                 name, there && *there ? ":" : "", there ? there : "") < 0)
        kaio_fail(KAIO_FAILED, "out of memory");
    if (told || (there && *there && !strstr(there, "asan"))) return text;
    told = true;
    if (asprintf(&more, "verify_asan_link_order=0%s%s", options && *options ? ":" : "",
                 options ? options : "") >= 0)
        setenv("ASAN_OPTIONS", more, 1);
    return text;
}

/* By the library for musl's programs. */
static int reach_musl(char *why, size_t size) {
    const char *record = getenv("KAIO_RECORD");
    int stem = (int)strlen(kaio_place.library) - 3;
    int n = snprintf(musl_name, PATH_MAX, "%.*s-musl.so", stem, kaio_place.library);
    if (n >= PATH_MAX || access(musl_name, R_OK))
        n = snprintf(musl_name, PATH_MAX, "%s/musl/libkaio-musl.so", kaio_place.tools);
    if (n >= PATH_MAX || access(musl_name, R_OK))
        snprintf(why, size,
                 "is built for musl, and libkaio-musl.so is not there; build it with "
                 "'make musl', install it with 'make install-musl'");
    else if (record && strcmp(record, "0"))
        snprintf(why, size, "is built for musl, and what such programs ask for cannot be recorded");
    else return 0;
    return KAIO_REFUSED;
}

/* Another ld.so than that of our own is asked: another class, another glibc. */
static int ask_loader(const char *loader, const char *path, char *why, size_t size) {
    static const char failed[] = "kaio: exec: ";
    static char text[65536];
    char variable[2 * PATH_MAX];
    size_t n = 0;
    int ends[2];
    snprintf(variable, sizeof variable, "%s", kaio_preload());
    if (pipe(ends)) return snprintf(why, size, "%m"), KAIO_FAILED;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        setenv("LD_PRELOAD", variable, 1);
        execl(loader, loader, "--list", path, NULL);
        dprintf(1, "%s%s", failed,
                errno == ENOEXEC ? "this kernel runs no programs of its kind" : strerror(errno));
        _exit(KAIO_MISSING);
    }
    close(ends[1]);
    for (ssize_t more; (more = read(ends[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)more;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    text[n] = 0;
    const char *missing = strstr(text, "not found (required by ");
    if (!strncmp(text, failed, strlen(failed)))
        snprintf(why, size, "its ld.so (%s) cannot be run: %s", loader, text + strlen(failed));
    else if (missing && strstr(missing, "libkaio"))
        snprintf(why, size, "its glibc is older than 2.17, which libkaio needs");
    else if (strstr(text, "/libkaio.so (0x")) return 0;
    else
        snprintf(why, size,
                 "its ld.so (%s) does not load %s; install its library where $LIB leads to there "
                 "(kaio(1), 32-BIT PROGRAMS)",
                 loader, variable);
    return KAIO_REFUSED;
}

static int refuse(int status, char *why, size_t size, const char *sentence) {
    snprintf(why, size, "%s", sentence);
    return status;
}

/* As reach(): of an ELF file. */
static int reach_elf(const struct elf *elf, const char *path, bool ask, char *why, size_t size) {
    struct elf own = {0}, library = {0};
    find_libraries();
    for (size_t i = 0;; i++) {
        elf_close(&library);
        if (i == nlibraries) { /* the first one is the one that is here in any case */
            elf_open(kaio_place.library, &library);
            snprintf(why, size,
                     "is built for another architecture (%s) than libkaio.so (%s); install its "
                     "library, too (kaio(1), 32-BIT PROGRAMS)",
                     elf_machine(elf), elf_machine(&library));
            return KAIO_REFUSED;
        }
        if (elf_open(libraries[i], &library) || !library.base) {
            snprintf(why, size, "%s: the library cannot be read; build it with 'make'",
                     libraries[i]);
            return KAIO_FAILED;
        }
        if (elf_same_machine(elf, &library)) break;
    }
    elf_close(&library);
    const char *loader = elf_interpreter(elf);
    if (!loader)
        return refuse(KAIO_REFUSED, why, size,
                      "is statically linked, so no library can be put in front of it");
    const char *ours = elf_open(kaio_place.self, &own) || !own.base ? NULL : elf_interpreter(&own);
    bool same = ours && !strcmp(ours, loader) && elf_same_machine(elf, &own);
    elf_close(&own);
    if (same) return 0;
    if (strstr(loader, "ld-musl")) return reach_musl(why, size);
    return ask ? ask_loader(loader, path, why, size) : 0;
}

int kaio_reach(const char *path, bool ask, char *why, size_t size) {
    struct elf elf = {0};
    struct stat st;
    *musl_name = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? errno : elf_load(fd, &elf);
    if (err) /* execute-only: the system will say if it cannot run */
        return err == EACCES ? 0 : refuse(KAIO_REFUSED, why, size, strerror(err));
    if (!kaio_fstat(fd, &st) && st.st_mode & (S_ISUID | S_ISGID))
        err = refuse(KAIO_REFUSED, why, size,
                     "is setuid or setgid, so the system ignores LD_PRELOAD for it");
    else if (fgetxattr(fd, "security.capability", NULL, 0) > 0)
        err = refuse(KAIO_REFUSED, why, size,
                     "has file capabilities, so the system ignores LD_PRELOAD for it");
    else if (elf.base) err = reach_elf(&elf, path, ask, why, size);
    close(fd); /* not ELF, a script: its interpreter is what will run */
    elf_close(&elf);
    return err;
}
