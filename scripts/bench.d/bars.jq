# SPDX-License-Identifier: MIT
# bars.jq - results.json's .cells or .figures ($kind) as rows for bars.gp, with headings above groups.
def fixed($digits): . * pow(10; $digits) | round | tostring | ("0" * ([$digits + 1 - length, 0] | max) // "") + .
    | .[:-$digits] + "." + .[-$digits:];
def number: if . >= 100 then round | tostring elif . >= 10 then fixed(1) else fixed(2) end;
def heading: {direct: "direct I/O on a disk", tmpfs: "files in memory", buffered: "through the page cache",
    call: "time inside a call", list: "lio_listio()", memory: "memory", notify: "notifications",
    overlap: "computation beside a read", computation: "computation beside a read", poll: "aio_error()",
    process: "short processes, from start to exit", sockets: "beside idle sockets", threads: "threads"};
.[$kind] | map(select(.ratio and (.name | test(" (p99|max)$") | not)))
| map((.name | split(" ")[0]) as $word | .heading = (heading[$word] // $word))
| reduce .[] as $one ({rows: []};
    if $one.heading == .heading then . else .rows += [["{/:Bold \($one.heading)}", "NaN", "NaN", "NaN", ""]] end
    | .rows += [[$one.name, $one.ratio.median, $one.ratio.min, $one.ratio.max, "\($one.ratio.median | number) ×"]]
    | .heading = $one.heading)
| .rows | to_entries[] | [-.key] + .value | join("\t") | gsub("_"; "\\\\_")
