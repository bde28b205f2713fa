#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The mpirun lines of docs/cluster.md, as printed there. node1 and node2 are network namespaces
# with names and an /etc/hosts of their own; in ssh's place stands a script that enters them and, like ssh,
# hands no variables on. What the ranks of both write (mpi.c) is checked by those of the other.
set -eu
for tool in mpicc.mpich mpirun.mpich mpicc.openmpi mpirun.openmpi ip; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
fail() { echo "$1"; tail -n 20 log; exit 1; }
name=kaio$$
trap 'for n in 1 2; do ip netns del $name-$n 2>/dev/null || true; done' EXIT
for n in 1 2; do
    ip netns add $name-$n 2>log || { echo "no network namespaces here: $(tail -n 1 log)"; exit 77; }
    ip -n $name-$n link set lo up
    echo "10.99.0.$n node$n" >>hosts
done
ip link add netns $name-1 name eth0 type veth peer netns $name-2 name eth0 2>log ||
    { echo "no veth here: $(tail -n 1 log)"; exit 77; }
for n in 1 2; do
    ip -n $name-$n addr add 10.99.0.$n/24 dev eth0
    ip -n $name-$n link set eth0 up
done

cat >ssh <<AGENT
#!/bin/bash
# ssh [OPTION] node1|node2 COMMAND...
while [[ \$1 == -* ]]; do shift; done
node=\$1
shift
exec ip netns exec $name-\${node#node} unshare --uts env -i PATH="$PATH" \
    HOME="$PWD" LD_LIBRARY_PATH="$TESTS_TOP/build" \
    bash -c "mount --bind '$PWD/hosts' /etc/hosts; hostname \$node; cd '$PWD'; \$*"
AGENT
chmod +x ssh
# What is asked for only here: root's consent, and the agent instead of ssh.
settings=(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "OMPI_MCA_plm_rsh_agent=$PWD/ssh"
    HYDRA_LAUNCHER=ssh "HYDRA_LAUNCHER_EXEC=$PWD/ssh")

lines=$(sed -n '/^```sh$/,/^```$/s/^mpirun.*/&/p' "$TESTS_TOP/docs/cluster.md")
[ "$(wc -l <<<"$lines")" = 2 ] || fail "not two lines in docs/cluster.md: $lines"
while read -r line; do
    mpi=${line%% *}
    "mpicc.${mpi#mpirun.}" -O2 -std=gnu11 -Wall -Wextra -Werror -o app "$TESTS_TOP/tests/apps/mpi.c"
    rm -rf data stats
    mkdir stats
    timeout 50 ./ssh node1 export "${settings[*]}" ";" "$line" >log 2>&1 </dev/null || fail "$line"
    grep -q '^4 ranks: data right' log || fail "$line: says nothing"
    mv data "data.$mpi"
    "$TESTS_TOP/build/kaio" top --json --report stats/* >report.json
    jq -es "length == 4 and all(.requests.read + .requests.write >= 256)" report.json >/dev/null ||
        fail "$line: not all requests by AIO: $(cat report.json)"
done <<<"$lines"
cmp data.mpirun.*
