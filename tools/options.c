/* SPDX-License-Identifier: MIT */
/* options.c - the one table of options: those of the commands, and those of the library, which are
 * shim/host/options.def and record/options.def. It drives parsing, --help, completion, the manual
 * and docs/usage.md. (Those of ab are parsed by ab.sh.)
 */
#include "early.h"

#include "kaio.h"
#include "printable.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define OF_LIBRARY                        (RUN | AB | RECORD)
#define INITIAL_CHOICE(initial, accepted) accepted
#define INITIAL_NUMBER(initial, accepted) #initial
#define INITIAL_OUTPUT(initial, accepted) "0"
#define INITIAL_PAGES(initial, accepted)  "0"
#define OPTION(name, kind, field, initial, min, max, accepted, help)                               \
    {OF_LIBRARY, 0, NULL, kind, accepted, help, name, INITIAL_##kind(initial, accepted), min, max},
#define OWN(commands, letter, name, kind, argument, help)                                          \
    { commands, letter, name, kind, argument, help, NULL, NULL, 0, 0 }

struct kaio_option kaio_options[] = {
    OWN(AB, 'n', NULL, NUMBER, "PAIRS", "timed runs of each side (default: 5)"),
    OWN(AB, 'l', "load", SHELL, "CMD", "a shell command that ends when the work is done"),
    OWN(AB, 'r', "ready", SHELL, "CMD", "a shell command that succeeds once SERVER is ready"),
    OWN(AB, 'w', "wait", NUMBER, "SECONDS", "how long SERVER may take until it is ready"),
    OWN(AB, 'k', "stop", CHOICE, "TERM|INT|QUIT|HUP|USR1|USR2|KILL", "what ends SERVER"),
    OWN(AB, 'g', "grace", NUMBER, "SECONDS", "how long SERVER may take to end"),
    OWN(AB, 'u', "setup", SHELL, "CMD", "a shell command before every run"),
    OWN(AB, 'p', "prepare", SHELL, "CMD", "a shell command before what is timed"),
    OWN(AB, 'c', "cleanup", SHELL, "CMD", "a shell command after every run"),
    OWN(AB, 'i', "ignore-failure", FLAG, NULL, "what fails is compared all the same"),
    OWN(AB, 's', "same-output", FLAG, NULL, "what is printed must be the same on both sides"),
    OWN(AB, 'j', "json", PATH, "FILE", "all figures, and each run"),
    OWN(AB, 'm', "export-markdown", PATH, "FILE", "the table for a README"),
    OWN(AB, 'v', "svg", PATH, "FILE", "both distributions of completion latency, as a picture"),
    OWN(SCAN, 'u', "unreadable", FLAG, NULL, "names the files that cannot be read"),
    OWN(TOP, 'd', NULL, NUMBER, "SECONDS", "the interval (default: 1)"),
    OWN(TOP, 'n', NULL, NUMBER, "COUNT", "ends after so many intervals"),
    OWN(TOP, 's', "sort", CHOICE, "pid|requests|bytes|pending|p99",
        "what comes first (default: pid)"),
    OWN(TOP, '1', "once", FLAG, NULL, "measure one interval, print it, and end"),
    OWN(TOP, 'j', "json", FLAG, NULL,
        "as JSON: an array of processes on a line, each interval or once"),
    OWN(TOP, 'r', "report", FLAG, NULL,
        "what processes left in the directory of KAIO_STATS=DIRECTORY, however they ended: the "
        "sum, "
        "then a line for each; or JSON"),
    OWN(REPORT, 'o', NULL, PATH, "FILE", "the page (default: report.html); it is replaced"),
    OWN(RECORD, 'o', NULL, PATH, "FILE",
        "where to write; a file that is there is replaced. Other "
        "processes that COMMAND starts "
        "append to FILE.PID"),
#include "../shim/host/options.def"
#include "../record/options.def"
    OWN(0, 0, NULL, FLAG, NULL, NULL)};
#undef OPTION

#define NUMBERED 256 /* what getopt_long() returns for the first row */
#define MOST     48  /* options of one command, and letters' worth of text */

/* KAIO_MODE -> mode */
void kaio_name_flags(void) {
    static char names[MOST][32];
    for (int i = 0; kaio_options[i].commands; i++) {
        if (!kaio_options[i].variable) continue;
        char *c = strcpy(names[i], kaio_options[i].variable + strlen("KAIO_"));
        for (; *c; c++) *c = (char)(*c == '_' ? '-' : tolower(*c));
        kaio_options[i].name = names[i];
    }
}

static unsigned bit_of(const char *command) {
    for (const struct kaio_command *c = kaio_commands; c->name; c++)
        if (!strcmp(c->name, command)) return c->bit;
    return RUN;
}

int kaio_next_option(const char *command, int argc, char *argv[]) {
    static struct option longs[MOST];
    static char letters[3 * MOST] = "";
    unsigned bit = bit_of(command);
    if (!*letters) {
        int n = 0;
        /* options end at the program's name; those of top may stand anywhere */
        char *letter = stpcpy(letters, bit & (RUN | AB | RECORD | CHECK) ? "+:h" : ":h");
        kaio_name_flags();
        for (int i = 0; kaio_options[i].commands; i++) {
            const struct kaio_option *o = &kaio_options[i];
            int argument = o->kind == FLAG     ? no_argument
                           : o->kind >= OUTPUT ? optional_argument
                                               : required_argument;
            if (!(o->commands & bit)) continue;
            if (o->name) longs[n++] = (struct option){o->name, argument, NULL, NUMBERED + i};
            else letter += sprintf(letter, "%c%s", o->letter, argument ? ":" : "");
        }
        longs[n] = (struct option){"help", no_argument, NULL, 'h'};
        opterr = 0;
    }
    for (;;) {
        int c = getopt_long(argc, argv, letters, longs, NULL);
        char short_name[] = {'-', (char)optopt, 0};
        const char *word = optopt > 0 && optopt < NUMBERED ? short_name : argv[optind - 1];
        if (c == 'h') {
            for (const struct kaio_command *i = kaio_commands; i->name; i++)
                if (i->bit == bit) kaio_help(i);
            exit(0);
        }
        if (c == '?')
            kaio_fail(KAIO_FAILED, "%s is not an option; 'kaio %s --help' lists them", word,
                      command);
        if (c == ':') {
            const struct kaio_option *o = kaio_options;
            if (optopt >= NUMBERED) o += optopt - NUMBERED;
            else
                while (o->letter != optopt || !(o->commands & bit)) o++;
            kaio_fail(KAIO_FAILED, "%s needs a value (%s)", word, o->argument);
        }
        if (c < NUMBERED) return c;
        const struct kaio_option *o = &kaio_options[c - NUMBERED];
        if (!o->variable) return o->letter;
        setenv(o->variable, optarg ? optarg : "1", 1);
    }
}

int kaio_take_option(int argc, char *argv[]) {
    const char *word = argv[1];
    size_t n = strcspn(word, "=");
    kaio_name_flags();
    for (const struct kaio_option *o = kaio_options; o->commands; o++) {
        if (!o->variable || n != strlen(o->name) + 2) continue;
        if (strncmp(word, "--", 2) != 0 || strncmp(word + 2, o->name, n - 2) != 0) continue;
        bool next = !word[n] && o->kind < OUTPUT;
        if (next && argc < 3) kaio_fail(KAIO_FAILED, "%s needs a value (%s)", word, o->argument);
        setenv(o->variable, next ? argv[2] : word[n] ? word + n + 1 : "1", 1);
        return 1 + next;
    }
    return 0;
}

const char *kaio_absolute(const char *path) {
    static char absolute[2 * PATH_MAX];
    if (*path == '/') return path;
    char *directory = get_current_dir_name();
    if (!directory) kaio_fail(KAIO_FAILED, "the current directory cannot be found: %m");
    snprintf(absolute, sizeof absolute, "%s/%s", directory, path);
    free(directory);
    return absolute;
}

/* As it is in the environment: before the program starts, since the library, in the middle of it,
 * can only go on without. A path is made absolute: the program may change its directory. */
static void check_output(const struct kaio_option *o, const char *value) {
    bool number = !value[strspn(value, "0123456789")];
    if (!strcmp(value, "0") || (o->kind == PAGES && !strcmp(value, "live"))) return;
    if (!strcmp(value, "1") && strstr(o->argument, "1 (standard error)")) return;
    if (number)
        kaio_fail(KAIO_FAILED, "--%s (%s): '%s' is not one of %s%s%s", o->name, o->variable, value,
                  o->argument, *value ? "; a file of that name is ./" : "", value);
    const char *path = kaio_absolute(value);
    const char *why = kaio_try_output(o->variable, path);
    if (why)
        kaio_fail(KAIO_FAILED, "--%s (%s): %s cannot be written to: %s", o->name, o->variable, path,
                  why);
    setenv(o->variable, path, 1);
}

static bool is_choice(const char *words, const char *value) {
    size_t n = strlen(value);
    for (; *words; words += strcspn(words, "|"), words += *words == '|')
        if (strcspn(words, "|") == n && !strncmp(words, value, n)) return true;
    return false;
}

static bool is_number(const struct kaio_option *o, const char *value) {
    size_t n = strlen(value); /* seven digits are more than any maximum */
    return n > 0 && n < 7 && strspn(value, "0123456789") == n && atoi(value) >= o->min &&
           atoi(value) <= o->max;
}

extern char **environ;

void kaio_check_options(void) {
    kaio_name_flags();
    for (char **at = environ; *at; at++) {
        const struct kaio_option *o = kaio_options;
        int n = (int)strcspn(*at, "=");
        if (strncmp(*at, "KAIO_", 5) != 0) continue;
        while (o->commands && (!o->variable || (int)strlen(o->variable) != n ||
                               strncmp(o->variable, *at, (size_t)n) != 0))
            o++;
        if (o->commands) continue;
        fputs("kaio: warning: ", stderr);
        char name[64];
        snprintf(name, sizeof name, "%.*s", n, *at);
        printable(stderr, name, INT_MAX);
        fputs(" is no variable of libkaio; kaio --help lists them\n", stderr);
    }
    for (const struct kaio_option *o = kaio_options; o->commands; o++) {
        const char *value = o->variable ? getenv(o->variable) : NULL;
        if (!value) continue;
        if (o->kind >= OUTPUT) check_output(o, value);
        else if (o->kind == CHOICE ? !is_choice(o->argument, value) : !is_number(o, value))
            kaio_fail(KAIO_FAILED, "--%s (%s): '%s' is not one of %s", o->name, o->variable, value,
                      o->argument);
    }
}

#define WIDTH 78

/* What stands behind the flag. */
const char *kaio_option_argument(const struct kaio_option *o) {
    if (!o->variable) return o->argument;
    return o->kind == CHOICE ? o->argument : o->kind == NUMBER ? "N" : "FILE";
}

static int initial_length(const struct kaio_option *o) {
    return (int)strcspn(o->initial, "|"); /* a choice's default is its first word */
}

/* Text in lines of WIDTH, each behind `indent` spaces; in the first, so many columns are used. */
static void print_wrapped(const char *text, int indent, int column) {
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > WIDTH) column = 0, printf("\n");
        if (column < indent) column += printf("%*s", indent - column, "") + printf("%.*s", n, text);
        else column += printf(" %.*s", n, text);
        text += n + (text[n] == ' ');
    }
    printf("\n");
}

