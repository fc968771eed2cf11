#!/bin/sh
# {{ name }}: written by ldms-install. Runs a command of an image in the current directory, which
# is mounted under its own path; the arguments are passed on to it.
set -eu

fail() {
    printf '%s: %s\n' {{ name }} "$1" >&2
    exit 125
}

case $PWD in
*[,\"]* | *' ' | *'
'*) fail "docker cannot mount a directory with a comma, a double quote, a line end or a space at the end in its path: $PWD" ;;
/ | /bin | /dev | /etc | /lib | /lib64 | /opt | /proc | /sbin | /sys | /usr)
    fail "$PWD would hide the image's own: change into another directory" ;;
esac
tty=
if [ -t 0 ] && [ -t 1 ]; then tty=-t; fi

# The image is in this host's own docker, whatever else the caller speaks to.
unset DOCKER_HOST
DOCKER_CONTEXT=default
export DOCKER_CONTEXT
exec {{ program }} run --rm -i $tty --pull=never --log-driver=none \
    {{ flags }} \
    --mount "type=bind,source=$PWD,target=$PWD" --workdir "$PWD" \
    {{ image }}{% if args %} \
    {{ args }}{% endif %} "$@"
