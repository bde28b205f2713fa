/* SPDX-License-Identifier: MIT */
/* notify.c - telling the program: SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID.
 *
 * Signals are sent by whoever ends the request, under the lock (see finish.c). Threads are
 * started without the lock: by workers and the reaper, and by a call whose own request has ended in
 * it (notify() in engine.c). Nothing is allocated for them (but by pthread_create(), a stack):
 * the new thread takes what it is to call from the request or the list, and frees that.
 */
#include "core/core.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* EINVAL: no such signal; EAGAIN: the queue of signals is full (RLIMIT_SIGPENDING). */
int kaio_notify_signal(const struct sigevent *sigev) {
    siginfo_t info;
    if (sigev->sigev_notify == SIGEV_THREAD || !kaio_notify_wanted(sigev)) return 0;
    KAIO_PROBE(notify, sigev->sigev_notify, sigev->sigev_signo);
    memset(&info, 0, sizeof info);
    info.si_signo = sigev->sigev_signo;
    info.si_code = SI_ASYNCIO;
    info.si_pid = kaio.pid;
    info.si_uid = getuid();
    info.si_value = sigev->sigev_value;
    if (sigev->sigev_notify == SIGEV_SIGNAL)
        return syscall(SYS_rt_sigqueueinfo, info.si_pid, info.si_signo, &info) ? -errno : 0;
    syscall(SYS_rt_tgsigqueueinfo, info.si_pid, KAIO_TID(sigev), info.si_signo, &info);
    return 0; /* glibc knows nothing of this kind, so it never fails */
}

/* On the new thread. The program's attributes may have opened signals, whose handlers must not find
 * the lock taken; a handler that forks leaves a child in which nothing is to be freed. */
LOCKS static void callback_begin(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    kaio_lock();
}

UNLOCKS static void callback_go_on(struct sigevent sigev) {
    sigset_t none;
    kaio_unlock();
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    sigev.sigev_notify_function(sigev.sigev_value);
}

static void *request_callback(void *arg) {
    struct kaio_req *req = arg;
    callback_begin();
    struct sigevent sigev = req->sigev;
    if (getpid() == kaio.pid) kaio_req_free(req);
    callback_go_on(sigev);
    return NULL;
}

static void *list_callback(void *arg) {
    struct kaio_lio *lio = arg;
    callback_begin();
    struct sigevent sigev = lio->sigev;
    if (getpid() == kaio.pid) kaio_lio_free(lio);
    callback_go_on(sigev);
    return NULL;
}

static atomic_bool lost KAIO_WIPED; /* the log has said so */

/* The program may take its attributes back as soon as the thread runs, when pthread_create() still
 * looks at them (glibc: an assertion). So it is given a copy. */
static bool start_thread(const struct sigevent *sigev, void *(*callback)(void *), void *arg) {
    pthread_attr_t detached, attr;
    pthread_t thread;
    KAIO_PROBE(notify, sigev->sigev_notify, 0);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    attr = sigev->sigev_notify_attributes ? *(pthread_attr_t *)sigev->sigev_notify_attributes
                                          : detached;
    int err = pthread_create(&thread, &attr, callback, arg);
    if (err && !atomic_exchange(&lost, true))
        kaio_log("a SIGEV_THREAD notification is lost: %s", kaio_strerror(err));
    pthread_attr_destroy(&detached);
    return err == 0;
}

bool kaio_notify_request(struct kaio_req *req) {
    return start_thread(&req->sigev, request_callback, req);
}

bool kaio_notify_list(struct kaio_lio *lio) {
    return start_thread(&lio->sigev, list_callback, lio);
}