static void print_text(const struct kaio_option *o) {
    char text[1024];
    snprintf(text, sizeof text, "%s (%s; default %.*s). %s", o->variable,
             o->kind == CHOICE ? "one of these" : o->argument, initial_length(o), o->initial,
             o->help);
    printf(o->kind >= OUTPUT ? "  --%s[=%s]\n" : "  --%s %s\n", o->name, kaio_option_argument(o));
    print_wrapped(text, 8, 0);
}

static void print_markdown(const struct kaio_option *o) {
    printf("| `%s` | ", o->variable);
    for (const char *c = o->argument; *c; c++) printf(*c == '|' ? ", " : "%c", *c);
    printf(" | %.*s | %s |\n", initial_length(o), o->initial, o->help);
}

static void print_roff(const char *text) {
    for (; *text; text++) printf(*text == '-' ? "\\-" : "%c", *text);
}

static void print_man_flag(const struct kaio_option *o) {
    printf(".TP\n.B \\-\\-");
    print_roff(o->name);
    if (o->kind >= OUTPUT) printf("\\fR[=\\fIFILE\\fR]\n");
    else if (o->kind == NUMBER) printf(" \\fIN\\fR\n");
    else {
        printf(" ");
        for (const char *c = o->argument; *c; c++) printf(*c == '|' ? "\\fR|\\fB" : "%c", *c);
        printf("\n");
    }
    printf("Sets\n.BR %s ,\nsee\n.BR libkaio (7).\n", o->variable);
}

