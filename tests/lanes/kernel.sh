#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Requests reach the kernel as iocbs of every command, a list of 64 neighbours in one io_submit of eight
# vectors, and the ring is reaped without a system call. A silent fallback to threads fails here. And no
# wait ends by the clock that people set.
set -eu
dd if=/dev/urandom of=data bs=1M count=1 status=none
strace -f -o trace -s 9999 -e trace=io_submit,io_getevents,io_pgetevents,io_setup,io_uring_setup,futex,ppoll,pselect6,epoll_pwait2,clock_nanosleep,timerfd_settime \
    env LD_PRELOAD="$KAIO_LIB" "$TESTS_TOP/build/tests/lib/every" data
for command in PREAD PWRITE FSYNC FDSYNC; do
    grep -q "IOCB_CMD_${command}[, ]" trace || { echo "no IOCB_CMD_$command"; cat trace; exit 1; }
done
# of the two aio_fsync() the first asks for O_SYNC, the second for O_DSYNC
syncs=$(grep -oE 'IOCB_CMD_FD?SYNC' trace | tr '\n' ' ')
[ "$syncs" = 'IOCB_CMD_FSYNC IOCB_CMD_FDSYNC ' ] || { echo "not FSYNC, then FDSYNC: $syncs"; exit 1; }
grep -q 'io_submit(0x[0-9a-f]*, 8, .*IOCB_CMD_PREADV.*= 8$' trace || { echo "the list was not one io_submit"; cut -c1-80 trace; exit 1; }
grep -q 'RWF_NOWAIT' trace || { echo "not offered with RWF_NOWAIT"; exit 1; }
[ "$(grep -c 'io_setup(' trace)" = 1 ] || { echo "not one context"; exit 1; }
grep -q 'ppoll(.*{tv_sec=0, tv_nsec=[0-9]*}' trace || { echo "no wait with a time limit"; exit 1; }
if grep -E 'FUTEX_CLOCK_REALTIME, [^,]*, \{|CLOCK_REALTIME, TIMER_ABSTIME|TFD_TIMER_ABSTIME' trace; then exit 1; fi
if grep -E 'io_getevents|io_pgetevents|io_uring' trace; then exit 1; fi
