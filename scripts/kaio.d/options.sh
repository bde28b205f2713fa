# options.sh - read by run and ab: the library's options as flags. The table is shim/host/options.def, through kaio-check.
# shellcheck shell=sh disable=SC2034,SC2154

# SPDX-License-Identifier: MIT
table=$("$tools/kaio-check" --table) # flag, variable, kind, minimum, maximum, what it accepts

# take_option ARGUMENT...: if the first word is a flag of the library, exports its variable. $taken:
# how many words it took, 0 if it is none.
take_option() {
    taken=0
    while read -r flag variable kind _ _ accepted; do
        [ "$flag" = "${1%%=*}" ] || continue
        taken=1
        case $1 in
        *=*) value=${1#*=} ;;
        *)
            case $kind in
            OUTPUT | PAGES) value=1 ;;
            *)
                [ $# -gt 1 ] || fail 125 "$flag needs a value ($accepted)"
                value=$2 taken=2
                ;;
            esac
            ;;
        esac
        export "$variable=$value"
    done <<TABLE
$table
TABLE
}

# check_output FLAG VARIABLE VALUE ACCEPTED: before the program starts, since the library, in the middle
# of it, can only go on without. A path is made absolute: the program may change its directory.
check_output() {
    case $2:$3 in
    *:0 | KAIO_STATS:live) return ;;
    *:*[!0-9]*) ;;
    *:1) case $4 in *"1 (standard error)"*) return ;; esac ;;
    esac
    case $3 in
    '') fail 125 "$1 ($2): '' is not one of $4" ;;
    *[!0-9]*) ;;
    *) fail 125 "$1 ($2): '$3' is not one of $4; a file of that name is ./$3" ;;
    esac
    case $3 in
    /*) path=$3 ;;
    *) path=$PWD/$3 ;;
    esac
    why=$("$tools/kaio-check" --output "$2" "$path") || fail 125 "$1 ($2): $path cannot be written to: $why"
    export "$2=$path"
}

# check_options: every variable of the table, whether it came as a flag or from outside
check_options() {
    for name in $(env | sed -n 's/^\(KAIO_[A-Za-z0-9_]*\)=.*/\1/p'); do
        case $table in
        *" $name "*) ;;
        *) printf 'kaio: warning: %s is no variable of libkaio; kaio --help lists them\n' "$name" >&2 ;;
        esac
    done
    while read -r flag variable kind minimum maximum accepted; do
        eval "value=\${$variable-} given=\${$variable+yes}"
        [ "$given" ] || continue
        case $kind in
        CHOICE) case "|$accepted|" in *"|$value|"*) continue ;; esac ;;
        NUMBER)
            # seven digits are more than any maximum
            case $value in
            '' | *[!0-9]* | ???????*) ;;
            *) if [ "$value" -ge "$minimum" ] && [ "$value" -le "$maximum" ]; then continue; fi ;;
            esac
            ;;
        *) check_output "$flag" "$variable" "$value" "$accepted"; continue ;;
        esac
        fail 125 "$flag ($variable): '$value' is not one of $accepted"
    done <<TABLE
$table
TABLE
}
