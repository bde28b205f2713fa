#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random programs against a model (fuzz.c), in several settings: the same seed each time, then random
# ones, some seconds; with TEST_LONG for 90 s and 1,000,000 operations at least. What fails is made smaller: kinds of files and calls
# are left out, and operations halved, as long as it still fails. First the model itself, on glibc.
#   fuzz.sh SEED [OPS [WITHOUT [SETTING]]]   only this one, in every setting or this one (KAIO_LIB,
#                                            TESTS_TOP are set)
set -u
fuzz=$TESTS_TOP/build/tests/fuzz/fuzz
settings=("" "KAIO_MODE=worker" "KAIO_DEPTH=2 KAIO_WORKERS=2" "KAIO_ORDER=fd")
seconds=12 least=0 failures=0 runs=0 total=0
[ -z "${TEST_LONG-}" ] || { seconds=90; least=1000000; }

# run SETTING SEED OPS WITHOUT
run() {
    local lib=$KAIO_LIB
    [[ $1 != *KAIO_DEPTH* ]] || lib=$TESTS_TOP/build/debug/libkaio.so # it asserts
    # shellcheck disable=SC2086 # several words
    timeout -k 1 100 env $1 LD_PRELOAD="$lib" "$fuzz" "$2" "$3" "$4" >log 2>&1
}

# What depends on the moment may need several tries.
fails() {
    for _ in 1 2 3; do run "$@" || return 0; done
    return 1
}

# What comes after the failure is no part of it, but for the operations that threads were at.
cut() {
    local after
    after=$(sed -n 's/.*; after \([0-9]*\) operations$/\1/p' smallest)
    [ -z "$after" ] || [ $((after + 8)) -ge "$ops" ] || ops=$((after + 8))
}

minimise() {
    local setting=$1 seed=$2 ops=$3 without=$4 letter end=$((SECONDS + ${FUZZ_MINIMISE_S:-60} * ${TEST_SLOW:-1}))
    export FUZZ_PATIENCE=2 # what never comes has not come by then
    cp log smallest
    cut
    for letter in t h f x l w y n z c b d m a p s e i o; do
        [ $SECONDS -lt $end ] || break
        if [[ $without$letter != *b*d*m*a*p*s*e*i*o* ]] && fails "$setting" "$seed" "$ops" "$without$letter"; then
            without+=$letter
            cp log smallest
            cut
        fi
    done
    while [ $SECONDS -lt $end ] && [ "$ops" -gt 20 ] && fails "$setting" "$seed" $((ops / 2)) "$without"; do
        ops=$((ops / 2))
        cp log smallest
    done
    echo "smaller: $setting fuzz $seed $ops $without"
    cat smallest
}

one() { # SETTING SEED OPS WITHOUT
    runs=$((runs + 1)) total=$((total + $3))
    run "$@" && return
    failures=$((failures + 1))
    echo "FAILED: $1 fuzz $2 $3 $4"
    cat log
    minimise "$@"
}

if [ $# -gt 0 ]; then
    [ $# -lt 4 ] || settings=("$4")
    for setting in "${settings[@]}"; do one "$setting" "$1" "${2-20000}" "${3-}"; done
    exit $failures
fi
TEST_SIDE=glibc timeout 60 "$fuzz" 1 4000 >log 2>&1 || { echo "the model fails on glibc:"; cat log; exit 1; }
ops=1000
[ -z "${TEST_LONG-}" ] || ops=20000
for setting in "${settings[@]}"; do one "$setting" 1 $ops ''; done
while { [ $SECONDS -lt $seconds ] || [ $total -lt $least ]; } && [ $failures = 0 ]; do
    seed=$((RANDOM << 15 | RANDOM))
    echo "seed $seed"
    one "${settings[runs % ${#settings[@]}]}" $seed $ops ''
done
echo "note: $total operations in $runs runs"
[ $failures = 0 ]
