#!/bin/bash
# Entry of maestro: etcd, munge, the configuration, then maestro. Arguments are ignored.
#
# As in the images of LDMS this shell stays process 1 and sets no handler, so the kernel drops a SIGTERM
# sent to it unless the engine puts an init in front.
set -e

etcd --config-file /etc/etcd.yaml >/var/log/etcd.log 2>&1 &

# Without an end: where etcd cannot have its port, this waits for ever.
until /etcd-check.sh; do
    sleep 1
done

if mount | grep -q /run/munge; then
    echo "start.sh: using the host's munge"
else
    echo "start.sh: starting munged"
    mkdir -p /run/munge
    chown munge:munge /run/munge
    setpriv --reuid=munge --regid=munge --init-groups munged
    sleep 1
fi
if [[ "$(echo probe | munge | unmunge | tail -n 1)" != probe ]]; then
    echo "start.sh: munge does not work" >&2
    exit 1
fi
echo "start.sh: munge works"

maestro_ctrl --prefix maestro --cluster /etc/cluster.yaml --ldms_config /etc/ldms_cfg.yaml
maestro --prefix maestro --cluster /etc/cluster.yaml
