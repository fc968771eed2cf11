# Ends the companion $0, if the process that companion-start.sh has noted still is that process: by
# then its id may be another's. SIGTERM, and SIGKILL after five seconds. Runs in the container.
set -u
file=/run/ldms-$0.process
[ -f "$file" ] || exit 0
read -r pid started <"$file"
runs() {
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    # From the third field on: the state, and as field 22 the start time.
    set -- ${stat##*)}
    [ "$1" != Z ] && [ "${20}" = "$started" ]
}
ends() {
    kill -s "$1" "$pid" 2>/dev/null
    n=50
    while runs; do
        n=$((n - 1))
        [ "$n" -gt 0 ] || return 1
        sleep 0.1
    done
}
if runs && ! ends TERM && ! ends KILL; then
    echo "process $pid of $0 does not end" >&2
    exit 1
fi
rm -f "$file"
