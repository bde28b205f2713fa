/* SPDX-License-Identifier: MIT */
/* program.c - what kaio asks of a program as an ELF file, of either class: does LD_PRELOAD of a
 * library reach it, and which AIO calls does it want?
 */
#include "early.h"

#include "check.h"
#include "printable.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>

struct image {
    const char *base; /* NULL: not an ELF file */
    size_t size;
    bool wide; /* 64-bit */
};

/* A member of the structure at an offset, and the structure's size, whichever class it is of. */
#define GET(image, type, at, member)                                                               \
    ((image)->wide ? (uint64_t)((const Elf64_##type *)((image)->base + (at)))->member              \
                   : (uint64_t)((const Elf32_##type *)((image)->base + (at)))->member)
#define SIZE(image, type) ((image)->wide ? sizeof(Elf64_##type) : sizeof(Elf32_##type))

/* Does [at, at + n) lie in the file? */
static bool inside(const struct image *image, uint64_t at, uint64_t n) {
    return at <= image->size && n <= image->size - at;
}

/* 0, or why the file cannot be read. */
static int load(int fd, struct image *image) {
    struct stat st;
    image->base = NULL;
    if (kaio_fstat(fd, &st)) return errno;
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(Elf64_Ehdr)) return 0;
    void *base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED) return errno;
    if (memcmp(base, ELFMAG, SELFMAG)) {
        munmap(base, (size_t)st.st_size);
        return 0;
    }
    image->base = base;
    image->size = (size_t)st.st_size;
    image->wide = image->base[EI_CLASS] == ELFCLASS64;
    return 0;
}

static int open_image(const char *path, struct image *image) {
    image->base = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int err = load(fd, image);
    close(fd);
    return err;
}

static bool same_machine(const struct image *a, const struct image *b) {
    return a->base && b->base && a->wide == b->wide && a->base[EI_DATA] == b->base[EI_DATA] &&
           GET(a, Ehdr, 0, e_machine) == GET(b, Ehdr, 0, e_machine);
}

static const char *machine(const struct image *image) {
    switch (image->base ? GET(image, Ehdr, 0, e_machine) : EM_NONE) {
    case EM_386: return "32-bit x86";
    case EM_X86_64: return image->wide ? "64-bit x86" : "x32";
    case EM_ARM: return "32-bit Arm";
    case EM_AARCH64: return "64-bit Arm";
    default: return "an unknown one";
    }
}

/* The program interpreter, i.e. the ld.so that will look at LD_PRELOAD; NULL if there is none. */
static const char *interpreter(const struct image *elf) {
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

static int refuse(int status, const char *path, const char *why) {
    fputs("kaio: ", stderr);
    printable(stderr, path, INT_MAX);
    fprintf(stderr, ": %s\n", why);
    return status;
}

static int refuse_machine(const char *path, const struct image *program,
                          const struct image *library) {
    char why[256];
    snprintf(
        why, sizeof why,
        "is built for another architecture (%s) than libkaio.so (%s); install its library, too "
        "(kaio(1), 32-BIT PROGRAMS)",
        machine(program), machine(library));
    return refuse(126, path, why);
}

int kaio_check_program(const char *path, char *libraries[], int n) {
    struct image elf = {0}, own = {0}, library = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? errno : load(fd, &elf);
    if (err) /* execute-only: the system will say if it cannot run */
        return err == EACCES ? 0 : refuse(126, path, strerror(err));
    if (!kaio_fstat(fd, &st) && st.st_mode & (S_ISUID | S_ISGID))
        return refuse(126, path, "is setuid or setgid, so the system ignores LD_PRELOAD for it");
    if (fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return refuse(126, path, "has file capabilities, so the system ignores LD_PRELOAD for it");
    close(fd);
    if (!elf.base) return 0; /* a script: its interpreter is what will run */
    for (int i = 0;; i++) {
        if (i == n) { /* the first one is the one that is here in any case */
            open_image(libraries[0], &library);
            return refuse_machine(path, &elf, &library);
        }
        if (open_image(libraries[i], &library) || !library.base)
            return refuse(125, libraries[i], "the library cannot be read; build it with 'make'");
        if (same_machine(&elf, &library)) break;
    }
    const char *loader = interpreter(&elf);
    if (!loader)
        return refuse(126, path, "is statically linked, so no library can be put in front of it");
    const char *ours = open_image("/proc/self/exe", &own) || !own.base ? NULL : interpreter(&own);
    if (!ours || strcmp(ours, loader) || !same_machine(&elf, &own)) puts(loader);
    return 0;
}

static bool is_aio(const char *name) {
    static const char *const calls[] = {"aio_read",   "aio_write",   "aio_fsync",  "aio_error",
                                        "aio_return", "aio_suspend", "aio_cancel", "lio_listio"};
    if (!strncmp(name, "__", 2)) name += 2; /* __aio_suspend_time64 */
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        size_t n = strlen(calls[i]);
        if (strncmp(name, calls[i], n) != 0) continue;
        if (!name[n] || !strcmp(name + n, "64") || !strcmp(name + n, "_time64")) return true;
    }
    return false;
}

struct symbols {
    uint64_t at, end;  /* of the table */
    const char *names; /* the last of them ends with it */
    uint64_t names_length;
};

/* The dynamic symbols. False: there are none, or the file is damaged. */
static bool find_symbols(const struct image *elf, struct symbols *found) {
    uint64_t step = SIZE(elf, Shdr), n = GET(elf, Ehdr, 0, e_shnum);
    uint64_t first = GET(elf, Ehdr, 0, e_shoff), at = first;
    if (!inside(elf, first, n * step)) return false;
    while (at < first + n * step && GET(elf, Shdr, at, sh_type) != SHT_DYNSYM) at += step;
    if (at == first + n * step || GET(elf, Shdr, at, sh_link) >= n) return false;
    uint64_t names = first + GET(elf, Shdr, at, sh_link) * step;
    uint64_t size = GET(elf, Shdr, at, sh_size), length = GET(elf, Shdr, names, sh_size);
    uint64_t text = GET(elf, Shdr, names, sh_offset);
    found->at = GET(elf, Shdr, at, sh_offset);
    if (!inside(elf, found->at, size) || !inside(elf, text, length) || !length) return false;
    found->end = found->at + size - size % SIZE(elf, Sym);
    found->names = elf->base + text;
    found->names_length = length;
    return !found->names[length - 1];
}

void kaio_print_imports(const char *path) {
    struct image elf = {0};
    struct symbols symbols;
    bool printed = false;
    if (open_image(path, &elf) || !elf.base) return;
    if (!find_symbols(&elf, &symbols)) symbols.at = symbols.end = 0;
    for (; symbols.at < symbols.end; symbols.at += SIZE(&elf, Sym)) {
        uint64_t name = GET(&elf, Sym, symbols.at, st_name);
        if (GET(&elf, Sym, symbols.at, st_shndx) != SHN_UNDEF) continue;
        if (name >= symbols.names_length || !is_aio(symbols.names + name)) continue;
        if (!printed) printf("%s", path);
        printf(" %s", symbols.names + name);
        printed = true;
    }
    if (printed) printf("\n");
    munmap((void *)elf.base, elf.size);
}
