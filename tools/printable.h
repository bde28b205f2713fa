/* SPDX-License-Identifier: MIT */
/* printable.h - for whatever prints what another process or a file is called. */
#ifndef KAIO_PRINTABLE_H
#define KAIO_PRINTABLE_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

/* At most so many columns of the text; how many it took. */
int printable(FILE *out, const char *text, int most);

#endif
