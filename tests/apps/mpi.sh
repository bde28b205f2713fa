#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# MPI-IO of Debian's MPICH (ROMIO) and Open MPI (ompio, romio321), 1 to 8 ranks: mpi.c checks what it reads,
# and the file is byte by byte that of glibc's AIO.
set -eu
for tool in mpicc.mpich mpirun.mpich mpicc.openmpi mpirun.openmpi; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
fail() { echo "$1"; tail -n 20 log; exit 1; }
for mpi in mpich openmpi; do
    mpicc.$mpi -O2 -std=gnu11 -Wall -Wextra -Werror -o $mpi "$TESTS_TOP/tests/apps/mpi.c"
done
# Open MPI refuses root and more ranks than processors unless told otherwise; its files go here.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export TMPDIR=/tmp # for sockets: their paths must be short

# ranks N LIBRARY [VARIABLE=VALUE...]: N ranks of mpi.c write the file "data". The ranks have the
# variables, mpirun does not.
ranks() {
    local n=$1 library=$2 command variable
    shift 2
    if [ "$library" = mpich ]; then
        command=(mpirun.mpich -n "$n")
        for variable; do command+=(-genv "${variable%%=*}" "${variable#*=}"); done
        command+=(./mpich)
    else
        command=(mpirun.openmpi --mca io "$library" -n "$n")
        for variable; do command+=(-x "$variable"); done
        command+=(./openmpi)
    fi
    rm -f data
    timeout 40 "${before[@]}" "${command[@]}" data >log 2>&1 || fail "$n ranks, $library, $*"
    grep -q "^$n ranks: data right" log || fail "$n ranks, $library, $*: says nothing"
}
shim=LD_PRELOAD=$KAIO_LIB before=()

for library in mpich ompio romio321; do
    counts="1 3 8" least=128 variables=()
    [ -z "${TEST_LONG-}" ] || counts="1 2 3 4 5 6 7 8"
    # Debian's Open MPI has a romio321 without AIO: it shows that nothing else is disturbed. Its
    # non-blocking collective calls crash.
    [ $library != romio321 ] || counts=3 least=0 variables=(MPI_BLOCKING=1)
    for n in $counts; do
        ranks "$n" $library "${variables[@]}"
        mv data expected
        rm -rf stats
        mkdir stats
        ranks "$n" $library "${variables[@]}" "$shim" "KAIO_STATS=$PWD/stats"
        cmp data expected
        find stats -type f -exec "$TESTS_TOP/build/kaio" top --json --report {} + >report.json
        # Each rank makes 64 requests twice in each direction. Those of views, and of non-blocking
        # collective calls, go the same way in ompio only (MPICH: the latter of a single rank).
        jq -es "length == $((least ? n : 0)) and all(.requests | .read >= $least and .write >= $least)" report.json >/dev/null ||
            fail "$n ranks, $library: not all requests by AIO: $(cat report.json)"
    done
    jq -s "\"$library: \(map(.requests.read) | add) reads, \(map(.requests.write) | add) writes of $n ranks\"" report.json
done
