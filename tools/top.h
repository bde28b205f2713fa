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

void top_text(FILE *out, const struct process *processes, pid_t wanted);
void top_json(FILE *out, const struct process *processes);

void top_enter(void); /* the terminal is ours */
void top_leave(void);
void top_draw(const struct process *processes, pid_t wanted);
bool top_wait(bool screen); /* until something is to be shown; false: it ends */
bool top_is_tick(void);     /* a second is over: read again */

#endif
