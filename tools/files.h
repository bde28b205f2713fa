/* SPDX-License-Identifier: MIT */
/* files.h - figures of single files: as a table, and as JSON. */
#ifndef KAIO_FILES_H
#define KAIO_FILES_H

#include "../shim/observe/stats.h"

#include <stdio.h>

struct files; /* of one page, or the sum of several: the same file of two processes is one */

struct files *files_add(struct files *sum, const struct kaio_counts *page); /* NULL begins one */
void files_free(struct files *sum);

/* A header, and for each of the ten files with the most requests its path and a line of figures;
 * nothing if there is none. Paths are shortened to so many columns; the figures have 79. */
void files_print(FILE *out, const struct files *sum, int columns);

/* "files":[...],"other_files":N of one page */
void files_json(FILE *out, const struct kaio_counts *page);

#endif
