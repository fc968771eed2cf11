# Runs the companion $0, which is the script $1, as this very process, after noting its id and its
# start time for companion-stop.sh. Runs in the container, in any POSIX shell.
set -eu
stat=$(cat /proc/$$/stat)
# The program's name, in parentheses, may hold anything: the fields after it begin with the third,
# here $2. The start time is field 22.
set -- "$1" ${stat##*)}
echo "$$ ${21}" >"/run/ldms-$0.process"
exec /bin/sh -c "$1" "$0"
