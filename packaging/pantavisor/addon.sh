#!/bin/sh
# addon.sh TREE OUT: packs TREE (what `make install DESTDIR=TREE` made) as an addon of Pantavisor's BSP: an archive
# that the kernel unpacks over the initramfs at boot. Its form is "cpio.xz4": cpio, xz, padded to 4 bytes, since several
# such archives are laid one behind another.
set -eu
tree=$1
out=$2
cpio=$(command -v cpio || true)
[ -n "$cpio" ] || cpio="$(command -v busybox) cpio"
case $out in /*) ;; *) out=$PWD/$out ;; esac
# crc32: the kernel's decompressor knows no other check that xz would take (Documentation/staging/xz.rst).
(cd "$tree" && find . | LC_ALL=C sort | $cpio -o -H newc -R 0:0 2>/dev/null) >"$out.cpio"
trap 'rm -f "$out.cpio"' EXIT
xz --check=crc32 -T0 -6 <"$out.cpio" >"$out.new"
size=$(wc -c <"$out.new")
pad=$(((4 - size % 4) % 4))
[ $pad = 0 ] || head -c $pad /dev/zero >>"$out.new"
mv "$out.new" "$out"
