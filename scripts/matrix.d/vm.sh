# SPDX-License-Identifier: MIT
# vm.sh - rows vm/MACHINE-KERNEL: qemu starts the kernel with the file that is its first filesystem, in memory. It holds the
# modules, busybox, the programs with their C library, and vm-init.sh, which tries them on two disks.
# shellcheck shell=bash disable=SC2154 # $top, $dir: matrix
kernels="x86_64-5.10 bullseye linux-image-cloud-amd64
x86_64-6.1 bookworm linux-image-cloud-amd64
x86_64-6.12 trixie linux-image-cloud-amd64
x86_64-sid sid linux-image-cloud-amd64
aarch64-6.1 bookworm linux-image-cloud-arm64
aarch64-6.12 trixie linux-image-cloud-arm64
aarch64-6.12-16k trixie linux-image-arm64-16k"

# from SUITE ARCHITECTURE: apt of that archive, by a configuration of its own
from() {
    local root=$dir/apt/$1-$2
    mkdir -p "$root"/etc/apt/{apt.conf,preferences,sources.list}.d "$root"/var/lib/{apt/lists/partial,dpkg} \
        "$root/var/cache/apt/archives/partial"
    touch "$root/var/lib/dpkg/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $1 main" \
        >"$root/etc/apt/sources.list"
    cat >"$root/apt.conf" <<TXT
Dir "$root";
Dir::State::status "$root/var/lib/dpkg/status";
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Sandbox::User "root";
$(expired)
TXT
    export APT_CONFIG=$root/apt.conf
    apt-get -qq update
}

# needed PACKAGE PATTERN: what it depends on, by name
needed() { apt-cache depends "$1" | sed -n "s/^  Depends: \($2.*\)/\1/p"; }

# unpacked SUITE ARCHITECTURE META: the kernel that META depends on, and busybox; since 7.0 a kernel is several packages
unpacked() {
    local package packages
    from "$1" "$2"
    package=$(needed "$3" linux-image-)
    packages=$(needed "$package" 'linux-[bm][io]')
    # shellcheck disable=SC2086 # several words
    apt-get -qq download busybox-static "$package" $packages || return
    for package in *.deb; do dpkg -x "$package" . || return; done
    rm -- *.deb
}

# fetched SUITE ARCHITECTURE META: the same, into $root
fetched() {
    [ ! -d "$root" ] || return 0
    rm -rf "$root.new"
    mkdir -p "$root.new"
    (cd "$root.new" && unpacked "$@") || cannot "Debian's archive gives no $3 of $1"
    [ -d "$root.new/lib" ] || ln -s usr/lib "$root.new/lib"
    depmod -b "$root.new" "$(ls "$root.new/lib/modules")" 2>/dev/null # without a word on files that tell what is built in
    rm -r "$dir/apt"
    mv "$root.new" "$root"
}

# filled VERSION TRIPLET: makes the first filesystem, $build/initrd
filled() {
    local tree=$build/tree file
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,proc,sys,tmp,ext4,xfs,lib,programs,modules}
    cp "$(find "$root/" -path '*/bin/busybox')" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    install scripts/matrix.d/vm-init.sh "$tree/init"
    for file in virtio_pci virtio_blk crc32c_generic ext4 xfs; do
        modprobe -d "$root" -S "$1" --show-depends $file 2>/dev/null
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$build/modules"
    while read -r file; do
        case $file in
        *.xz) xz -dc "$file" ;;
        *.zst) zstd -dqc "$file" ;;
        *) cat "$file" ;;
        esac >"$tree/modules/$(basename "${file%.ko*}").ko"
        basename "${file%.ko*}" >>"$tree/modules/order"
    done <"$build/modules"
    ln -s lib "$tree/lib64"
    case $2 in
    aarch64*) cp "/usr/$2/lib/"{ld-linux-aarch64.so.1,libc.so.6,libgcc_s.so.1,libpthread.so.0,librt.so.1,libdl.so.2} "$tree/lib" ;;
    *) cp "/lib/$2/"{ld-linux-x86-64.so.2,libc.so.6,libgcc_s.so.1,libpthread.so.0,librt.so.1,libdl.so.2} "$tree/lib" ;;
    esac
    cp "$library" "$tree/libkaio.so"
    for file in "${programs[@]}"; do cp "$file" "$tree/programs"; done
    (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$build/initrd"
}

# booted MACHINE KERNEL: what it says is in $build/console
booted() {
    local qemu
    for fs in ext4 xfs; do
        rm -f "$build/$fs"
        truncate -s 1G "$build/$fs"
        "mkfs.$fs" -q "$build/$fs" || cannot "no $fs"
    done
    case $1 in
    x86_64) qemu=(qemu-system-x86_64 -cpu max -append "console=ttyS0 panic=-1 mitigations=off nokaslr quiet TEST_SLOW=$slow") ;;
    *) qemu=(qemu-system-aarch64 -M virt -cpu "max,pauth-impdef=on" -append "console=ttyAMA0 panic=-1 quiet TEST_SLOW=$slow") ;;
    esac
    timeout --foreground -k 5 1200 "${qemu[@]}" -accel tcg,thread=multi -smp 2 -m 1536 -nographic -nodefaults -no-reboot \
        -serial "file:$build/console.raw" -kernel "$2" -initrd "$build/initrd" \
        -drive "file=$build/ext4,if=virtio,format=raw,cache=unsafe" -drive "file=$build/xfs,if=virtio,format=raw,cache=unsafe"
    tr -d '\r' <"$build/console.raw" | sed 's/\x1bc\|\x1b\[[0-9;?]*[A-Za-z]//g' >"$build/console"
}

row() {
    local machine=${1%%-*} slow=10 suite meta arch=amd64 triplet=x86_64-linux-gnu root build library programs version
    # shellcheck disable=SC2046,SC2207 # several words
    programs=($(wanted api/basic api/files api/fork api/stream api/direct))
    read -r _ suite meta < <(grep "^$1 " <<<"$kernels")
    root=$dir/kernel/$suite-$meta build=$dir/build/vm-$1
    needs gcc libc6-dev make libaio-dev xz-utils zstd cpio kmod e2fsprogs xfsprogs
    mkdir -p "$build"
    if [ "$machine" = x86_64 ]; then
        needs qemu-system-x86
        library=build/libkaio.so programs=("${programs[@]/#/build/tests/}")
        make -s -j2 build/libkaio.so "${programs[@]}"
    else
        arch=arm64 triplet=aarch64-linux-gnu
        needs qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross dpkg-dev
        library=build/arm64/libkaio.so programs=("${programs[@]/#/build/arm64/tests/}")
        make -s -j2 ARCH=arm64 TEST_LIBS= "$library" "${programs[@]}"
    fi || { echo "FAIL build"; exit 1; }
    fetched "$suite" $arch "$meta"
    version=$(ls "$root/lib/modules")
    filled "$version" $triplet
    booted "$machine" "$(find "$root/" -name 'vmlinuz*')"
    echo "what: basic, files, fork, stream and direct on ext4 and xfs, glibc 2.36, $machine, $(sed -n 's/^kernel: //p' "$build/console"), by $("qemu-system-$machine" --version | sed 's/ emulator version \([^ ]*\).*/ \1/; q')"
    sed -n '/matrix: begins/,/^matrix: ends/p' "$build/console" | grep -E '^(ok  |FAIL|skip|     \|)'
    grep -q '^matrix: ends' "$build/console" || { echo "FAIL the machine has not come to its end"; tail -n 20 "$build/console" | sed 's/^/     | /'; }
}
