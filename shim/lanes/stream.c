/* SPDX-License-Identifier: MIT */
/* stream.c - what waits for its peer: questions to a stream, and who waits for it.
 *
 * The reaper's epoll set does (kaio_stream_poll()). What it cannot wait for truthfully gets a
 * thread of its own (kaio_stream_block(), core/blockers.c): terminals, named FIFOs, signalfds,
 * sockets with a time limit or a low-water mark, and what only read() or pread() can answer. Such a
 * thread may wait for ever and must not take a worker's place.
 *
 * Under the lock, but for the questions. Until a blocker's thread is there, and while it polls, the
 * request is POLLING and may be cancelled: the thread then finds a ZOMBIE, or DONE.
 */
#include "lanes/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#define SWEEP      256          /* requests looked at under one hold of the lock */
#define SWEEP_NS   1000000000ul /* from one sweep to the next */
#define SWEEP_MANY 4096         /* requests that add another second */

static struct {
    struct kaio_reqs blockers; /* their threads are to be started */
    unsigned epolled;          /* requests in the reaper's epoll set */
    bool sweeping;
    uint32_t next; /* to be swept */
    uint64_t swept_ns;
} waits KAIO_WIPED GUARDED;

void kaio_stream_begin(void) {
    TAILQ_INIT(&waits.blockers);
}

bool kaio_stream_needs_reaper(void) {
    return waits.epolled > 0 || !TAILQ_EMPTY(&waits.blockers);
}

/* SO_RCVLOWAT: a blocking read() waits for so many bytes; poll() does not, of some kinds. */
static bool has_low_water(const struct kaio_req *req) {
    int least = 1;
    socklen_t n = sizeof least;
    if (req->op != KAIO_READ) return false;
    return !getsockopt(req->iocb.aio_fildes, SOL_SOCKET, SO_RCVLOWAT, &least, &n) && least > 1;
}

/* A signalfd gives the signals of the thread that reads or polls it, too; glibc's has none.
 * Anonymous files have no type: others need not be asked for their name. */
static bool is_signalfd(const struct kaio_req *req) {
    char path[32], file[] = "anon_inode:[signalfd]", found[sizeof file];
    if (!req->file->anonymous) return false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", req->iocb.aio_fildes);
    return readlink(path, found, sizeof found) == sizeof file - 1 &&
           !memcmp(found, file, sizeof file - 1);
}

static bool is_odd(const struct kaio_req *req) {
    size_t n = req->iocb.u.c.nbytes;
    return n == 0 || n > SSIZE_MAX / 2 || req->iocb.u.c.offset < 0;
}

/* Left to read() and pread(), for which a thread waits. Not under the lock: asks any descriptor. */
static bool is_for_read(const struct kaio_req *req) {
    return is_odd(req) || has_low_water(req);
}

/* Is poll() wrong about it, or an offer? Under the lock. */
bool kaio_stream_misleads(const struct kaio_req *req) {
    return is_odd(req) || (req->file->socket && has_low_water(req)) || is_signalfd(req);
}

static unsigned wanted(const struct kaio_req *req) {
    return !req || req->lane != KAIO_BY_EPOLL ? 0 : req->op == KAIO_READ ? EPOLLIN : EPOLLOUT;
}

/* One entry for both directions of a descriptor, which each event disarms. It stays in the set when
 * its requests have ended: then it brings one event at most that concerns nobody. 0 or -errno;
 * ENOENT: there is no entry. */
static int arm_entry(int call, struct kaio_file *file, int fd) {
    struct epoll_event ev = {.data.ptr = file, .events = EPOLLONESHOT};
    for (int op = KAIO_READ; op <= KAIO_WRITE; op++) ev.events |= wanted(file->served[op]);
    return epoll_ctl(kaio_epoll_set(), call, fd, &ev) ? -errno : 0;
}

/* SO_RCVTIMEO, SO_SNDTIMEO: a socket's read() or write() gives up after so many ns; 0: never. */
uint64_t kaio_stream_limit(const struct kaio_req *req) {
    struct timeval limit = {0, 0};
    socklen_t n = sizeof limit;
    int option = req->op == KAIO_READ ? SO_RCVTIMEO : SO_SNDTIMEO;
    if (getsockopt(req->iocb.aio_fildes, SOL_SOCKET, option, &limit, &n)) return 0;
    return (uint64_t)limit.tv_sec * 1000000000u + (uint64_t)limit.tv_usec * 1000u;
}

/* POLLING already, so that it can be cancelled before the thread is there. */
void kaio_stream_block(struct kaio_batch *b, struct kaio_req *req) {
    req->lane = KAIO_BY_NEW_BLOCKER;
    kaio_req_move(req, KAIO_POLLING);
    TAILQ_INSERT_TAIL(&waits.blockers, req, link);
    if (b->careful) kaio_reaper_kick(); /* it starts one */
}

