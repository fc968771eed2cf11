#!/bin/bash
# Makes the six sample images: build.sh [--variant small|full] OUT
#
# In OUT: ovishpc-ldms-{dev,samp,agg,maestro,ui,grafana}.tar as `docker save` writes them, and oci/, one
# OCI layout with all six and gzip layers. README.md beside this script says what is in them.
# No engine is needed: mmdebstrap makes the base, apt in a chroot the packages, umoci the layers.
# Needs root (takes sudo), rustc 1.82 or later, and apt sources of Debian; installs what else it lacks.
# A set that already stands is left alone; one that was interrupted is not taken for a set.
set -euo pipefail

SUITE=trixie
IMAGES=(samp agg maestro ui dev grafana)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "build.sh: $*"; }
die() { echo "build.sh: $*" >&2; exit 1; }

variant=small
out=
while (($#)); do
    case $1 in
    --variant) variant=${2-}; shift ;;
    --variant=*) variant=${1#*=} ;;
    -*) die "unknown option $1; usage: build.sh [--variant small|full] OUT" ;;
    *) out=$1 ;;
    esac
    shift
done
[[ $variant == small || $variant == full ]] || die "--variant is small or full, not '$variant'"
[[ -n $out ]] || die "usage: build.sh [--variant small|full] OUT"

# What the set is made from: it is current while this stays the same.
digest=$(
    cd "$here"
    {
        echo "$variant $SUITE $(dpkg --print-architecture)"
        find build.sh layers.sh archive.py packages.txt standin files ! -type d -printf '%p %m %l\n' | sort
        find build.sh layers.sh archive.py packages.txt standin files -type f -print0 | sort -z |
            xargs -0 sha256sum
    } | sha256sum | cut -d ' ' -f 1
)
stamp=$out/.stamp
current() { [[ -f $stamp && $(<"$stamp") == "$digest" ]]; }
if current; then
    say "the $variant set in $out is current"
    exit 0
fi

if ((EUID)); then
    say "making root file systems needs root: taking sudo"
    exec sudo -- env PATH="$PATH" HOME="$HOME" "$here/build.sh" --variant "$variant" "$out"
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9
current && { say "the $variant set in $out is current"; exit 0; }

lacking=()
for program in mmdebstrap umoci python3 gcc; do
    command -v "$program" >/dev/null || lacking+=("$program")
done
[[ " ${lacking[*]} " != *" gcc "* ]] || lacking+=(libc6-dev)
if ((${#lacking[@]})); then
    say "installing with apt: ${lacking[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qq -y \
        --no-install-recommends "${lacking[@]}" >/dev/null
fi
command -v rustc >/dev/null || die "no rustc on the PATH: install Rust 1.82 or later"

# Debian's mirror and proxy are those of this machine.
mirrors() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian|Debian|main|//p'
}
mirror=$(mirrors | head -n 1)
if [[ -z $mirror ]]; then
    apt-get update -qq
    mirror=$(mirrors | head -n 1)
fi
[[ -n $mirror ]] || die "no Debian archive in this machine's apt sources: this script needs Debian 12 or 13"
keyring=
for name in archive-keyring archive-keyring.pgp archive-keyring.gpg; do
    [[ -f /usr/share/keyrings/debian-$name ]] && keyring=/usr/share/keyrings/debian-$name
done
[[ -n $keyring ]] || die "no Debian keyring in /usr/share/keyrings: install debian-archive-keyring"
# A mirror that stumbles once is asked again.
aptopts=('Acquire::Retries "5"')
while IFS= read -r line; do
    aptopts+=("$line")
done < <(apt-config dump | sed -nE 's/^(Acquire::https?::Proxy[^ ]* ".*");$/\1/p')

rm -rf --one-file-system "$out"/.work.*
work=$(mktemp -d "$out/.work.XXXXXX")
chmod 755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
layout=$work/oci
started=$SECONDS

# shellcheck source=layers.sh
. "$here/layers.sh"

say "compiling the stand-ins"
mkdir "$work/bin"
for program in ldmsd dsosd grafana; do
    rustc --edition 2021 -O -C target-feature=+crt-static -o "$work/bin/$program" \
        "$here/standin/$program.rs"
done

umoci init --layout "$layout"
say "Debian $SUITE base"
make_base
for image in "${IMAGES[@]}"; do
    say "$image ($((SECONDS - started)) s)"
    "image_$image"
done
umoci rm --image "$layout:base"
umoci gc --layout "$layout"

say "writing archives ($((SECONDS - started)) s)"
mkdir "$work/set"
python3 "$here/archive.py" "$layout" "$work/set"

# The old set's stamp goes first and the new one's comes last, so that no mixture has one.
rm -rf "$stamp" "$out/oci" "$out"/ovishpc-ldms-*.tar
mv "$layout" "$work"/set/* "$out"
sync "$out"/*.tar
echo "$digest" >"$stamp"
say "the $variant set stands in $out after $((SECONDS - started)) s"
