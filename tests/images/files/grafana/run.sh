#!/bin/sh
# Entry of grafana: the server with the paths of the image's ENV and the arguments given. As in
# grafana's image a variable GF_…__FILE names a file that holds the value of GF_….
for name in $(env | sed -n 's/^\(GF_[A-Z0-9_]*\)__FILE=.*/\1/p'); do
    eval "file=\$${name}__FILE"
    eval "value=\${$name:-}"
    if [ -n "$value" ]; then
        echo "run.sh: both $name and ${name}__FILE are set" >&2
        exit 1
    fi
    value=$(cat "$file") || exit 1
    export "$name=$value"
    unset "${name}__FILE"
done

[ -r "$GF_PATHS_CONFIG" ] || echo "run.sh: $GF_PATHS_CONFIG cannot be read by uid $(id -u)" >&2
[ -w "$GF_PATHS_DATA" ] || echo "run.sh: $GF_PATHS_DATA cannot be written by uid $(id -u)" >&2

exec grafana-server --homepath="$GF_PATHS_HOME" --config="$GF_PATHS_CONFIG" --packaging=docker "$@"
