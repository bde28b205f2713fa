/* SPDX-License-Identifier: MIT */
/* elf.c - reads ELF files: for run, whether LD_PRELOAD reaches a program; for check, ab and scan,
 * which AIO calls it and its libraries want, and where ld.so would find these.
 *
 * Nothing is run to find out. All offsets are of the file, by its section headers, and looked at
 * before they are followed.
 */
#include "early.h"

#include "elf.h"

#include <byteswap.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t word(const struct elf *elf, const void *at, size_t size) {
    uint16_t half;
    uint32_t single;
    uint64_t pair;
    switch (size) {
    case 2: return memcpy(&half, at, 2), elf->swapped ? bswap_16(half) : half;
    case 4: return memcpy(&single, at, 4), elf->swapped ? bswap_32(single) : single;
    default: return memcpy(&pair, at, 8), elf->swapped ? bswap_64(pair) : pair;
    }
}

/* A member of the structure at an offset, and the structure's size, whichever class it is of. */
#define FIELD(elf, structure, at, member)                                                          \
    word(elf, (elf)->base + (at) + offsetof(structure, member), sizeof(((structure *)0)->member))
#define GET(elf, type, at, member)                                                                 \
    ((elf)->wide ? FIELD(elf, Elf64_##type, at, member) : FIELD(elf, Elf32_##type, at, member))
#define SIZE(elf, type) ((elf)->wide ? sizeof(Elf64_##type) : sizeof(Elf32_##type))

/* Does [at, at + n) lie in the file? */
static bool inside(const struct elf *elf, uint64_t at, uint64_t n) {
    return at <= elf->size && n <= elf->size - at;
}

int elf_load(int fd, struct elf *elf) {
    struct stat st;
    char head[EI_NIDENT];
    elf->base = NULL;
    if (kaio_fstat(fd, &st)) return errno;
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(Elf64_Ehdr)) return 0;
    if (pread(fd, head, sizeof head, 0) != sizeof head) return errno;
    if (memcmp(head, ELFMAG, SELFMAG)) return 0;
    void *base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED) return errno;
    elf->base = base;
    elf->size = (size_t)st.st_size;
    elf->device = st.st_dev;
    elf->inode = st.st_ino;
    elf->wide = head[EI_CLASS] == ELFCLASS64;
    elf->swapped = head[EI_DATA] != (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB);
    return 0;
}

int elf_open(const char *path, struct elf *elf) {
    elf->base = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return errno;
    int err = elf_load(fd, elf);
    close(fd);
    return err;
}

void elf_close(struct elf *elf) {
    if (elf->base) munmap((void *)elf->base, elf->size);
    elf->base = NULL;
}

static uint32_t machine_of(const struct elf *elf) {
    return (uint32_t)(elf->base[EI_CLASS] << 24 | elf->base[EI_DATA] << 16) |
           (uint32_t)GET(elf, Ehdr, 0, e_machine);
}

bool elf_same_machine(const struct elf *a, const struct elf *b) {
    return a->base && b->base && machine_of(a) == machine_of(b);
}

const char *elf_machine(const struct elf *elf) {
    switch (elf->base ? GET(elf, Ehdr, 0, e_machine) : EM_NONE) {
    case EM_386: return "32-bit x86";
    case EM_X86_64: return elf->wide ? "64-bit x86" : "x32";
    case EM_ARM: return "32-bit Arm";
    case EM_AARCH64: return "64-bit Arm";
    default: return "an unknown one";
    }
}

