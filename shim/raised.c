/* raised.c - signals that a write raises in the thread that makes it: SIGPIPE (broken pipe or
 * socket) and SIGXFSZ (RLIMIT_FSIZE). In glibc that is a helper which blocks all signals, so the
 * program sees EPIPE or EFBIG only; here it may be the program's own thread, and they are taken
 * back.
 *
 * kaio_raised_before() comes before the first write of a batch, kaio_raised_after() before its
 * signals are unblocked. A write that has raised one answers EPIPE or EFBIG, at once, so
 * kaio.raised has counted it by then. Signals of the same number that were pending before (the
 * program blocks them), or that come from elsewhere meanwhile, stay: the first are kept apart, or
 * ours might merge with them.
 */
#include "kaio.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Dequeues both signals, what was raised in this thread first. A raw call: sigtimedwait() is a
 * cancellation point. */
static void take(struct kaio_raised *r) {
    static const struct timespec now = {0, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGXFSZ);
    r->n = 0;
    while (r->n < KAIO_RAISED_MAX &&
           syscall(SYS_rt_sigtimedwait, &set, &r->infos[r->n], &now, KAIO_SIGSET) > 0)
        r->n++;
}

/* What the kernel raises here looks as if the process had sent it to itself. */
static bool is_own(const siginfo_t *info) {
    return info->si_code == SI_USER && info->si_pid == getpid();
}

static void put_back(siginfo_t *info) {
    if (info->si_code == SI_TKILL || is_own(info))
        syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), info->si_signo, info);
    else syscall(SYS_rt_sigqueueinfo, getpid(), info->si_signo, info);
}

/* Under the lock. */
void kaio_raised_before(struct kaio_batch *b) {
    if (b->writes || kaio_is_ours) return; /* nothing is ever delivered to ours */
    b->writes = true;
    b->raised = kaio.raised;
    b->self->kept.n = 0;
    if (sigismember(&b->mask, SIGPIPE) || sigismember(&b->mask, SIGXFSZ)) take(&b->self->kept);
}

/* any: since then. */
void kaio_raised_after(struct kaio_batch *b, bool any) {
    struct kaio_raised raised = {.n = 0};
    if (any) take(&raised);
    for (int i = 0; i < raised.n; i++)
        if (!is_own(&raised.infos[i])) put_back(&raised.infos[i]);
    for (int i = 0; i < b->self->kept.n; i++) put_back(&b->self->kept.infos[i]);
}
