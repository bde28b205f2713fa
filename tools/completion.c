/* SPDX-License-Identifier: MIT */
/* completion.c - kaio --completion SHELL: completion for bash, zsh and fish, of the tables of
 * commands and options. The build asks for it, and make install puts it where the shells look.
 */
#include "kaio.h"

#include <stdlib.h>
#include <string.h>

static bool has(const struct kaio_command *c, const struct kaio_option *o) {
    return o->commands & c->bit;
}

/* Its value is the next word. */
static bool takes(const struct kaio_option *o) {
    return o->kind != FLAG && o->kind < OUTPUT;
}

/* As it is typed. The text is good until the next call. */
static const char *spelled(const struct kaio_option *o) {
    static char text[40];
    if (o->name) snprintf(text, sizeof text, "--%s", o->name);
    else snprintf(text, sizeof text, "-%c", o->letter);
    return text;
}

static void put_commands(const char *between) {
    for (const struct kaio_command *c = kaio_commands; c->name; c++)
        printf("%s%s", c == kaio_commands ? "" : between, c->name);
}

/* Between single quotes; `escaped` are characters that mean something to what reads it. */
static void put_quoted(const char *text, const char *escaped) {
    for (; *text; text++) {
        if (strchr(escaped, *text)) printf("\\");
        printf(*text == '\'' ? "'\\''" : "%c", *text);
    }
}

static void put_choices(const struct kaio_option *o) {
    for (const char *c = o->argument; *c; c++) printf("%c", *c == '|' ? ' ' : *c);
}

static const char bash_head[] =
    "# bash completion for kaio; made by 'kaio --completion bash'\n"
    "_kaio() {\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local command=run operands options takes words i=1 word\n"
    "    COMPREPLY=()\n";

static const char bash_tail[] =
    "    # The words before the current one: options, some with a value, up to the command.\n"
    "    for (( ; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        case $word in\n"
    "        --) i=$((i + 1)) && break ;;\n"
    "        = | *=*) ;;\n"
    "        -*)\n"
    "            if [[ \" $takes \" == *\" $word \"* ]] && [ \"${COMP_WORDS[i+1]}\" != = ]; then\n"
    "                i=$((i + 1))\n"
    "            fi\n"
    "            ;;\n"
    "        *) [ \"${COMP_WORDS[i-1]}\" = = ] || break ;;\n"
    "        esac\n"
    "    done\n"
    "    # --name=value comes as three words\n"
    "    if [ \"$current\" = = ]; then current='' before=\"$before=\"; fi\n"
    "    if [ \"$before\" = = ]; then before=${COMP_WORDS[COMP_CWORD-2]}=; fi\n"
    "    if [ \"$i\" -gt \"$COMP_CWORD\" ] || [[ $before == --*= ]]; then\n"
    "        operands=$(_kaio_value \"$command ${before%=}\")\n"
    "        words=${operands#* } operands=${operands%% *}\n"
    "    elif [[ $current == -* ]] && [ \"$i\" = \"$COMP_CWORD\" ] && [ \"$before\" != -- ]; then\n"
    "        operands=w words=$options\n"
    "    elif [ \"$i\" -lt \"$COMP_CWORD\" ] && [ \"$operands\" = c ]; then\n"
    "        ! declare -F _command_offset >/dev/null || _command_offset \"$i\"\n"
    "        return\n"
    "    elif [ \"$COMP_CWORD\" = 1 ]; then\n";

static const char bash_end[] =
    "    fi\n"
    "    mapfile -t COMPREPLY < <(\n"
    "        [[ $operands != *c* ]] || compgen -c -- \"$current\"\n"
    "        [[ $operands != *f* ]] || compgen -f -- \"$current\"\n"
    "        [[ $operands != *d* ]] || compgen -d -- \"$current\"\n"
    "        [[ $operands != *p* ]] || compgen -W \"$(cd /proc && echo [0-9]*)\" -- \"$current\"\n"
    "        [[ $operands != *w* ]] || compgen -W \"$words\" -- \"$current\"\n"
    "    )\n"
    "}\n"
    "complete -F _kaio -o filenames kaio\n";

/* What can stand behind an option: as kaio_command.operands, or w and words. */
static void bash_values(void) {
    printf("_kaio_value() {\n    case $1 in\n");
    for (const struct kaio_option *o = kaio_options; o->commands; o++) {
        if (o->kind == FLAG || o->kind == NUMBER) continue;
        const char *bar = "    ";
        for (const struct kaio_command *c = kaio_commands; c->name; c++) {
            if (!has(c, o)) continue;
            printf("%s'%s %s'", bar, c->name, spelled(o));
            bar = " | ";
        }
        printf(") echo '%s", o->kind == CHOICE ? "w " : o->kind == SHELL ? "c" : "f");
        if (o->kind == CHOICE) put_choices(o);
        printf("' ;;\n");
    }
    printf("    esac\n}\n");
}

