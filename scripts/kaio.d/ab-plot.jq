# SPDX-License-Identifier: MIT
# ab-plot.jq - the distributions of completion latency for ab.gp: a block for each side (glibc, then
# libkaio), its title first; then from, to (µs) and the share of requests in per cent. Ten steps for
# each power of ten.
def edge: pow(10; . / 10);
.aio | select(.glibc and .libkaio) | [.glibc, .libkaio] | map(.latency_us)
| select(all(.count > 0))
| map((map_values(.)) as $t | .histogram
    | map([(([.[0], 0.1] | max) | log10 * 10 - 0.000001 | floor), .[1]])
    | group_by(.[0]) | map({step: .[0][0], share: (map(.[1]) | add * 100 / $t.count)})
    | {steps: ., p50: $t.p50, p99: $t.p99})
| (map(.steps[].step) | [min, max]) as [$from, $to]
| [["glibc", "libkaio"], .] | transpose[]
| .[0] as $side | .[1]
| (.steps | map({key: (.step | tostring), value: .share}) | from_entries) as $shares
| "\($side): median \(.p50 | round) µs, p99 \(.p99 | round) µs",
  (range($from - 1; $to + 2) | [(. | edge), (. + 1 | edge), $shares[. | tostring] // 0] | @tsv),
  "", ""
