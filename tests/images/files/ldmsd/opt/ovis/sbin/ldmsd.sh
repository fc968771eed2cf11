#!/bin/bash
# Entry of the sampler and the aggregator: munge first where it is asked for, then ldmsd.
#
# As in the images of LDMS: the arguments become one string, so none may hold a space or a glob, and
# only the separate word `munge` counts as asking.
arguments="$*"

if [[ " $arguments " == *" munge "* ]]; then
    # Any mount of that name is the host's: then a munged of our own would be in its way.
    if mount | grep -q /run/munge; then
        echo "ldmsd.sh: using the host's munge"
    else
        echo "ldmsd.sh: starting munged"
        mkdir -p /run/munge
        chown munge:munge /run/munge
        setpriv --reuid=munge --regid=munge --init-groups munged
        sleep 1
    fi
    if [[ "$(echo probe | munge | unmunge | tail -n 1)" != probe ]]; then
        echo "ldmsd.sh: munge does not work" >&2
        exit 255
    fi
    echo "ldmsd.sh: munge works"
fi

echo "ldmsd.sh: ldmsd $arguments"
# shellcheck disable=SC2086 # split on purpose, see above
exec ldmsd $arguments
