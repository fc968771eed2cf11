#!/bin/bash
# Shows the whole road once: keys, six images into one signed bundle, verified, installed on a
# throwaway host without network, and the sampler answering there.
#
# Usage: demo.sh DIST IMAGES   (DIST holds ldms-pack and ldms-install, IMAGES the sample images)
set -euo pipefail

dist=$(realpath "$1")
images=$(realpath "$2")
here=$(cd "$(dirname "$0")/.." && pwd)
work=$here/target/demo
host=$work/host
rootfs=$here/target/tmp/host/trixie-podman
machine=$here/tests/host/machine.sh

step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}
on_host() { "$machine" exec "$host" -- sh -c "$1"; }

cleanup() {
    "$machine" remove "$host" >/dev/null 2>&1 || true
    rm -rf "$work"
}
cleanup
trap cleanup EXIT
mkdir -p "$work"
cd "$work"

step "A key pair, once for all media"
run "$dist/ldms-pack" keygen --out keys --no-password

step "Six images from 'docker save' archives into one signed bundle on a medium"
run "$dist/ldms-pack" build --from "$images" --key keys/ldms.key --output stick --version 4.4.4
run ls -l stick
echo "(the six archives take $(du -ch --apparent-size "$images"/*.tar | tail -n1 | cut -f1))"

step "Verified, with the public key that came by another way"
run stick/ldms-install verify --pubkey keys/ldms.pub

step "A throwaway host: Debian 13, systemd, podman, munge, no network"
"$here/tests/host/rootfs.sh" --suite trixie --engine podman "$rootfs"
"$machine" boot "$rootfs" "$host" --hostname nid00100 \
    --bind-ro "$work/stick:/media/stick" --bind-ro "$work/keys/ldms.pub:/root/KEY.pub"
on_host 'hostnamectl --static; ip -brief address; podman --version'

step "On that host: what would be done"
on_host 'cd /media/stick && ./ldms-install --pubkey /root/KEY.pub --role sampler --yes --dry-run'

step "On that host: do it"
on_host 'cd /media/stick && ./ldms-install --pubkey /root/KEY.pub --role sampler --yes'

step "It runs under systemd, and answers"
on_host 'systemctl --no-pager --lines=4 status ldms-sampler | cut -c1-110'
on_host 'podman exec ldms-sampler ldms_ls -x sock -p 411 -h localhost -a munge'

step "A second run changes nothing; and all of it can go again"
on_host 'ldms-install --bundle /media/stick/*.ldms --yes'
on_host 'ldms-install uninstall --yes'
