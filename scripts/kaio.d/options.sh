# options.sh - read by run and ab: the library's options as flags. The table is shim/options.def, through kaio-check.
# shellcheck shell=sh disable=SC2034,SC2154

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
            if [ "$kind" = OUTPUT ]; then
                value=1
            else
                [ $# -gt 1 ] || fail 125 "$flag needs a value ($accepted)"
                value=$2 taken=2
            fi
            ;;
        esac
        export "$variable=$value"
    done <<TABLE
$table
TABLE
}

# check_options: every variable of the table, whether it came as a flag or from outside
check_options() {
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
        *) if [ "$value" ]; then continue; fi ;;
        esac
        fail 125 "$flag ($variable): '$value' is not one of $accepted"
    done <<TABLE
$table
TABLE
}
