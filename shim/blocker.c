/* blocker.c - the head of a stream's line that the kernel does not poll for us gets a thread of its
 * own: terminals, named FIFOs, signalfds, sockets with a time limit or a low-water mark, every
 * stream when there is no context, and the second direction of one in the reaper's set. It may wait
 * for ever and must not take a worker's place.
 *
 * kaio_blocker_start() is called under the lock, kaio_blocker_create() by kaio_leave(); the rest
 * runs on the new thread. Until that is there, and while it polls, the request is POLLING and may
 * be cancelled: cancel.c then wakes the thread, which finds a ZOMBIE, or DONE.
 */
#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_MS 10 /* where nobody can wake it */

/* Under the lock: the request is no blocker's any more. False: it has been cancelled. Then it is a
 * ZOMBIE, or DONE until its notification has been made. */
static bool blocker_end(struct kaio_req *req, enum kaio_state state) {
    bool cancelled = req->state != KAIO_POLLING;
    if (cancelled) kaio_file_unsubmitted(req->file, -1);
    else kaio_req_move(req, state);
    req->blocker = false;
    if (req->state == KAIO_ZOMBIE) kaio_req_free(req);
    return !cancelled;
}

static bool blocker_begin(struct kaio_req *req) {
    struct kaio_batch b;
    kaio_enter(&b);
    bool begins = blocker_end(req, KAIO_OFFERED);
    kaio_thread_list(b.self, false);
    atomic_store_explicit(&b.self->sleep, KAIO_AWAKE, memory_order_relaxed);
    kaio_leave(&b);
    return begins;
}

/* Under the lock. close() waits until the blocker is out of poll(), which holds the file open. */
void kaio_blocker_cancel(struct kaio_req *req) {
    if (req->unstarted) {
        TAILQ_REMOVE(&kaio.blockers, req, link);
        req->unstarted = false;
        blocker_end(req, KAIO_RUNNING);
        return;
    }
    kaio_file_unsubmitted(req->file, 1); /* taken back in blocker_begin() */
}

/* SO_RCVTIMEO, SO_SNDTIMEO: a socket's read() or write() gives up after so many ns; 0: never. */
static uint64_t limit_of(const struct kaio_req *req) {
    struct timeval limit = {0, 0};
    socklen_t n = sizeof limit;
    int option = req->op == KAIO_READ ? SO_RCVTIMEO : SO_SNDTIMEO;
    if (getsockopt(req->iocb.aio_fildes, SOL_SOCKET, option, &limit, &n)) return 0;
    return (uint64_t)limit.tv_sec * 1000000000u + (uint64_t)limit.tv_usec * 1000u;
}

bool kaio_blocker_has_limit(const struct kaio_req *req) {
    return limit_of(req) > 0;
}

/* For poll(); end 0: no limit. */
static int ms_until(uint64_t end) {
    uint64_t now = kaio_now_ns(), left = end > now ? (end - now) / 1000000 + 1 : 0;
    return end == 0 ? -1 : left < INT_MAX ? (int)left : INT_MAX;
}

/* Until the stream is ready, or its limit is over, or cancel.c ends the request and so wakes us, or
 * others that wait for the same are woken. Answers poll()'s events. */
static short blocker_sleep(struct kaio_req *req, uint64_t end) {
    struct kaio_batch b;
    kaio_enter(&b);
    kaio_thread_check(b.self);
    struct pollfd fds[2] = {{.fd = req->iocb.aio_fildes},
                            {.fd = kaio_thread_efd(b.self), .events = POLLIN}};
    fds[0].events = req->op == KAIO_READ ? POLLIN : POLLOUT;
    kaio_thread_add_waiter(&req->waiter, b.self);
    kaio_thread_list(b.self, true); /* until blocker_begin() */
    /* relaxed: as in fall_asleep() in wait.c */
    if (fds[1].fd >= 0)
        atomic_store_explicit(&b.self->sleep, KAIO_ON_EVENTFD, memory_order_relaxed);
    req->blocker = true;
    kaio_req_move(req, KAIO_POLLING);
    kaio_leave(&b);
    int ms = fds[1].fd < 0 || b.self->shared ? LOOK_MS : ms_until(end);
    if (fds[1].fd < 0 || kaio_thread_polls(b.self, fds[1].fd)) syscall(SYS_poll, fds, 2l, (long)ms);
    atomic_store_explicit(&b.self->polled, 0, memory_order_relaxed);
    if (fds[1].revents) kaio_thread_drain(b.self);
    return fds[0].revents;
}

static bool is_ready(const struct kaio_req *req) {
    struct pollfd fd = {.fd = req->iocb.aio_fildes};
    fd.events = req->op == KAIO_READ ? POLLIN : POLLOUT;
    return syscall(SYS_poll, &fd, 1l, 0l) > 0;
}

/* An empty FIFO that nobody has open for writing. vmsplice() reads from a pipe, and has no place to
 * put what there is; into a descriptor that is open for writing, too, it would write. */
static bool has_no_writer(int fd, int flags) {
    struct iovec nowhere = {NULL, 1};
    return (flags & O_ACCMODE) == O_RDONLY && vmsplice(fd, &nowhere, 1, SPLICE_F_NONBLOCK) == 0;
}

/* Does poll() wait where read() does not? For the first writer of a FIFO. A terminal's read may end
 * with nothing (VMIN 0), or with less than VMIN if no more is asked for; and a process in the
 * background gets EIO, as the signal is blocked. */
