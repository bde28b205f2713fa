#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The hardest protocol as a model (Promela, checked by spin): it passes as it is, and if one barrier, look
# or hand-over is left out (BREAK), the model finds what goes wrong. The small races of memory order, with the
# orders that the source has (litmus.py): the same.
set -u
cd "$(dirname "$0")" || exit 1
models=$PWD
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kaio-model.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
python3 "$models/litmus.py" "$models/../../shim" || failed=1

# check EXPECTED MODEL BREAK [OPTION...]: builds the checker and compares the number of errors
check() {
    local expected=$1 model=$2 break=$3 optimise=-O0 found states # compiling takes longer than searching
    shift 3
    [ "$expected" = 1 ] || [ ! "${TEST_LONG-}" ] || optimise=-O2
    rm -f pan pan.log
    spin -DBREAK="$break" "$@" -a "$models/$model.pml" >spin.log || cat spin.log
    gcc -w $optimise -DSAFETY -DHC4 -DMEMLIM=1500 -o pan pan.c && ./pan -m100000 -w22 >pan.log
    found=$(sed -n 's/.*errors: //p' pan.log)
    states=$(awk '/states, stored/ { print $1 }' pan.log)
    echo "$model $* without $break: ${found:-no} errors, $states states, $SECONDS s"
    if [ "$found" != "$expected" ] ||
        { [ "$expected" = 0 ] && grep -qE 'not completed|too small' pan.log; }; then
        echo "expected $expected"
        failed=1
    fi
}

# In soak all of it; otherwise, within half a minute, the model and what removing its barriers does.
if [ "${TEST_LONG-}" ]; then
    own=(WAITER_FENCE COMPLETER_FENCE LAST_LOOK SUBMITTER REAP GIVE_BACK EVENT_FIRST REARM COUNT_VIEW)
    others=(WAITER WATCH REAP_AT_END LOCK_VIEW)
    check 0 waiting NOTHING -DHANDLER=2
else
    own=(WAITER_FENCE COMPLETER_FENCE REAP COUNT_VIEW) others=(WATCH LOCK_VIEW)
fi
check 0 waiting NOTHING -DHANDLER=1
for step in "${own[@]}"; do check 1 waiting "$step" -DHANDLER=1; done
check 0 waiting NOTHING -DHANDLER=0
for step in "${others[@]}"; do check 1 waiting "$step" -DHANDLER=0; done
exit $failed
