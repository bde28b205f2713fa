/* raised.c - signals that a write raises in the thread that makes it: SIGPIPE (broken pipe or
 * socket) and SIGXFSZ (RLIMIT_FSIZE). In glibc that is a helper which blocks all signals, so the
 * program sees EPIPE or EFBIG only; here it may be the program's own thread, and they are taken
 * back.
 *
 * Called without the lock, around the write, with all signals blocked. Signals of the same number
 * that were there before, or that come from elsewhere meanwhile, stay.
 */
#include "kaio.h"

#include <sys/syscall.h>
#include <unistd.h>

#define SIGSET_BYTES 8 /* the kernel's sigset_t */

/* *mine: what may be taken back. */
void kaio_raised_before(const struct kaio_batch *b, sigset_t *mine) {
    static const int signals[] = {SIGPIPE, SIGXFSZ};
    sigset_t pending;
    sigemptyset(mine);
    if (kaio_is_ours) return; /* nothing is ever delivered there */
    sigemptyset(&pending);
    bool held = sigismember(&b->mask, SIGPIPE) || sigismember(&b->mask, SIGXFSZ);
    if (held) sigpending(&pending);
    for (int i = 0; i < 2; i++)
        if (!sigismember(&pending, signals[i])) sigaddset(mine, signals[i]);
}

/* What this thread raises comes as if the process had sent it to itself, and is taken before what
 * was sent to the process. A raw call: sigtimedwait() is a cancellation point. */
void kaio_raised_take_back(const sigset_t *mine) {
    static const struct timespec now = {0, 0};
    sigset_t left = *mine;
    siginfo_t info;
    long signo;
    if (kaio_is_ours) return;
    while ((signo = syscall(SYS_rt_sigtimedwait, &left, &info, &now, SIGSET_BYTES)) > 0) {
        sigdelset(&left, (int)signo);
        if (info.si_code == SI_USER && info.si_pid == getpid()) continue;
        if (info.si_code == SI_TKILL)
            syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signo, &info);
        else syscall(SYS_rt_sigqueueinfo, getpid(), signo, &info);
    }
}
