/* submit.c - the rule: every request is offered to the kernel as an iocb that may not block; what
 * the kernel declines is waited for (streams) or worked off (files).
 *
 * Under the lock, on the thread that submits, or that reaped the event which decides. Only system
 * calls that cannot wait are made here: fcntl(), statx(AT_STATX_DONT_SYNC).
 */
#include "kaio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRUST         32          /* reads of a file before its flags are asked again */
#define ADDRESS_SPACE (1ul << 47) /* x86-64: no buffer is larger; iocbs would clamp the length */

/* Filters of containers may know fstat(), but not statx(). errno stays. */
static bool look_at(int fd, struct statx *st) {
    struct stat found;
    int saved = errno;
    if (!statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, st))
        return true;
    bool known = fstat(fd, &found) == 0;
    errno = saved;
    if (!known) return false;
    st->stx_mode = (uint16_t)found.st_mode;
    st->stx_size = (uint64_t)found.st_size;
    return true;
}

/* Has the descriptor positions (files, block devices, some character devices), or a peer? */
static enum kaio_kind kind_of(int fd, struct statx *st) {
    if (!look_at(fd, st)) return KAIO_UNKNOWN; /* pread() will tell what is wrong */
    mode_t mode = st->stx_mode;
    bool file = S_ISREG(mode) || S_ISBLK(mode) || S_ISDIR(mode) ||
                (S_ISCHR(mode) && lseek(fd, 0, SEEK_CUR) >= 0);
    return file ? KAIO_FILE_LIKE : KAIO_STREAM;
}

bool kaio_submit_is_stream(int fd) {
    struct statx st;
    return kind_of(fd, &st) == KAIO_STREAM;
}

/* If the number means another kind than it did, it means another file: nothing that is known of it
 * holds any more. */
static bool is_stream(struct kaio_batch *b, struct kaio_req *req) {
    struct statx st;
    uint8_t kind = kind_of(req->iocb.aio_fildes, &st), before = req->file->kind;
    if (kind != before && kind != KAIO_UNKNOWN && before != KAIO_UNKNOWN) kaio_file_renew(b, req);
    bool stream = kind == KAIO_STREAM;
    req->file->kind = kind;
    req->file->anonymous = stream && !(st.stx_mode & S_IFMT);
    req->file->socket = stream && S_ISSOCK(st.stx_mode);
    return stream;
}

void kaio_submit_look(struct kaio_batch *b, struct kaio_req *req) {
    is_stream(b, req);
}

/* A new request. What was a file is offered as one: at a stream that has its number, unseen
 * (fclose()), such an offer takes nothing out of turn, and when it is declined there is another
 * look. The other way round nothing would tell, so a stream is looked at each time. */
static bool may_be_stream(struct kaio_batch *b, struct kaio_req *req) {
    return req->file->kind != KAIO_FILE_LIKE && is_stream(b, req);
}

/* A stream's requests are served one by one, by priority and in call order, each direction on its
 * own. False: it is not its turn yet. */
static bool line_up(struct kaio_req *req) {
    struct kaio_reqs *line = &req->file->line[req->op];
    struct kaio_req *before = TAILQ_LAST(line, kaio_reqs);
    if (before) kaio_req_rank(req);
    while (before && before->state == KAIO_LINED && before->priority > req->priority)
        before = TAILQ_PREV(before, kaio_reqs, line);
    __atomic_store_n(&req->in_line, true, __ATOMIC_RELAXED);
    if (before) TAILQ_INSERT_AFTER(line, before, req, line);
    else TAILQ_INSERT_HEAD(line, req, line);
    if (req == TAILQ_FIRST(line)) return true;
    kaio_req_move(req, KAIO_LINED);
    return false;
}

