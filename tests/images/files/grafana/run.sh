#!/bin/sh
# Entry of grafana: the server with the paths of the image's ENV and the arguments given.
[ -r "$GF_PATHS_CONFIG" ] || echo "run.sh: $GF_PATHS_CONFIG cannot be read by uid $(id -u)" >&2
[ -w "$GF_PATHS_DATA" ] || echo "run.sh: $GF_PATHS_DATA cannot be written by uid $(id -u)" >&2

exec grafana-server --homepath="$GF_PATHS_HOME" --config="$GF_PATHS_CONFIG" --packaging=docker "$@"
