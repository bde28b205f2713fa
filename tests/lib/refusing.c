/* SPDX-License-Identifier: MIT */
/* refusing ANSWER NUMBER[,NUMBER...] COMMAND...: runs the command with a seccomp filter that answers these system calls
 * (eight at most) by an errno, or kills the process for them: ANSWER is "kill". For faults/refused.sh and
 * package/documents.d/docker. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char *argv[]) {
    struct sock_filter code[2 + 2 * 8] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    unsigned short n = 1;
    if (argc < 4 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 125;
    unsigned answer = SECCOMP_RET_ERRNO | (unsigned)atoi(argv[1]);
    if (!strcmp(argv[1], "kill")) answer = SECCOMP_RET_KILL_PROCESS;
    for (char *at = strtok(argv[2], ","); at && n < 2 * 8; at = strtok(NULL, ",")) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(at), 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 77;
    execvp(argv[3], argv + 3);
    return 127;
}