/* SO_RCVLOWAT: a blocking read() waits for so many bytes; poll() does not, of some kinds. */
static bool has_low_water(const struct kaio_req *req) {
    int least = 1;
    socklen_t n = sizeof least;
    if (!req->file->socket || req->op != KAIO_READ) return false;
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

/* Idle streams take half of the context at most; the others wait in the reaper's epoll set. What
 * the kernel cannot poll gets a thread. */
static void stream_wait(struct kaio_batch *b, struct kaio_req *req, bool can_poll) {
    int flags = can_poll ? fcntl(req->iocb.aio_fildes, F_GETFL) : -1;
    if (flags >= 0 && flags & O_NONBLOCK) {
        kaio_complete(b, req, -EAGAIN);
        return;
    }
    can_poll = can_poll && !kaio_blocker_has_limit(req); /* poll() by itself has no limit */
    if (can_poll && kaio_kernel_ready() && !kaio.stuck && kaio.polls < kaio.depth / 2) {
        kaio.by_stream++;
        kaio_kernel_poll(b, req);
    } else if (!can_poll || !kaio_kernel_ready() || !kaio_reaper_poll(b, req)) {
        kaio_blocker_start(b, req);
    }
}

/* aio_cancel() has met it while it was being offered: it ends now, instead of waiting. */
static bool was_cancelled(struct kaio_batch *b, struct kaio_req *req) {
    if (!req->canceller) return false;
    if (req->canceller != KAIO_EVERYONE) req->canceller->cancelled |= req->done == 0;
    kaio_complete(b, req, -ECANCELED);
    return true;
}

static void declined(struct kaio_batch *b, struct kaio_req *req, enum kaio_reason reason) {
    kaio.declined[reason]++;
    KAIO_PROBE(decline, req->cb, reason);
    if (req->in_line && was_cancelled(b, req)) return;
    if (req->in_line) {
        stream_wait(b, req, reason == KAIO_R_AGAIN || reason == KAIO_R_SHORT);
    } else if (req->op <= KAIO_WRITE && is_stream(b, req)) {
        kaio_submit(b, req); /* it was no stream when it was offered: in turn, as one */
    } else if (kaio_config.mode == KAIO_KERNEL && !req->blocking && reason != KAIO_R_CONTEXT &&
               reason != KAIO_R_APPEND) {
        req->blocking = true;
        kaio_kernel_offer(b, req);
    } else {
        kaio_worker_queue(b, req);
    }
}

/* For one read more. Without the lock: two threads may spend the same, which costs a detour. */
bool kaio_submit_trusts(struct kaio_file *file) {
    uint8_t left = atomic_load_explicit(&file->trust, memory_order_relaxed);
    if (left == 0) return false;
    atomic_store_explicit(&file->trust, (uint8_t)(left - 1), memory_order_relaxed);
    return true;
}

/* Of a file's read or write. The flags are asked each time, for the number may mean another file
 * unseen (fclose(), close_range()), or F_SETFL has changed them: a copy could wait for a device.
 * What is left to the kernel or a worker takes longer at worst, so of such reads one in TRUST asks.
 */
static enum kaio_reason decline_file(struct kaio_req *req, bool *copy) {
    struct kaio_file *file = req->file;
    bool small = req->nbytes < KAIO_LARGE_BYTES;
    if (req->op == KAIO_READ && (file->direct || (small && kaio_copy_waits(file, KAIO_READ))) &&
        kaio_submit_trusts(file)) {
        req->buffered = kaio_copy_suits(file->direct ? O_DIRECT : 0, req->nbytes, req->offset);
        return file->direct ? KAIO_REASONS : KAIO_R_AGAIN;
    }
    int fd = req->iocb.aio_fildes, flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && flags & O_APPEND && req->op == KAIO_WRITE) return KAIO_R_APPEND;
    if (kaio_config.mode == KAIO_KERNEL) return KAIO_REASONS;
    if (file->memory && !kaio_copy_is_memory(fd)) file->memory = false;
    bool direct = flags >= 0 && flags & O_DIRECT && !file->memory;
    file->direct = direct;
    file->trust = TRUST;
    req->submitter->direct |= direct;
    if (!small) return direct ? KAIO_REASONS : KAIO_R_LARGE;
    *copy = file->memory || kaio_copy_suits(flags, req->nbytes, req->offset);
    bool sync = flags & O_DSYNC && req->op == KAIO_WRITE; /* then an offer would wait for it */
    bool waits = *copy && !file->memory && (sync || kaio_copy_waits(file, req->op));
    req->buffered = waits && req->op == KAIO_READ;
    return waits ? KAIO_R_AGAIN : KAIO_REASONS;
}