/* The program interpreter, i.e. the ld.so that will look at LD_PRELOAD. */
const char *elf_interpreter(const struct elf *elf) {
    uint64_t at = GET(elf, Ehdr, 0, e_phoff), step = GET(elf, Ehdr, 0, e_phentsize);
    for (uint64_t n = GET(elf, Ehdr, 0, e_phnum); n > 0; n--, at += step) {
        if (!inside(elf, at, SIZE(elf, Phdr))) return NULL;
        if (GET(elf, Phdr, at, p_type) != PT_INTERP) continue;
        uint64_t name = GET(elf, Phdr, at, p_offset), size = GET(elf, Phdr, at, p_filesz);
        bool good = size > 0 && inside(elf, name, size) && !elf->base[name + size - 1];
        return good ? elf->base + name : NULL;
    }
    return NULL;
}

/* The entries of a section, and the names that they mean. */
struct section {
    uint64_t at, end;
    const char *names; /* the last of them ends with it */
    uint64_t names_length;
};

/* The first section of a type. False: there is none, or the file is damaged. */
static bool find_section(const struct elf *elf, uint32_t type, struct section *found) {
    uint64_t step = SIZE(elf, Shdr), n = GET(elf, Ehdr, 0, e_shnum);
    uint64_t first = GET(elf, Ehdr, 0, e_shoff), at = first;
    if (!inside(elf, first, n * step)) return false;
    while (at < first + n * step && GET(elf, Shdr, at, sh_type) != type) at += step;
    if (at == first + n * step || GET(elf, Shdr, at, sh_link) >= n) return false;
    uint64_t names = first + GET(elf, Shdr, at, sh_link) * step;
    uint64_t size = GET(elf, Shdr, at, sh_size), length = GET(elf, Shdr, names, sh_size);
    uint64_t text = GET(elf, Shdr, names, sh_offset);
    found->at = GET(elf, Shdr, at, sh_offset);
    if (!inside(elf, found->at, size) || !inside(elf, text, length) || !length) return false;
    found->end = found->at + size;
    found->names = elf->base + text;
    found->names_length = length;
    return !found->names[length - 1];
}

static const char *const calls[] = {"aio_read",   "aio_write",   "aio_fsync",  "aio_error",
                                    "aio_return", "aio_suspend", "aio_cancel", "lio_listio"};
static const char *const waits[] = {"sigwaitinfo", "sigtimedwait", "sigwait", "signalfd"};
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BUCKETS      4096 /* of hashes */

const char *object_call(unsigned i) {
    return i < COUNT(calls) ? calls[i] : NULL;
}

const char *object_wait(unsigned i) {
    return i < COUNT(waits) ? waits[i] : NULL;
}

/* The bit of a name in the list: as it is, for large files, or for 64-bit times. */
static unsigned bit_of(const char *name, const char *const list[], size_t n) {
    if (!strncmp(name, "__", 2)) name += 2; /* __aio_suspend_time64 */
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(list[i]);
        if (strncmp(name, list[i], length) != 0) continue;
        name += length;
        return !*name || !strcmp(name, "64") || !strcmp(name, "_time64") ? 1u << i : 0;
    }
    return 0;
}

static void read_symbols(const struct elf *elf, uint32_t type, struct object *object) {
    struct section symbols;
    size_t step = SIZE(elf, Sym);
    if (!find_section(elf, type, &symbols)) return;
    for (uint64_t at = symbols.at; at + step <= symbols.end; at += step) {
        uint64_t name = GET(elf, Sym, at, st_name);
        if (name >= symbols.names_length) continue;
        const char *text = symbols.names + name;
        if (*text != 'a' && *text != 'l' && *text != 's' && *text != '_') continue;
        unsigned call = bit_of(text, calls, COUNT(calls));
        if (GET(elf, Sym, at, st_shndx) != SHN_UNDEF) object->defined |= call;
        else object->calls |= call, object->waits |= bit_of(text, waits, COUNT(waits));
    }
}

static void *need(void *memory) {
    if (!memory) abort();
    return memory;
}

