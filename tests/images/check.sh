#!/bin/bash
# Checks a set of sample images: check.sh OUT
#
# check_set.py looks at what the files claim; then each image is unpacked and its entry run in
# namespaces of its own, which is nearly what an engine does, and must end as the images of LDMS do.
# Needs root (takes sudo) and what build.sh installed. Leaves nothing behind.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# == 1 && -f $1/.stamp ]] || { echo "usage: check.sh OUT, with a set made by build.sh in OUT" >&2; exit 2; }
((EUID == 0)) || exec sudo -- "$here/check.sh" "$1"
out=$(cd "$1" && pwd)

python3 "$here/check_set.py" "$out"

rm -rf --one-file-system "$out"/.check.*
work=$(mktemp -d "$out/.check.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

# What every guest script may use.
cat >"$work/prelude" <<'END'
set -uo pipefail
fail() { echo "check.sh: $image: $*" >&2; exit 1; }
# expect CODE COMMAND...: the command ends with this status within 20 seconds.
expect() {
    local wanted=$1 got=0
    shift
    timeout 20 "$@" >/tmp/said 2>&1 </dev/null || got=$?
    ((got == wanted)) || { cat /tmp/said; fail "$* ended with $got, not with $wanted"; }
    echo "check.sh: $image: $wanted from: $*"
}
# said TEXT: the last command of expect printed it.
said() { grep -qe "$1" /tmp/said || { cat /tmp/said; fail "no '$1' was said"; }; }
# await COMMAND...: it succeeds within 15 seconds.
await() {
    local n
    for ((n = 0; n < 75; n++)); do
        "$@" >/tmp/said 2>&1 && return
        sleep 0.2
    done
    cat /tmp/said
    fail "$* did not come to succeed"
}
# as_first COMMAND...: starts it as process 1 of its own; first is its process id here.
as_first() {
    unshare --pid --fork --mount-proc "$@" >/tmp/first.log 2>&1 &
    outer=$!
    await grep -q . "/proc/$outer/task/$outer/children"
    read -r first _ <"/proc/$outer/task/$outer/children"
}
END

# guest IMAGE: runs the script on standard input as root in the unpacked image, with its environment.
guest() {
    local image=$1 bundle=$work/$1 variables
    umoci unpack --image "$out/oci:ovishpc/ldms-$image:latest" "$bundle"
    { echo "image=$image"; cat "$work/prelude" -; } >"$bundle/rootfs/check"
    mapfile -t variables < <(
        python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["process"]["env"], sep="\n")' \
            "$bundle/config.json"
    )
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --net --pid --fork --kill-child --propagation private bash -euc '
        root=$1
        shift
        # The loopback interface up: SIOCSIFFLAGS with IFF_UP.
        python3 -c "import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sH14x\", b\"lo\", 1))"
        # A mount point, as the root of a container is one.
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        echo "127.0.0.1 localhost $(uname -n)" >"$root/etc/hosts"
        exec chroot "$root" "$@"
    ' - "$bundle/rootfs" /usr/bin/env -i "${variables[@]}" COMPID=7 COMPONENT_ID=8 "${run[@]}"
    rm -rf --one-file-system "$bundle"
}
run=(bash /check)

guest samp <<'END'
# Exit codes without munge.
expect 101 ldmsd.sh
expect 1 ldmsd.sh -x sock:411 --no-such-option
expect 2 ldmsd.sh -x sock:411 -c /nowhere
expect 7 ldmsd.sh -x rdma:411
expect 7 ldmsd.sh -x sock:411 -a nobody
expect 7 ldmsd.sh -x sock:411 -amunge
echo "no such command" >/tmp/bad.conf
expect 22 ldmsd.sh -x sock:411 -c /tmp/bad.conf
echo "load name=absent" >/tmp/absent.conf
expect 255 ldmsd.sh -x sock:411 -c /tmp/absent.conf
expect 1 ldms_ls -p 411
expect 0 ldmsd --version
said stand-in

# As process 1: answers with what it sees, holds its port, ends at once on SIGTERM.
as_first ldmsd.sh -x sock:411 -c /opt/ovis/etc/ldms/sampler.conf
await ldms_ls -x sock -p 411 -h localhost
for line in compid=7 component_id=8 processes=1 init=ldmsd auth=none "config=# A config" "hostname=$(uname -n)"; do
    said "^$line"
done
expect 0 ldmsd_controller --xprt sock --port 411 --host localhost --auth none
expect 7 ldmsd.sh -x sock:411
expect 1 ldms_ls -p 411 -a munge
said 'Connection failed/rejected.'
kill -TERM "$first"
expect 0 tail --pid="$outer" -f /dev/null
wait "$outer" || fail "ldmsd as process 1 ended with $?"

# Keys that munged refuses.
key=/etc/munge/munge.key
chown 0:0 $key
expect 255 ldmsd.sh -x sock:411 -a munge
said 'should be owned by UID 101 instead of UID 0'
chown 101:101 $key
chmod 644 $key
expect 255 ldmsd.sh -x sock:411 -a munge
chmod 600 $key
cp -p $key /tmp/key
truncate -s 31 $key
expect 255 ldmsd.sh -x sock:411 -a munge
said 'at least 32 bytes'
cp -p /tmp/key $key

