# Runs a command, given as $0 and $@, until it succeeds: at most half a minute. Runs on the host.
# The command's complaints count only once the time is over.
n=60
until "$0" "$@" 2>/dev/null; do
    n=$((n - 1))
    [ "$n" -gt 0 ] || exec "$0" "$@"
    sleep 0.5
done
