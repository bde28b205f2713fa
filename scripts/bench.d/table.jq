# SPDX-License-Identifier: MIT
# table.jq - results.json as Markdown (jq -r). With --arg only summary: the closing lines alone.

def fixed($digits): (if . < 0 then "-" else "" end) + (. * pow(10; $digits) | round | fabs | tostring
    | if $digits == 0 then . else
        (if length <= $digits then "0" * ($digits + 1 - length) + . else . end)
        | .[:-$digits] + "." + .[-$digits:] end);
def number: if . == null then "–" elif . < 0 then fixed(2) elif . >= 100 then fixed(0) elif . >= 10 then fixed(1)
    else fixed(2) end;
def spread: if . == null then "–" else
    (.median | number) + if .min == .max then "" else " (\(.min | number)–\(.max | number))" end end;
def row: "| " + join(" | ") + " |";
def header: row, (map("---") | row);

def sides: ["glibc", "shim", "libaio", "io_uring", "psync"];
# one table of what f makes of each side's medians
def per_side(f): (["cell"] + sides | header), (.cells[] | .median as $m
    | [.name] + (sides | map($m[.] | if . == null then "–" else f end)) | row);

def counted($pairs; $what; $over): "\(.count) \($what): \(.below) below 1.0 "
    + if $pairs == 1 then "in the one pair" else "in every pair, \(.medians_below)"
    + " median\(if .medians_below == 1 then "" else "s" end) below 1.0" end
    + ", geometric mean \(.geometric_mean | number) × \($over)";
def summary: .about.pairs as $pairs | .summary
    | (.best | select(.count > 0) | counted($pairs; "cells"; "the best native engine")),
      (.async | select(.count > 0) | counted($pairs; "cells"; "the best asynchronous one")),
      (.cells | select(.count > 0) | counted($pairs; "cells"; "glibc")),
      (.busy | select(.count > 0) | counted($pairs; "cells on a busy host"; "glibc")
          + "; \(.cpu_above) with more than 1.1 × its CPU time"),
      (.figures | select(.count > 0) | counted($pairs; "figures of the microbenchmarks"; "glibc")),
      (.growth | select(.count > 0) | "\(.count) \(if .count == 1 then "axis" else "axes" end): \(.above) on which the cost grows by a slope above 0.1");

def over: if . == null then "–" else "\(spread) \(.engine)" end;
def cells:
    "## fio", "",
    "Ratios of IOPS, but for CPU time, are \(if .about.pairs == 1 then "those of one pair" else "medians of the pairs (min–max)" end).",
    "Best: the native engine that made the most in the median. psync: one thread where memory is the limit or the depth is 1, else 16.", "",
    (["cell", "shim / best", "shim / best asynchronous", "shim / glibc", "CPU time: shim / glibc",
        "shim / libaio", "shim / io_uring", "shim / psync", "shim IOPS", "glibc IOPS"] | header),
    (.cells[] | [.name, (.best, .async | over), (.ratio, .cpu_ratio | spread),
        (.native["libaio", "io_uring", "psync"] | .median | number),
        (.median["shim", "glibc"].iops | fixed(0))] | row),
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

def busy:
    "## On a busy host", "",
    "Busy loops: one on each CPU. Half a CPU: by a control group. 64 processes: one request each.", "",
    (["cell", "shim / glibc", "CPU time: shim / glibc", "shim IOPS", "glibc IOPS", "shim CPU µs",
        "glibc CPU µs"] | header),
    (.busy[] | [.name, (.ratio, .cpu_ratio | spread), (.median["shim", "glibc"].iops | fixed(0)),
        (.median["shim", "glibc"].cpu_us | number)] | row);

def growth:
    "## Growth", "",
    "CPU time of a request, ns. Slope: of the logarithms, by least squares; 0 is flat, 1 is in proportion.", "",
    (["axis", "slope of the shim", "slope of glibc"] | header),
    (.growth[] | [.name, (.slope["shim", "glibc"] | if . then fixed(2) else "–" end)] | row), "",
    (["axis", "size", "glibc", "shim", "glibc / shim"] | header),
    (.growth[] | .name as $name | .points[]
        | [$name, (.size | tostring), (.glibc, .shim | number), (.ratio | spread)] | row);

def locks:
    "## The lock", "",
    "On one thread. Limit: requests per second if the lock were held all the time. Gain: two threads over one, as the lock is held longer by so many ns.", "",
    (["request", "holds", "ns each", "share of the time", "limit"] + (.locks[0].points | map("gain, + \(.add_ns)"))
        | header),
    (.locks[] | [.name, (.points[0].one | .holds, .held_ns | number), (.serial | number), (.lock_limit
        | if . then fixed(0) else "–" end), (.points[].gain | number)] | row), "",
    "Requests per second of so many CPUs by the Universal Scalability Law. s: the lock's share. k: from the line of 2 / gain - 1 over that share, whose slope is 1 where the lock is what is waited for.", "",
    (["request", "slope", "s", "k", "1 CPU", "2", "8", "64", "256", "most at"] | header),
    (.locks[] | [.name, (.line[0] | number), (.serial, .coherence | if . then fixed(4) else "–" end),
        (.rates["1", "2", "8", "64", "256"] | if . then fixed(0) else "–" end), (.peak | number)] | row);

if $only == "summary" then summary else
    (.about | "`\(.command)`, \(.date)", "",
        "\(.machine); \(if .pairs == 1 then "one run" else "medians of \(.pairs) alternating runs" end), fio's of \(.seconds) s.",
        ""),
    (if .cells == [] then empty else cells, "" end),
    (if .busy == [] then empty else busy, "" end),
    (if .figures == [] then empty else figures, "" end),
    (if .growth == [] then empty else growth, "" end),
    (if .locks == [] then empty else locks, "" end),
    summary
end
