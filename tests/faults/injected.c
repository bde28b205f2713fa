/* SPDX-License-Identifier: MIT */
/* injected.c - each system call of the library fails, with each errno it may give: once, at the
 * first and at other calls; for good, from one call on; and at random. Requests of every kind
 * (workload.h) then end once each: a request whose own call failed with that error, all others
 * as if nothing had been. For injected.sh.
 */
#include "test.h"
#include "replace.h"
#include "workload.h"

#include <sys/uio.h>

enum how { ONCE, FOR_GOOD, RANDOMLY };
static const char *const how_names[] = {"once, at call", "for good, from call", "at random, seed"};

/* Whose is the error? */
enum whose {
    LIBRARY, /* nobody's: the program must not notice */
    SCARCE,  /* no memory, no thread: EAGAIN, as under glibc */
    REQUEST, /* exactly that request's, whose buffer, descriptor or signal it is */
    OFFER,   /* the same, but that what pread() would say otherwise is asked again */
    CHECKED, /* whoever asks for a descriptor's flags may say that it is none */
};

struct fault {
    const char *name;
    long nr, command; /* command: of fcntl() */
    enum whose whose;
    int errors[14];
};

static const struct fault faults[] = {
    {"io_setup", SYS_io_setup, 0, LIBRARY, {EAGAIN, EFAULT, EINVAL, ENOMEM, ENOSYS, EPERM}},
    {"io_submit", SYS_io_submit, 0, LIBRARY, {EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP, EPERM}},
    {"eventfd2", SYS_eventfd2, 0, LIBRARY, {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM}},
    {"mmap", SYS_mmap, 0, SCARCE, {ENOMEM, EAGAIN, EPERM}},
    {"madvise", SYS_madvise, 0, LIBRARY, {EINVAL, ENOMEM, EAGAIN}},
    {"clone3", SYS_clone3, 0, SCARCE, {EAGAIN, EPERM}},
    {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, 0, REQUEST, {EAGAIN, EINVAL, EPERM, ESRCH}},
    {"pread64",
     SYS_pread64,
     0,
     REQUEST,
     {EIO, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENXIO, EOVERFLOW, EAGAIN, ENOMEM, EPERM}},
    {"pwrite64",
     SYS_pwrite64,
     0,
     REQUEST,
     {EIO, ENOSPC, EBADF, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EPERM, ENXIO, EAGAIN, EROFS}},
    {"read", SYS_read, 0, OFFER, {EIO, EBADF, EINTR, EINVAL, EISDIR}},
    {"preadv2",
     SYS_preadv2,
     0,
     OFFER,
     {EAGAIN, EOPNOTSUPP, EINVAL, ENOSYS, EINTR, EIO, EBADF, EFAULT, ENOMEM, EPERM}},
    {"pwritev2",
     SYS_pwritev2,
     0,
     OFFER,
     {EAGAIN, EOPNOTSUPP, EINVAL, ENOSYS, EINTR, EIO, EBADF, EFAULT, ENOSPC, EDQUOT, EPERM}},
    {"fsync", SYS_fsync, 0, REQUEST, {EIO, EBADF, EINTR, EINVAL, ENOSPC, EROFS, EDQUOT}},
    {"fdatasync", SYS_fdatasync, 0, REQUEST, {EIO, EBADF, EINTR, EINVAL, ENOSPC, EROFS, EDQUOT}},
    {"fcntl(F_DUPFD_CLOEXEC)", SYS_fcntl, F_DUPFD_CLOEXEC, LIBRARY, {EMFILE, EINVAL}},
    {"fcntl(F_GETFL)", SYS_fcntl, F_GETFL, CHECKED, {EBADF}},
    {"fcntl(F_SETSIG)", SYS_fcntl, F_SETSIG, LIBRARY, {EINVAL}},
    {"fcntl(F_GET_SEALS)", SYS_fcntl, F_GET_SEALS, LIBRARY, {EINVAL}},
    {"epoll_create1", SYS_epoll_create1, 0, LIBRARY, {EINVAL, EMFILE, ENFILE, ENOMEM}},
    /* not ENOENT, which says that the number is another file's by now: the sweep believes it */
    {"epoll_ctl", SYS_epoll_ctl, 0, LIBRARY, {EBADF, EEXIST, EINVAL, ELOOP, ENOMEM, ENOSPC, EPERM}},
    {"statx", SYS_statx, 0, LIBRARY, {ENOSYS, EPERM, ENOMEM}},
    {"getsockopt", SYS_getsockopt, 0, LIBRARY, {ENOBUFS, ENOMEM, EPERM}},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* Shared with the parent. */
static struct shared { _Atomic unsigned calls[FAULTS], injected[FAULTS]; } * shared;

static const struct fault *fault;
static int error;
static enum how how;
static unsigned when, cases;
static _Atomic unsigned count;

static bool is_of(const struct fault *f, const struct call *call) {
    return f->nr == call->nr && (call->nr != SYS_fcntl || f->command == call->args[1]);
}

static bool strikes(void) {
    unsigned n = ++count, seed = when * 7919 + n;
    if (how == ONCE) return n == when;
    if (how == FOR_GOOD) return n >= when;
    return rand_r(&seed) % 4 == 0;
}

static bool has(const struct item *item, uintptr_t p) {
    uintptr_t begin = (uintptr_t)item->cb.aio_buf;
    return p >= begin && p < begin + BLOCK && item->cb.aio_nbytes > 0;
}

/* The request that the call carries, or NULL. */
static struct item *carried(const struct call *call) {
    const long *a = call->args;
    bool vector = call->nr == SYS_preadv2 || call->nr == SYS_pwritev2;
    int sync = call->nr == SYS_fsync ? O_SYNC : call->nr == SYS_fdatasync ? O_DSYNC : 0;
    if (call->nr == SYS_rt_sigqueueinfo) {
        int i = ((siginfo_t *)a[2])->si_value.sival_int;
        return i < nitems ? &items[i] : NULL;
    }
    uintptr_t p = vector ? (uintptr_t)((struct iovec *)a[1])->iov_base : (uintptr_t)a[1];
    for (int i = 0; i < nitems; i++) {
        const struct aiocb *cb = &items[i].cb;
        bool is_it = sync ? items[i].op == sync && cb->aio_fildes == a[0] : has(&items[i], p);
        if (is_it && aio_error(cb) == EINPROGRESS) return &items[i];
    }
    return NULL;
}

static bool is_own(const struct fault *f) {
    return f->whose == REQUEST || f->whose == OFFER;
}

static long at_call(const struct call *call) {
    if (!fault) {
        for (int i = 0; i < FAULTS; i++)
            if (is_of(&faults[i], call)) shared->calls[i]++;
        return GO_ON;
    }
    if (!is_of(fault, call)) return GO_ON;
    struct item *item = is_own(fault) ? carried(call) : NULL;
    bool own = is_own(fault) && !item && call->nr != SYS_rt_sigqueueinfo;
    if (own || !strikes()) return GO_ON; /* own: of the library's descriptors */
    shared->injected[fault - faults]++;
    if (!item) list_hit |= call->nr == SYS_rt_sigqueueinfo;
    if (!item) return -error;
    bool memory_copy = item->cb.aio_fildes == memory; /* an offer */
    item->exact = fault->whose == REQUEST && error != EINTR && !memory_copy;
    item->hit = error;
    item->hits++;
    return -error;
}

static bool may_fail(const struct item *item, int err) {
    if (item->hits) return err == item->hit;
    if (fault && fault->whose == CHECKED) return err == EBADF;
    return fault && fault->whose == SCARCE && err == EAGAIN;
}

static bool may_be_unnotified(void) {
    return fault && fault->whose == SCARCE;
}

/* Only its signal has failed. */
static bool is_done_all_the_same(const struct item *item) {
    return item->hits && fault->nr == SYS_rt_sigqueueinfo;
}

/* In a process of its own; answers whether it went well. */
static bool run(void) {
    fflush(stdout);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        alarm(20);
        work_open();
        _exit(work() ? 1 : 0);
    }
    int status;
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    if (status == 0) return true;
    say("case %u, %s %s, %s %u: status %x", cases, fault ? fault->name : "none", name(error),
        how_names[how], when, (unsigned)status);
    return false;
}

