/* kaio-check - what a shell cannot ask well; used by scripts/kaio and by the documentation.
 *
 *   kaio-check LIBRARY PROGRAM   exit 0 if LD_PRELOAD of the library reaches the program; else one
 *                                sentence on standard error and exit 126 (125: the library itself)
 *   kaio-check --imports FILE... the AIO calls that each ELF file wants: FILE CALL..., a line each
 *   kaio-check --printable TEXT  the text, fit for a terminal (printable.c)
 *   kaio-check --output VARIABLE PATH   exit 0 if it can be written to; else prints why (output.c)
 *   kaio-check --system          findings about the kernel
 *   kaio-check --path PATH       findings about a file or directory (both probe.c)
 *   kaio-check --options         the table of shim/host/options.def: as text,
 *              --table           for scripts/kaio.d/options.sh,
 *              --markdown        for README.md,
 *              --man-flags, --man-variables   for the manual
 */
#include "check.h"
#include "printable.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int refuse(int status, const char *path, const char *why) {
    fputs("kaio: ", stderr);
    printable(stderr, path, INT_MAX);
    fprintf(stderr, ": %s\n", why);
    return status;
}

/* The program interpreter, i.e. the ld.so that will look at LD_PRELOAD; "" if there is none. */
static void interpreter(int fd, const Elf64_Ehdr *elf, char name[64]) {
    *name = 0;
    for (int i = 0; i < elf->e_phnum; i++) {
        Elf64_Phdr part;
        off_t at = (off_t)(elf->e_phoff + (Elf64_Off)i * elf->e_phentsize);
        if (pread(fd, &part, sizeof part, at) != sizeof part) return;
        if (part.p_type != PT_INTERP) continue;
        ssize_t n = pread(fd, name, 63, (off_t)part.p_offset);
        name[n < 0 ? 0 : n] = 0;
        return;
    }
}

static int check(const char *library, const char *path) {
    Elf64_Ehdr lib, elf = {0};
    char loader[64];
    struct stat st;
    int fd = open(library, O_RDONLY);
    if (fd < 0 || read(fd, &lib, sizeof lib) != sizeof lib || memcmp(lib.e_ident, ELFMAG, SELFMAG))
        return refuse(125, library, "the library cannot be read; build it with 'make'");
    close(fd);
    fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st)) /* execute-only: the system will say if it cannot run */
        return errno == EACCES ? 0 : refuse(126, path, strerror(errno));
    if (st.st_mode & (S_ISUID | S_ISGID))
        return refuse(126, path, "is setuid or setgid, so the system ignores LD_PRELOAD for it");
    if (fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return refuse(126, path, "has file capabilities, so the system ignores LD_PRELOAD for it");
    ssize_t n = read(fd, &elf, sizeof elf);
    if (n < (ssize_t)sizeof elf || memcmp(elf.e_ident, ELFMAG, SELFMAG))
        return 0; /* a script: its interpreter is what will run */
    if (elf.e_ident[EI_CLASS] != lib.e_ident[EI_CLASS] || elf.e_machine != lib.e_machine)
        return refuse(126, path, "is built for another architecture than libkaio.so (64-bit x86)");
    interpreter(fd, &elf, loader);
    if (!*loader)
        return refuse(126, path, "is statically linked, so no library can be put in front of it");
    if (strstr(loader, "ld-musl"))
        return refuse(126, path, "is built for musl; libkaio needs a program of glibc");
    return 0;
}

/* Does [at, at + n) lie in the file? */
static int inside(size_t size, uint64_t at, uint64_t n) {
    return at <= size && n <= size - at;
}

static int is_aio(const char *name) {
    static const char *const calls[] = {"aio_read",   "aio_write",   "aio_fsync",  "aio_error",
                                        "aio_return", "aio_suspend", "aio_cancel", "lio_listio"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        size_t n = strlen(calls[i]);
        if (!strncmp(name, calls[i], n) && (!name[n] || !strcmp(name + n, "64"))) return 1;
    }
    return 0;
}

/* The undefined symbols of one ELF file in memory. */
static void print_imports(const char *path, const char *base, size_t size) {
    const Elf64_Ehdr *elf = (const void *)base;
    if (size < sizeof *elf || memcmp(elf->e_ident, ELFMAG, SELFMAG)) return;
    if (elf->e_ident[EI_CLASS] != ELFCLASS64) return;
    const Elf64_Shdr *sections = (const void *)(base + elf->e_shoff);
    if (!inside(size, elf->e_shoff, elf->e_shnum * sizeof *sections)) return;
    int found = 0;
    for (int i = 0; i < elf->e_shnum; i++) {
        const Elf64_Shdr *table = &sections[i];
        if (table->sh_type != SHT_DYNSYM || table->sh_link >= elf->e_shnum) continue;
        const Elf64_Shdr *strings = &sections[table->sh_link];
        if (!inside(size, table->sh_offset, table->sh_size)) return;
        if (!inside(size, strings->sh_offset, strings->sh_size) || !strings->sh_size) return;
        if (base[strings->sh_offset + strings->sh_size - 1]) return;
        const Elf64_Sym *symbols = (const void *)(base + table->sh_offset);
        for (size_t k = 0; k < table->sh_size / sizeof *symbols; k++) {
            if (symbols[k].st_shndx != SHN_UNDEF || symbols[k].st_name >= strings->sh_size)
                continue;
            const char *name = base + strings->sh_offset + symbols[k].st_name;
            if (!is_aio(name)) continue;
            if (!found++) printf("%s", path);
            printf(" %s", name);
        }
    }
    if (found) printf("\n");
}

static void imports(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0) {
        size_t size = (size_t)st.st_size;
        void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base != MAP_FAILED) print_imports(path, base, size);
    }
    if (fd >= 0) close(fd);
}

int main(int argc, char *argv[]) {
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 2 && kaio_print_options(what)) return 0;
    if (argc == 2 && !strcmp(what, "--version")) return puts("libkaio " KAIO_VERSION), 0;
    if (argc == 2 && !strcmp(what, "--system")) return kaio_probe_system();
    if (argc == 3 && !strcmp(what, "--path")) return kaio_probe_path(argv[2]);
    if (argc == 3 && !strcmp(what, "--printable")) return printable(stdout, argv[2], INT_MAX), 0;
    if (argc == 4 && !strcmp(what, "--output")) return kaio_try_output(argv[2], argv[3]);
    if (argc > 2 && !strcmp(what, "--imports")) {
        for (int i = 2; i < argc; i++) imports(argv[i]);
        return 0;
    }
    if (argc == 3) return check(argv[1], argv[2]);
    fprintf(stderr, "kaio-check: no such question; the head of tools/kaio-check.c lists them\n");
    return 125;
}
