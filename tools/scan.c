/* SPDX-License-Identifier: MIT */
/* scan.c - kaio scan: which programs below a directory import the POSIX AIO calls, themselves or by
 * a library that they load; which processes do, and in which of them libkaio is active.
 *
 * Files are only read, as ELF; no program and no ld.so is run. For processes /proc tells which
 * files they have mapped: plug-ins, too.
 */
#include "early.h"

#include "elf.h"
#include "kaio.h"
#include "printable.h"

#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* The calls that ask for something; who makes none of these has nothing for the library. */
#define ASKS 0x87u /* read, write, fsync, listio */

/* What is to be shown: a program, a process, or a library that no program here loads. */
struct user {
    const char *path,
        *through;    /* through: the library that has the calls, if it is not the program */
    const char *pid; /* "": no process */
    const char *why; /* not, if libkaio cannot help; of a process whether it is active */
    unsigned calls, waits;
    bool library;
};

static struct user *users;
static size_t nusers;
static unsigned long files, processes, unreadable;
static bool names_unreadable;

/* Kept to the end. */
static const char *copy(const char *text) {
    static struct text {
        struct text *next;
        char text[];
    } * all;
    struct text *more = malloc(sizeof *more + strlen(text) + 1);
    if (!more) kaio_fail(KAIO_FAILED, "out of memory");
    more->next = all;
    all = more;
    return strcpy(more->text, text);
}

static void *grown(void *array, size_t n, size_t size) {
    if (n & (n - 1)) return array; /* room for the next power of two */
    array = realloc(array, (n ? 2 * n : 1) * size);
    if (!array) kaio_fail(KAIO_FAILED, "out of memory");
    return array;
}

static struct user *add_user(const char *path) {
    users = grown(users, nusers, sizeof *users);
    users[nusers] = (struct user){.path = copy(path), .pid = ""};
    return &users[nusers++];
}

static void cannot_read(const char *path) {
    unreadable++;
    if (!names_unreadable) return;
    int err = errno;
    fputs("kaio: ", stderr);
    printable(stderr, path, INT_MAX);
    fprintf(stderr, ": %s\n", strerror(err));
}

/* Libraries that import calls: those that are found, and those that programs load. */
static struct list {
    const struct object **objects;
    size_t n;
} found, loaded;

static bool is_in(const struct list *list, const struct object *object) {
    for (size_t i = 0; i < list->n; i++)
        if (list->objects[i]->inode == object->inode && list->objects[i]->device == object->device)
            return true;
    return false;
}

static void put_in(struct list *list, const struct object *object) {
    if (is_in(list, object)) return;
    list->objects = grown(list->objects, list->n, sizeof(void *));
    list->objects[list->n++] = object;
}

static void look_at_program(struct object *object) {
    struct object **member = object_family(object);
    unsigned calls = object->is_static ? object->defined : 0, waits = 0;
    const char *through = NULL;
    char why[256];
    for (; *member; member++) {
        if (!(*member)->calls) continue;
        if (!calls && *member != object) through = (*member)->path;
        calls |= (*member)->calls;
        waits |= (*member)->waits;
        if (*member != object) put_in(&loaded, *member);
    }
    if (!(calls & ASKS)) return;
    struct user *user = add_user(object->path);
    user->calls = calls;
    user->waits = waits;
    if (through) user->through = copy(through);
    if (kaio_reach(object->path, false, why, sizeof why)) user->why = copy(why);
}

/* A program is executable, a library need not be: the others are not read, which takes most of the
 * time where nothing is cached. */
static void look_at_file(int dir, const char *name, const char *path) {
    char head[4];
    struct stat st;
    files++;
    if (!strstr(name, ".so") && (kaio_lstat(dir, name, &st) || !(st.st_mode & 0111))) return;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return cannot_read(path);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* no more than the first page */
    ssize_t n = pread(fd, head, sizeof head, 0);
    close(fd);
    if (n != sizeof head || memcmp(head, ELFMAG, SELFMAG) != 0) return;
    struct object *object = object_get(path);
    if (object->program) look_at_program(object);
    else if (object->calls & ASKS) put_in(&found, object);
}

static bool is_kernels(const char *path) {
    return !strcmp(path, "/proc") || !strcmp(path, "/sys") || !strcmp(path, "/dev");
}

/* Directories that are still to be looked at. */
struct directory {
    struct directory *next;
    char path[];
};

static struct directory *put_directory(struct directory *rest, const char *path) {
    struct directory *one = malloc(sizeof *one + strlen(path) + 1);
    if (!one) kaio_fail(KAIO_FAILED, "out of memory");
    one->next = rest;
    strcpy(one->path, path);
    return one;
}

