/* SPDX-License-Identifier: MIT */
/* killed.c - a process that writes and syncs is killed at a random moment, KILLS times; killed.sh.
 * Its parent knows what aio_fsync() has confirmed, from a pipe, and how far each request has come,
 * since the aiocbs are in shared memory. With CRASH, a command, the filesystem stops with the
 * process and loses what it has in memory; the command mounts it again.
 *
 * Each thread of the child has a file and makes rounds: WRITES writes, and a sync that does not
 * wait for them; when that has ended, the round's number goes into the pipe. Blocks tell which
 * round wrote them.
 */
#include "test.h"
#include <stdatomic.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define SHUTDOWN _IOR('X', 125, __u32) /* ext4's and xfs's; 2: without writing the log */

enum { FILES = 3, WRITES = 8, BLOCKS = 61, BLOCK = 4096, LONGEST_US = 150000 };

static const struct {
    const char *path;
    int flags;
} files[FILES] = {{"direct", O_DIRECT}, {"buffered", 0}, {"append", O_APPEND}};

struct request {
    int round; /* 0: not to be looked at */
    struct aiocb cb;
};

struct confirmed {
    int file, round;
};

static struct request (*requests)[WRITES + 1]; /* of each file; the last is the sync */
static int log_pipe[2], bad;

/* Different ones in a round, as BLOCKS is prime. */
static int block_of(int round, int i) {
    return (round * WRITES + i) * 7 % BLOCKS;
}

static void fill(char *buf, int file, int round, int i) {
    int *words = (int *)buf;
    for (int w = 0; w < BLOCK / 4; w += 4)
        words[w] = round, words[w + 1] = file, words[w + 2] = i, words[w + 3] = w;
}

static bool is_by(const char *buf, int file, int round, int i) {
    char expected[BLOCK];
    if (round == 0) memset(expected, 0, BLOCK);
    else fill(expected, file, round, i);
    return !memcmp(buf, expected, BLOCK);
}

static struct aiocb *prepare(struct request *request, const struct aiocb *cb, int round) {
    request->round = 0;
    atomic_signal_fence(memory_order_seq_cst);
    request->cb = *cb;
    request->cb.__error_code = EINPROGRESS; /* until the call has been made */
    atomic_signal_fence(memory_order_seq_cst);
    request->round = round;
    return &request->cb;
}

static void *rounds(void *arg) {
    int file = (int)(intptr_t)arg, fd = open(files[file].path, O_WRONLY | files[file].flags);
    char *buf = pages(WRITES * BLOCK);
    need(fd >= 0, "open");
    for (int round = 1;; round++) {
        struct request *mine = requests[file];
        for (int i = 0; i < WRITES; i++) {
            fill(buf + i * BLOCK, file, round, i);
            struct aiocb cb = request(fd, buf + i * BLOCK, BLOCK, block_of(round, i) * BLOCK);
            need(aio_write(prepare(&mine[i], &cb, round)) == 0, "aio_write");
        }
        struct aiocb cb = request(fd, NULL, 0, 0), *sync = prepare(&mine[WRITES], &cb, round);
        need(aio_fsync(round % 2 ? O_SYNC : O_DSYNC, sync) == 0 && finish(sync) == 0, "sync");
        struct confirmed confirmed = {file, round};
        need(write(log_pipe[1], &confirmed, sizeof confirmed) == sizeof confirmed, "log");
        for (int i = 0; i < WRITES; i++)
            need(finish(&mine[i].cb) == 0 && aio_return(&mine[i].cb) == BLOCK, "write");
    }
    return NULL;
}

static void child(void) {
    pthread_t threads[FILES];
    close(log_pipe[0]);
    for (intptr_t i = 0; i < FILES; i++)
        need(pthread_create(&threads[i], NULL, rounds, (void *)i) == 0, "thread");
    pthread_join(threads[0], NULL);
}

/* A request's outcome was in its aiocb: then it is in the file, and its count was, too. */
static bool has_ended(int file, int i, int round) {
    struct request *request = &requests[file][i];
    if (request->round != round || request->cb.__error_code == EINPROGRESS) return false;
    ssize_t expected = i == WRITES ? 0 : BLOCK;
    bool fits = request->cb.__error_code == 0 && request->cb.__return_value == expected;
    if (!fits && bad++ < 20)
        say("%s, round %d: request %d half reported: %d, %zd", files[file].path, round, i,
            request->cb.__error_code, request->cb.__return_value);
    return fits;
}

/* Of a file that is overwritten: each block is of its last confirmed round, or the one in progress.
 */
