/* SPDX-License-Identifier: MIT */
/* A plug-in that uses AIO. */
#include "use.h"

void plugin(void) {
    use_aio("plug-in");
}
