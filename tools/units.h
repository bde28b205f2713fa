/* SPDX-License-Identifier: MIT */
/* units.h - figures for people, as kaio ab has them: three digits that count, and a unit. */
#ifndef KAIO_TOOLS_UNITS_H
#define KAIO_TOOLS_UNITS_H

#include <stdint.h>
#include <stdio.h>

/* Texts, good until eight more are made. A share is of 1. */
const char *unit_time(double us);
const char *unit_bytes(double bytes);
const char *unit_count(double n);
const char *unit_share(double part, double whole);

/* Right-aligned in so many columns; a column more before it. */
void put_right(FILE *out, const char *text, int columns);

#endif
