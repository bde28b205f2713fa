/* nap.c - waiting where nobody can wake the thread: it has no eventfd (EMFILE, or closed by the
 * program unseen), or there is no reaper. wait.c then looks again after each nap.
 *
 * Without the lock, on the thread that waits, perhaps in a signal handler. From the first nap on
 * signals are blocked until the wait ends, and taken only here: so none comes unseen between two
 * looks, and each ends the wait if it would end a long sleep, and only then.
 */
#include "host/host.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAP_NS 250000

/* Would a handler of the signal end a long sleep? As futex(2) and read(2) say: SA_RESTART takes it
 * up again, unless it has a time limit. */
static bool ends_sleep(const struct kaio_nap *nap, int signo) {
    struct sigaction action;
    if (sigismember(&nap->mask, signo) || sigaction(signo, NULL, &action)) return false;
    bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    return handled && (nap->limited || !(action.sa_flags & SA_RESTART));
}

/* Delivers what has come since they were blocked: 0 or -EINTR. */
static int take_signals(const struct kaio_nap *nap) {
    struct timespec now = {0, 0};
    sigset_t pending;
    bool ends = false;
    sigpending(&pending);
    if (sigisemptyset(&pending)) return 0;
    for (int signo = 1; signo < NSIG; signo++)
        if (sigismember(&pending, signo) > 0) ends |= ends_sleep(nap, signo);
    /* Raw, as it is no cancellation point; it fails if a handler has run. */
    bool handled = syscall(SYS_ppoll, NULL, 0l, &now, &nap->mask, KAIO_SIGSET) < 0;
    return handled && ends ? -EINTR : 0;
}

int kaio_nap(struct kaio_nap *nap, bool cancellable) {
    sigset_t all;
    sigfillset(&all);
    if (!nap->begun) pthread_sigmask(SIG_SETMASK, &all, &nap->mask);
    nap->begun = true;
    kaio_clock_nap(NAP_NS, cancellable);
    return take_signals(nap);
}

void kaio_nap_end(const struct kaio_nap *nap) {
    if (nap->begun) pthread_sigmask(SIG_SETMASK, &nap->mask, NULL);
}