/* What is known to be declined before it is offered; KAIO_REASONS: nothing. *copy: no need of the
 * context. */
static enum kaio_reason decline_early(struct kaio_req *req, bool *copy) {
    *copy = false;
    if (kaio_config.mode == KAIO_WORKER) return KAIO_R_CONTEXT;
    if (req->file->refused & 1u << req->op) return KAIO_R_UNSUPP;
    enum kaio_reason reason = KAIO_REASONS;
    if (req->op <= KAIO_WRITE && !req->in_line) reason = decline_file(req, copy);
    if (req->in_line && req->nbytes >= ADDRESS_SPACE) return KAIO_R_ERROR; /* EFAULT for read() */
    bool copies = kaio_config.mode == KAIO_AUTO && !req->blocking && req->nbytes > 0;
    if (req->in_line && copies && req->offset >= 0) *copy = true;
    if (reason != KAIO_REASONS || *copy) return reason;
    bool few = kaio_config.mode == KAIO_AUTO && !kaio.ctx && kaio.declined[KAIO_R_FEW] < KAIO_FEW;
    if (few && !req->in_line) return KAIO_R_FEW;
    return kaio_kernel_ready() ? KAIO_REASONS : KAIO_R_CONTEXT;
}

/* A new request: 0, or -EAGAIN when there is no memory for it. */
int kaio_submit_new(struct kaio_batch *b, struct aiocb *cb, enum kaio_op op, struct kaio_lio *lio) {
    struct kaio_req *req = kaio_req_get(cb, op, cb->aio_fildes);
    if (!req) return -EAGAIN;
    req->lio = lio;
    if (lio) {
        lio->pending++;
        TAILQ_INSERT_TAIL(&lio->items, req, item);
    }
    kaio_file_start(b, req);
    return 0;
}

/* New, released, or a stream's, whose turn it is or which is ready. */
void kaio_submit(struct kaio_batch *b, struct kaio_req *req) {
    if (kaio_file_is_gone(req)) { /* ready, or released, on a number that has been closed */
        kaio_submit_result(b, req, -EAGAIN);
        return;
    }
    if (req->op == KAIO_BARRIER || req->op == KAIO_INVALID) {
        kaio_complete(b, req, req->op == KAIO_INVALID ? -EINVAL : 0);
        return;
    }
    if (req->op <= KAIO_WRITE && !req->in_line && may_be_stream(b, req) && !line_up(req)) return;
    if (req->in_line && (is_signalfd(req) || has_low_water(req))) {
        req->blocking = req->file->socket;
        kaio_blocker_start(b, req);
        return;
    }
    if (was_cancelled(b, req)) return;
    bool copy;
    enum kaio_reason reason = decline_early(req, &copy);
    if (reason != KAIO_REASONS) declined(b, req, reason);
    else if (copy) kaio_copy_offer(b, req);
    else kaio_kernel_offer(b, req);
}

/* A stream that has waited. After a part has been written, an error ends the request with that
 * count and is left for the next one, as by write(). */
void kaio_submit_ready(struct kaio_batch *b, struct kaio_req *req, unsigned events) {
    if (events & POLLERR && req->done > 0) kaio_complete(b, req, (long)req->done);
    else kaio_submit(b, req);
}

/* The head of a stream's line has ended: the next one's turn. What ends at once comes back here
 * through kaio_complete(): the first call goes on with the line, or a long one would nest deeply.
 */
