/* SPDX-License-Identifier: MIT */
/* pages.h - the pages that processes under the library publish: read, and summed. */
#ifndef KAIO_PAGES_H
#define KAIO_PAGES_H

#include "../shim/observe/stats.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* owner: NULL if it does not matter. If it is no page, errno is that of openat(), or 0. */
bool page_read(int dir, const char *name, const uid_t *owner, struct kaio_counts *page);

void pages_add(const struct kaio_counts *page);
/* A page, or all in a directory; false: one was none, and that has been said. */
bool pages_read(const char *path, void (*use)(const struct kaio_counts *page));

/* What has been added: the sum, a row for each process, the command that asked for most. */
struct page_row {
    unsigned pid, mode;
    double elapsed_us, p50_us, p99_us;
    uint64_t requests, bytes, lanes[KAIO_STATS_LANES];
    char command[sizeof((struct kaio_counts *)0)->command];
};
const struct kaio_counts *pages_sum(void);
const struct page_row *pages_rows(size_t *n);
const char *pages_command(void);
void pages_table(FILE *out);                      /* a line for each process */
void pages_print(FILE *out, const char *started); /* the sum; started: what was run */

/* json.c */
void json_page(FILE *out, const struct kaio_counts *page);
void json_string(FILE *out, const char *text);
void json_named(FILE *out, const char *key, const char *const names[], const kaio_count counts[],
                int n);

#endif
