/* SPDX-License-Identifier: MIT */
/* kaio.h - the parts of kaio. */
#ifndef KAIO_TOOLS_KAIO_H
#define KAIO_TOOLS_KAIO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit statuses, as env(1) has them: kaio itself fails; the program cannot be run with the library;
 * it is not found. */
enum { KAIO_FAILED = 125, KAIO_REFUSED = 126, KAIO_MISSING = 127 };

/* kaio.c: where the parts are. library: a file, never a link. */
extern struct kaio_place {
    char self[PATH_MAX], library[PATH_MAX], commands[PATH_MAX], tools[PATH_MAX];
} kaio_place;
void kaio_need_library(void); /* ends if it is not there */

/* kaio.c: one sentence on standard error, then the end. */
void kaio_fail(int status, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* kaio.c: the table of commands. main() gets the command's name as argv[0]. */
struct kaio_command {
    const char *name;
    unsigned bit; /* in kaio_option.commands */
    int (*main)(int argc, char *argv[]);
    const char *operands; /* for completion: of "cfdp" (command, file, directory, process) */
    const char *usage, *summary, *about, *after;
};
extern const struct kaio_command kaio_commands[]; /* the last one has no name */
void kaio_help(const struct kaio_command *command);

enum { RUN = 1, AB = 2, CHECK = 4, SCAN = 8, TOP = 16, REPORT = 32, RECORD = 64 };

/* options.c: the table of options, of the commands and, with a variable, of the library. */
struct kaio_option {
    unsigned commands; /* that have it */
    int letter;        /* or what kaio_next_option() returns */
    const char *name;  /* without --; NULL: only the letter */
    enum kaio_kind {
        FLAG,
        CHOICE,
        NUMBER,
        PATH,
        SHELL,
        OUTPUT,
        PAGES
    } kind; /* from OUTPUT on
the argument may be left out */
    const char *argument, *help;
    const char *variable, *initial; /* the library's; of these argument is what is accepted */
    int min, max;
};
extern struct kaio_option kaio_options[]; /* the last one belongs to no command */

/* The next option's letter, -1 behind the last; optarg and optind are getopt's. Those of the
 * library are set in the environment, --help and mistakes answered. */
int kaio_next_option(const char *command, int argc, char *argv[]);
void kaio_name_flags(void);                   /* of the library: before kaio_option.name is read */
int kaio_take_option(int argc, char *argv[]); /* of the library, for ab.sh: words taken */
void kaio_check_options(void); /* every KAIO_ variable of the environment; ends if one is wrong */
const char *kaio_absolute(const char *path);
const char *kaio_option_argument(const struct kaio_option *o); /* what its help calls it */
void kaio_print_own_options(const struct kaio_command *command);
bool kaio_print_variables(const char *form);

/* completion.c; false: no such shell */
bool kaio_print_completion(const char *shell);

/* program.c: is a mapped file the library, of whatever build, or the recorder? */
enum kaio_part { KAIO_NO_PART, KAIO_LIBRARY, KAIO_RECORDER };
enum kaio_part kaio_part_of(const char *path);

/* program.c: the program that is meant */
const char *kaio_in_path(const char *name);          /* NULL: it is not there */
const char *kaio_find_program(const char *name);     /* ends if it cannot be run with the library */
const char *kaio_interpreter_of(const char *script); /* NULL: no script */
const char *kaio_preload(void);                      /* LD_PRELOAD for it */
/* 0 if LD_PRELOAD reaches it; else the exit status, and why not. ask: may its ld.so be run, if it
 * is not ours? */
int kaio_reach(const char *path, bool ask, char *why, size_t size);

/* process.c: is there such a line in /proc/PID/FILE? They end with `end`. False, too: it cannot be
 * read. */
bool kaio_process_has(const char *pid, const char *file, int end, bool (*is)(const char *line));

/* The commands. */
int kaio_run(int argc, char *argv[]);
int kaio_record(int argc, char *argv[]);
int kaio_ab(int argc, char *argv[]);
int kaio_check(int argc, char *argv[]);
int kaio_scan(int argc, char *argv[]);
int kaio_report(int argc, char *argv[]);
int kaio_top(int argc, char *argv[]);

/* stats.c: runs it and reports to WHERE; the exit status */
int kaio_stats(const char *where, const char *preload, char *argv[]);

/* output.c: can it be written to? NULL, or why not */
const char *kaio_try_output(const char *variable, const char *path);

/* check.c: a line; probe.c: findings about the kernel, a file or directory */
void kaio_finding(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kaio_probe_system(void);
void kaio_probe_path(const char *path);

#endif
