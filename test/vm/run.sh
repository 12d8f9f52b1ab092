#!/bin/bash
# run.sh WORK SHARED MODULES: boots what prepare.sh made in WORK, loads MODULES (a,b), runs
# SHARED/job.sh inside as root, and exits with its status. SHARED is at the same path inside,
# and writable; the rest of this machine's root is there read-only with a layer that is lost.
# Without KVM on purpose: the nested one of CI machines does not run stock kernels.
set -euo pipefail
work=$1 shared=$(cd "$2" && pwd) modules=$3
sources=$(cd "$(dirname "$0")/../.." && pwd)
cat >"$shared/pid1.sh" <<EOF
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
sh '$shared/job.sh' </dev/null >'$shared/job.log' 2>&1
echo \$? >'$shared/status'
sync
busybox poweroff -f
EOF
rm -f "$shared/status" "$shared/job.log"
timeout "${VM_SECONDS:-170}" qemu-system-x86_64 \
  -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nodefaults -no-reboot -nographic -serial stdio \
  -kernel "$work/vmlinuz" -initrd "$work/initrd" \
  -append "console=ttyS0 panic=-1 quiet modules=$modules shared=$shared keep=$sources" \
  -device virtio-gpu-pci \
  -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host \
  -fsdev local,id=shared,path="$shared",security_model=none -device virtio-9p-pci,fsdev=shared,mount_tag=shared \
  </dev/null >"$shared/console.log" 2>&1 || { tail -n 20 "$shared/console.log" >&2; exit 1; }
[ -e "$shared/status" ] || { echo "the VM ended without a result:" >&2; tail -n 20 "$shared/console.log" >&2; exit 1; }
exit "$(cat "$shared/status")"
