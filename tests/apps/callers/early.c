/* SPDX-License-Identifier: MIT */
/* A library that uses AIO before main() and after exit(). */
#include "use.h"

__attribute__((constructor)) static void begin(void) {
    use_aio("constructor");
}

__attribute__((destructor)) static void end(void) {
    use_aio("destructor");
}