# The host's munge, without and with a munged behind it.
mkdir -p /tmp/host /run/munge
chown munge:munge /tmp/host
mount --bind /tmp/host /run/munge
expect 255 ldmsd.sh -x sock:411 -a munge
said "using the host's munge"
umount /run/munge

# The image's own munged, with a client that has a credential and one that has none.
ldmsd.sh -x sock:411 -a munge -l /tmp/log >/dev/null 2>&1 &
await ldms_ls -x sock -p 411 -h localhost -a munge
said '^auth=munge'
expect 1 ldms_ls -p 411
said 'Connection failed/rejected.'
exec 3<>/dev/tcp/127.0.0.1/411
echo "auth=munge MUNGE:forged:" >&3
grep -q 'failed/rejected' <&3 || fail "a forged credential was taken"
grep -q 'munge_decode() failed' /tmp/log || fail "the forged credential is not in the log"
kill %+ && wait %+ || fail "ldmsd with munge ended with $?"
END

guest agg <<'END'
[[ ! -e /etc/motd ]] || fail "the whiteout did nothing"
expect 1 dsosd
export DSOSD_DIRECTORY=/etc/dsosd.json
echo '{"host1": {"cont": "/storage/cont"}}' >$DSOSD_DIRECTORY
expect 1 dsosd
said 'unable to register (SOSDB, SOSVERS, udp)'
rpcbind
echo '{"host1": ' >/tmp/cut.json
DSOSD_DIRECTORY=/tmp/cut.json expect 1 dsosd
dsosd >/tmp/dsosd.log 2>&1 &
await grep -q registered /tmp/dsosd.log
expect 0 rpcinfo -p
said '536871953 .* udp'
said '536871953 .* tcp'
ldmsd.sh -x sock:412 >/dev/null 2>&1 &
await ldms_ls -p 412
END

guest maestro <<'END'
ldmsd -x sock:411 >/dev/null 2>&1 &
as_first /start.sh ignored
await grep -q 'localhost:411 compid=7' /tmp/first.log
expect 0 /health-check.sh
kill -TERM "$first"
sleep 1
[[ -d /proc/$first ]] || fail "SIGTERM ended start.sh"
kill -KILL "$first"
wait "$outer" 2>/dev/null
rm -rf /var/lib/etcd/default
printf 'samplers:\n  - daemons: a\n    plugins: [{name: meminfo, config: {a: b}}]\n' >>/etc/ldms_cfg.yaml
expect 1 maestro_ctrl --ldms_config /etc/ldms_cfg.yaml
said 'config is a list of maps'
: >/etc/ldms_cfg.yaml
expect 1 /start.sh
said 'a map is wanted'
END

guest ui <<'END'
[[ $(ls /opt/ovis/etc/ldms) == README ]] || fail "the opaque whiteout did nothing"
ask() {
    python3 - "$@" <<'PY'
import sys, urllib.error, urllib.request
url, data, *_ = sys.argv[1:] + [None]
try:
    answer = urllib.request.urlopen(url, data and data.encode(), timeout=5)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
PY
}
/start-uwsgi-sosgui.sh >/dev/null 2>&1 &
await ask http://localhost/
said '^500'
expect 0 /start-uwsgi-sosgui.sh
said 'Address already in use'
cp /opt/ovis/ui/sosgui/settings.py.example /opt/ovis/ui/sosgui/settings.py
as_first /start-uwsgi-sosgui.sh --http-socket=127.0.0.1:8080
await ask http://localhost:8080/grafana/query '{"targets": [{"container": "cont"}]}'
said '^200.*"/storage/cont".*localhost.*"queries": 1'
kill -TERM "$first"
sleep 1
[[ -d /proc/$first ]] || fail "SIGTERM ended the entry"
END

# grafana has busybox alone, and its entry is not root's.
: >"$work/prelude"
run=(sh /check)
guest grafana <<'END'
set -u
fail() { echo "check.sh: grafana: $*" >&2; exit 1; }
# refused COMMAND: as the image's user it ends with 1.
refused() {
    su -s /bin/sh grafana -c "$*" >/tmp/said 2>&1
    [ $? = 1 ] || { cat /tmp/said; fail "$*: not 1"; }
    echo "check.sh: grafana: 1 from: $*"
}
get() { wget -qO- "http://127.0.0.1:3000$1"; }
cd /usr/share/grafana
refused "GF_PATHS_DATA=/root /run.sh"
refused "GF_SERVER_HTTP_PORT=80 /run.sh"
chmod 600 /etc/grafana/grafana.ini
refused /run.sh
chmod 644 /etc/grafana/grafana.ini
su -s /bin/sh grafana -c "GF_LOG_MODE=console /run.sh" >/tmp/log 2>&1 &
n=0
until get /api/health >/tmp/health 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 50 ] || { cat /tmp/log; fail "no health"; }
    sleep 0.2
done
grep -q stand-in /tmp/health || fail "it does not say what it is"
get /api/plugins/dsosds | grep -q loaded || fail "the plugin is not loaded"
wget -qO /dev/null --post-data '{"uid":"kept"}' http://127.0.0.1:3000/api/dashboards/db
grep -q kept /var/lib/grafana/grafana.db || fail "the dashboard is lost"
get /api/search | grep -q kept || fail "the dashboard is not found"
grep -q Listen /tmp/log || fail "nothing on the console"
refused /run.sh
END
echo "check.sh: the set in $out is as claimed"
