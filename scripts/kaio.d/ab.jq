# ab.jq - from kaio-measure's lines ($runs) and the library's reports ($glibc, $libkaio) to the
# figures of kaio ab --json.
include "ab-numbers";

def median: sort | length as $n
    | if $n == 0 then null elif $n % 2 == 1 then .[$n / 2 | floor] else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;
def spread: if length == 0 then null else {median: median, min: min, max: max} end;

def of($side; $how; $name): [$runs[] | select(.side == $side and .how == $how)] | sort_by(.pair) | map(.[$name])
    | map(select(. != null));
def figure($how; $name):
    of("glibc"; $how; $name) as $a | of("libkaio"; $how; $name) as $b
    | {name: $name, glibc: ($a | spread), libkaio: ($b | spread),
       ratio: ([$a, $b] | transpose | map(select(.[0] and .[1] and .[0] > 0 and .[1] > 0) | .[0] / .[1]) | spread)};

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

def range_of: (if . and .max >= 10 then 0 elif . and .max >= 1.2 then 1 else 2 end) as $digits
    | [.min, .max] | map(fixed($digits)) | if .[0] == .[1] then .[:1] else . end | join("–");
# Of the ratios of wall time: all pairs must agree, by two per cent in the middle.
def verdict:
    if . == null then "too short to compare"
    elif .min > 1 and .median >= 1.02 then range_of + " × faster"
    elif .max < 1 and .median <= 0.98 then {min: (1 / .max), max: (1 / .min)} | range_of + " × slower"
    else "no difference beyond the noise (" + range_of + " ×)" end;

def requests: .requests | add;

[figure("timed"; "wall_s", "user_s", "system_s", "max_rss_kib", "voluntary_switches", "involuntary_switches",
        "threads")] as $figures
| {glibc: ($glibc | merge), libkaio: ($libkaio | merge)} as $aio
| (if $aio.glibc and $aio.libkaio and ($aio.glibc | requests) > 0
   then ($aio.libkaio | requests) / ($aio.glibc | requests) else null end) as $requests
# Not the same work, but the same time: it runs for a time.
| ($figures[0].ratio as $wall
   | $requests and $wall and ($requests > 1.1 or $requests < 0.9) and $wall.median > 0.8 and $wall.median < 1.25
  ) as $for_a_time
| {command: $ARGS.positional, date: $date, kernel: $kernel, cpus: $cpus, pairs: $pairs,
   verdict: (if $for_a_time then ({min: $requests, max: $requests} | range_of) + " × as many requests in the same time"
             else $figures[0].ratio | verdict end),
   request_ratio: $requests, for_a_time: $for_a_time, figures: $figures, aio: $aio, runs: $runs}
