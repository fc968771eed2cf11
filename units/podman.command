#!/bin/sh
# {{ name }}: written by ldms-install. Runs a command of an image in the current directory, which
# is mounted under its own path; the arguments are passed on to it.
set -eu

fail() {
    printf '%s: %s\n' {{ name }} "$1" >&2
    exit 125
}

# Anybody else has a podman of their own, without the image.
[ "$(id -u)" -eq 0 ] || fail "the image is in root's podman: run this as root or through sudo"
case $PWD in
*[,\"]* | *' ' | *'
'*) fail "podman cannot mount a directory with a comma, a double quote, a line end or a space at the end in its path: $PWD" ;;
/ | /bin | /dev | /etc | /lib | /lib64 | /opt | /proc | /sbin | /sys | /usr)
    fail "$PWD would hide the image's own: change into another directory" ;;
esac
tty=
if [ -t 0 ] && [ -t 1 ]; then tty=-t; fi

unset CONTAINER_HOST CONTAINER_CONNECTION
exec {{ program }} run --rm -i $tty --pull=never --log-driver=none \
    {{ flags }} \
    --mount "type=bind,source=$PWD,target=$PWD" --workdir "$PWD" \
    {{ image }}{% if args %} \
    {{ args }}{% endif %} "$@"
