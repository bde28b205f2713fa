/* SPDX-License-Identifier: MIT */
/* kaio - libkaio.so for any program: runs, compares, checks, watches, records. 'kaio --help' tells
 * how. Works from a checkout (build/, scripts/kaio.d) and installed (bin/kaio, libexec/kaio/).
 *
 * Each command is a row of the table here and a file of its own; their options are the table in
 * options.c. kaio ab is a shell script (scripts/kaio.d/ab.sh), which asks this program by
 *
 *   kaio --internal printable TEXT     the text, fit for a terminal
 *   kaio --internal option WORD...     takes one of the library's; lines for the shell's eval
 *   kaio --internal check              are all right? lines for eval
 *   kaio --internal preload            LD_PRELOAD for most programs; lines for eval
 *   kaio --internal program NAME       what runs, and LD_PRELOAD for it; lines for eval
 *   kaio --internal uses FILE          whether it or a library of it uses POSIX AIO
 *
 * The build asks for markdown, man-flags and man-variables (options.c), tests for
 *
 *   kaio --internal stats WHERE PRELOAD COMMAND [ARGUMENT ...]     (stats.c)
 */
#include "elf.h"
#include "kaio.h"
#include "printable.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

struct kaio_place kaio_place;
static char remedy[PATH_MAX + 64]; /* if a part is missing */

void kaio_fail(int status, const char *format, ...) {
    char sentence[3 * PATH_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    fflush(stdout);
    fputs("kaio: ", stderr);
    printable(stderr, sentence, INT_MAX);
    fputs("\n", stderr);
    exit(status);
}

/* printf() into one of the places: what is too long is no path. */
__attribute__((format(printf, 2, 3))) static void place(char *at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(at, PATH_MAX, format, args);
    va_end(args);
    if (n >= PATH_MAX) kaio_fail(KAIO_FAILED, "the path of kaio is too long");
}

static void locate(void) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): so the system hands it over
    const char *name = (const char *)getauxval(AT_EXECFN);
    if (!name || !realpath(name, kaio_place.self)) strcpy(kaio_place.self, "/usr/bin/kaio");
    const char *slash = strrchr(kaio_place.self, '/');
    char here[PATH_MAX], link[PATH_MAX];
    place(here, "%.*s", (int)(slash - kaio_place.self), kaio_place.self);
    char *above = strrchr(here, '/');
    int n = above ? (int)(above - here) : 0; /* of the directory above */
    place(kaio_place.commands, "%.*s/scripts/kaio.d", n, here);
    if (access(kaio_place.commands, F_OK) == 0) {
        strcpy(kaio_place.tools, here);
        snprintf(remedy, sizeof remedy, "build it with 'make -C %.*s'", n, here);
    } else {
        place(kaio_place.tools, "%.*s/libexec/kaio", n, here);
        strcpy(kaio_place.commands, kaio_place.tools);
        strcpy(remedy, "install libkaio again");
    }
    place(kaio_place.library, "%s/libkaio.so", kaio_place.tools);
    if (readlink(kaio_place.library, link, sizeof link) > 0 && realpath(kaio_place.library, link))
        strcpy(kaio_place.library, link);
}

void kaio_need_library(void) {
    char recorder[PATH_MAX];
    place(recorder, "%.*s-record.so", (int)strlen(kaio_place.library) - 3, kaio_place.library);
    if (access(kaio_place.library, R_OK))
        kaio_fail(KAIO_FAILED, "%s is missing; %s", kaio_place.library, remedy);
    if (access(recorder, R_OK)) kaio_fail(KAIO_FAILED, "%s is missing; %s", recorder, remedy);
}

#define STATUS_OF_RUN                                                                              \
    "Exit status: COMMAND's; 125 if kaio itself fails, 126 if COMMAND cannot be run with\n"        \
    "libkaio (static, setuid, another architecture or libc, not executable), 127 if it is not\n"   \
    "found.\n"

