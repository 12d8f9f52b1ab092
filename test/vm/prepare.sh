#!/bin/bash
# prepare.sh WORK: makes the VM's kernel and initrd in WORK, from Debian's packages. Root, apt.
# What is there already and fits Debian's current kernel is kept: a second run takes a second.
#
# Debian's kernel has virtio-gpu but not vkms: that one is compiled out of tree from the source
# of the same version. Both are GPL and stay in WORK; nothing of them is committed or shipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

# virtio for the disk-less root, DRM drivers under test, uinput for the input links.
modules="virtio_pci 9pnet_virtio 9p overlay vkms virtio-gpu uinput evdev"

image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
if [ -z "$image" ]; then
  apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
fi
release=${image#linux-image-}
series=${release%.*-*-*}
version=$(apt-cache policy "$image" | sed -n 's/^ *Candidate: //p')

tree=kernel-$version
if [ ! -e "$tree/complete" ]; then
  rm -rf kernel-* source packages
  mkdir -p packages source
  # apt wants its own user to reach the folder; root's download prints a warning instead.
  (cd packages && apt-get -q download "$image=$version" "linux-source-$series=$version" >apt.log 2>&1) ||
    { cat packages/apt.log >&2; echo "Cannot prepare the VM: its kernel's packages can't be downloaded" >&2; exit 1; }
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "linux-headers-$release" >/dev/null 2>&1
  dpkg-deb -x packages/linux-image-*.deb "$tree"
  dpkg-deb --fsys-tarfile packages/linux-source-*.deb | tar -xOf - "./usr/src/linux-source-$series.tar.xz" |
    tar -xJf - -C source "linux-source-$series/drivers/gpu/drm/vkms"
  vkms=$PWD/source/linux-source-$series/drivers/gpu/drm/vkms
  make -s -C "/lib/modules/$release/build" M="$vkms" CONFIG_DRM_VKMS=m modules >vkms.log 2>&1 || { tail -n 20 vkms.log >&2; exit 1; }
  mkdir -p "$tree/lib/modules/$release/extra"
  strip --strip-debug -o "$tree/lib/modules/$release/extra/vkms.ko" "$vkms/vkms.ko"
  busybox depmod -b "$PWD/$tree" "$release"
  rm -rf packages source
  touch "$tree/complete"
fi

initrd=$tree/initrd.gz
if [ ! -e "$initrd" ] || [ "$here/init.sh" -nt "$initrd" ] || [ "$here/prepare.sh" -nt "$initrd" ]; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mkdir -p "$root"/{bin,dev,proc,sys,host,rw,root,"lib/modules/$release"}
  cp "$(command -v busybox)" "$root/bin/busybox"
  ln -s busybox "$root/bin/sh"
  install -m 755 "$here/init.sh" "$root/init"
  from=$tree/lib/modules/$release
  for module in $modules; do
    # modules.dep: "path: the paths it needs"; a module that is built in has no line.
    pattern=$(printf %s "$module" | sed 's/[-_]/[-_]/g')
    sed -nE "s|^([^:]*/)?($pattern\.ko(\.xz)?): ?(.*)|\1\2 \4|p" "$from/modules.dep" | tr ' ' '\n'
  done | sort -u | while read -r path; do
    [ -n "$path" ] || continue
    mkdir -p "$root/lib/modules/$release/$(dirname "$path")"
    cp "$from/$path" "$root/lib/modules/$release/$path"
    case $path in *.xz) unxz "$root/lib/modules/$release/$path" ;; esac
  done
  cp "$from/modules.builtin" "$root/lib/modules/$release/"
  : >"$root/lib/modules/$release/modules.order"
  busybox depmod -b "$root" "$release"
  (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$initrd.new"
  mv "$initrd.new" "$initrd"
fi
ln -sfn "$tree/boot/vmlinuz-$release" vmlinuz
ln -sfn "$initrd" initrd
