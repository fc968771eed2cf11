#!/bin/bash
# Starts, uses and ends throwaway Debian hosts: systemd-nspawn machines with an overlay of
# their own over a root file system made by rootfs.sh, and with no network but loopback.
#
#   machine.sh boot ROOTFS STATEDIR [--bind SRC:DST] [--bind-ro SRC:DST]
#                                   [--hostname NAME] [--while PID]
#   machine.sh boot STATEDIR          again, as it was when it was stopped
#   machine.sh prepare ROOTFS STATEDIR [--hostname NAME …] -- COMMAND...
#                                     makes a machine, not booted, and runs COMMAND here with
#                                     the machine's files at $ROOT; then: boot STATEDIR
#   machine.sh exec STATEDIR -- COMMAND...     exit status and streams are COMMAND's
#   machine.sh shell STATEDIR [-- COMMAND...]  the same on a terminal of the host's own
#   machine.sh reboot STATEDIR
#   machine.sh stop STATEDIR          whatever its state; like pulling the plug; may be repeated
#   machine.sh remove STATEDIR        stop, then delete STATEDIR
#   machine.sh leftovers STATEDIR     lists what is left of it here: nothing after stop, or exit 1
#
# STATEDIR holds everything that a machine writes: upper/ (its changes to ROOTFS), containers/
# and docker/ (the engines' stores), console.log. All mounts are in a mount namespace that
# ends with the machine, and all processes in one cgroup named after STATEDIR, so nothing
# has to be remembered to end it. With --while it ends by itself when process PID does.
# Needs root; calls sudo otherwise.
set -euo pipefail

self=$(readlink -f "$0")
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=TERM -- "$self" "$@"

boot_timeout=120 # seconds; a boot takes two on an idle machine

say() { echo "machine.sh: $*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$self" >&2; exit 2; }

