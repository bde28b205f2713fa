/* SPDX-License-Identifier: MIT */
/* parent.h - for what waits for a command and reports then: kaio-stats, kaio-record. */
#ifndef KAIO_PARENT_H
#define KAIO_PARENT_H

#include <sys/types.h>

/* As transparent as a parent can be: it hands on the signals that are sent to it and stops with its
 * process group. */
void parent_begin(void);          /* first: signals are blocked from here on */
pid_t parent_start(char *argv[]); /* -1: errno */
int parent_wait(pid_t pid);       /* its wait status */
int parent_end_as(int status);    /* by the same signal; else the status to exit with */

#endif
