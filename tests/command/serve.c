/* SPDX-License-Identifier: MIT */
/* A small server that reads by AIO, and its load; for kaio-ab-load.sh.
 *
 *   serve SOCKET FILE [daemon] [workers] [stubborn] [quits] [silent] [slow]
 *   serve load SOCKET TIMES
 *
 * For each connection it reads FILE, 4 KiB, and hands the first byte back. SIGTERM ends it, and so
 * does SIGQUIT, with exit status 7. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char **words;

static bool has(const char *word) {
    for (char **w = words; *w; w++)
        if (!strcmp(*w, word)) return true;
    return false;
}

static void need(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

static void on_term(int sig) {
    static const char said[] = "ends\n";
    if (write(1, said, sizeof said - 1) < 0) _exit(1);
    _exit(sig == SIGQUIT ? 7 : 0);
}

static int open_socket(const char *path, int (*f)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    need(f(fd, (const struct sockaddr *)&address, sizeof address) == 0, path);
    return fd;
}

static char byte_of(int file) {
    static char buf[4096];
    struct aiocb cb = {.aio_fildes = file, .aio_buf = buf, .aio_nbytes = sizeof buf};
    const struct aiocb *list[] = {&cb};
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    need(aio_read(&cb) == 0, "aio_read");
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, NULL);
    need(aio_return(&cb) > 0, "read");
    return *buf;
}

static void serve(int listener, int file) {
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char byte = byte_of(file);
        if (has("dies")) raise(SIGSEGV);
        need(fd >= 0 && write(fd, &byte, 1) == 1, "client");
        close(fd);
    }
}

static int load(const char *path, int times) {
    char byte;
    while (times-- > 0) {
        int fd = open_socket(path, connect);
        if (read(fd, &byte, 1) != 1) return 1;
        close(fd);
    }
    return 0;
}

int main(int argc, char *argv[]) {
    need(argc >= 3, "arguments");
    if (!strcmp(argv[1], "load")) return load(argv[2], atoi(argv[3]));
    words = argv + 3;
    printf("starts\n");
    fflush(stdout);
    if (has("fails")) return fprintf(stderr, "no such option\n"), 3;
    int file = open(argv[2], O_RDONLY);
    need(file >= 0, argv[2]);
    if (has("daemon")) need(daemon(1, 1) == 0, "daemon");
    signal(SIGTERM, has("stubborn") ? SIG_IGN : on_term);
    if (has("quits")) signal(SIGTERM, SIG_IGN), signal(SIGQUIT, on_term);
    if (has("slow")) usleep(300000);
    if (has("silent")) pause();
    unlink(argv[1]);
    int listener = open_socket(argv[1], bind);
    need(listen(listener, 8) == 0, "listen");
    if (has("workers") && fork() > 0) wait(NULL); /* SIGTERM leaves the worker an orphan */
    serve(listener, file);
}
