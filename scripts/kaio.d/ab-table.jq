# SPDX-License-Identifier: MIT
# ab-table.jq - the figures of kaio ab as text, or with --arg markdown yes as Markdown.
include "ab-numbers";

def left($n): . + " " * ($n - length);
def right($n): " " * ($n - length) + .;
def is_markdown: $ARGS.named.markdown == "yes";
def line($a; $b; $c; $d): if is_markdown then "| \([$a, $b, $c, $d] | map(sub("^ +"; "")) | join(" | ")) |"
    else "\($a | left(28))\($b | right(13))\($c | right(13))   \($d)" | sub(" +$"; "") end;
def head($a; $b; $c; $d): line($a; $b; $c; $d), if is_markdown then "| --- | ---: | ---: | :--- |" else empty end;

def grouped: tostring | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(",");
# three digits that count
def short: if . >= 99.95 then round | grouped elif . >= 9.995 then fixed(1) else fixed(2) end;
def seconds: if . == null then "–" elif . >= 0.9995 then short + " s" else . * 1000 | short + " ms" end;
def microseconds: if . == null then "–" elif . >= 999.5 then . / 1000 | short + " ms" else short + " µs" end;
def bytes: if . == null then "–"
    elif . >= 1073741824 then . / 1073741824 | short + " GiB"
    elif . >= 1048576 then . / 1048576 | short + " MiB"
    elif . >= 1024 then . / 1024 | short + " KiB" else "\(.) B" end;
def whole_bytes: bytes | sub("\\.0+ "; " ");
def count: if . == null then "–" else round | grouped end;

def ratio: if . == null then ""
    elif (.low | short) == (.high | short) then "\(.median | short) ×"
    else "\(.median | short) × (\(.low | short)–\(.high | short))" end;
def row($title; f): line($title; .glibc.median | f; .libkaio.median | f; .ratio | ratio);

# both sides of what the library reported
def pair($title; get; f): select([.glibc, .libkaio | get] != [0, 0]) | line($title; .glibc | get | f; .libkaio | get | f; "");
def three($title; get): pair($title + ", median"; get | .p50; microseconds),
    pair("  p99"; get | .p99; microseconds), pair("  longest"; get | .max; microseconds);
def sizes: [.size_histogram // [] | .[]] | (map(.[1]) | add) as $all | sort_by(-.[1]) | .[:3]
    | map("\(.[0] | whole_bytes) (\(.[1] * 100 / $all | round) %)") | join(", ");

def percent: . * 100 | round | tostring + " %";
def interval: if . and .confidence > 0 then " (\(.confidence | percent) interval)" else "" end;
def ends: if .ends == [] then "" else " (" + (.ends | join(", ")) + ")" end;
def busy: "The machine was busy: other programs had \(.others | percent) of its CPU time"
    + (if .steal >= 0.005 then ", the hypervisor's other guests \(.steal | percent)" else "" end)
    + (if .pressure then "; something waited for a CPU \(.pressure | percent) of the time" else "" end) + ".";

(.figures | map({key: .name, value: .}) | from_entries) as $f
| (if .load then "server: " else "" end) as $whose
| (if .load then "load" else "command" end) as $what
| [ if is_markdown then "`\(.command | join(" "))`\(if .load then " under `\(.load)`" else "" end), Linux \(.kernel), \(.cpus) CPU\(if .cpus > 1 then "s" else "" end):" else empty end,
    "",
    head("median of \(.pairs) run\(if .pairs > 1 then "s" else "" end)"; "glibc"; "libkaio";
        "glibc / libkaio" + ($f.wall_s.ratio | interval)),
    ($f.wall_s | row(if $what == "load" then "time of the load" else "wall time" end; seconds)),
    ($f.user_s | row($whose + "user time"; seconds)),
    ($f.system_s | row($whose + "system time"; seconds)),
    ($f.max_rss_kib | row($whose + "peak memory"; if . then . * 1024 else . end | bytes)),
    ($f.voluntary_switches | row($whose + "voluntary switches"; count)),
    ($f.involuntary_switches | row($whose + "involuntary switches"; count)),
    ($f.threads | row($whose + "threads created"; count)),
    "",
    (select(.aio.glibc or .aio.libkaio) | head("AIO, in a run of its own"; "glibc"; "libkaio"; "")),
    (.aio | select(.glibc or .libkaio) | pair("reads"; .requests.read; count), pair("writes"; .requests.write; count),
        pair("syncs"; if .requests then .requests.fsync + .requests.fdatasync else null end; count),
        pair("read"; .bytes.read; bytes), pair("written"; .bytes.write; bytes),
        three("call to completion"; .latency_us), three("inside the call"; .call_us),
        (.libkaio // .glibc // {} | sizes | select(. != "") | if is_markdown then "" else empty end, "request sizes: up to " + .)),
    (select(.aio.glibc or .aio.libkaio) | ""),
    "libkaio: " + .verdict + (if .for_a_time then ", in one run of each side" elif .pairs < 5 then "; so few pairs may be chance" else "" end),
    (if (.aio.glibc or .aio.libkaio) | not then "No AIO request was seen."
     elif .for_a_time then
        "The \($what) seems to run for a time, not for an amount of work: times and switches are not for the same work."
     elif .request_ratio and (.request_ratio > 1.1 or .request_ratio < 0.9) then
        "It made \(.request_ratio | short) times as many requests with libkaio: it did not do the same work on both sides."
     else empty end),
    (.failures | select(.) | "The \($what) failed in \(.glibc.failed) of \(.glibc.runs) runs on glibc\(.glibc | ends), in \(.libkaio.failed) of \(.libkaio.runs) with libkaio\(.libkaio | ends)."),
    (.machine | select(. and .busy) | busy),
    (if (.load | not) and ([.runs[] | select(.how == "timed").wall_s] | max) < 0.1 then
        "The runs are short: to start the command (with libkaio: 1 ms more) is much of what was measured."
     else empty end)
  ] | .[]
