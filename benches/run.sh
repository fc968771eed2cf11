#!/bin/bash
# Measures packing and verifying against what a user would do otherwise, in one run on one
# machine, and prints ratios first.
#
# Usage: run.sh DIST IMAGES   (IMAGES: a directory of 'docker save' archives)
set -euo pipefail

dist=$(realpath "$1")
images=$(realpath "$2")
here=$(cd "$(dirname "$0")/.." && pwd)
"$here/tests/need.sh" hyperfine zstd openssl jq
work=$(mktemp -d "$here/target/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

archives=("$images"/*.tar)
"$dist/ldms-pack" keygen --out keys --no-password >/dev/null
pack=("$dist/ldms-pack" build --from "$images" --key keys/ldms.key --output stick --version 1)
"${pack[@]}" >/dev/null 2>&1
bundle=$(echo stick/*.ldms)

# Medians in seconds: median COMMAND PREPARATION
median() {
    hyperfine --style none --shell bash --warmup 1 --runs 5 --prepare "${2:-true}" \
        --export-json timed.json "$1" >/dev/null 2>&1
    jq -r '.results[0].median' timed.json
}
row() { # what, ours, theirs, unit, goal
    awk -v what="$1" -v ours="$2" -v theirs="$3" -v unit="$4" -v goal="$5" 'BEGIN {
        printf "| %s | %.3f | %s | %.4g %s | %.4g %s |\n", what, ours / theirs, goal, ours, unit, theirs, unit }'
}
quoted=$(printf '%q ' "${archives[@]}")

echo "$(nproc) cores, $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(date -u +%F)"
echo "six archives: $(du -ch --apparent-size -B1 "${archives[@]}" | tail -n1 | cut -f1) bytes"
echo
echo "| what, against what | ratio | goal | ours | theirs |"
echo "|---|---|---|---|---|"

size=$(stat -c %s "$bundle")
gzipped=$(for archive in "${archives[@]}"; do gzip -6 -c "$archive"; done | wc -c)
zstded=$(for archive in "${archives[@]}"; do zstd -9 -q -c "$archive"; done | wc -c)
row "bundle size, six archives through gzip -6" "$size" "$gzipped" bytes "0.6"
row "bundle size, six archives through zstd -9" "$size" "$zstded" bytes "-"

ours=$(median "$(printf '%q ' "${pack[@]}")" "rm -rf stick")
theirs=$(median "for a in $quoted; do zstd -9 -T0 -q -c \"\$a\"; done > all.zst")
row "packing, zstd -9 -T0 over the archives" "$ours" "$theirs" s "0.6"

rm -rf stick
"${pack[@]}" >/dev/null 2>&1
sha256sum "${archives[@]}" > sums
ours=$(median "$dist/ldms-install verify --bundle $bundle --pubkey keys/ldms.pub")
theirs=$(median "sha256sum -c --quiet sums")
row "verifying everything, sha256sum -c over the archives" "$ours" "$theirs" s "0.033"

ours=$(median "$dist/ldms-install export ldms-samp --bundle $bundle --pubkey keys/ldms.pub | cat > /dev/null")
theirs=$(median "sha256sum $images/ovishpc-ldms-samp.tar && cat $images/ovishpc-ldms-samp.tar > /dev/null")
row "one image out of the bundle, proven; sha256sum and cat of its archive" "$ours" "$theirs" s "-"

ours=$(median "$dist/ldms-install --help")
row "ldms-install --help, true" "$ours" "$(median /bin/true)" s "-"
