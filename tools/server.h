/* SPDX-License-Identifier: MIT */
/* server.h - the processes below this one, for kaio-measure. */
#ifndef KAIO_SERVER_H
#define KAIO_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

int server_signal_of(const char *name); /* TERM, SIGTERM, 15, RTMIN+3; 0: none */
int server_children(pid_t but);         /* how many, without this one */
bool server_listens(void);              /* has one of them a socket that listens? */
void server_tell(int sig);              /* the children that have not been told yet */
int server_kill(void);                  /* all of them; how many */

#endif
