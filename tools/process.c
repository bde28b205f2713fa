/* SPDX-License-Identifier: MIT */
/* process.c - what /proc says of a process; for kaio scan, top and --stats. */
#include "early.h"

#include "kaio.h"

#include <stdlib.h>

bool kaio_process_has(const char *pid, const char *file, int end, bool (*is)(const char *line)) {
    char path[64], *line = NULL;
    size_t size = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, file);
    FILE *lines = fopen(path, "re");
    while (lines && !found && getdelim(&line, &size, end, lines) > 0) found = is(line);
    free(line);
    if (lines) fclose(lines);
    return found;
}
