/* SPDX-License-Identifier: MIT */
/* start.c - the way into main(). The compiler's startup code asks for __libc_start_main() of
 * glibc 2.34 or later; the linker makes that this function (--wrap), which calls the first version.
 * It takes the same seven words, and has nothing to call where there is NULL for `init` since.
 */
#include "early.h"

#ifdef __GLIBC__
typedef int start(void *, void *, void *, void *, void *, void *, void *);

start first_start, __wrap___libc_start_main; // NOLINT(bugprone-reserved-identifier)
__asm__(".symver first_start,__libc_start_main@" KAIO_FIRST);

int __wrap___libc_start_main(void *a, void *b, void *c, void *d, void *e, void *f, void *g) {
    return first_start(a, b, c, d, e, f, g);
}
#endif
