// SPDX-License-Identifier: MIT
/* A C++ exception thrown by a handler through aio_suspend() and lio_listio(LIO_WAIT), for
 * sideways.sh: it arrives, and the thread waits again. */
#include <aio.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

static void on_signal(int) {
    throw 7;
}

static struct aiocb read_of(int fd, char *byte) {
    struct aiocb cb;
    std::memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = byte;
    cb.aio_nbytes = 1;
    cb.aio_lio_opcode = LIO_READ;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static void *interrupt(void *thread) {
    usleep(100000);
    pthread_kill(*static_cast<pthread_t *>(thread), SIGUSR1);
    return nullptr;
}

static void wait_for(struct aiocb *cb, bool list) {
    struct aiocb *items[1] = {cb};
    if (list) lio_listio(LIO_WAIT, items, 1, nullptr);
    else aio_suspend(items, 1, nullptr);
}

static bool is_thrown(bool list) {
    int ends[2];
    char byte = 0;
    bool caught = false;
    pthread_t self = pthread_self(), other;
    if (pipe(ends)) return false;
    struct aiocb cb = read_of(ends[0], &byte);
    if (!list && aio_read(&cb)) return false;
    pthread_create(&other, nullptr, interrupt, &self);
    try {
        wait_for(&cb, list);
    } catch (int) {
        caught = true;
    }
    pthread_join(other, nullptr);
    sigset_t set; /* as after any jump out of a handler */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    if (write(ends[1], "x", 1) != 1) return false;
    while (aio_error(&cb) == EINPROGRESS) wait_for(&cb, false);
    return caught && aio_return(&cb) == 1 && byte == 'x';
}

int main() {
    alarm(20);
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, nullptr);
    for (int i = 0; i < 6; i++)
        if (!is_thrown(i % 2)) return std::printf("%s: no\n", i % 2 ? "LIO_WAIT" : "aio_suspend"), 1;
    std::puts("done");
    pthread_exit(nullptr);
}