LOCKED static bool poll_it(const struct kaio_batch *b, struct kaio_req *req) {
    if (!kaio_reaper_ready(b->careful)) return false;
    int err = arm_entry(EPOLL_CTL_MOD, req->file, req->iocb.aio_fildes);
    if (err == -ENOENT) err = arm_entry(EPOLL_CTL_ADD, req->file, req->iocb.aio_fildes);
    if (err) return false;
    waits.epolled++;
    kaio_counted.streams++;
    kaio_req_move(req, KAIO_POLLING);
    return true;
}

/* What the set does not take gets a thread, and so does what has a time limit. */
void kaio_stream_poll(struct kaio_batch *b, struct kaio_req *req) {
    if (kaio_stream_limit(req) > 0 || !poll_it(b, req)) kaio_stream_block(b, req);
}

/* Its entry may bring an event all the same. */
void kaio_stream_unpoll(struct kaio_req *req) {
    req->lane = KAIO_BY_CALLER;
    waits.epolled--;
}

LOCKED static void answer_ready(struct kaio_batch *b, struct kaio_req *req, unsigned events) {
    kaio_stream_unpoll(req);
    kaio_answer(b, req, KAIO_READY, events);
}

/* Of a request in the set. If that has no entry of it any more, its number has been closed unseen
 * (fclose(), raw system calls), and is another file's. */
LOCKED static void arm_again(struct kaio_batch *b, struct kaio_req *req) {
    int err = arm_entry(EPOLL_CTL_MOD, req->file, req->iocb.aio_fildes);
    if (err == -ENOENT) kaio_file_detach(req->file, req->iocb.aio_fildes);
    if (err) answer_ready(b, req, 0);
}

/* Of the reaper's set. Records of files are never unmapped; if this one serves another file by now,
 * that one's requests are offered once more than they need be. */
void kaio_stream_event(struct kaio_batch *b, const struct epoll_event *ev) {
    struct kaio_file *file = ev->data.ptr;
    struct kaio_req *polling = NULL;
    for (int op = KAIO_READ; file && op <= KAIO_WRITE; op++) {
        struct kaio_req *req = file->served[op];
        if (!wanted(req)) continue;
        if (ev->events & (wanted(req) | EPOLLERR | EPOLLHUP)) answer_ready(b, req, ev->events);
        else polling = req;
    }
    if (polling) arm_again(b, polling);
}

/* What was closed unseen brings no event: so all that wait are looked at now and then, a few at a
 * time. */
bool kaio_stream_sweep(struct kaio_batch *b) {
    uint64_t now = kaio_now_ns();
    if (!waits.sweeping && now - waits.swept_ns < SWEEP_NS * (1 + waits.epolled / SWEEP_MANY))
        return false;
    if (!waits.sweeping) waits.next = 0;
    int armed = 0;
    uint32_t all = kaio_req_count(), end = waits.next + SWEEP;
    for (; waits.next < all && waits.next < end && armed < KAIO_HOLD; waits.next++) {
        struct kaio_req *req = kaio_req_at(waits.next);
        if (req->lane != KAIO_BY_EPOLL) continue;
        arm_again(b, req);
        armed++;
    }
    waits.swept_ns = now;
    waits.sweeping = waits.epolled > 0 && waits.next < all;
    return waits.sweeping;
}

struct kaio_req *kaio_stream_polled(uint32_t *next) {
    while (waits.epolled && *next < kaio_req_count()) {
        struct kaio_req *req = kaio_req_at((*next)++);
        if (req->lane == KAIO_BY_EPOLL) return req;
    }
    return NULL;
}

void kaio_stream_poll_again(struct kaio_batch *b) {
    struct kaio_req *req;
    uint32_t next = 0;
    while ((req = kaio_stream_polled(&next))) answer_ready(b, req, 0);
}

/* For poll(); end 0: no limit. */
int kaio_stream_ms_until(uint64_t end) {
    uint64_t now = kaio_now_ns(), left = end > now ? (end - now) / 1000000 + 1 : 0;
    return end == 0 ? -1 : left < INT_MAX ? (int)left : INT_MAX;
}

static bool can_transfer(const struct kaio_req *req) {
    struct pollfd fd = {.fd = req->iocb.aio_fildes};
    fd.events = req->op == KAIO_READ ? POLLIN : POLLOUT;
    return kaio_poll_fds(&fd, 1, 0) > 0;
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
    return least == 0 || (mode.c_cc[VTIME] == 0 && least > req->iocb.u.c.nbytes);
}

/* A terminal that has been hung up says EIO to whoever waits in read(), but end of file to who
 * comes later, as we do. */