/* No link is followed: what it leads to has a place of its own. */
static struct directory *look_into(const char *directory, struct directory *rest) {
    char path[PATH_MAX];
    DIR *dir = opendir(directory);
    if (!dir) return cannot_read(directory), rest;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        const char *name = entry->d_name,
                   *slash = directory[strlen(directory) - 1] == '/' ? "" : "/";
        unsigned char type = entry->d_type;
        if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
        if (snprintf(path, sizeof path, "%s%s%s", directory, slash, name) >= PATH_MAX) continue;
        if (type == DT_UNKNOWN && !kaio_lstat(dirfd(dir), name, &st))
            type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_LNK;
        if (type == DT_REG) look_at_file(dirfd(dir), name, path);
        else if (type == DT_DIR && !is_kernels(path)) rest = put_directory(rest, path);
    }
    closedir(dir);
    return rest;
}

static void scan_directory(const char *path) {
    struct directory *rest = put_directory(NULL, path);
    while (rest) {
        struct directory *one = rest;
        rest = look_into(one->path, one->next);
        free(one);
    }
}

/* A file that processes have mapped, by its device and number: looked at once. */
struct mapped {
    struct mapped *next;
    char id[48];
    const struct object *object;
};

static const struct object *mapped_object(const char *id, const char *pid, const char *path) {
    static struct mapped *all[4096];
    char name[PATH_MAX];
    unsigned hash = 5381;
    for (const char *c = id; *c; c++) hash = hash * 33 + (unsigned char)*c;
    struct mapped **at = &all[hash % 4096];
    for (struct mapped *m = *at; m; m = m->next)
        if (!strcmp(m->id, id)) return m->object;
    struct mapped *m = calloc(1, sizeof *m);
    if (!m || snprintf(name, sizeof name, "/proc/%s/root%s", pid, path) >= PATH_MAX) exit(125);
    snprintf(m->id, sizeof m->id, "%s", id);
    m->object = object_get(name); /* of the process's own root: a container's */
    m->next = *at;
    return (*at = m)->object;
}

static bool is_off(const char *variable) {
    return !strcmp(variable, "KAIO_MODE=off");
}

static void scan_process(const char *pid) {
    char path[64], program[PATH_MAX], *line = NULL, through[PATH_MAX] = "", last[48] = "";
    size_t size = 0;
    struct user user = {.pid = pid};
    bool has_library = false, own = false;
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "re");
    if (!maps) {
        if (errno != ENOENT && errno != ESRCH) cannot_read(path);
        return;
    }
    processes++;
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    ssize_t n = readlink(path, program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    while (getline(&line, &size, maps) > 0) {
        char rights[8], device[16], number[24], id[48];
        int at = 0;
        if (sscanf(line, "%*s %7s %*s %15s %23s %n", rights, device, number, &at) != 3) continue;
        char *name = line + at;
        name[strcspn(name, "\n")] = 0;
        snprintf(id, sizeof id, "%s %s", device, number);
        if (*name != '/' || rights[2] != 'x' || !strcmp(id, last)) continue;
        snprintf(last, sizeof last, "%s", id);
        enum kaio_part part = kaio_part_of(name);
        if (part == KAIO_LIBRARY) has_library = true;
        if (part != KAIO_NO_PART) continue;
        const struct object *object = mapped_object(id, pid, name);
        unsigned calls = object->is_static ? object->defined : object->calls;
        if (!(calls & ASKS)) continue;
        user.calls |= calls;
        user.waits |= object->waits;
        if (!strcmp(name, program)) own = true;
        else if (!*through) snprintf(through, sizeof through, "%s", name);
    }
    fclose(maps);
    free(line);
    if (!user.calls && !has_library) return;
    struct user *shown = add_user(program);
    shown->pid = copy(pid);
    shown->calls = user.calls;
    shown->waits = user.waits;
    if (*through && !own) shown->through = copy(through);
    shown->why = !has_library                                  ? "no"
                 : kaio_process_has(pid, "environ", 0, is_off) ? "off"
                                                               : "active";
}

static void scan_processes(void) {
    DIR *proc = opendir("/proc");
    if (!proc) kaio_fail(KAIO_FAILED, "/proc: %m");
    for (struct dirent *entry; (entry = readdir(proc));)
        if (!entry->d_name[strspn(entry->d_name, "0123456789")]) scan_process(entry->d_name);
    closedir(proc);
}

static int compare(const void *a, const void *b) {
    const struct user *x = a, *y = b;
    if (!*x->pid != !*y->pid) return *x->pid ? 1 : -1;
    if (x->library != y->library) return x->library - y->library;
    int difference = strcmp(x->path, y->path);
    return difference ? difference : atoi(x->pid) - atoi(y->pid);
}