void kaio_submit_line(struct kaio_batch *b, struct kaio_file *file, enum kaio_op op) {
    if (file->lining[op]) return;
    file->lining[op] = true;
    struct kaio_req *req;
    while ((req = TAILQ_FIRST(&file->line[op])) && req->state == KAIO_LINED) kaio_submit(b, req);
    file->lining[op] = false;
}

/* The kernel cannot poll it (a named FIFO, a terminal): a thread waits for it. */
void kaio_submit_unpollable(struct kaio_batch *b, struct kaio_req *req) {
    stream_wait(b, req, false);
}

/* Is there more to transfer after a count that is not whole? */
static bool has_rest(const struct kaio_req *req) {
    if (req->op == KAIO_WRITE) return true;
    struct statx st;
    if (kind_of(req->iocb.aio_fildes, &st) != KAIO_FILE_LIKE) return false;
    return !S_ISREG(st.stx_mode) || req->offset + (off_t)req->done < (off_t)st.stx_size;
}

static void unsupported(struct kaio_batch *b, struct kaio_req *req) {
    struct kaio_file *file = req->file;
    file->trust = 0;
    if (kaio_config.mode == KAIO_AUTO && req->op <= KAIO_WRITE && !file->memory &&
        kaio_copy_is_memory(req->iocb.aio_fildes)) {
        file->memory = true;
        kaio_submit(b, req);
        return;
    }
    file->refused |= (uint8_t)(1u << req->op);
    declined(b, req, KAIO_R_UNSUPP);
}

/* The descriptor has been closed since, after the kernel had taken the request: its number must not
 * be used again. Short, or taken and then declined, both are rare. */
static void result_of_closed(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (res > 0) kaio_req_advance(req, (size_t)res);
    if (res == -EAGAIN || res == -EOPNOTSUPP) res = req->in_line ? -ECANCELED : -EBADF;
    kaio_complete(b, req, res < 0 ? res : (long)req->done);
}

/* Errors that pread(), pwrite() or fsync() would report otherwise, or not at all: EINTR is how
 * events say that a call was to be restarted; EPERM and ENOSYS may be a seccomp filter's. */
static bool is_doubtful(long res) {
    return res == -EINVAL || res == -ESPIPE || res == -EINTR || res == -EPERM || res == -ENOSYS;
}

/* Only a call that may wait is believed that there is nothing more: Linux 5.9 and 5.10 answer 0 to
 * a read of what is not in memory (preadv2(2), BUGS). Streams wait for nothing but their peers. */
static bool is_part(const struct kaio_req *req, long res) {
    if (req->done >= req->nbytes) return false;
    return (res > 0 || !(req->in_line || req->blocking)) && has_rest(req);
}

/* The kernel's answer to an offer: res as in the event, or what io_submit() failed with. Errors
 * that pread() would report otherwise (directories, sockets with an offset) are left to it. */
void kaio_submit_result(struct kaio_batch *b, struct kaio_req *req, long res) {
    if (res == -EPIPE || res == -EFBIG) kaio.raised++;
    if (kaio_file_is_gone(req)) {
        result_of_closed(b, req, res);
    } else if (res == -EAGAIN) {
        declined(b, req, KAIO_R_AGAIN);
    } else if (res == -EOPNOTSUPP) {
        unsupported(b, req);
    } else if (res == -ESPIPE && req->file->kind != KAIO_STREAM && is_stream(b, req)) {
        kaio_submit(b, req);
    } else if (res == -ESPIPE && req->file->kind == KAIO_STREAM && req->offset) {
        req->offset = 0;
        kaio_kernel_offer(b, req);
    } else if (is_doubtful(res)) {
        declined(b, req, KAIO_R_ERROR);
    } else if (res < 0) {
        kaio_complete(b, req, res);
    } else {
        kaio_req_advance(req, (size_t)res);
        if (is_part(req, res)) declined(b, req, res > 0 ? KAIO_R_SHORT : KAIO_R_AGAIN);
        else kaio_complete(b, req, (long)req->done);
    }
}
