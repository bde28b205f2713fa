# SPDX-License-Identifier: MIT
# ab.jq - from kaio-measure's lines ($runs) and the library's reports ($glibc, $libkaio) to the
# figures of kaio ab --json.
include "ab-numbers";

def median: sort | length as $n
    | if $n == 0 then null elif $n % 2 == 1 then .[$n / 2 | floor] else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;
def spread: if length == 0 then null else {median: median, min: min, max: max} end;

# From the k-th smallest to the k-th largest of n figures: where the median is, with the confidence
# 1 - 2 P(fewer than k heads of n coins), whatever their distribution (sign test). The largest k that
# is good for 95 %; below six figures none is, and all of them are the interval.
def rank: . as $n | [{k: 1, term: pow(0.5; $n), tail: pow(0.5; $n)}
    | recurse(.k as $k | (.term * ($n - $k + 1) / $k) as $term
        | {k: ($k + 1), term: $term, tail: (.tail + $term)} | select(2 * .tail <= 0.05))] | last;
def interval: if length == 0 then null else sort | length as $n | ($n | rank) as $rank
    | spread + {low: .[$rank.k - 1], high: .[$n - $rank.k], confidence: (1 - 2 * $rank.tail)} end;

def timed: [$runs[] | select(.how == "timed")];
def of($side; $name): timed | map(select(.side == $side)[$name] | select(. != null));
def figure($name):
    {name: $name, glibc: (of("glibc"; $name) | spread), libkaio: (of("libkaio"; $name) | spread),
     ratio: (timed | group_by(.pair) | map(map({key: .side, value: .[$name]}) | from_entries
         | select(.glibc and .libkaio and .glibc > 0 and .libkaio > 0) | .glibc / .libkaio) | interval)};

# What else the machine did during these runs, in shares of its CPU time; null if they were too short
# to tell. "pressure": of the time, something had to wait for a CPU; perhaps the command itself.
def machine: map(.span_s //= .wall_s) | (map(.span_s) | add) as $wall | (map(.span_s * .cpus) | add) as $all
    | if $all == null or $all < 0.5 then null else
        {others: ((map(.others_s) | add) / $all), steal: ((map(.steal_s) | add) / $all),
         pressure: (if all(.pressure_s) then (map(.pressure_s) | add) / $wall else null end)} end
    | if . then .busy = (.others >= 0.1 or .steal >= 0.02 or (.others >= 0.05 and .pressure and .pressure >= 0.1))
      else null end;

# Several processes: sums, and figures of the summed histograms.
def sum_counts: map(to_entries) | add | group_by(.key) | map({key: .[0].key, value: (map(.value) | add)})
    | from_entries;
def sum_buckets: add | group_by(.[0]) | map([.[0][0], (map(.[1]) | add)]);
def share($p): ((map(.[1]) | add // 0) * $p) as $wanted
    | reduce .[] as $b ({sum: 0}; if .at then . else .sum += $b[1] | if .sum >= $wanted then .at = $b[0] else . end end)
    | .at;
def times: (map(.histogram) | sum_buckets) as $all | (map(.max) | max) as $max
    | {count: ($all | map(.[1]) | add // 0), p50: ([($all | share(0.5)), $max] | min),
       p99: ([($all | share(0.99)), $max] | min), max: $max, histogram: $all};
def merge: map(select(type == "object" and .requests and .latency_us and .call_us))
    | if length == 0 then null else
        {processes: length, requests: (map(.requests) | sum_counts), bytes: (map(.bytes) | sum_counts),
         size_histogram: (map(.size_histogram) | sum_buckets),
         latency_us: (map(.latency_us) | times), call_us: (map(.call_us) | times)}
    end;

def range_of: (if . and .high >= 10 then 0 elif . and .high >= 1.2 then 1 else 2 end) as $digits
    | [.low, .high] | map(fixed($digits)) | if .[0] == .[1] then .[:1] else . end | join("–");
# Of the ratios of wall time: the interval must lie on one side, its median by two per cent.
def verdict:
    if . == null then "too short to compare"
    elif .low > 1 and .median >= 1.02 then range_of + " × faster"
    elif .high < 1 and .median <= 0.98 then {low: (1 / .high), high: (1 / .low)} | range_of + " × slower"
    else "no difference beyond the noise (" + range_of + " ×)" end;

def requests: .requests | add;

# How often each side failed (--ignore-failure), and how: null if never.
def failures: ["glibc", "libkaio"] | map({key: ., value: (. as $side
    | [$runs[] | select(.side == $side)]
    | {runs: length, failed: (map(select((.status // 0) != 0 or (.signal // 0) != 0)) | length),
       ends: (map(if (.signal // 0) != 0 then "signal \(.signal)" elif (.status // 0) != 0 then "exit status \(.status)" else empty end) | unique)})})
    | from_entries | if all(.failed == 0) then null else . end;

[figure("wall_s", "user_s", "system_s", "max_rss_kib", "voluntary_switches", "involuntary_switches",
        "threads")] as $figures
| {glibc: ($glibc | merge), libkaio: ($libkaio | merge)} as $aio
| (if $aio.glibc and $aio.libkaio and ($aio.glibc | requests) > 0
   then ($aio.libkaio | requests) / ($aio.glibc | requests) else null end) as $requests
# Not the same work, but the same time: it runs for a time.
| ($figures[0].ratio as $wall
   | $requests and $wall and ($requests > 1.1 or $requests < 0.9) and $wall.median > 0.8 and $wall.median < 1.25
  ) as $for_a_time
| {command: $ARGS.positional, load: ($ARGS.named.load | if . == "" then null else . end), date: $date, kernel: $kernel, cpus: $cpus, pairs: $pairs,
   verdict: (if $for_a_time then ({low: $requests, high: $requests} | range_of) + " × as many requests in the same time"
             else $figures[0].ratio | verdict end),
   request_ratio: $requests, for_a_time: $for_a_time, figures: $figures, aio: $aio,
   failures: failures, machine: (timed | map(select(.cpus)) | machine), runs: $runs}
