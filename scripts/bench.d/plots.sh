# SPDX-License-Identifier: MIT
# plots.sh - sourced by bench: OUT/*.svg from OUT/results.json, by gnuplot. Needs $top $out $directory.
# shellcheck shell=bash disable=SC2154

# drawn PICTURE SCRIPT TITLE ABOUT [VARIABLE=VALUE...]: by gnuplot, of $directory/plotted
drawn() {
    local variable values=
    for variable in what="$3" about="$4" data="$directory/plotted" "${@:5}"; do
        values+="${variable%%=*}=\"${variable#*=}\";"
    done
    gnuplot -e "$values" "$top/scripts/bench.d/$2.gp" >"$directory/picture"
    sed "s|<title>Gnuplot</title>|<title>$3</title>|" "$directory/picture" >"$out/$1.svg"
}
# about FILTER: of results.json's .about
about() { jq -r ".about | $1" "$out/results.json"; }

# bars KIND: a bar for each ratio of .cells or .figures (without the tails of distributions), in groups
bars() {
    local what="Stock fio: requests a second with libkaio over those with glibc"
    [ "$1" = cells ] || what="Microbenchmarks: how many times as good libkaio is as glibc"
    jq -r --arg kind "$1" -f "$top/scripts/bench.d/bars.jq" "$out/results.json" >"$directory/plotted"
    [ ! -s "$directory/plotted" ] || drawn "ratios-$1" bars "$what" \
        "$(about '"\(.machine); \(if .pairs == 1 then "one pair" else "medians of \(.pairs) pairs" end)"')"
}

# depths: requests a second over the queue depth, for each kind of access
depths() {
    jq -r '.plots[].points | (group_by(.depth)[] | (map({key: .side, value: .iops}) | from_entries) as $iops
            | [.[0].depth] + (["glibc", "shim", "libaio", "io_uring"] | map($iops[.] // "NaN")) | @tsv), "", ""' \
        "$out/results.json" >"$directory/plotted"
    [ ! -s "$directory/plotted" ] || drawn depth depth "Stock fio: requests of 4 KiB a second over queue depth, one file" \
        "$(about .machine)" names="$(jq -r '.plots | map("\u0027\(.name | sub("rand"; "random ") | . + "s")\u0027") | join(" ")' "$out/results.json")"
}

# curves: CPU time of a request over a size, a plot for each axis
curves() {
    local name
    jq -r '.growth[].name' "$out/results.json" | while read -r name; do
        jq -r --arg name "$name" '.growth[] | select(.name == $name).points[] | select(.size > 0)
            | [.size, .glibc // "NaN", .shim // "NaN"] | @tsv' "$out/results.json" >"$directory/curve"
        gnuplot -e "name='$name'; data='$directory/curve'; svg='$out/growth-${name// /-}.svg'" \
            "$top/scripts/bench.d/growth.gp"
    done
}
