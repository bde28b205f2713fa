/* check.h - the parts of kaio-check. */
#ifndef KAIO_TOOLS_CHECK_H
#define KAIO_TOOLS_CHECK_H

/* options.c: whether `how` is a way to print the options */
int kaio_print_options(const char *how);

/* probe.c: print findings, a line each: "ok", "warn" or "no", a tab, a sentence. Exit status.
 */
int kaio_probe_system(void);
int kaio_probe_path(const char *path);

/* output.c: prints why it cannot be written to; then 1 */
int kaio_try_output(const char *variable, const char *path);

#endif
