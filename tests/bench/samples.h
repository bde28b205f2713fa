/* SPDX-License-Identifier: MIT */
/* samples.h - for the programs that measure the time inside a call: its distribution.
 */
#ifndef SAMPLES_H
#define SAMPLES_H

#include "bench.h"

#define MIN_SAMPLES 20
#define MAX_SAMPLES 50000

static double samples[MAX_SAMPLES];

/* Is there time for sample n of a figure that began then? */
static inline bool more(int n, double begin, double seconds) {
    return n < MIN_SAMPLES || (n < MAX_SAMPLES && now_ns() < begin + span_ns(seconds));
}

/* Prints the figures of n samples, in nanoseconds. */
static inline void report(const char *name, const char *suffix, int n) {
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};
    for (int i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof line, "call %s %s%s", name, shares[i].name, suffix);
        figure(line, "ns", "lower", quantile(samples, n, shares[i].share));
    }
}

#endif
