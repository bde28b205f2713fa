/* SPDX-License-Identifier: MIT */
/* raised.c - signals that a write raises in the thread that makes it: SIGPIPE (broken pipe or
 * socket) and SIGXFSZ (RLIMIT_FSIZE). In glibc that is a helper which blocks all signals, so the
 * program sees EPIPE or EFBIG only; here it may be the program's own thread, and they are taken
 * back.
 *
 * What is raised is pending for this very thread, and such signals are dequeued before those of the
 * process, which stay. So does one that was pending for the thread before (the program blocks it):
 * ours has merged with it. No state: libkaio-record.so contains this file, too.
 */
#include "host/host.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(signo)     (1u << ((signo)-1))
#define PENDING_FIELDS 29 /* of proc(5)'s stat, behind the name; the last is `signal` */

static const int both[] = {SIGPIPE, SIGXFSZ};

static unsigned pending_anywhere(void) {
    sigset_t set;
    unsigned bits = 0;
    sigpending(&set);
    for (int i = 0; i < 2; i++)
        if (sigismember(&set, both[i]) > 0) bits |= BIT(both[i]);
    return bits;
}

/* For this thread alone, which only /proc tells; without it, for the process, too. */
static unsigned pending_here(void) {
    char stat[512]; /* some 350 */
    unsigned bits = 0;
    kaio_fd_tell("/proc/thread-self/stat", stat, sizeof stat);
    const char *field = strrchr(stat, ')'); /* ends the name */
    for (int i = 0; field && i < PENDING_FIELDS; i++) field = strchr(field + 1, ' ');
    if (!field) return pending_anywhere();
    while (*++field >= '0' && *field <= '9') bits = bits * 10 + (unsigned)(*field - '0');
    return bits & (BIT(SIGPIPE) | BIT(SIGXFSZ));
}

/* Of both, before a write: mask is what the program blocks, and nothing else can be pending. */
unsigned kaio_raised_pending(const sigset_t *mask) {
    bool blocks = sigismember(mask, SIGPIPE) > 0 || sigismember(mask, SIGXFSZ) > 0;
    return blocks && pending_anywhere() ? pending_here() : 0;
}

/* What the kernel raises looks as if the process had sent it to itself. */
static void take_back(int signo) {
    static const struct timespec now = {0, 0};
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (syscall(SYS_rt_sigtimedwait, &set, &info, &now, KAIO_SIGSET) != signo) return;
    if (info.si_code == SI_USER && info.si_pid == getpid()) return;
    syscall(SYS_rt_tgsigqueueinfo, getpid(), kaio_gettid(), signo, &info); /* somebody else's */
}

/* After EPIPE or EFBIG; before: what was pending. */
void kaio_raised_take(unsigned before) {
    unsigned raised = pending_here() & ~before;
    for (int i = 0; i < 2; i++)
        if (raised & BIT(both[i])) take_back(both[i]);
}
