/* kaio-check - what a shell cannot ask well; used by scripts/kaio and by the documentation.
 *
 *   kaio-check LIBRARY PROGRAM   exit 0 if LD_PRELOAD of the library reaches the program; else one
 *                                sentence on standard error and exit 126 (125: the library itself)
 *   kaio-check --options         the table of shim/options.def as text
 *   kaio-check --markdown        the same for README.md
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct option {
    const char *name, *accepted, *help, *initial;
} options[] = {
#define CHOICE(initial, accepted) accepted
#define NUMBER(initial, accepted) #initial
#define OUTPUT(initial, accepted) "0"
#define OPTION(name, kind, field, initial, min, max, accepted, help)                               \
    {name, accepted, help, kind(initial, accepted)},
#include "../shim/options.def"
};

static void print_options(int markdown) {
    if (markdown) printf("| variable | accepted | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct option *o = &options[i];
        int n = (int)strcspn(o->initial, "|"); /* a choice's default is its first word */
        if (!markdown) {
            printf("  %-13s %s (default %.*s)\n                %s\n", o->name, o->accepted, n,
                   o->initial, o->help);
            continue;
        }
        printf("| `%s` | ", o->name);
        for (const char *c = o->accepted; *c; c++) printf(*c == '|' ? ", " : "%c", *c);
        printf(" | %.*s | %s |\n", n, o->initial, o->help);
    }
}

static int refuse(int status, const char *path, const char *why) {
    fprintf(stderr, "kaio: %s: %s\n", path, why);
    return status;
}

/* Is there a program interpreter, i.e. ld.so, that will look at LD_PRELOAD? */
static int is_dynamic(int fd, const Elf64_Ehdr *elf) {
    for (int i = 0; i < elf->e_phnum; i++) {
        Elf64_Phdr part;
        off_t at = (off_t)(elf->e_phoff + (Elf64_Off)i * elf->e_phentsize);
        if (pread(fd, &part, sizeof part, at) != sizeof part) return 0;
        if (part.p_type == PT_INTERP) return 1;
    }
    return 0;
}

static int check(const char *library, const char *path) {
    Elf64_Ehdr lib, elf = {0};
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
    if (!is_dynamic(fd, &elf))
        return refuse(126, path, "is statically linked, so no library can be put in front of it");
    return 0;
}

int main(int argc, char *argv[]) {
    if (argc == 2 && !strcmp(argv[1], "--options")) return print_options(0), 0;
    if (argc == 2 && !strcmp(argv[1], "--markdown")) return print_options(1), 0;
    if (argc == 3) return check(argv[1], argv[2]);
    fprintf(stderr, "usage: kaio-check LIBRARY PROGRAM | --options | --markdown\n");
    return 125;
}