static void bash(void) {
    printf("%s    case ${COMP_WORDS[1]} in\n    ", bash_head);
    put_commands(" | ");
    printf(")\n        if [ \"$COMP_CWORD\" -gt 1 ]; then command=${COMP_WORDS[1]} i=2; fi\n"
           "        ;;\n    esac\n    case $command in\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++) {
        printf("    %s)\n        operands=%s options='--help", c->name, c->operands);
        for (const struct kaio_option *o = kaio_options; o->commands; o++)
            if (has(c, o)) printf(" %s", spelled(o));
        printf("' takes='");
        for (const struct kaio_option *o = kaio_options; o->commands; o++)
            if (has(c, o) && takes(o)) printf("%s ", spelled(o));
        printf("'\n        ;;\n");
    }
    printf("    esac\n%s        operands=cw words='help version ", bash_tail);
    put_commands(" ");
    printf("'\n%s", bash_end);
    bash_values();
}

/* What zsh calls the kinds of words that a command or an option takes. */
static void zsh_operands(const char *operands) {
    if (!strcmp(operands, "c")) printf(" '(-):command:_command_names -e' '*::arguments:_normal'");
    else
        printf(" '*:%s:%s'", strchr(operands, 'p') ? "process or file" : "file",
               !strcmp(operands, "p")  ? "_pids"
               : strchr(operands, 'c') ? "{ _command_names -e; _files; _pids }"
               : strchr(operands, 'p') ? "{ _files; _pids }"
                                       : "_files");
}

static void zsh_option(const struct kaio_option *o) {
    printf(" \\\n            '%s%s[", spelled(o),
           o->kind == FLAG     ? ""
           : o->kind >= OUTPUT ? "=-"
           : o->name           ? "="
                               : "+");
    put_quoted(o->variable ? o->variable : o->help, "[]:\\");
    printf("]");
    if (o->kind == FLAG) return (void)printf("'");
    printf("%s:%s:", o->kind >= OUTPUT ? ":" : "",
           o->kind == CHOICE ? o->name : kaio_option_argument(o));
    if (o->kind == CHOICE) {
        printf("(");
        put_choices(o);
        printf(")");
    } else if (o->kind != NUMBER) {
        printf(o->kind == SHELL ? "_command_names -e" : "_files");
    }
    printf("'");
}

static void zsh(void) {
    printf("#compdef kaio\n# zsh completion for kaio; made by 'kaio --completion zsh'\n"
           "local command=run\nlocal -a commands=(\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++) {
        printf("    '%s:", c->name);
        put_quoted(c->summary, ":");
        printf("'\n");
    }
    printf("    'help:of a command or of all'\n    'version:which kaio this is'\n)\n"
           "if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
           "    _describe -t commands 'kaio command' commands\n"
           "    _command_names -e\n    return\nfi\n"
           "if [[ $words[2] == (");
    put_commands("|");
    printf(") ]]; then\n    command=$words[2]\n    shift words\n    (( CURRENT-- ))\nfi\n"
           "case $command in\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++) {
        printf("%s)\n    _arguments -S '(- *)--help[says more]'", c->name);
        for (const struct kaio_option *o = kaio_options; o->commands; o++)
            if (has(c, o)) zsh_option(o);
        printf(" \\\n           ");
        zsh_operands(c->operands);
        printf("\n    ;;\n");
    }
    printf("esac\n");
}

static void fish(void) {
    printf("# fish completion for kaio; made by 'kaio --completion fish'\n"
           "complete -c kaio -f -l help -d 'says more'\n");
    printf("set -l commands ");
    put_commands(" ");
    printf("\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++) {
        printf("complete -c kaio -f -n __fish_use_subcommand -a %s -d '", c->name);
        put_quoted(c->summary, "\\");
        printf("'\n");
    }
    printf("complete -c kaio -f -n __fish_use_subcommand -a help -d 'of a command or of all'\n"
           "complete -c kaio -f -n __fish_use_subcommand -a version -d 'which kaio this is'\n");
    for (const struct kaio_command *c = kaio_commands; c->name; c++) {
        char where[128];
        snprintf(where, sizeof where,
                 c->bit == RUN ? "not __fish_seen_subcommand_from $commands[2..-1]"
                               : "__fish_seen_subcommand_from %s",
                 c->name);
        for (const struct kaio_option *o = kaio_options; o->commands; o++) {
            if (!has(c, o)) continue;
            printf("complete -c kaio -n \"%s\" ", where);
            if (o->name) printf("-l %s", o->name);
            else printf("-s %c", o->letter);
            printf(takes(o) ? o->kind == PATH ? " -r -F" : " -x" : o->kind == FLAG ? " -f" : " -F");
            if (o->kind == CHOICE) printf(" -a '"), put_choices(o), printf("'");
            if (o->kind == SHELL) printf(" -a '(__fish_complete_command)'");
            printf(" -d '");
            put_quoted(o->variable ? o->variable : o->help, "\\");
            printf("'\n");
        }
        if (strchr(c->operands, 'c'))
            printf("complete -c kaio -n \"%s\" -a '(__fish_complete_subcommand)'\n", where);
        if (strchr(c->operands, 'p'))
            printf("complete -c kaio -f -n \"%s\" -a '(__fish_complete_pids)'\n", where);
        if (strchr(c->operands, 'f')) printf("complete -c kaio -F -n \"%s\"\n", where);
    }
}

bool kaio_print_completion(const char *shell) {
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    kaio_name_flags();
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(shell, shells[i].name)) return shells[i].print(), true;
    return false;
}
