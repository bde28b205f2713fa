/* SPDX-License-Identifier: MIT */
/* hold.h - stops a thread at a system call while something else is done: the trigger of races that
 * have no other. Included after test.h; the program defines at_call().
 *
 * hold() lets the calling thread, and those that it starts later, stop at the given calls
 * (seccomp's user notification, Linux 5.5). A thread that is not among them, the holder, calls
 * at_call() for each, which answers what shall come of it: GO_ON, or the result, -errno for an
 * error. With perform() the holder makes the call itself, so what at_call() does then happens
 * before the call returns to its thread.
 */
#ifndef HOLD_H
#define HOLD_H

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define GO_ON    LONG_MIN
#define HOLD_MAX 4 /* calls */

struct call {
    pid_t tid;
    long nr;
    const uint64_t *args;
};

static long at_call(const struct call *call);

static int hold_fd;
static sem_t hold_ready;

/* Has another thread stopped meanwhile, for which at_call() will be called next? */
static inline bool another_is_held(void) {
    struct pollfd next = {.fd = hold_fd, .events = POLLIN};
    return poll(&next, 1, 0) > 0;
}

static inline long perform(const struct call *call) {
    const uint64_t *a = call->args;
    long r = syscall(call->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    return r < 0 ? -errno : r;
}

static void *holder(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (sem_wait(&hold_ready)) continue;
    for (;;) {
        struct seccomp_notif stopped;
        struct seccomp_notif_resp resp;
        memset(&stopped, 0, sizeof stopped);
        memset(&resp, 0, sizeof resp);
        if (ioctl(hold_fd, SECCOMP_IOCTL_NOTIF_RECV, &stopped)) continue;
        struct call call = {(pid_t)stopped.pid, stopped.data.nr, (uint64_t *)stopped.data.args};
        long r = at_call(&call);
        resp.id = stopped.id;
        if (r == GO_ON) resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        else if (r < 0) resp.error = (int)r;
        else resp.val = r;
        ioctl(hold_fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
    }
    return unused;
}

static inline void hold(const long nrs[], int n) {
    struct sock_filter code[2 * HOLD_MAX + 2];
    unsigned short length = 0;
    code[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < n && i < HOLD_MAX; i++) {
        code[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nrs[i], 0, 1);
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {length, code};
    pthread_t thread;
    sem_init(&hold_ready, 0, 0);
    need(pthread_create(&thread, NULL, holder, NULL) == 0, "thread");
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    hold_fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                           &program);
    if (hold_fd < 0) skip("no seccomp user notification here");
    sem_post(&hold_ready);
}

#endif