/* The calls by what they do, and how it waits: aio_suspend, or a signal taken. */
static void put_calls(const struct user *user) {
    char asks[64] = "", told[80] = "";
    for (unsigned i = 0; object_call(i); i++) {
        const char *name = strchr(object_call(i), '_') + 1;
        bool waits = !strcmp(name, "suspend"), asks_for = ASKS >> i & 1 || !strcmp(name, "cancel");
        if (!(user->calls >> i & 1) || !(waits || asks_for)) continue;
        char *text = waits ? told : asks;
        if (*text) strcat(text, " ");
        strcat(text, waits ? object_call(i) : name);
    }
    for (unsigned i = 0; object_wait(i); i++) {
        if (!(user->waits >> i & 1)) continue;
        if (*told) strcat(told, " ");
        strcat(told, object_wait(i));
    }
    printf("%-30s %-23s ", *asks ? asks : "-", *told ? told : "-");
}

static void put_path(const struct user *user) {
    printable(stdout, *user->path ? user->path : "?", INT_MAX);
    if (user->through) {
        fputs(", through ", stdout);
        printable(stdout, user->through, INT_MAX);
    }
}

static void print_programs(void) {
    if (!nusers || *users->pid) return;
    printf("%-6s %-30s %-23s %s\n", "HELPS", "CALLS", "WAITS BY", "PROGRAM");
    for (struct user *u = users; u < users + nusers && !*u->pid; u++) {
        printf("%-6s ", u->why ? "no" : "yes");
        put_calls(u);
        put_path(u);
        if (u->library) fputs(" (a library: helps what loads it)", stdout);
        if (u->why) {
            fputs(": ", stdout);
            printable(stdout, u->why, INT_MAX);
        }
        putchar('\n');
    }
}

static void print_processes(void) {
    const struct user *u = users;
    while (u < users + nusers && !*u->pid) u++;
    if (u == users + nusers) return;
    printf("%s%-6s %-30s %-23s %8s %s\n", u == users ? "" : "\n", "ACTIVE", "CALLS", "WAITS BY",
           "PID", "PROGRAM");
    for (; u < users + nusers; u++) {
        printf("%-6s ", !strcmp(u->why, "active") ? "yes" : u->why);
        put_calls(u);
        printf("%8s ", u->pid);
        put_path(u);
        putchar('\n');
    }
}

/* How many of one kind there are. */
static size_t count(bool process, const char *why) {
    size_t n = 0;
    for (const struct user *u = users; u < users + nusers; u++)
        n += *u->pid ? process && u->calls && (!why || !strcmp(u->why, why))
                     : !process && !u->library && (why || !u->why);
    return n;
}

static void summarize(bool asked_files) {
    const char *between = "";
    if (nusers) putchar('\n');
    if (asked_files)
        printf("%lu files: %zu programs use POSIX AIO, %zu of them can be helped", files,
               count(false, ""), count(false, NULL)),
            between = "; ";
    if (processes)
        printf("%s%lu processes: %zu use POSIX AIO, %zu of them with libkaio", between, processes,
               count(true, NULL), count(true, "active"));
    puts("");
    if (unreadable)
        printf("%lu could not be read%s\n", unreadable,
               names_unreadable ? "" : "; --unreadable names them");
}

static bool is_pid(const char *word) {
    char path[64];
    if (!*word || word[strspn(word, "0123456789")] || strlen(word) > 20) return false;
    snprintf(path, sizeof path, "/proc/%s", word);
    return access(path, F_OK) == 0;
}

int kaio_scan(int argc, char *argv[]) {
    static char *usual[] = {"/usr", "/opt"};
    while (kaio_next_option("scan", argc, argv) != -1) names_unreadable = true;
    kaio_need_library();
    bool asked_files = optind == argc;
    for (int i = optind; i < argc; i++) {
        struct stat st;
        if (is_pid(argv[i]) && kaio_stat(argv[i], &st)) {
            scan_process(argv[i]);
            continue;
        }
        if (kaio_stat(argv[i], &st)) kaio_fail(KAIO_FAILED, "%s: %m", argv[i]);
        asked_files = true;
        if (S_ISDIR(st.st_mode)) scan_directory(argv[i]);
        else {
            char *file = realpath(argv[i], NULL);
            if (file) look_at_file(AT_FDCWD, file, file);
            free(file);
        }
    }
    if (optind == argc) {
        for (size_t i = 0; i < 2; i++)
            if (!access(usual[i], F_OK)) scan_directory(usual[i]);
        scan_processes();
    }
    for (size_t i = 0; i < found.n; i++) {
        if (is_in(&loaded, found.objects[i])) continue;
        struct user *user = add_user(found.objects[i]->path);
        user->library = true;
        user->calls = found.objects[i]->calls;
        user->waits = found.objects[i]->waits;
    }
    if (nusers) qsort(users, nusers, sizeof *users, compare);
    print_programs();
    print_processes();
    summarize(asked_files);
    return 0;
}