/* True: it says that it is a program, though it has no interpreter. */
static bool read_dynamic(const struct elf *elf, struct object *object) {
    struct section dynamic;
    size_t step = SIZE(elf, Dyn), n = 0;
    bool pie = false;
    if (!find_section(elf, SHT_DYNAMIC, &dynamic)) return false;
    for (uint64_t at = dynamic.at; at + step <= dynamic.end; at += step) {
        uint64_t tag = GET(elf, Dyn, at, d_tag), value = GET(elf, Dyn, at, d_un.d_val);
        if (tag == DT_NULL) break;
        if (tag == DT_FLAGS_1) pie = value & DF_1_PIE;
        if (value >= dynamic.names_length) continue;
        const char *text = dynamic.names + value;
        if (tag == DT_NEEDED) {
            object->needed = need(realloc(object->needed, (n + 2) * sizeof *object->needed));
            object->needed[n++] = need(strdup(text));
            object->needed[n] = NULL;
        } else if (tag == DT_RUNPATH || (tag == DT_RPATH && !object->runpath)) {
            free(object->runpath);
            object->runpath = need(strdup(text));
            object->inherited = tag == DT_RPATH;
        }
    }
    return pie;
}

static void read_object(const struct elf *elf, struct object *object) {
    uint64_t type = GET(elf, Ehdr, 0, e_type);
    if (type != ET_EXEC && type != ET_DYN) return;
    object->machine = machine_of(elf);
    object->device = elf->device;
    object->inode = elf->inode;
    bool dynamic = elf_interpreter(elf), pie = read_dynamic(elf, object);
    object->program = dynamic || pie || type == ET_EXEC;
    object->is_static = object->program && !dynamic;
    read_symbols(elf, object->is_static ? SHT_SYMTAB : SHT_DYNSYM, object);
}

struct object *object_get(const char *path) {
    static struct object *objects[BUCKETS];
    unsigned hash = 5381;
    for (const char *c = path; *c; c++) hash = hash * 33 + (unsigned char)*c;
    struct object **at = &objects[hash % BUCKETS];
    for (struct object *o = *at; o; o = o->next)
        if (!strcmp(o->path, path)) return o;
    struct object *object = calloc(1, sizeof *object);
    char *own = strdup(path);
    struct elf elf;
    if (!object || !own) abort();
    object->path = own;
    object->next = *at;
    *at = object;
    if (elf_open(path, &elf) == 0 && elf.base) read_object(&elf, object);
    elf_close(&elf);
    return object;
}

/* The library at a path, if it is one that ld.so would take for that object. */
static struct object *fitting(const char *path, const struct object *object) {
    struct object *found = object_get(path);
    return found->machine == object->machine ? found : NULL;
}

/* In the directories of a search path, those of DT_RUNPATH that begin with $ORIGIN, too. */
static struct object *in_path(const char *path, const char *name, const struct object *object,
                              const char *origin) {
    char file[2 * PATH_MAX];
    for (int n; path && *path; path += n + (path[n] == ':')) {
        n = (int)strcspn(path, ":");
        int skip = !strncmp(path, "$ORIGIN", 7) ? 7 : !strncmp(path, "${ORIGIN}", 9) ? 9 : 0;
        int before = skip ? (int)(strrchr(origin, '/') - origin) : 0;
        snprintf(file, sizeof file, "%.*s%.*s/%s", before, origin, n - skip, path + skip, name);
        struct object *found = fitting(file, object);
        if (found) return found;
    }
    return NULL;
}

/* ld.so.cache as of glibc 2.2; offsets count from its beginning, which an older form may precede.
 */
