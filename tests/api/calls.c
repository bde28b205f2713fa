/* SPDX-License-Identifier: MIT */
/* What a program may see of the calls besides their results: errno after a success, what is left in
 * the aiocb, the file's position, descriptors' numbers; and where it may call from: little stack,
 * with other identities, with files put on every number. */
#include "test.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, BLOCKS = 64, READS = 200, NUMBERS = 400 };
#ifdef __SANITIZE_ADDRESS__ /* its frames are larger */
enum { ROOM = 4096 };
#else
enum { ROOM = 3072 };
#endif

static char *buf; /* READS blocks */
static int direct_fd, data_fd;

/* Success leaves errno alone. */
static void kept(const char *what, int res, int expected) {
    int now = errno;
    say("%s: %d, errno %s", what, res == expected, now == 4711 ? "kept" : name(now));
    errno = 4711;
}

static void errno_of(const char *what, int fd) {
    int pipes[2], null = open("/dev/null", O_RDWR);
    const struct timespec zero = {0, 0}, soon = {0, 1000000};
    need(pipe(pipes) == 0 && null >= 0, "pipe");
    struct aiocb cb = request(fd, buf, BLOCK, 0), sync = request(fd, NULL, 0, 0), *list[] = {&cb};
    struct aiocb waiting = request(pipes[0], buf, 1, 0), more = waiting;
    const struct aiocb *waits[] = {&cb}, *longer[] = {&waiting};
    say("-- errno, %s", what);
    errno = 4711;
    kept("aio_read", aio_read(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(waits, 1, NULL);
    kept("aio_error", aio_error(&cb), 0);
    kept("aio_return", (int)aio_return(&cb), BLOCK);
    kept("aio_suspend", aio_suspend(waits, 1, &zero), 0);
    kept("aio_write", aio_write(&cb), 0);
    kept("aio_fsync", aio_fsync(O_DSYNC, &sync), 0);
    finish(&cb), finish(&sync), errno = 4711;
    cb.aio_lio_opcode = LIO_WRITE;
    kept("LIO_WAIT", lio_listio(LIO_WAIT, list, 1, NULL), 0);
    kept("LIO_NOWAIT", lio_listio(LIO_NOWAIT, list, 1, NULL), 0);
    finish(&cb), errno = 4711;
    kept("aio_cancel, all done", aio_cancel(fd, NULL), AIO_ALLDONE);
    kept("fsync", fsync(fd), 0);
    kept("aio_read of a pipe", aio_read(&waiting), 0);
    kept("and another", aio_read(&more), 0);
    sleep_ms(10), errno = 4711;
    kept("aio_error, pending", aio_error(&waiting), EINPROGRESS);
    kept("aio_cancel", aio_cancel(pipes[0], &more), AIO_CANCELED);
    aio_suspend(longer, 1, &soon), errno = 4711;
    if (is_shim()) kept("aio_cancel of a waiting one", aio_cancel(pipes[0], NULL), AIO_CANCELED);
    else kept("aio_cancel of a waiting one", 0, 0); /* glibc cannot */
    kept("dup2", dup2(null, 300), 300);
    kept("close", close(300), 0);
    need(write(pipes[1], "x", 1) == 1, "write");
    finish(&waiting);
    close(pipes[0]), close(pipes[1]), close(null);
}

/* What is in the aiocb afterwards. `after` says what was asked before. */
static void fields(void) {
    int pipes[2];
    struct aiocb cb, *list[] = {&cb};
    need(pipe(pipes) == 0, "pipe");
    say("-- fields");
    memset(&cb, 0xff, sizeof cb);
    cb.aio_fildes = data_fd;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    say("aio_fsync: %d", aio_fsync(O_SYNC, &cb));
    report("sync", &cb);
    int opcode = cb.aio_lio_opcode, res = aio_fsync(O_DSYNC, &cb);
    say("opcode %d; O_DSYNC: %d, opcode %d", opcode, res, cb.aio_lio_opcode);
    report("sync", &cb);
    cb.aio_buf = buf;
    cb.aio_nbytes = 100;
    cb.aio_offset = 50;
    say("priority %d; as it is, aio_read: %d", cb.aio_reqprio, aio_read(&cb));
    report("read", &cb);
    say("opcode %d, as it is, in a list: %d", cb.aio_lio_opcode,
        lio_listio(LIO_WAIT, list, 1, NULL));
    report("read", &cb);
    say("kept %d %d %zu %ld %d", cb.aio_fildes == data_fd, cb.aio_buf == buf, cb.aio_nbytes,
        (long)cb.aio_offset, cb.aio_sigevent.sigev_notify == SIGEV_NONE);
    memset(&cb, 0xff, sizeof cb);
    cb.aio_fildes = pipes[0];
    cb.aio_reqprio = 0;
    cb.aio_buf = buf;
    cb.aio_nbytes = 1;
    cb.aio_offset = 0;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    need(aio_read(&cb) == 0, "aio_read");
    aio_return(&cb); /* 0, or -1 once glibc's thread has found that it cannot seek: an accident */
    need(write(pipes[1], "x", 1) == 1, "write");
    report("read", &cb);
    close(pipes[0]), close(pipes[1]);
}

static void position(const char *what, int fd) {
    struct aiocb cb;
    off_t offsets[] = {0, 8192, -1, -2, 1 << 20};
    need(lseek(fd, 777, SEEK_SET) == 777, "lseek");
    for (int i = 0; i < 10; i++) {
        cb = request(fd, buf, BLOCK, offsets[i / 2]);
        if (i % 2) need(aio_write(&cb) == 0, "aio_write");
        else need(aio_read(&cb) == 0, "aio_read");
        finish(&cb);
    }
    say("position, %s: %ld", what, (long)lseek(fd, 0, SEEK_CUR));
}

static void positions(void) {
    int append = scratch(O_RDWR | O_APPEND, BLOCK), memory = memfd_create("memory", 0);
    need(ftruncate(memory, BLOCK) == 0, "ftruncate");
    position("buffered", data_fd);
    position("direct", direct_fd);
    position("append", append);
    position("memory", memory);
    close(append), close(memory);
}

/* Sealed memory. */
static void seals(void) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    need(ftruncate(fd, BLOCK) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0, "seals");
    struct aiocb cb = request(fd, buf, BLOCK, BLOCK);
    need(aio_write(&cb) == 0, "aio_write");
    report("F_SEAL_GROW", &cb);
    need(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0, "seals");
    cb = request(fd, buf, BLOCK, 0);
    need(aio_write(&cb) == 0, "aio_write");
    report("F_SEAL_WRITE", &cb);
    need(aio_read(&cb) == 0, "aio_read");
    report("read", &cb);
    close(fd);
}

/* More direct reads than the context takes, some buffered ones, one of a pipe. */
static int use_all(void) {
    static struct aiocb cbs[READS];
    int bad = 0, pipes[2];
    need(pipe(pipes) == 0, "pipe");
    for (int i = 0; i < READS; i++) {
        cbs[i] = request(i % 4 ? direct_fd : data_fd, buf + i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
        if (i == 50) cbs[i] = request(pipes[0], buf + i * BLOCK, 1, 0);
        bad += aio_read(&cbs[i]) != 0;
    }
    need(write(pipes[1], "x", 1) == 1, "write");
    for (int i = 0; i < READS; i++)
        bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != (i == 50 ? 1 : BLOCK);
    close(pipes[0]), close(pipes[1]);
    return bad;
}

static void *use_list(void *arg) {
    static struct aiocb cbs[READS], *list[READS];
    int *bad = arg;
    for (int i = 0; i < READS; i++) {
        cbs[i] = request(i % 4 ? direct_fd : data_fd, buf + i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
        cbs[i].aio_lio_opcode = i % 8 ? LIO_READ : LIO_WRITE;
        list[i] = &cbs[i];
    }
    *bad = lio_listio(LIO_WAIT, list, READS, NULL) + use_all();
    return NULL;
}

/* On the smallest stack that a thread may have. */
static void small_thread(void) {
    pthread_attr_t attr;
    pthread_t thread;
    int bad = -1;
    pthread_attr_init(&attr);
    need(pthread_attr_setstacksize(&attr, 16384) == 0, "stack size");
    need(pthread_create(&thread, &attr, use_list, &bad) == 0, "thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    say("on 16 KiB: %d bad", bad);
}

static struct aiocb seen[READS];
static volatile sig_atomic_t handled, handled_badly;

static void handler(int signo) {
    const struct aiocb *list[4];
    (void)signo;
    for (int i = 0; i < 4; i++) list[i] = &seen[(handled * 4 + i) % READS];
    if (aio_suspend(list, 4, NULL)) handled_badly++;
    for (int i = 0; i < READS; i++)
        if (aio_error(&seen[i]) == 0 && aio_return(&seen[i]) != BLOCK) handled_badly++;
    handled++;
}

#ifdef _SC_MINSIGSTKSZ
#define SIGNAL_FRAME sysconf(_SC_MINSIGSTKSZ)
#else /* before glibc 2.34 */
#define SIGNAL_FRAME (long)getauxval(51 /* AT_MINSIGSTKSZ */)
#endif

/* A handler on a stack of its own: the calls that it may make need little. What lies below that
 * stack must stay. */
static void small_handler(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    long size = SIGNAL_FRAME + ROOM; /* what the kernel puts there, and what is left */
    size_t whole = (size_t)(size + 2 * BLOCK) & ~(size_t)(BLOCK - 1);
    char *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = memory + whole - (size_t)size, .ss_size = (size_t)size}, old;
    int bad = 0, below = 0;
    need(memory != MAP_FAILED && sigaltstack(&stack, &old) == 0, "sigaltstack");
    memset(memory, 0x5a, whole);
    sigaction(SIGUSR1, &action, NULL);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < READS; i++) {
            int fd = i % 3 ? direct_fd : data_fd;
            seen[i] = request(fd, buf + i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
            need(aio_read(&seen[i]) == 0, "aio_read");
        }
        raise(SIGUSR1);
        for (int i = 0; i < READS; i++) bad += finish(&seen[i]) != 0;
    }
    for (char *p = memory; p < (char *)stack.ss_sp; p++) below += *p != 0x5a;
    sigaltstack(&old, NULL);
    munmap(memory, whole);
    say("handler on a small stack: %d bad, %d of %d, %d bytes below it", bad, handled_badly,
        handled, below);
}

/* Identities are changed in all threads, those of the library among them, while requests wait. */
static void identities(void) {
    int pipes[2], fifo;
    char bytes[2];
    need(pipe(pipes) == 0 && mkfifo("fifo", 0600) == 0, "pipe");
    fifo = open("fifo", O_RDWR);
    struct aiocb a = request(pipes[0], &bytes[0], 1, 0), b = request(fifo, &bytes[1], 1, 0);
    need(fifo >= 0 && aio_read(&a) == 0 && aio_read(&b) == 0, "aio_read");
    bool may = geteuid() == 0;
    int bad = use_all();
    if (may) bad += seteuid(65534) != 0;
    bad += use_all();
    if (may) bad += seteuid(0) != 0;
    bad += use_all();
    need(write(pipes[1], "x", 1) == 1 && write(fifo, "x", 1) == 1, "write");
    bad += finish(&a) != 0 || finish(&b) != 0;
    say("identities: %d bad", bad);
    close(pipes[0]), close(pipes[1]), close(fifo);
}

/* On each number that the program does not use, with requests in flight: its files stay as they
 * are, and its requests end. */
static void every_number(void) {
    static struct aiocb cbs[READS];
    static bool used[NUMBERS];
    int bad = 0, touched = 0, pipes[2], null = open("/dev/null", O_RDWR);
    int empty = memfd_create("empty", 0);
    need(pipe(pipes) == 0 && empty >= 0 && null >= 0, "files");
    struct aiocb waiting = request(pipes[0], buf, 1, 0);
    need(aio_read(&waiting) == 0, "aio_read");
    for (int i = 0; i < READS; i++) {
        cbs[i] = request(i % 4 ? direct_fd : data_fd, buf + i * BLOCK, BLOCK, i % BLOCKS * BLOCK);
        need(aio_read(&cbs[i]) == 0, "aio_read");
    }
    int own[] = {0, 1, 2, direct_fd, data_fd, pipes[0], pipes[1], null, empty};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) used[own[i]] = true;
    for (int fd = 0; fd < NUMBERS; fd++)
        if (!used[fd]) bad += dup2(empty, fd) != fd;
    for (int i = 0; i < READS; i++) bad += finish(&cbs[i]) != 0 || aio_return(&cbs[i]) != BLOCK;
    bad += aio_error(&waiting) != EINPROGRESS;
    need(write(pipes[1], "x", 1) == 1, "write");
    bad += finish(&waiting) != 0;
    bad += use_all();
    struct stat st, there;
    need(fstat(empty, &st) == 0, "fstat");
    for (int fd = 0; fd < NUMBERS; fd++) {
        if (used[fd]) continue;
        touched += fstat(fd, &there) != 0 || there.st_ino != st.st_ino;
        bad += close(fd) != 0;
    }
    bad += use_all();
    say("dup2 onto every number: %d bad, %d touched, size %ld, position %ld", bad, touched,
        (long)st.st_size, (long)lseek(empty, 0, SEEK_CUR));
    close(pipes[0]), close(pipes[1]), close(null), close(empty);
}

static void test(void) {
    buf = pages(READS * BLOCK);
    direct_fd = scratch(O_RDWR | O_DIRECT, BLOCKS * BLOCK);
    data_fd = scratch(O_RDWR, BLOCKS * BLOCK);
    CASE("errno") {
        errno_of("buffered", data_fd);
        errno_of("direct", direct_fd);
    }
    CASE("fields") fields();
    CASE("positions") positions();
    CASE("seals") seals();
    CASE("small-thread") small_thread();
    CASE("small-handler") small_handler();
    CASE("identities") identities();
    CASE("every-number") every_number();
}
