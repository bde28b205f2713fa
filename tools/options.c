/* SPDX-License-Identifier: MIT */
/* options.c - the tables of shim/host/options.def and record/options.def in the forms that help,
 * flags, README and manual want. */
#include "check.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum kind { CHOICE, NUMBER, OUTPUT, PAGES };

static const struct option {
    const char *name, *accepted, *help, *initial;
    enum kind kind;
    int min, max;
} options[] = {
#define INITIAL_CHOICE(initial, accepted) accepted
#define INITIAL_NUMBER(initial, accepted) #initial
#define INITIAL_OUTPUT(initial, accepted) "0"
#define INITIAL_PAGES(initial, accepted)  "0"
#define OPTION(name, kind, field, initial, min, max, accepted, help)                               \
    {name, accepted, help, INITIAL_##kind(initial, accepted), kind, min, max},
#include "../shim/host/options.def"
#include "../record/options.def"
};

#define WIDTH 78

/* KAIO_MODE -> --mode */
static const char *flag(const struct option *o) {
    static char text[32];
    size_t n = (size_t)snprintf(text, sizeof text, "--%s", o->name + strlen("KAIO_"));
    for (size_t i = 2; i < n; i++) text[i] = (char)(text[i] == '_' ? '-' : tolower(text[i]));
    return text;
}

/* What stands behind the flag. */
static const char *argument(const struct option *o) {
    return o->kind == CHOICE ? o->accepted : o->kind == NUMBER ? "N" : "FILE";
}

static int initial_length(const struct option *o) {
    return (int)strcspn(o->initial, "|"); /* a choice's default is its first word */
}

/* Text in lines of WIDTH, each behind `indent` spaces. */
static void print_wrapped(const char *text, int indent) {
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column && column + 1 + n > WIDTH) column = 0, printf("\n");
        if (!column) column = printf("%*s%.*s", indent, "", n, text);
        else column += printf(" %.*s", n, text);
        text += n + (text[n] == ' ');
    }
    printf("\n");
}

static void print_text(const struct option *o) {
    char text[1024];
    snprintf(text, sizeof text, "%s (%s; default %.*s). %s", o->name,
             o->kind == CHOICE ? "one of these" : o->accepted, initial_length(o), o->initial,
             o->help);
    printf(o->kind >= OUTPUT ? "  %s[=%s]\n" : "  %s %s\n", flag(o), argument(o));
    print_wrapped(text, 8);
}

static void print_table(const struct option *o) {
    static const char *const kinds[] = {"CHOICE", "NUMBER", "OUTPUT", "PAGES"};
    printf("%s %s %s %d %d %s\n", flag(o), o->name, kinds[o->kind], o->min, o->max, o->accepted);
}

static void print_markdown(const struct option *o) {
    printf("| `%s` | ", o->name);
    for (const char *c = o->accepted; *c; c++) printf(*c == '|' ? ", " : "%c", *c);
    printf(" | %.*s | %s |\n", initial_length(o), o->initial, o->help);
}

static void print_roff(const char *text) {
    for (; *text; text++) printf(*text == '-' ? "\\-" : "%c", *text);
}

static void print_man_flag(const struct option *o) {
    printf(".TP\n.B ");
    print_roff(flag(o));
    if (o->kind >= OUTPUT) printf("\\fR[=\\fIFILE\\fR]\n");
    else if (o->kind == NUMBER) printf(" \\fIN\\fR\n");
    else {
        printf(" ");
        for (const char *c = o->accepted; *c; c++) printf(*c == '|' ? "\\fR|\\fB" : "%c", *c);
        printf("\n");
    }
    printf("Sets\n.BR %s ,\nsee\n.BR libkaio (7).\n", o->name);
}

static void print_man_variable(const struct option *o) {
    printf(".TP\n.BR %s \" (", o->name);
    for (const char *c = o->accepted; *c; c++) printf(*c == '|' ? ", " : "%c", *c);
    printf("; default %.*s)\"\n", initial_length(o), o->initial);
    print_roff(o->help);
    printf("\n");
}

int kaio_print_options(const char *how) {
    static const struct {
        const char *how, *head;
        void (*print)(const struct option *);
    } forms[] = {
        {"--options", "", print_text},
        {"--table", "", print_table},
        {"--markdown", "| variable | accepted | default | meaning |\n|---|---|---|---|\n",
         print_markdown},
        {"--man-flags", "", print_man_flag},
        {"--man-variables", "", print_man_variable},
    };
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if (strcmp(how, forms[f].how)) continue;
        printf("%s", forms[f].head);
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) forms[f].print(&options[i]);
        return 1;
    }
    return 0;
}
