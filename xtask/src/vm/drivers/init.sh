#!/bin/busybox sh
# The guest: mounts what programs expect, loads the drivers, and does what the second serial port says.
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run /root /var/lib
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/root TMPDIR=/tmp TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
while read -r module; do
    insmod "/modules/$module" || echo "@MARK@module $module was refused"
done < /modules/order
rm -rf /modules
. /events.sh
set_up > /tmp/answer 2>&1
code=$?
stty -F /dev/ttyS1 raw -echo
exec 3<> /dev/ttyS1
while :; do
    cat /tmp/answer >&3; echo >&3
    echo "@MARK@done $code" >&3
    read -r line <&3 || break
    (eval "$line") > /tmp/answer 2>&1
    code=$?
done
poweroff -f
