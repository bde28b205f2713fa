/* A read of a socket is cancelled, by aio_cancel() or close(), around the io_submit() of its POLL
 * iocb; for races.sh. The poll must not stay in the kernel, or the socket's peer sees no end of
 * file; the reaper ends when nothing is left there, so the count is right. */
#include "test.h"
#include "hold.h"

#include <dirent.h>
#include <libaio.h>
#include <sys/socket.h>

enum moment { BEFORE, AFTER, FULL, UNPOLLABLE, MOMENTS };
static const char *const moments[] = {"before", "after", "refused: EAGAIN", "refused: EINVAL"};

static int sockets[2];
static struct aiocb cb;
static pid_t main_tid;
static pthread_t closer;
static enum moment moment;
static bool by_close;
static _Atomic bool held, returned;
static _Atomic int notified;

static void *close_it(void *unused) {
    close(sockets[0]);
    return unused;
}

static void cancel(void) {
    if (!by_close) {
        need(aio_cancel(sockets[0], &cb) == AIO_CANCELED, "aio_cancel");
        return;
    }
    /* it returns only after io_submit() has */
    need(pthread_create(&closer, NULL, close_it, NULL) == 0, "thread");
    while (aio_error(&cb) == EINPROGRESS) sleep_ms(1);
}

static long at_call(const struct call *call) {
    if (call->nr == SYS_clone3) { /* the notification comes late: the request is not free yet */
        while (call->tid != main_tid && !returned) sleep_ms(1);
        return GO_ON;
    }
    const struct iocb *iocb = *(struct iocb **)call->args[2];
    if (held || iocb->aio_lio_opcode != IO_CMD_POLL) return GO_ON;
    long r = moment == AFTER ? perform(call) : GO_ON;
    cancel();
    held = true;
    return moment == FULL ? -EAGAIN : moment == UNPOLLABLE ? -EINVAL : r;
}

static void notify(union sigval unused) {
    (void)unused;
    notified++;
}

static bool is_end(int fd) {
    struct pollfd end = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&end, 1, 3000) == 1 && read(fd, &byte, 1) == 0;
}

/* Answers what is wrong, or NULL. */
static const char *round_of(bool notifies) {
    char byte;
    held = returned = false;
    notified = 0;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair");
    cb = request(sockets[0], &byte, 1, 0);
    if (notifies) cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = notify;
    need(aio_read(&cb) == 0, "aio_read");
    while (!held) sleep_ms(1);
    returned = true;
    if (finish(&cb) != ECANCELED || aio_return(&cb) != -1) return "not cancelled";
    if (by_close) pthread_join(closer, NULL);
    else close(sockets[0]);
    if (!is_end(sockets[1])) return "the peer sees no end";
    for (int ms = 0; ms < 3000 && notified < notifies; ms++) sleep_ms(1);
    if (notified != notifies) return "not notified once";
    close(sockets[1]);
    return NULL;
}

static int threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    int n = -2; /* . and .. */
    need(tasks != NULL, "/proc");
    while (readdir(tasks)) n++;
    closedir(tasks);
    return n;
}

static void test(void) {
    const long calls[] = {SYS_io_submit, SYS_clone3};
    int bad = 0;
    main_tid = gettid();
    hold(calls, 2);
    for (int i = 0; i < MOMENTS * 4; i++) {
        moment = (enum moment)(i / 4);
        by_close = i & 2;
        const char *wrong = round_of(i & 1);
        if (wrong)
            say("%s io_submit, by %s: %s", moments[moment], by_close ? "close" : "aio_cancel",
                wrong);
        bad += wrong != NULL;
    }
    for (int ms = 0; ms < 5000 && threads() > 2; ms++) sleep_ms(1); /* this and the holder */
    if (threads() > 2) say("the reaper goes on: %d threads", threads());
    if (bad || threads() > 2) exit(1);
}
