#!/bin/bash
# Makes the root file system of a Debian host for the host tests: systemd, munge with a
# random key, and the container engines asked for; what a small cluster node has, no more.
#
#   rootfs.sh [--suite trixie|bookworm] [--engine podman|docker|podman,docker|none]
#             [--mirror URI] OUT
#
# OUT is a directory. It is made under OUT.partial and renamed when it is whole, and kept
# until this script or its arguments change (OUT.stamp holds their digest), so calling it
# again costs nothing; a lock lets callers at the same time wait for one of them. About a
# minute and 400 MB. Needs root (calls sudo otherwise) and a Debian mirror: the one that
# the machine's own apt uses, or --mirror.
set -euo pipefail

self=$(readlink -f "$0")
[ "$(id -u)" = 0 ] || exec sudo -- "$self" "$@"

say() { echo "rootfs.sh: $*" >&2; }
die() { say "$*"; exit 1; }

suite=trixie engine=podman mirror='' out=''
while [ $# -gt 0 ]; do
    case $1 in
        --suite) suite=$2; shift 2 ;;
        --engine) engine=$2; shift 2 ;;
        --mirror) mirror=$2; shift 2 ;;
        -*) die "unknown option $1 (see the head of $self)" ;;
        *) out=$1; shift ;;
    esac
done
[ -n "$out" ] || die "say where to make it: $self [--suite SUITE] [--engine ENGINE] OUT"
case $suite in trixie|bookworm) ;; *) die "suite '$suite' is neither trixie nor bookworm" ;; esac
case $engine in podman|docker|podman,docker|docker,podman|none) ;;
    *) die "engine '$engine' is not podman, docker, podman,docker or none" ;;
esac
mkdir -p "$(dirname "$out")"
out=$(readlink -m "$out")

exec 9>"$out.lock"
flock 9
digest=$( { cat "$self"; echo "$suite $engine $mirror"; } | sha256sum | cut -d' ' -f1)
if [ -d "$out" ] && [ "$(cat "$out.stamp" 2>/dev/null)" = "$digest" ]; then
    exit 0
fi

# What the machine lacks. Lists are refreshed only when something is missing.
lacking=()
command -v mmdebstrap >/dev/null || lacking+=(mmdebstrap)
command -v systemd-nspawn >/dev/null || lacking+=(systemd-container)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || lacking+=(debian-archive-keyring)
command -v mkfs.vfat >/dev/null || lacking+=(dosfstools)
command -v mcopy >/dev/null || lacking+=(mtools)
command -v mkfs.ext4 >/dev/null || lacking+=(e2fsprogs)
if [ ${#lacking[@]} -gt 0 ]; then
    say "installing what this machine lacks: ${lacking[*]}"
    apt-get -q -o DPkg::Lock::Timeout=300 update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${lacking[@]}" >&2
fi

# The archives of this machine's own apt, told apart by the label in their Release files.
archive() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' -v label="$1" '$1 == label { print $2; exit }'
}
if [ -z "$mirror" ]; then
    [ -n "$(archive Debian)" ] || apt-get -q -o DPkg::Lock::Timeout=300 update >&2
    mirror=$(archive Debian)
    [ -n "$mirror" ] || die "this machine's apt has no Debian archive; give one with --mirror URI"
fi
security=$(archive Debian-Security)
sources=("deb [signed-by=$keyring] $mirror $suite main"
         "deb [signed-by=$keyring] $mirror $suite-updates main")
[ -z "$security" ] || sources+=("deb [signed-by=$keyring] $security $suite-security main")

packages=(
    systemd systemd-sysv dbus       # the host itself
    libpam-systemd                  # a login gets a session of its own
    iproute2 procps                 # ip, ss, ps: to look around
    munge
    fusefat                         # a vfat stick: build machines' kernels may lack vfat
)
case ",$engine," in *,podman,*)
    # No recommends: netavark makes bridged networks, catatonit is --init.
    packages+=(podman crun conmon netavark catatonit)
    # What netavark calls: nft since 1.7, iptables before.
    [ "$suite" = bookworm ] && packages+=(iptables) || packages+=(nftables) ;;
esac
case ",$engine," in *,docker,*)
    packages+=(docker.io)           # brings containerd, runc, iptables, tini (its --init)
    [ "$suite" = bookworm ] || packages+=(docker-cli) ;;
esac
# Runs at the end, on the host's files; each line is a quirk and its reason.
customize() {
    local root=$1
    # A host of its own: systemd writes a new identity at the first start.
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf" "$root/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    # Timers that act by the clock would change the host in the middle of a test.
    for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim \
        systemd-tmpfiles-clean podman-auto-update; do
        ln -sf /dev/null "$root/etc/systemd/system/$timer.timer"
    done
    # The kernel is the build machine's, with modules of its own or none.
    ln -sf /dev/null "$root/etc/systemd/system/systemd-modules-load.service"
    # A login prompt on a console nobody looks at.
    ln -sf /dev/null "$root/etc/systemd/system/console-getty.service"
    # Journals that survive a reboot, as on a real host.
    mkdir -p "$root/var/log/journal"
    if [ -d "$root/etc/containers" ]; then
        # A build machine may have no pids controller to give; podman sets a limit by default.
        mkdir -p "$root/etc/containers/containers.conf.d"
        printf '[containers]\npids_limit = 0\n' >"$root/etc/containers/containers.conf.d/host-test.conf"
    fi
    if [ "$suite" = bookworm ] && [ -x "$root/usr/sbin/dockerd" ]; then
        # docker 20.10 --privileged asks for every capability there is; later ones ask for
        # those that they have. A build machine's root may lack CAP_SYS_RESOURCE (bit 24).
        mkdir -p "$root/etc/docker"
        cat >"$root/usr/local/sbin/runc-host-test" <<'RUNC'
#!/bin/bash
if ! (((0x$(sed -n 's/^CapBnd:\t//p' /proc/self/status) >> 24) & 1)); then
    arguments=("$@")
    for ((i = 0; i + 1 < $#; i++)); do
        case ${arguments[i]} in
            --bundle) file=${arguments[i + 1]}/config.json ;; # create
            --process) file=${arguments[i + 1]} ;;            # exec
            *) continue ;;
        esac
        sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$file"
    done
fi
exec /usr/sbin/runc "$@"
RUNC
        chmod 755 "$root/usr/local/sbin/runc-host-test"
        echo '{"runtimes": {"host-test": {"path": "/usr/local/sbin/runc-host-test"}}, "default-runtime": "host-test"}' \
            >"$root/etc/docker/daemon.json"
    fi
    [ -s "$root/etc/munge/munge.key" ] || die "munge made no key"
}

bootstrap() {
    rm -rf "$out.partial"
    printf '%s\n' "${sources[@]}" | nice mmdebstrap --mode=root --variant=minbase \
        --include="$(IFS=,; echo "${packages[*]}")" \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Retries "5"' \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        "$suite" "$out.partial" - >"$out.log" 2>&1 || {
        tail -n 30 "$out.log" >&2
        return 1
    }
}

say "making $out: Debian $suite, engine $engine (a minute or so)"
rm -f "$out.stamp"
bootstrap || {
    # A mirror may stumble.
    say "that failed; once more in ten seconds"
    sleep 10
    bootstrap
}
customize "$out.partial"
rm -rf "$out"
mv "$out.partial" "$out"
echo "$digest" >"$out.stamp"
rm -f "$out.log"
say "made $out ($(du -sm "$out" | cut -f1) MB)"
