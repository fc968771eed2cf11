# Run by /bin/sh in a throwaway container; see proof.rs. Standard input: a line `own` or `host`,
# then the host's credential, if there is one. Nothing here may need more than a POSIX shell,
# munge, and the few programs that every image with munge has.
tell() {
    printf '@%s %s\n' "$1" "$2"
    printf '%s\n' "$3" | while IFS= read -r line; do printf '|%s\n' "$line"; done
}

read -r whose
theirs=$(cat)
umask 022

# As the images' own entrypoints start it.
if [ "$whose" = own ]; then
    tell user 0 "$(id -u munge):$(id -g munge)"
    mkdir -p /run/munge
    chown munge /run/munge
    if command -v setpriv >/dev/null; then
        said=$(setpriv --reuid=munge --regid="$(id -g munge)" --init-groups munged 2>&1)
    else
        said=$(su -s /bin/sh munge -c munged 2>&1)
    fi
    tell munged $? "$said"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ ! -S /run/munge/munge.socket.2 ] || break
        sleep 0.5
    done
fi

# For root alone: nobody else is to read it, should it come to light.
made=$(munge --no-input --restrict-uid=0 2>&1)
status=$?
if [ $status = 0 ]; then
    tell encode 0 ''
    said=$(printf '%s\n' "$made" | unmunge 2>&1)
    tell decode $? "$said"
    if [ -n "$theirs" ]; then
        said=$(printf '%s\n' "$theirs" | unmunge 2>&1)
        tell from-host $? "$said"
        said=$(munge --no-input --restrict-uid=0 2>&1)
        tell for-host $? "$said"
    fi
else
    tell encode $status "$made"
fi
if [ "$whose" = own ] && [ -r /var/log/munge/munged.log ]; then
    tell log 0 "$(tail -n 5 /var/log/munge/munged.log)"
fi
exit 0
