/* SPDX-License-Identifier: MIT */
/* top.h - the two files of kaio top: top.c finds and reads, show.c shows. */
#ifndef KAIO_TOP_H
#define KAIO_TOP_H

#include "../shim/observe/stats.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct process {
    struct process *next; /* by pid */
    pid_t pid;
    struct kaio_counts then, now;
    uint64_t since_ns, at_ns; /* when they were read */
    bool seen;
};

/* A process with the library that does not publish, and why. */
struct idle {
    struct idle *next;
    pid_t pid;
    char command[64];
    const char *why;
};

/* How it is shown. Keys change it. */
enum top_order { BY_PID, BY_REQUESTS, BY_BYTES, BY_PENDING, BY_P99 };
extern struct top_view {
    enum top_order order;
    double interval_s;
    bool help, files;
} top_view;
bool top_set_order(const char *name); /* pid, requests, bytes, pending or p99 */

void top_text(FILE *out, const struct process *processes, const struct idle *idle, pid_t wanted);
void top_json(FILE *out, const struct process *processes);

void top_enter(void); /* the terminal is ours */
void top_leave(void);
void top_draw(const struct process *processes, const struct idle *idle, pid_t wanted);
bool top_wait(bool screen); /* until something is to be shown; false: it ends */
bool top_is_tick(void);     /* the interval is over: read again */

#endif
