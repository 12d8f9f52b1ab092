#!/bin/sh
# /init of the test VM: shows the host's root, read-only with a throw-away layer above it, and
# runs the shared folder's job.sh there. The kernel's command line says which modules to load
# and where the shared folder goes (modules=a,b shared=/path), and which folder of the host is
# to be seen even if it lies where something else is mounted here (keep=/path).
/bin/busybox --install -s /bin
give_up() { echo "init: $1"; poweroff -f; }
option() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe "$module"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || give_up "no host root"
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /root || give_up "no overlay"

# In this order: the first DRM driver gets card0.
for module in $(option modules | tr , ' '); do modprobe "$module" || give_up "cannot load $module"; done

# Before /proc goes to the new root.
shared=$(option shared)
keep=$(option keep)
cd /root
mkdir -p dev proc sys run tmp
for folder in proc sys dev; do mount --move "/$folder" "/root/$folder"; done
mkdir -p dev/pts dev/shm /keep
mount --bind "/root$keep" /keep
mount -t devpts devpts dev/pts
for folder in dev/shm run tmp; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p "/root$keep"
mount --move /keep "/root$keep"
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p "/root$shared"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 shared "/root$shared" || give_up "no shared folder"
ip link set lo up
# switch_root and not chroot: whoever enters a mount namespace gets that namespace's root.
exec switch_root /root /bin/sh "$shared/pid1.sh"