static void print_man_variable(const struct kaio_option *o) {
    printf(".TP\n.BR %s \" (", o->variable);
    for (const char *c = o->argument; *c; c++) printf(*c == '|' ? ", " : "%c", *c);
    printf("; default %.*s)\"\n", initial_length(o), o->initial);
    print_roff(o->help);
    printf("\n");
}

void kaio_print_own_options(const struct kaio_command *command) {
    bool any = false;
    for (const struct kaio_option *o = kaio_options; o->commands; o++) {
        if (!(o->commands & command->bit) || o->variable) continue;
        int used = o->name ? printf("  --%s", o->name) : printf("  -%c", o->letter);
        if (o->argument) used += printf(" %s", o->argument);
        print_wrapped(o->help, 19, used);
        any = true;
    }
    if (command->bit == RECORD)
        printf("  --mode M, --depth N, ...   options of the library ('kaio run --help')\n");
    if (any) printf("\n");
}

bool kaio_print_variables(const char *form) {
    static const struct {
        const char *name, *head;
        void (*print)(const struct kaio_option *);
    } forms[] = {
        {"options", "", print_text},
        {"markdown", "| variable | accepted | default | meaning |\n|---|---|---|---|\n",
         print_markdown},
        {"man-flags", "", print_man_flag},
        {"man-variables", "", print_man_variable},
    };
    kaio_name_flags();
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if (strcmp(form, forms[f].name)) continue;
        printf("%s", forms[f].head);
        for (const struct kaio_option *o = kaio_options; o->commands; o++)
            if (o->variable) forms[f].print(o);
        return true;
    }
    return false;
}
