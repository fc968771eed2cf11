#!/bin/bash
# Installs Debian packages whose programs are missing: need.sh PROGRAM[:PACKAGE]...
# As root, or through sudo. Says what it does; does nothing where all is there.
set -euo pipefail

missing=()
for need in "$@"; do
    program=${need%%:*}
    command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing+=("${need##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
if ! command -v apt-get >/dev/null; then
    echo "need.sh: install these yourself, this is not Debian: ${missing[*]}" >&2
    exit 1
fi
echo "installing with apt: ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends --no-remove "${missing[@]}" >/dev/null