# Sets state and group; the cgroup's name follows from the path alone, so that `stop`
# finds a machine whose starter died at any moment.
locate() {
    [ -n "${1:-}" ] || usage
    state=$(readlink -m "$1")
    case $state in /run/*|/sys/*|/proc/*|*:*) die "STATEDIR cannot be $state" ;; esac
    group=ldms-host-$(printf %s "$state" | sha256sum | cut -c1-12)
}

# Runs a function of this script where /sys/fs/cgroup is the whole cgroup2 hierarchy,
# whatever this machine has there (nothing, v1 controllers, or both).
with_cgroup2() {
    unshare --mount --propagation private "$self" --cgroup2 "$@"
}

# --- inside with_cgroup2 -------------------------------------------------------------

cgroup2_view() {
    umount -R /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

mount_root() {
    # Without volatile, every unmount would wait until all of the build machine's disk is
    # synced; what that leaves behind to warn of a crash of this machine is of no interest.
    rm -rf "$state/work/work/incompat"
    mount -t overlay overlay \
        -o volatile,"lowerdir=$(cat "$state/machine/rootfs"),upperdir=$state/upper,workdir=$state/work" \
        "$state/root"
}

# Runs a command with the machine's files mounted; the mount ends with it.
offline() {
    locate "$1"; shift
    mount_root
    ROOT=$state/root "$@"
}

# The machine's supervisor: holds the mounts and starts nspawn again after each reboot.
supervise() {
    locate "$1"
    local cgroup=/sys/fs/cgroup/$group conf=$state/machine while_pid=$2
    mkdir -p "$cgroup"
    echo $$ >"$cgroup/cgroup.procs"
    if [ -n "$while_pid" ]; then
        { tail --pid="$while_pid" -f /dev/null; end_group; } &
    fi
    # nspawn keeps its runtime files here; and this hides the outer systemd and its bus.
    mount -t tmpfs -o mode=755 tmpfs /run
    mount_root
    local args=(--quiet --boot --directory "$state/root" --machine "$group"
        --register=no --keep-unit --private-network --resolv-conf=off --timezone=off
        --link-journal=no --capability=all
        --system-call-filter='add_key keyctl request_key bpf'
        # overlay on overlay fails, so the engines' stores are real directories
        --bind "$state/containers:/var/lib/containers"
        --bind "$state/docker:/var/lib/docker")
    [ ! -e /dev/fuse ] || args+=(--bind /dev/fuse)
    while IFS= read -r bind; do args+=("$bind"); done <"$conf/binds"
    local status=133
    while [ $status = 133 ]; do # nspawn's word for: the guest wants a reboot
        status=0
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes \
            SYSTEMD_NSPAWN_TMPFS_TMP=0 systemd-nspawn "${args[@]}" </dev/null || status=$?
    done
    echo "machine.sh: nspawn ended with status $status"
    end_group
}

# Ends the machine from within: leaves its cgroup first, to be able to remove that.
end_group() {
    echo "$BASHPID" >/sys/fs/cgroup/cgroup.procs
    kill_group "$group"
}

group_pids() { find "$1" -name cgroup.procs -exec cat '{}' +; }

# Ends every process of the machine at once, then removes its cgroups.
kill_group() {
    local cgroup=/sys/fs/cgroup/$1
    [ -d "$cgroup" ] || return 0
    for _ in $(seq 200); do
        if [ -e "$cgroup/cgroup.kill" ]; then
            echo 1 >"$cgroup/cgroup.kill"
        else # before Linux 5.14
            group_pids "$cgroup" | xargs -r kill -KILL 2>/dev/null || true
        fi
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$cgroup" ] || return 0
        sleep 0.05
    done
    die "processes of $1 do not end: $(group_pids "$cgroup" | xargs)"
}

# Enters the machine's cgroup, so that its systemd may move the process on, and its namespaces.
enter_machine() {
    local leader=$1 cgroup
    shift
    cgroup=$(sed -n 's/^0:://p' "/proc/$leader/cgroup")
    echo $$ >"/sys/fs/cgroup/$cgroup/cgroup.procs"
    exec nsenter -t "$leader" -m -u -i -n -p -C -- env -i -C /root \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM="${TERM:-dumb}" "$@"
}

# --- outside ---------------------------------------------------------------------------

# Prints the ids of the machine's processes, nspawn's and the supervisor's included. Zombies
# have ended, but wait for an init that may be slow; their cgroup is marked '(deleted)'.
processes() {
    grep -lsE "^0::.*/$group(/[^ ]*)?\$" /proc/[0-9]*/cgroup | cut -d/ -f3
}

alive() { [ -n "$(processes)" ]; }

# Prints the process id of the guest's init as seen here: the one process of our cgroup
# that is process 1 one pid namespace further down.
leader() {
    local pid depth
    depth=$(awk '/^NSpid:/ { print NF }' /proc/self/status)
    for pid in $(processes); do
        if awk -v want=$((depth + 1)) \
            '/^NSpid:/ { exit !(NF == want && $NF == 1) }' "/proc/$pid/status" 2>/dev/null; then
            echo "$pid"
            return 0
        fi
    done
    return 1
}

# Waits until a guest whose init is not process $1 is up.
wait_running() {
    local not=$1 pid answer='' end=$((SECONDS + boot_timeout))
    while [ $SECONDS -lt $end ]; do
        alive || break
        if pid=$(leader) && [ "$pid" != "$not" ]; then
            # The bus may not be there yet: then there is no answer.
            answer=$(with_cgroup2 enter_machine "$pid" \
                systemctl is-system-running 2>/dev/null) || true
            case $answer in running|degraded) return 0 ;; esac
        fi
        sleep 0.1
    done
    tail -n 40 "$state/console.log" >&2
    say "$state does not come up (systemd says '${answer:-nothing}'); its console is above"
    return 1
}

boot() {
    while_pid=''
    create "$@"
    # A session of its own, so that an interrupt typed at the caller does not reach it.
    setsid unshare --mount --propagation private "$self" --cgroup2 supervise "$state" \
        "$while_pid" </dev/null >>"$state/console.log" 2>&1 &
    local starter=$!
    until alive || ! kill -0 $starter 2>/dev/null; do sleep 0.02; done
    wait_running '' || { stop; exit 1; }
}

