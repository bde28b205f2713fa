/* A sync that has begun cannot be cancelled, by itself or with all of its descriptor, and ends
 * well; syncs queued behind it need one more together. For running_sync.sh, with slowfs at ./slow,
 * which holds syncs while there is ./log.hold. */
#include "../api/test.h"

/* How many syncs have reached the filesystem? */
static int arrived(void) {
    char line[50];
    int n = 0;
    FILE *log = fopen("log", "r");
    need(log != NULL, "log");
    while (fgets(line, sizeof line, log)) n += !strncmp(line, "sync ", 5);
    fclose(log);
    return n;
}

static const char *answer_of(int res) {
    return res == AIO_CANCELED      ? "cancelled"
           : res == AIO_NOTCANCELED ? "not cancelled"
           : res == AIO_ALLDONE     ? "all done"
                                    : "error";
}

static void sync_of(int fd, int op, const char *what) {
    int before = arrived(), lock = open("log.hold", O_CREAT | O_RDWR, 0600);
    struct aiocb cb = request(fd, NULL, 0, 0);
    need(lock >= 0 && aio_fsync(op, &cb) == 0, "aio_fsync");
    while (arrived() == before) sleep_ms(1);
    say("%s: %s", what, answer_of(aio_cancel(fd, &cb)));
    say("with all: %s", answer_of(aio_cancel(fd, NULL)));
    say("then: %s", name(aio_error(&cb)));
    unlink("log.hold");
    report("ends", &cb);
    say("at last: %s", answer_of(aio_cancel(fd, &cb)));
    close(lock);
}

/* One runs, others queue behind it, one of which is cancelled. The shim has the filesystem make one
 * more for all that are left. */
static void many(int fd, int op, const char *what) {
    enum { SYNCS = 10, CANCELLED = 4 };
    int before = arrived(), lock = open("log.hold", O_CREAT | O_RDWR, 0600), wrong = 0;
    static struct aiocb cbs[SYNCS];
    for (int i = 0; i < SYNCS; i++) {
        cbs[i] = request(fd, NULL, 0, 0);
        need(lock >= 0 && aio_fsync(op, &cbs[i]) == 0, "aio_fsync");
        while (arrived() == before) sleep_ms(1);
    }
    say("%s, one of many: %s", what, answer_of(aio_cancel(fd, &cbs[CANCELLED])));
    unlink("log.hold");
    for (int i = 0; i < SYNCS; i++) wrong += finish(&cbs[i]) != (i == CANCELLED ? ECANCELED : 0);
    say("the others end, %d wrong", wrong);
    if (is_shim() && arrived() - before != 2) say("%d syncs, not 2", arrived() - before);
    close(lock);
}

static void test(void) {
    int fd = open("slow/0", O_RDWR);
    need(fd >= 0, "slow/0");
    sync_of(fd, O_SYNC, "sync");
    sync_of(fd, O_DSYNC, "data sync");
    many(fd, O_SYNC, "sync");
    many(fd, O_DSYNC, "data sync");
    close(fd);
}