static struct object *in_cache(const char *name, const struct object *object) {
    static const char magic[] = "glibc-ld.so.cache1.1";
    static const struct cache {
        char magic[20];
        uint32_t n, unused[6];
        struct {
            int32_t flags;
            uint32_t name, path, version;
            uint64_t more;
        } entries[];
    } * cache;
    static char *base; /* ends with a 0 */
    static size_t size;
    if (!base) {
        int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
        struct stat st = {.st_size = 0};
        if (fd >= 0 && kaio_fstat(fd, &st)) st.st_size = 0;
        base = need(calloc(1, (size_t)st.st_size + 1));
        if (fd >= 0 && pread(fd, base, (size_t)st.st_size, 0) != st.st_size) st.st_size = 0;
        if (fd >= 0) close(fd);
        cache = memmem(base, (size_t)st.st_size, magic, sizeof magic - 1);
        if (cache) size = (size_t)(base + st.st_size - (const char *)cache);
        if (size < sizeof *cache || cache->n > size / sizeof *cache->entries) cache = NULL;
    }
    for (uint32_t i = 0; cache && i < cache->n; i++) {
        if (cache->entries[i].name >= size || cache->entries[i].path >= size) continue;
        if (strcmp((const char *)cache + cache->entries[i].name, name) != 0) continue;
        struct object *found = fitting((const char *)cache + cache->entries[i].path, object);
        if (found) return found;
    }
    return NULL;
}

/* Where ld.so looks without being told: of all architectures, for the file tells its own. */
static const char *default_path(void) {
    static char *path;
    if (path) return path;
    size_t size;
    FILE *text = need(open_memstream(&path, &size));
    DIR *dir = opendir("/usr/lib");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strstr(entry->d_name, "-linux-"))
            fprintf(text, "/lib/%s:/usr/lib/%s:", entry->d_name, entry->d_name);
    if (dir) closedir(dir);
    fputs("/lib64:/usr/lib64:/lib:/usr/lib", text);
    fclose(text);
    return path;
}

/* Found once for each name and machine: most programs want the same. */
static struct object *in_system(const char *name, const struct object *object) {
    static struct known {
        struct known *next;
        const char *name;
        uint32_t machine;
        struct object *found;
    } * known[BUCKETS];
    unsigned hash = object->machine;
    for (const char *c = name; *c; c++) hash = hash * 33 + (unsigned char)*c;
    struct known **at = &known[hash % BUCKETS];
    for (struct known *k = *at; k; k = k->next)
        if (k->machine == object->machine && !strcmp(k->name, name)) return k->found;
    struct known *k = need(calloc(1, sizeof *k));
    k->name = need(strdup(name));
    k->machine = object->machine;
    k->found = in_cache(name, object);
    if (!k->found) k->found = in_path(default_path(), name, object, "/");
    k->next = *at;
    return (*at = k)->found;
}

/* ld.so's order: DT_RPATH, of the program, too; LD_LIBRARY_PATH; DT_RUNPATH; the rest. */
static struct object *find_library(const char *name, const struct object *object,
                                   const struct object *program) {
    struct object *found = NULL;
    if (strchr(name, '/')) return fitting(name, object);
    if (object->inherited) found = in_path(object->runpath, name, object, object->path);
    if (!found && program->inherited)
        found = in_path(program->runpath, name, object, program->path);
    if (!found) found = in_path(getenv("LD_LIBRARY_PATH"), name, object, "/");
    if (!found && !object->inherited) found = in_path(object->runpath, name, object, object->path);
    return found ? found : in_system(name, object);
}

struct object **object_family(struct object *object) {
    static struct object **family;
    static size_t room;
    static unsigned turn;
    size_t n = 0;
    object->seen = ++turn;
    for (size_t next = 0;; next++) {
        if (n + 2 > room) {
            room = 2 * room + 64;
            family = need(realloc(family, room * sizeof(void *)));
        }
        if (n == 0) family[n++] = object;
        if (next == n) break;
        for (char **name = family[next]->needed; name && *name; name++) {
            struct object *found = find_library(*name, family[next], object);
            if (!found || found->seen == turn) continue;
            found->seen = turn;
            if (n + 2 > room) {
                room *= 2;
                family = need(realloc(family, room * sizeof(void *)));
            }
            family[n++] = found;
        }
    }
    family[n] = NULL;
    return family;
}
