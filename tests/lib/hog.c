/* SPDX-License-Identifier: MIT */
/* hog COMMAND...: runs the command while this process holds all that fs.aio-max-nr allows, but for
 * the number in $HOG_LEAVES. */
#include <errno.h>
#include <libaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[]) {
    if (argc < 2) return 125;
    const char *leaves = getenv("HOG_LEAVES");
    io_context_t spare = 0;
    if (leaves && io_setup(atoi(leaves), &spare) < 0) return 125;
    for (int size = 65536; size > 0; size /= 2) {
        io_context_t ctx = 0;
        while (io_setup(size, &ctx) == 0) ctx = 0;
    }
    if (leaves) io_destroy(spare);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
