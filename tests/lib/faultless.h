/* SPDX-License-Identifier: MIT */
/* faultless.h - the workload for programs that let nothing fail. Included after test.h. */
#include "workload.h"

static bool may_fail(const struct item *item, int err) {
    (void)item, (void)err;
    return false;
}

static bool may_be_unnotified(void) {
    return false;
}

static bool is_done_all_the_same(const struct item *item) {
    (void)item;
    return false;
}