/* Nothing ends, under glibc neither, where a call is interrupted for ever, or is to be made again
 * as soon as the descriptor is ready, which it is. */
static bool is_endless(void) {
    bool offer = fault->nr == SYS_preadv2 || fault->nr == SYS_pwritev2;
    return how == FOR_GOOD && (error == EINTR || (offer && error == EAGAIN));
}

/* CASE: the number of the only one to run; PART, PARTS: one of so many processes, which share the
 * work; SEED: of the calls that are picked. */
static unsigned number(const char *variable, unsigned initial) {
    const char *value = getenv(variable);
    return value ? (unsigned)atoi(value) : initial;
}

/* Each round is one of the three ways: the first three from the first call on, the others from one
 * that is picked. The short form has a round of each error, from the first call, and for every
 * second one of the others; each fault is there once at its first call, which always comes. */
enum { ROUNDS = 18 };

static bool is_short_form(int e, int round) {
    int k = (int)(fault - faults) + e;
    return round == k % 3 || (k % 2 == 0 && round == 3 + k / 2 % 3) || (e == 0 && round == 0);
}

static unsigned pick(int round, unsigned *seed) {
    unsigned calls = shared->calls[fault - faults], random = (unsigned)rand_r(seed);
    if (round < 3) return 1;
    return 2 + random % (how == RANDOMLY ? 1000 : calls > 2 ? calls - 1 : 1);
}

/* For injected.sh, which adds them up. */
static void say_counts(void) {
    for (int i = 0; i < FAULTS; i++)
        say("fault %s %u %u", faults[i].name, shared->calls[i] + 0, shared->injected[i] + 0);
}

static void test(void) {
    unsigned failures = 0, ran = 0;
    unsigned part = number("PART", 0), parts = number("PARTS", 1), only = number("CASE", 0);
    unsigned seed = number("SEED", 1);
    bool all = getenv("TEST_LONG");
    alarm(1000);
    replace_begin();
    work_begin();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED, "memory");
    if (!run()) exit(1);
    for (fault = faults; fault < faults + FAULTS; fault++) {
        for (int e = 0; (error = fault->errors[e]); e++) {
            for (int round = 0; round < ROUNDS; round++) {
                how = (enum how)(round % 3);
                when = pick(round, &seed);
                if (is_endless() || !(all || is_short_form(e, round))) continue;
                if (++cases % parts != part || (only && cases != only)) continue;
                ran++;
                failures += !run();
            }
        }
    }
    say_counts();
    say("%u of %u cases, %u failed", ran, cases, failures);
    if (failures) exit(1);
}
