/* SPDX-License-Identifier: MIT */
/* check.h - the parts of kaio-check. */
#ifndef KAIO_TOOLS_CHECK_H
#define KAIO_TOOLS_CHECK_H

/* options.c: whether `how` is a way to print the options */
int kaio_print_options(const char *how);

/* probe.c: print findings, a line each: "ok", "warn" or "no", a tab, a sentence. Exit status.
 */
int kaio_probe_system(void);
int kaio_probe_path(const char *path);

/* program.c: exit 0 if LD_PRELOAD of one of these libraries reaches the program; it prints the name
 * of the program's ld.so if that is not this tool's. Else says why not on standard error: exit 126,
 * or 125 for a library. */
int kaio_check_program(const char *path, char *libraries[], int n);

/* program.c: prints FILE CALL... if it wants AIO calls */
void kaio_print_imports(const char *path);

/* output.c: prints why it cannot be written to; then 1 */
int kaio_try_output(const char *variable, const char *path);

#endif
