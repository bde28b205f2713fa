#!/bin/sh
# SPDX-License-Identifier: MIT
# vm-init.sh: the first process of the machine that vm.sh starts, by busybox. Runs each program in /programs on each disk,
# under glibc and the library at the same time, and says what became of it, as tests/run does. TEST_SLOW is in the
# environment: the kernel leaves there what it does not know.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
ifconfig lo 127.0.0.1 up
while read -r module; do insmod "/modules/$module.ko" || echo "insmod $module failed"; done </modules/order
i=0
while ! [ -b /dev/vda ] || ! [ -b /dev/vdb ] && [ $i -lt 200 ]; do usleep 50000; i=$((i + 1)); done
echo "matrix: begins"
echo "kernel: Linux $(uname -r), pages of $(awk '/^KernelPageSize/ { print $2; exit }' /proc/self/smaps) KiB"

# seconds since the start
now() { cut -d. -f1 /proc/uptime; }

# once SIDE WORD...: runs $program by env in an empty directory; its output is in /tmp/SIDE
once() {
    side=$1
    shift
    rm -rf "${fs:?}/$side"
    mkdir "$fs/$side"
    (cd "$fs/$side" && exec env "TEST_SIDE=$side" "$@" "/programs/$program") >"/tmp/$side" 2>&1 </dev/null
}

# verdict NAME FILE: fails with $status
verdict() {
    took=$(($(now) - began))
    if [ $status = 0 ]; then echo "ok   api/$program $1 ($took s)"; return; fi
    echo "FAIL api/$program $1 (status $status, $took s)"
    tail -n 30 "$2" | sed 's/^/     | /'
}

for fs in ext4 xfs; do
    if [ $fs = ext4 ]; then disk=/dev/vda setting=auto warm=_=; else disk=/dev/vdb setting=warm warm=TEST_WARM=1; fi # auto: workers, mostly
    mount -t $fs $disk /$fs || { echo "FAIL mount of $fs"; continue; }
    fs=/$fs
    for program in /programs/*; do
        program=${program##*/}
        began=$(now)
        once glibc &
        once shim $warm LD_PRELOAD=/libkaio.so
        status=$?
        wait $! || { status=$?; verdict "under glibc, ${fs#/}" /tmp/glibc; continue; }
        if [ $status = 0 ] && ! cmp -s /tmp/glibc /tmp/shim; then
            status=differs
            diff -U 1 /tmp/glibc /tmp/shim >/tmp/diff
            verdict "$setting, ${fs#/}" /tmp/diff
        else verdict "$setting, ${fs#/}" /tmp/shim; fi
    done
    umount $fs
done
echo "matrix: ends"
poweroff -f
