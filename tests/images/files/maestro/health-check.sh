#!/bin/bash
# Whether etcd answers and maestro runs.
/etcd-check.sh || exit 1
grep -qx maestro /proc/[0-9]*/comm