static void check_blocks(int file, int fd, int confirmed, bool crash) {
    char buf[BLOCK];
    for (int block = 0; block < BLOCKS; block++) {
        int round = 0, i = 0, in_next = -1;
        for (int r = confirmed; r > 0 && r > confirmed - BLOCKS && round == 0; r--)
            for (int k = 0; k < WRITES; k++)
                if (block_of(r, k) == block) round = r, i = k;
        for (int k = 0; k < WRITES; k++)
            if (block_of(confirmed + 1, k) == block) in_next = k;
        need(pread(fd, buf, BLOCK, block * BLOCK) == BLOCK, "pread");
        bool is_old = is_by(buf, file, round, i);
        bool is_next = in_next >= 0 && is_by(buf, file, confirmed + 1, in_next);
        if (is_old && in_next >= 0 && !crash) is_old = !has_ended(file, in_next, confirmed + 1);
        if (!is_old && !is_next && bad++ < 20)
            say("%s: block %d is of round %d, confirmed is %d", files[file].path, block,
                *(int *)buf, confirmed);
    }
}

/* Records in order, up to those confirmed at least. */
static void check_records(int file, int fd, int confirmed, bool crash) {
    char buf[BLOCK];
    int least = confirmed * WRITES, n = 0;
    for (int i = 0; i < WRITES && !crash; i++)
        if (has_ended(file, i, confirmed + 1)) least = confirmed * WRITES + i + 1;
    while (pread(fd, buf, BLOCK, (off_t)n * BLOCK) == BLOCK &&
           is_by(buf, file, n / WRITES + 1, n % WRITES))
        n++;
    if ((n < least || n > (confirmed + 1) * WRITES) && bad++ < 20)
        say("%s: %d records, expected %d", files[file].path, n, least);
}

static void make_files(void) {
    for (int i = 0; i < FILES; i++) {
        static const char zeros[BLOCKS * BLOCK];
        int fd = open(files[i].path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        bool is_empty = files[i].flags & O_APPEND;
        need(fd >= 0 && (is_empty || write(fd, zeros, sizeof zeros) == sizeof zeros), "file");
        need(fsync(fd) == 0 && close(fd) == 0, "fsync");
    }
    int dir = open(".", O_RDONLY);
    need(fsync(dir) == 0 && close(dir) == 0, "fsync of the directory");
}

static void crash_and_mount(const char *command) {
    unsigned how = 2;
    int dir = open(".", O_RDONLY);
    need(ioctl(dir, SHUTDOWN, &how) == 0, "shutdown of the filesystem");
    close(dir);
    need(chdir("..") == 0 && system(command) == 0 && chdir("mounted") == 0, command);
}

/* Answers how many rounds had been confirmed. */
static int kill_once(unsigned delay_us, const char *crash) {
    int confirmed[FILES] = {0}, status, sum = 0;
    struct confirmed entry;
    make_files();
    memset(requests, 0, FILES * sizeof *requests);
    need(pipe(log_pipe) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) child();
    close(log_pipe[1]);
    usleep(delay_us); /* the log has room for so much */
    kill(pid, SIGKILL);
    for (; read(log_pipe[0], &entry, sizeof entry) == sizeof entry; sum++) {
        bad += entry.round != confirmed[entry.file] + 1;
        confirmed[entry.file] = entry.round;
    }
    need(waitpid(pid, &status, 0) == pid, "waitpid");
    if (!WIFSIGNALED(status)) bad++, say("the child has ended by itself");
    close(log_pipe[0]);
    if (crash) crash_and_mount(crash);
    for (int file = 0; file < FILES; file++) {
        int fd = open(files[file].path, O_RDONLY);
        if (has_ended(file, WRITES, confirmed[file] + 1))
            confirmed[file]++; /* not in the log yet */
        if (files[file].flags & O_APPEND) check_records(file, fd, confirmed[file], crash);
        else check_blocks(file, fd, confirmed[file], crash);
        close(fd);
    }
    return sum;
}

static void test(void) {
    const char *kills = getenv("KILLS"), *crash = getenv("CRASH");
    int n = kills ? atoi(kills) : 10, sum = 0;
    alarm(0);
    srand((unsigned)now_us());
    requests = mmap(NULL, FILES * sizeof *requests, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(requests != MAP_FAILED, "memory");
    for (int i = 0; i < n; i++) sum += kill_once((unsigned)rand() % LONGEST_US, crash);
    say("killed %d times, %d rounds confirmed, %d bad", n, sum, bad);
    if (bad) exit(1);
}
