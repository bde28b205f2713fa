/* SPDX-License-Identifier: MIT */
/* kaio-check - what a shell cannot ask well; used by scripts/kaio and by the documentation.
 *
 *   kaio-check --reach PROGRAM LIBRARY...   exit 0 if LD_PRELOAD of one of these reaches the
 *                                program; else one sentence on standard error and exit 126 (125:
 *                                a library). Prints the program's ld.so if that is not its own, too
 *   kaio-check --imports FILE... the AIO calls that each ELF file wants: FILE CALL..., a line each
 *                                (both program.c)
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

#include <stdio.h>
#include <string.h>

int main(int argc, char *argv[]) {
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 2 && kaio_print_options(what)) return 0;
    if (argc == 2 && !strcmp(what, "--version")) return puts("libkaio " KAIO_VERSION), 0;
    if (argc == 2 && !strcmp(what, "--system")) return kaio_probe_system();
    if (argc == 3 && !strcmp(what, "--path")) return kaio_probe_path(argv[2]);
    if (argc == 3 && !strcmp(what, "--printable")) return printable(stdout, argv[2], INT_MAX), 0;
    if (argc == 4 && !strcmp(what, "--output")) return kaio_try_output(argv[2], argv[3]);
    if (argc > 2 && !strcmp(what, "--imports")) {
        for (int i = 2; i < argc; i++) kaio_print_imports(argv[i]);
        return 0;
    }
    if (argc > 3 && !strcmp(what, "--reach"))
        return kaio_check_program(argv[2], argv + 3, argc - 3);
    fprintf(stderr, "kaio-check: no such question; the head of tools/kaio-check.c lists them\n");
    return 125;
}
