#!/bin/bash
# Media for the host tests: file system images, plugged into a machine of machine.sh as a
# block device and mounted there, as an administrator mounts a stick.
#
#   medium.sh make vfat|ext4 IMAGE DIR [MIB]      an image that holds DIR's contents; MIB free
#                                                 beside them (16)
#   medium.sh plug STATEDIR IMAGE [MOUNTPOINT]    read-only, at /media/stick
#   medium.sh plug --write STATEDIR IMAGE [MOUNTPOINT]
#   medium.sh unplug STATEDIR [MOUNTPOINT]
#
# The loop device lets go of the image with the last mount, so stopping the machine is
# enough to free it. vfat is mounted by the kernel, or by fusefat inside the machine where
# the build machine's kernel has no vfat. Needs root; calls sudo otherwise.
set -euo pipefail

self=$(readlink -f "$0")
[ "$(id -u)" = 0 ] || exec sudo -- "$self" "$@"
machine=$(dirname "$self")/machine.sh
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 2; }

make() {
    [ $# -ge 3 ] || usage
    local type=$1 image=$2 dir=$3 free=${4:-16} used
    used=$(du -sm --apparent-size "$dir" | cut -f1)
    rm -f "$image"
    case $type in
        vfat) # at least 64 MiB: sticks are FAT32, which needs that many clusters
            truncate -s "$((used + free > 64 ? used + free : 64))M" "$image"
            mkfs.vfat -F 32 -n STICK "$image" >/dev/null
            find "$dir" -mindepth 1 -maxdepth 1 -exec mcopy -s -i "$image" {} :: \; ;;
        ext4)
            truncate -s "$((used + used / 20 + free))M" "$image"
            mkfs.ext4 -q -L STICK -d "$dir" "$image" ;;
        *) usage ;;
    esac
}

plug() {
    local mode=ro loop_flag=--read-only
    if [ "${1:-}" = --write ]; then mode=rw loop_flag=''; shift; fi
    [ $# -ge 2 ] || usage
    local state=$1 image=$2 mountpoint=${3:-/media/stick} type device status=0
    type=$(blkid -o value -s TYPE "$image")
    modprobe -q vfat 2>/dev/null || true
    if [ "$type" = vfat ] && ! grep -qw vfat /proc/filesystems; then type=fusefat; fi
    device=$(losetup --find --show $loop_flag "$image")
    "$machine" exec "$state" -- bash -euc '
        device=$1 mountpoint=$2 type=$3 mode=$4
        [ -e "$device" ] || mknod "$device" b 7 "${device#/dev/loop}"
        mkdir -p "$mountpoint"
        case $type in
            # fusefat writes only when told twice
            fusefat) fusefat -o "${mode/rw/rw+}" "$device" "$mountpoint" >/dev/null 2>&1 ;;
            *) mount -t "$type" -o "$mode,nosuid,nodev" "$device" "$mountpoint" ;;
        esac
        mountpoint -q "$mountpoint"
    ' plug "$device" "$mountpoint" "$type" "$mode" || status=$?
    losetup --detach "$device" # at the last unmount, if it is mounted
    return $status
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb in
    make) make "$@" ;;
    plug) plug "$@" ;;
    unplug)
        [ $# -ge 1 ] || usage
        # fusefat writes its last sectors after umount has returned.
        "$machine" exec "$1" -- bash -euc '
            umount "$1"
            while pgrep -f "^fusefat .* $1\$" >/dev/null; do sleep 0.02; done
        ' unplug "${2:-/media/stick}" ;;
    *) usage ;;
esac