const struct kaio_command kaio_commands[] = {
    {"run", RUN, kaio_run, "c", "[run] [OPTION ...] [--] COMMAND [ARGUMENT ...]",
     "runs COMMAND with libkaio: POSIX AIO served by the kernel's own AIO",
     "Runs COMMAND with libkaio in front of glibc's AIO, and becomes it: LD_PRELOAD=libkaio.so\n"
     "COMMAND with the mistakes caught. What LD_PRELOAD holds already stays. With --stats or\n"
     "--stats=FILE it waits for COMMAND and reports, on standard error or to FILE, what all of\n"
     "its processes did, however they ended: as text the sum, as JSON (FILE.json) a line for\n"
     "each.\n",
     STATUS_OF_RUN},
    {"ab", AB, kaio_ab, "c", "ab [OPTION ...] [--] COMMAND [ARGUMENT ...]",
     "runs COMMAND in turn without and with libkaio and compares", NULL, NULL},
    {"check", CHECK, kaio_check, "cfdp", "check [COMMAND | PID | PATH ...]",
     "will libkaio help a program, does it serve a process, what can a file do?",
     "Will libkaio help? Prints a line for each finding, \"ok\", \"warn\" or \"no\", and what to\n"
     "do.\n"
     "  always    the kernel, whether io_setup is allowed, the requests that the host has left\n"
     "  COMMAND   a program, by name or path: can the library be put in front of it, does it\n"
     "            or one of its libraries use POSIX AIO?\n"
     "  PID       a process: is the library loaded and active?\n"
     "  PATH      a file, directory or device: which way each kind of access takes there.\n"
     "            Nothing is written to a file; a scratch file without a name is made beside it.\n",
     "Exit status: 0, or 1 if a finding was \"no\", 125 if kaio itself fails.\n"},
    {"scan", SCAN, kaio_scan, "dp", "scan [DIRECTORY | PID ...]",
     "which programs and processes use POSIX AIO, and would it help them?",
     "Is anything on this host worth it? Lists the programs that import the POSIX AIO calls,\n"
     "themselves or by a library that they load, and the processes that do; whether libkaio would\n"
     "help, and in which processes it is active. Files are only read; nothing is run.\n"
     "  DIRECTORY   programs and libraries below it (without argument: /usr and /opt)\n"
     "  PID         a process (without argument: all)\n",
     "CALLS: what it can ask for; WAITS BY: what it imports to wait for the end, as far as that "
     "shows:\n"
     "a signal's handler or a thread (SIGEV_THREAD) does not.\n"},
    {"top", TOP, kaio_top, "p",
     "top [PID] [OPTION ...]\n       kaio top --report DIRECTORY|FILE ...",
     "shows what running processes under libkaio do, each second",
     "Shows what programs started with KAIO_STATS=live ask of libkaio.so, and how it is served:\n"
     "each second, until q is pressed; h lists the keys. PID: only this process. Times run until "
     "the\n"
     "program knows of the end (all), or to the end itself (by lane and operation).\n",
     "    KAIO_STATS=live kaio ./app &\n"
     "    kaio top\n\n"
     "    KAIO_STATS=stats/ kaio ./app\n"
     "    kaio top --report stats/\n"},
    {"report", REPORT, kaio_report, "df", "report DIRECTORY|FILE ... [-o FILE]",
     "makes a page of what processes did: where time went, what to change",
     "Makes one page of HTML of what processes left in the directory of KAIO_STATS=DIRECTORY: "
     "what\n"
     "the job did, where time went, what to change. It holds its pictures, which gnuplot draws, "
     "and\n"
     "needs nothing else.\n",
     "    mkdir stats\n"
     "    KAIO_STATS=stats kaio ./app\n"
     "    kaio report stats/ -o report.html\n"},
    {"record", RECORD, kaio_record, "c", "record -o FILE [OPTION ...] [--] COMMAND [ARGUMENT ...]",
     "writes down what COMMAND asks of AIO, for fio to replay",
     "Runs COMMAND with libkaio and, in front of it, libkaio-record, which writes each request "
     "that\n"
     "COMMAND makes (time, file, operation, offset, length) to FILE, as a fio iolog of version 3. "
     "At\n"
     "the end it says on standard error what is in FILE, and the fio command that replays it: "
     "with\n"
     "--direct=1 if the files were open with O_DIRECT. Other engines and depths can be put "
     "there:\n\n"
     "    fio --name=replay --read_iolog=FILE --ioengine=libaio --iodepth=32\n"
     "    fio --name=replay --read_iolog=FILE --ioengine=io_uring --iodepth=128 "
     "--replay_no_stall=1\n\n"
     "fio writes where COMMAND wrote: replay on copies (--replay_redirect=COPY).\n",
     "Requests of pipes, sockets and terminals are left out, and files that are deleted or have\n"
     "spaces in their path; how many is said at exit. A full disk ends the recording, not "
     "COMMAND.\n\n" STATUS_OF_RUN},
    {NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL}};

static const struct kaio_command *command_named(const char *name) {
    for (const struct kaio_command *c = kaio_commands; c->name; c++)
        if (!strcmp(c->name, name)) return c;
    return NULL;
}

void kaio_help(const struct kaio_command *command) {
    if (command->bit == AB) exit(kaio_ab(2, (char *[]){"ab", "--help", NULL}));
    printf("usage: kaio %s\n\n%s\n", command->usage, command->about);
    kaio_print_own_options(command);
    printf("%s", command->after);
    if (command->bit == RUN) {
        printf("\nOptions of the library; each is also an environment variable:\n");
        kaio_print_variables("options");
    }
}

