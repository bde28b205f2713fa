/* SPDX-License-Identifier: MIT */
/* writes.c - what the writes of a batch raise is taken back (raised.c).
 *
 * kaio_raised_before() comes before the first write of a batch, kaio_raised_after() before its
 * signals are unblocked. A write that has raised one answers EPIPE or EFBIG, at once, so
 * kaio_raised_note() has counted it by then.
 */
#include "host/host.h"

static unsigned raised KAIO_WIPED GUARDED;

void kaio_raised_note(void) {
    raised++;
}

/* Under the lock. */
void kaio_raised_before(struct kaio_raised *r, const sigset_t *mask) {
    if (r->writes || kaio_is_ours) return; /* nothing is ever delivered to ours */
    r->writes = true;
    r->seen = raised;
    r->pending = kaio_raised_pending(mask);
}

bool kaio_raised_since(const struct kaio_raised *r) {
    return r->writes && raised != r->seen;
}

/* any: EPIPE or EFBIG since then. */
void kaio_raised_after(const struct kaio_raised *r, bool any) {
    if (any) kaio_raised_take(r->pending);
}
