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
void pages_print(FILE *out, const char *started); /* the sum; started: what was run */

/* json.c */
void json_page(FILE *out, const struct kaio_counts *page);
void json_string(FILE *out, const char *text);

#endif