static int help(int argc, char *argv[]) {
    const struct kaio_command *named = argc > 1 ? command_named(argv[1]) : NULL;
    if (argc > 1 && !named)
        kaio_fail(KAIO_FAILED, "%s is no command of kaio; 'kaio help' lists them", argv[1]);
    if (named) return kaio_help(named), 0;
    for (const struct kaio_command *c = kaio_commands; c->name; c++)
        printf("%s kaio %s\n", c == kaio_commands ? "usage:" : "      ", c->usage);
    printf("\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++)
        printf("  %-7s %s\n", c->name, c->summary);
    printf("  %-7s of one of these, as its --help; of none, this\n", "help");
    printf(
        "  %-7s which one this is\n\n"
        "'kaio -- top' runs a program that has a command's name.\n\n"
        "Options of the library, for run, ab and record; each is also an environment variable:\n",
        "version");
    return kaio_print_variables("options"), 0;
}

static int version(void) {
    return puts("libkaio " KAIO_VERSION), 0;
}

/* NAME='value' for the shell. */
static void shell_variable(const char *before, const char *name, const char *value) {
    printf("%s%s='", before, name);
    for (; *value; value++) printf(*value == '\'' ? "'\\''" : "%c", *value);
    printf("'\n");
}

/* What of the environment the questions below may have changed. */
static void shell_environment(void) {
    const char *options = getenv("ASAN_OPTIONS");
    for (const struct kaio_option *o = kaio_options; o->commands; o++) {
        const char *value = o->variable ? getenv(o->variable) : NULL;
        if (value) shell_variable("export ", o->variable, value);
    }
    if (options) shell_variable("export ", "ASAN_OPTIONS", options);
}

static int internal(int argc, char *argv[]) {
    const char *what = argc > 0 ? argv[0] : "";
    if (argc == 1 && kaio_print_variables(what)) return 0;
    if (argc == 2 && !strcmp(what, "printable")) return printable(stdout, argv[1], INT_MAX), 0;
    if (argc > 3 && !strcmp(what, "stats")) return kaio_stats(argv[1], argv[2], argv + 3);
    if (argc > 1 && !strcmp(what, "option")) {
        printf("taken=%d\n", kaio_take_option(argc, argv));
    } else if (argc == 1 && !strcmp(what, "check")) {
        kaio_check_options();
    } else if (argc == 1 && !strcmp(what, "preload")) {
        shell_variable("", "preload", kaio_preload());
    } else if (argc == 2 && !strcmp(what, "program")) {
        shell_variable("", "program", kaio_find_program(argv[1]));
        shell_variable("", "preload", kaio_preload());
    } else if (argc == 2 && !strcmp(what, "uses")) {
        for (struct object **o = object_family(object_get(argv[1])); *o; o++)
            if ((*o)->calls) return 0;
        return 1;
    } else {
        kaio_fail(KAIO_FAILED, "no such question; the head of tools/kaio.c lists them");
    }
    return shell_environment(), 0;
}

int kaio_ab(int argc, char *argv[]) {
    char prelude[PATH_MAX + 16];
    char **words = calloc((size_t)argc + 6, sizeof *words);
    kaio_need_library();
    snprintf(prelude, sizeof prelude, "%s/prelude.sh", kaio_place.commands);
    if (!words || access(prelude, R_OK))
        kaio_fail(KAIO_FAILED, "%s is missing; %s", prelude, remedy);
    words[0] = "sh";
    words[1] = prelude;
    words[2] = kaio_place.self;
    words[3] = kaio_place.commands;
    words[4] = kaio_place.tools;
    memcpy(words + 5, argv + 1, (size_t)(argc - 1) * sizeof *words);
    execv("/bin/sh", words);
    kaio_fail(KAIO_FAILED, "/bin/sh cannot be run: %m");
}

int main(int argc, char *argv[]) {
    const char *word = argc > 1 ? argv[1] : "";
    const struct kaio_command *command = command_named(word);
    locate();
    if (command) return command->main(argc - 1, argv + 1);
    if (!strcmp(word, "help")) return help(argc - 1, argv + 1);
    if (!strcmp(word, "-h") || !strcmp(word, "--help")) return help(1, argv);
    if (!strcmp(word, "--version") || !strcmp(word, "version")) return version();
    if (!strcmp(word, "--internal")) return internal(argc - 2, argv + 2);
    if (!strcmp(word, "--completion")) {
        if (argc == 3 && kaio_print_completion(argv[2])) return 0;
        kaio_fail(KAIO_FAILED, "--completion needs a shell (bash, zsh or fish)");
    }
    return kaio_run(argc, argv);
}