static bool poll_misleads(const struct kaio_req *req, int flags) {
    struct termios mode;
    int fd = req->iocb.aio_fildes;
    if (req->op != KAIO_READ) return false;
    if (tcgetattr(fd, &mode)) return has_no_writer(fd, flags);
    pid_t foreground = tcgetpgrp(fd);
    if (foreground > 0 && foreground != getpgrp()) return true;
    cc_t least = mode.c_cc[VMIN];
    if (mode.c_lflag & ICANON) return false;
    return least == 0 || (mode.c_cc[VTIME] == 0 && least > req->nbytes);
}

/* A terminal that has been hung up says EIO to whoever waits in read(), but end of file to who
 * comes later, as we do. */
static bool is_hung_up(const struct kaio_req *req, short ready) {
    struct stat st;
    return ready & POLLHUP && fstat(req->iocb.aio_fildes, &st) == 0 && S_ISCHR(st.st_mode);
}

/* Asleep in read() or write() a thread holds the open file, whatever becomes of the number; that it
 * sleeps there only proc(5) tells. Without that we go by what was said, as glibc does. */
static bool is_inside(const struct kaio_req *req) {
    char path[64], text[256], *rest = text;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", req->tid);
    if (kaio_fd_tell(path, text, sizeof text) <= 0) return true;
    long nr = strtol(text, &rest, 10);
    bool reads = nr == SYS_read || nr == SYS_pread64,
         writes = nr == SYS_write || nr == SYS_pwrite64;
    bool in_call = rest > text && (reads || writes); /* else "running" */
    return in_call && strtol(rest, NULL, 16) == req->iocb.aio_fildes;
}

/* Under the lock: close() waits until no blocker is on its way into its call. */
bool kaio_blocker_enters(const struct kaio_file *file) {
    for (int op = KAIO_READ; op <= KAIO_WRITE; op++) {
        const struct kaio_req *req = TAILQ_FIRST(&file->line[op]);
        if (req && req->state == KAIO_RUNNING && !is_inside(req)) return true;
    }
    return false;
}

/* May wait for ever, unless it is ready. ready: what it became while we waited. */
static long blocker_run(struct kaio_req *req, short ready) {
    struct kaio_batch b;
    kaio_enter(&b);
    req->tid = gettid();
    kaio_req_move(req, KAIO_RUNNING);
    kaio_leave(&b);
    long res = kaio_worker_run(req);
    return res == 0 && is_hung_up(req, ready) ? -EIO : res;
}

/* Errors that read() might not give; a socket's own come only once. */
static bool is_refusal(long res) {
    return res == -EAGAIN || res == -EOPNOTSUPP || res == -EINVAL || res == -ESPIPE ||
           res == -ENOSYS || res == -EPERM;
}

/* Left to read() and pread(). */
static bool is_odd(const struct kaio_req *req) {
    return req->blocking || req->nbytes == 0 || req->nbytes > SSIZE_MAX / 2 || req->offset < 0;
}

/* As in kaio_submit_ready(): behind a part, an error is not asked for. */
static long offer(struct kaio_req *req, short ready) {
    if (is_odd(req)) return -EOPNOTSUPP;
    return ready & POLLERR && req->done > 0 ? -EIO : kaio_copy_stream(req);
}

/* Is there nothing to be had now? A terminal, which takes no offers, is looked at. */
static bool must_wait(struct kaio_req *req, long res, short ready) {
    int flags = fcntl(req->iocb.aio_fildes, F_GETFL);
    if (flags >= 0 && flags & O_NONBLOCK) return false;
    if (res > 0) return req->op == KAIO_WRITE && req->done < req->nbytes;
    bool terminal = res == -EOPNOTSUPP && !is_odd(req) && !ready;
    return res == -EAGAIN || (terminal && !poll_misleads(req, flags) && !is_ready(req));
}

/* The rule for one stream request: offer it, wait, offer it again. A terminal takes no offers: the
 * blocking call follows when it is ready. What is refused is left to that call. */
static void *blocker_main(void *arg) {
    struct kaio_req *req = arg;
    struct kaio_batch b;
    uint64_t limit = limit_of(req), end = limit ? kaio_now_ns() + limit : 0;
    short ready = 0;
    kaio_is_ours = true;
    while (blocker_begin(req)) {
        long res = offer(req, ready);
        if (res > 0) kaio_req_advance(req, (size_t)res);
        bool waits = must_wait(req, res, ready), late = waits && ms_until(end) == 0;
        if (waits && !late) {
            ready = blocker_sleep(req, end);
            continue;
        }
        if (is_refusal(res) && !late) res = blocker_run(req, ready);
        else if (res >= 0 || req->done) res = (long)req->done;
        kaio_enter(&b);
        kaio_worker_finish(&b, req, res);
        kaio_leave(&b);
        break;
    }
    kaio_thread_ended();
    return NULL;
}

/* POLLING already, so that it can be cancelled before the thread is there. */
void kaio_blocker_start(struct kaio_batch *b, struct kaio_req *req) {
    req->blocker = true;
    kaio_req_move(req, KAIO_POLLING);
    req->unstarted = true;
    TAILQ_INSERT_TAIL(&kaio.blockers, req, link);
    if (b->careful && kaio_reaper_ready(b)) kaio_reaper_kick();
}

bool kaio_blocker_create(struct kaio_batch *b) {
    struct kaio_req *req = TAILQ_FIRST(&kaio.blockers);
    if (!req || b->careful) return false;
    TAILQ_REMOVE(&kaio.blockers, req, link);
    req->unstarted = false;
    kaio_unlock();
    int err = kaio_thread_start(blocker_main, req);
    kaio_lock();
    if (err && blocker_end(req, KAIO_RUNNING)) kaio_complete_refused(b, req);
    return true;
}
