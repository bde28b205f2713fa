# SPDX-License-Identifier: MIT
# completion.bash - bash completion for kaio. What can be completed comes from 'kaio --help' itself.
# shellcheck shell=bash
_kaio() {
    local kaio=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local help command=run i=1 word
    COMPREPLY=()
    case ${COMP_WORDS[1]} in
    run | ab | check | top | record)
        if [ "$COMP_CWORD" -gt 1 ]; then command=${COMP_WORDS[1]} i=2; fi
        ;;
    esac
    help=$("$kaio" "$command" --help 2>/dev/null)
    [ "$command" != ab ] || help+=$'\n'$("$kaio" run --help 2>/dev/null)
    # The words before the current one: options, some with a value, up to the command.
    for (( ; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --) i=$((i + 1)) && break ;;
        = | *=*) ;;
        -*)
            # its value is the next word, but for --name=value and --name[=value]
            if grep -q -- "^ *$word [A-Za-z|]*\( \|\$\)" <<<"$help" && [ "${COMP_WORDS[i+1]}" != = ]; then
                i=$((i + 1))
            fi
            ;;
        *) [ "${COMP_WORDS[i-1]}" = = ] || break ;;
        esac
    done
    # --name=value comes as three words
    if [ "$current" = = ]; then current='' before="$before="; fi
    if [ "$before" = = ]; then before=${COMP_WORDS[COMP_CWORD-2]}=; fi
    if [ "$i" -lt "$COMP_CWORD" ] && [ "$command" != check ]; then
        declare -F _command_offset >/dev/null && _command_offset "$i"
        return
    fi
    case $current:$before in
    *:--prepare* | *:--setup* | *:--cleanup* | *:--load* | *:--ready*) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
    *:--stop*) mapfile -t COMPREPLY < <(compgen -W "TERM INT QUIT HUP USR1 USR2 KILL" -- "$current") ;;
    *:--json* | *:--svg* | *:--export-markdown* | *:--log= | *:--stats= | *:--record= | *:-o) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    -*) mapfile -t COMPREPLY < <(compgen -W "$(grep -Eo -- '(^| )--?[a-z][a-z-]*' <<<"$help" | sort -u)" -- "$current") ;;
    *:--*)
        # one of several words, or a number, of which nothing can be guessed
        word=$(sed -n "s/^ *${before%=} \([a-z|]*|[a-z|]*\)\$/\1/p" <<<"$help")
        if [ "$word" ] || [ "$i" -gt "$COMP_CWORD" ]; then
            mapfile -t COMPREPLY < <(compgen -W "${word//|/ }" -- "$current")
        else
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        fi
        ;;
    *)
        mapfile -t COMPREPLY < <(
            compgen -c -- "$current"
            if [ "$COMP_CWORD" = 1 ]; then compgen -W "run ab check top record" -- "$current"; fi
            if [ "$command" = check ]; then compgen -f -- "$current"; fi
        )
        ;;
    esac
}
complete -F _kaio -o filenames kaio
