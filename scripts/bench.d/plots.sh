# plots.sh - sourced by bench: OUT/*.svg from OUT/results.json, by gnuplot. Needs $top $out $directory.
# shellcheck shell=bash disable=SC2154

# bars KIND: a bar chart of the ratios of .cells or .figures (without the tails of distributions)
bars() {
    jq -r --arg kind "$1" '.[$kind] | map(select(.ratio and (.name | test(" (p99|max)$") | not)))
        | to_entries[] | [-.key, .value.name, .value.ratio.median, .value.ratio.min, .value.ratio.max]
        | @tsv' "$out/results.json" >"$directory/bars"
    [ -s "$directory/bars" ] || return 0
    gnuplot -e "kind='$1'; data='$directory/bars'; svg='$out/ratios-$1.svg'" "$top/scripts/bench.d/bars.gp"
}

# depths: IOPS over the queue depth, a plot for each kind of access
depths() {
    local name
    jq -r '.plots[].name' "$out/results.json" | while read -r name; do
        jq -r --arg name "$name" '.plots[] | select(.name == $name).points
            | group_by(.depth)[] | (map({key: .side, value: .iops}) | from_entries) as $iops
            | [.[0].depth] + (["glibc", "shim", "libaio", "io_uring"] | map($iops[.] // "NaN"))
            | @tsv' \
            "$out/results.json" >"$directory/depths"
        gnuplot -e "name='$name'; data='$directory/depths'; svg='$out/depth-${name// /-}.svg'" \
            "$top/scripts/bench.d/depth.gp"
    done
}
