# SPDX-License-Identifier: MIT
# results.jq - makes results.json of the runs (an array of objects, in the order in which they were
# made, each with "side" and "pair"). $about: machine, command and so on.

def median: sort | if length == 0 then null
    elif length % 2 == 1 then .[length / 2 | floor]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def spread: map(select(. != null)) |
    if length == 0 then null else {median: median, min: min, max: max} end;
def quotient($a; $b): if $a == null or $b == null or $a == 0 or $b == 0 then null else $a / $b end;

# groups of objects with the same f, in the order in which they first appear
def groups(f): reduce .[] as $x ({names: [], of: {}};
    ($x | f) as $name
    | if .of[$name] then . else .names += [$name] end
    | .of[$name] += [$x]) | [.of[.names[]]];
def by_side: reduce .[] as $run ({}; .[$run.side] += [$run]);

# the quotients of the pairs
def pairwise($a; $b): [range([$a, $b] | map(length) | min) | quotient($a[.]; $b[.])];

# of these sides the one that made the most in the median; null: none has run
def best($iops; $sides): $sides | map(select($iops[.])) | max_by($iops[.] | median);
def over($iops; $side): if $side == null then null
    else {engine: $side} + (pairwise($iops.shim; $iops[$side]) | spread) end;

def cell:
    .[0] as $first | by_side as $sides
    | ($sides | map_values(map(.iops))) as $iops
    | ($sides | map_values(map(.cpu_us))) as $cpu
    | {name: $first.cell, where: $first.where, before: $first.before, arguments: $first.arguments,
        way: $first.way,
        best: over($iops; best($iops; ["libaio", "io_uring", "psync"])),
        async: over($iops; best($iops; ["libaio", "io_uring"])),
        ratio: (pairwise($iops.shim; $iops.glibc) | spread),
        cpu_ratio: (pairwise($cpu.shim; $cpu.glibc) | spread),
        native: ($iops | del(.glibc, .shim) | map_values(. as $n | pairwise($iops.shim; $n) | spread)),
        median: ($sides | map_values(. as $runs
            | reduce ("iops", "p50_us", "p99_us", "cpu_us", "switches") as $key ({};
                .[$key] = ($runs | map(.[$key]) | median)))),
        runs: ($sides | map_values(map(del(.cell, .where, .before, .arguments, .way, .side, .pair))))};

# "NAME native" is beside NAME: the same figure of the kernel's own interface
def figure($native):
    .[0] as $first | (by_side | map_values(map(.value))) as $values
    | {name: $first.figure, unit: $first.unit, better: $first.better,
        ratio: (if $first.better == "lower" then pairwise($values.glibc; $values.shim)
            else pairwise($values.shim; $values.glibc) end | spread),
        median: ($values | map_values(median)),
        native: $native[$first.figure + " native"],
        native_ratio: quotient($native[$first.figure + " native"]; $values.shim | median),
        runs: $values};

# the straight line through points: [slope, its value at 0]
def line: select(length > 1) | length as $n | (map(.[0]) | add / $n) as $x | (map(.[1]) | add / $n) as $y
    | ((map((.[0] - $x) * (.[1] - $y)) | add) / (map((.[0] - $x) | . * .) | add)) as $slope
    | [$slope, $y - $slope * $x];

# CPU time over size: slope of the logarithms
def slope(f): map(select(.size > 0 and f != null and f > 0) | [.size, f] | map(log)) | [line] | .[0][0];
def axis: {name: .[0].growth, points: (groups(.size | tostring) | map(by_side as $sides
        | ($sides | map_values(map(.ns))) as $ns
        | {size: .[0].size, ratio: (pairwise($ns.glibc; $ns.shim) | spread)}
            + ($ns | map_values(median))))}
    | .slope = {glibc: (.points | slope(.glibc)), shim: (.points | slope(.shim))};

# The Universal Scalability Law, X(n) = n X(1) / (1 + s (n - 1) + k n (n - 1)), in which s is the serial
# share and k what the CPUs cost each other. Two threads tell s + 2k = 2 X(1) / X(2) - 1. Of that
# s grows with the time for which the lock is held, and k does not. Longer holds tell them apart: a
# line over the lock's share of a request's time on one thread, whose slope is 1 if that share is s.
def scaling:
    (groups(.add_ns | tostring) | map((map(select(.threads == 1)) | {rate: (map(.rate) | median),
            holds: (map(.holds) | median), held_ns: (map(.held_ns) | median)}) as $one
        | (map(select(.threads == 2)) | {rate: (map(.rate) | median), waited_ns: (map(.waited_ns) | median),
            held_ns: (map(.held_ns) | median)}) as $two
        | {add_ns: .[0].add_ns, one: $one, two: $two, gain: ($two.rate / $one.rate),
            share: ($one.holds * $one.held_ns * $one.rate / 1e9)})) as $points
    | ($points[0]) as $first
    | ($points | map([.share, 2 / .gain - 1]) | [line] | .[0]) as $line
    | (if $line then [0, $line[1] / 2] | max else null end) as $k
    | {name: .[0].locks, points: $points, line: $line, serial: $first.share, coherence: $k,
        lock_limit: quotient(1e9; $first.one.holds * $first.one.held_ns),
        rates: (if $k == null then {} else [1, 2, 8, 64, 256] | map({key: tostring,
            value: (. * $first.one.rate / (1 + $first.share * (. - 1) + $k * . * (. - 1)))})
            | from_entries end),
        peak: (if $k == null or $k == 0 then null else (([0, 1 - $first.share] | max) / $k | sqrt) end)};

# below: its whole spread is below 1
def summary(f): map(f | select(. != null)) | {count: length,
    below: map(select(.max < 1)) | length,
    medians_below: map(select(.median < 1)) | length,
    geometric_mean: (if length == 0 then null else (map(.median | log) | add / length | exp) end)};

map(select(.figure)) as $figures
| ($figures | map(select(.figure | endswith(" native"))) | groups(.figure)
    | map({key: .[0].figure, value: (map(.value) | median)}) | from_entries) as $native
| {about: $about,
    cells: (map(select(.cell and .way == "")) | groups(.cell) | map(cell)),
    busy: (map(select(.cell and .way != "")) | groups(.cell) | map(cell)),
    growth: (map(select(.growth)) | groups(.growth) | map(axis)),
    locks: (map(select(.locks)) | groups(.locks) | map(scaling)),
    figures: ($figures | map(select(.figure | endswith(" native") | not)) | groups(.figure)
        | map(figure($native))),
    plots: (map(select(.plot)) | groups(.plot)
        | map({name: .[0].plot, points: map({depth, side, iops, p50_us, p99_us, cpu_us, switches})}))}
| .summary = {cells: (.cells | summary(.ratio)), figures: (.figures | summary(.ratio)),
    best: (.cells | summary(.best)), async: (.cells | summary(.async)),
    busy: (.busy | summary(.ratio) + {cpu_above: map(select(.cpu_ratio.median > 1.1)) | length}),
    growth: (.growth | {count: length, above: map(select(.slope.shim > 0.1)) | length})}
