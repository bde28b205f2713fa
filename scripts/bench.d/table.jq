# table.jq - results.json as Markdown (jq -r). With --arg only summary: the closing lines alone.

def fixed($digits): (. * pow(10; $digits) | round | tostring)
    | if $digits == 0 then . else
        (if length <= $digits then "0" * ($digits + 1 - length) + . else . end)
        | .[:-$digits] + "." + .[-$digits:] end;
def number: if . == null then "–" elif . >= 100 then fixed(0) elif . >= 10 then fixed(1)
    else fixed(2) end;
def spread: if . == null then "–" else
    (.median | number) + if .min == .max then "" else " (\(.min | number)–\(.max | number))" end end;
def row: "| " + join(" | ") + " |";
def header: row, (map("---") | row);

def sides: ["glibc", "shim", "libaio", "io_uring", "psync"];
# one table of what f makes of each side's medians
def per_side(f): (["cell"] + sides | header), (.cells[] | .median as $m
    | [.name] + (sides | map($m[.] | if . == null then "–" else f end)) | row);

def counted($pairs; $what): "\(.count) \($what): \(.below) below 1.0 "
    + if $pairs == 1 then "in the one pair" else "in every pair, \(.medians_below)"
    + " median\(if .medians_below == 1 then "" else "s" end) below 1.0" end
    + ", geometric mean \(.geometric_mean | number) × glibc";
def summary: .about.pairs as $pairs | .summary
    | (.cells | select(.count > 0) | counted($pairs; "cells")),
      (.figures | select(.count > 0) | counted($pairs; "figures of the microbenchmarks"));

def cells:
    "## fio", "",
    "IOPS; ratios are \(if .about.pairs == 1 then "those of one pair" else "medians of the pairs (min–max)" end).", "",
    (["cell", "glibc", "shim", "shim / glibc", "shim / libaio", "shim / io_uring", "shim / psync"]
        | header),
    (.cells[] | [.name, (.median.glibc.iops | fixed(0)), (.median.shim.iops | fixed(0)),
        (.ratio | spread), (.native["libaio", "io_uring", "psync"] | .median | number)] | row),
    "", "Latency from submission to completion, p50 / p99, µs:", "",
    per_side("\(.p50_us | number) / \(.p99_us | number)"),
    "", "CPU time, µs, and context switches per request, of the whole process:", "",
    per_side("\(.cpu_us | number), \(.switches | fixed(2))");

def figures:
    "## Microbenchmarks (tests/bench)", "",
    "Ratios: above 1 the shim is better. Native: `io_submit` of the same request with `RWF_NOWAIT`.", "",
    (["figure", "unit", "glibc", "shim", "against glibc", "native", "against native"] | header),
    (.figures[] | [.name, .unit, (.median.glibc | number), (.median.shim | number),
        (.ratio | spread), (.native, .native_ratio | number)] | row);

if $only == "summary" then summary else
    (.about | "`\(.command)`, \(.date)", "",
        "\(.machine); \(if .pairs == 1 then "one run" else "medians of \(.pairs) alternating runs" end), fio's of \(.seconds) s.",
        ""),
    (if .cells == [] then empty else cells, "" end),
    (if .figures == [] then empty else figures, "" end),
    summary
end
