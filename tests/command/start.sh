#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What kaio costs: starting a program through it takes at most 1 ms more than by env LD_PRELOAD=..., by the median of
# pairs; and it starts nothing else.
# alone: it measures
set -eu
fail() { echo "$1"; exit 1; }
kaio=$TESTS_TOP/build/kaio
export -n KAIO_LIB # no variable of the library

strace -f -o trace -e trace=fork,vfork,clone,clone3,execve "$kaio" --workers 3 true
[ "$(grep -c 'execve(.* = 0' trace)" = 2 ] && ! grep -q 'fork(\|clone' trace || fail "not one execve: $(cat trace)"

cat >pairs.c <<'C'
/* pairs VARIABLE KAIO PROGRAM: starts it by env and by kaio, in turn; prints the median of what kaio takes more, in us. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
extern char **environ;
static double took_us(char *argv[]) {
    struct timespec from, to;
    pid_t pid;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) || waitpid(pid, &status, 0) != pid || status) exit(1);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
}
static int compare(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
int main(int argc, char *argv[]) {
    enum { N = 300 };
    static double more[N];
    if (argc != 4) return 2;
    char *a[] = {"/usr/bin/env", argv[1], argv[3], NULL}, *b[] = {argv[2], argv[3], NULL};
    for (int i = 0; i < N; i++) {
        double first = i % 2 ? took_us(b) : took_us(a), second = i % 2 ? took_us(a) : took_us(b);
        more[i] = i % 2 ? first - second : second - first;
    }
    qsort(more, N, sizeof *more, compare);
    printf("%.0f\n", more[N / 2]);
    return 0;
}
C
gcc -O1 -o pairs pairs.c
more_us=$(./pairs "LD_PRELOAD=$KAIO_LIB" "$kaio" /bin/true) || fail "it does not run"
echo "note: $more_us us more than env LD_PRELOAD"
[ "$more_us" -le $((1000 * ${TEST_SLOW:-1})) ] || fail "$more_us us more than env LD_PRELOAD"