bool kaio_stream_is_hung_up(const struct kaio_req *req, short ready) {
    struct stat st;
    return ready & POLLHUP && kaio_fstat(req->iocb.aio_fildes, &st) == 0 && S_ISCHR(st.st_mode);
}

static bool tell_task(pid_t tid, const char *what, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, what);
    return kaio_fd_tell(path, text, size) > 0;
}

static bool is_in_call(pid_t tid, int fd) {
    char text[256], *rest = text;
    if (!tell_task(tid, "syscall", text, sizeof text)) return true;
    long nr = strtol(text, &rest, 10);
    bool in_call = rest > text && (nr == SYS_read || nr == SYS_write); /* else "running" */
    return in_call && strtol(rest, NULL, 16) == fd;
}

/* Where a call begins, by a tracer (strace, gdb) or the supervisor of a seccomp filter: it has not
 * asked yet what the number means. */
static bool is_held_up(pid_t tid) {
    char text[64];
    tell_task(tid, "wchan", text, sizeof text);
    return strstr(text, "ptrace") || strstr(text, "seccomp");
}

static bool sleeps(pid_t tid) {
    char text[256];
    if (!tell_task(tid, "stat", text, sizeof text)) return true;
    const char *name = strrchr(text, ')'), *state = name ? name + 2 : text;
    return *state == 'S' || *state == 'D';
}

/* Asleep in read() or write() a thread holds the open file, whatever becomes of the number; that it
 * sleeps there only proc(5) tells. In this order: one that has just been let go is held up nowhere,
 * but does not sleep. Without /proc we go by what was said, as glibc does. */
static bool is_inside(const struct kaio_req *req) {
    pid_t tid = req->owner->tid;
    return is_in_call(tid, req->iocb.aio_fildes) && !is_held_up(tid) && sleeps(tid);
}

/* Under the lock: close() waits until no blocker is on its way into its call. */
bool kaio_stream_enters(const struct kaio_file *file) {
    for (int op = KAIO_READ; op <= KAIO_WRITE; op++) {
        const struct kaio_req *req = file->served[op];
        if (req && req->state == KAIO_RUNNING && !is_inside(req)) return true;
    }
    return false;
}

/* Errors that read() might not give; a socket's own come only once. */
bool kaio_stream_is_refusal(long res) {
    return res == -EAGAIN || res == -EOPNOTSUPP || res == -EINVAL || res == -ESPIPE ||
           res == -ENOSYS || res == -EPERM;
}

/* What speaks against an offer: -errno, or 0. As in ready() in core/rule.c: behind a part, an error
 * is not asked for. */
long kaio_stream_objection(const struct kaio_req *req, short ready) {
    if (is_for_read(req)) return -EOPNOTSUPP;
    return ready & POLLERR && req->done > 0 ? -EIO : 0;
}

/* Is there nothing to be had now? A terminal, which takes no offers, is looked at. */
bool kaio_stream_must_wait(struct kaio_req *req, long res, short ready) {
    int flags = fcntl(req->iocb.aio_fildes, F_GETFL);
    if (flags >= 0 && flags & O_NONBLOCK) return false;
    if (res > 0) return req->op == KAIO_WRITE && req->iocb.u.c.nbytes > 0;
    bool terminal = res == -EOPNOTSUPP && !is_for_read(req) && !ready;
    return res == -EAGAIN || (terminal && !poll_misleads(req, flags) && !can_transfer(req));
}

struct kaio_req *kaio_stream_next_blocker(void) {
    struct kaio_req *req = TAILQ_FIRST(&waits.blockers);
    if (!req) return NULL;
    TAILQ_REMOVE(&waits.blockers, req, link);
    req->lane = KAIO_BY_BLOCKER;
    return req;
}

/* Under the lock: the request is no blocker's any more. False: it has been cancelled. Then it is a
 * ZOMBIE, or DONE until its notification has been made. */
bool kaio_stream_unblock(struct kaio_req *req, enum kaio_state state) {
    bool cancelled = req->state != KAIO_POLLING;
    if (cancelled) kaio_file_unsubmitted(req->file, -1);
    else kaio_req_move(req, state);
    req->lane = KAIO_BY_WORKER;
    if (req->state == KAIO_ZOMBIE) kaio_req_free(req);
    return !cancelled;
}

/* Under the lock. close() waits until the blocker is out of poll(), which holds the file open. */
void kaio_stream_cancel(struct kaio_req *req) {
    if (req->lane == KAIO_BY_BLOCKER) {
        kaio_file_unsubmitted(req->file, 1); /* taken back in blocker_begin() */
        return;
    }
    TAILQ_REMOVE(&waits.blockers, req, link);
    req->lane = KAIO_BY_WORKER;
}
