/* SPDX-License-Identifier: MIT */
/* step.h - a thread goes on one instruction at a time, with SIGTRAP after each (x86-64). The
 * handler takes TRAP_FLAG out of the context's REG_EFL when that is to end.
 */
#ifndef STEP_H
#define STEP_H

#include <ucontext.h>

enum { TRAP_FLAG = 0x100 };

/* syscall with rt_sigprocmask: signals are about to be blocked, SIGTRAP with them, which would end
 * the process. */
static inline bool blocks_signals(const greg_t *regs) {
    const unsigned char *next = (const unsigned char *)regs[REG_RIP];
    return next[0] == 0x0f && next[1] == 0x05 && regs[REG_RAX] == SYS_rt_sigprocmask;
}

static inline void set_trap_flag(void) {
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
}

#endif