# Sets state, group and while_pid, and makes the machine if a ROOTFS is given.
create() {
    local rootfs='' hostname='' binds=()
    if [ $# -ge 2 ] && [ "${2#--}" = "$2" ]; then rootfs=$(readlink -e "$1"); shift; fi
    locate "${1:-}"; shift
    while [ $# -gt 0 ]; do
        case $1 in
            --bind|--bind-ro) binds+=("$1=$2") ;;
            --hostname) hostname=$2 ;;
            --while) while_pid=$2 ;;
            *) die "boot does not know $1" ;;
        esac
        shift 2
    done
    ! alive || die "$state is up already"
    mkdir -p "$state"/{machine,upper,work,root,containers,docker}
    if [ -n "$rootfs" ]; then
        [ ! -e "$state/machine/rootfs" ] || die "$state has a machine: remove it, or boot it without ROOTFS"
        mkdir -p "$state/upper/etc"
        chmod --reference="$rootfs/etc" "$state/upper/etc"
        echo "${hostname:=node1}" >"$state/upper/etc/hostname"
        { cat "$rootfs/etc/hosts"; echo "127.0.1.1 $hostname"; } >"$state/upper/etc/hosts"
        printf '%s\n' "--hostname=$hostname" "${binds[@]}" >"$state/machine/binds"
        # Last: from here on it is a machine.
        echo "$rootfs" >"$state/machine/rootfs"
    fi
    [ -e "$state/machine/rootfs" ] || die "no machine in $state: give a ROOTFS first"
}

prepare() {
    local making=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do making+=("$1"); shift; done
    [ $# -gt 1 ] || usage
    shift
    create "${making[@]}"
    unshare --mount --propagation private "$self" --cgroup2 offline "$state" "$@"
}

# Enters the machine with a command.
enter() {
    local pid
    pid=$(leader) || die "no machine is up in $state"
    exec unshare --mount --propagation private "$self" --cgroup2 enter_machine "$pid" "$@"
}

# The same as a login does it: in a scope of its own under user.slice.
enter_session() {
    enter systemd-run --quiet --scope --slice=user.slice --collect -- \
        env --unset=INVOCATION_ID -- "$@"
}

reboot() {
    local before
    before=$(leader) || die "no machine is up in $state"
    # The answer may be cut off by the reboot itself.
    with_cgroup2 enter_machine "$before" systemctl reboot 2>/dev/null || true
    wait_running "$before" || { stop; exit 1; }
}

stop() {
    with_cgroup2 kill_group "$group"
    # Loop devices of plugged media let go by themselves when their last mount ends, a
    # moment after the machine did.
    for _ in $(seq 50); do leftovers >/dev/null && return 0; sleep 0.1; done
    leftovers >&2 || die "the above is left of $state"
}

leftovers() {
    local found
    found=$(
        for pid in $(processes || true); do ps -o pid=,args= -p "$pid" || true; done
        grep -sF " $state/" /proc/self/mountinfo || true
        losetup --noheadings --list --output NAME,BACK-FILE | grep -F " $state/" || true
        with_cgroup2 ls -d "/sys/fs/cgroup/$group" 2>/dev/null || true
    )
    [ -n "$found" ] || return 0
    echo "$found"
    return 1
}

verb=${1:-}
[ $# -gt 0 ] && shift
case $verb in
    boot|prepare) "$verb" "$@" ;;
    exec|shell)
        locate "${1:-}"; shift
        [ "${1:-}" != -- ] || shift
        if [ "$verb" = exec ]; then
            [ $# -gt 0 ] || usage
            enter_session "$@"
        else
            [ $# -gt 0 ] || set -- bash --login
            # The pty is one of the host's own, so that tty(1) and /dev/pts are right there.
            enter_session script --quiet --return --command "$(printf '%q ' "$@")" /dev/null
        fi ;;
    reboot|stop|leftovers) locate "${1:-}"; "$verb" ;;
    remove) locate "${1:-}"; stop; rm -rf --one-file-system "$state" ;;
    --cgroup2) cgroup2_view; "$@" ;;
    *) usage ;;
esac
