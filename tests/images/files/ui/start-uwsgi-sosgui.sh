#!/bin/bash
# Entry of the UI: uwsgi with the arguments given, on port 80 unless they name another.
#
# As in the images of LDMS this shell stays process 1 in front of a pipe, so uwsgi's own exit status
# is lost and a SIGTERM is dropped unless the engine puts an init in front.
cd /opt/ovis/ui || exit 1
arguments=("$@")

# default WORD OPTION: adds the option unless the arguments hold the word.
default() {
    [[ " ${arguments[*]} " == *" $1"* ]] || arguments+=("$2")
}
default --http-socket --http-socket=:80
default --plugin --plugins=python3
default --module --module=sosgui.wsgi

uwsgi "${arguments[@]}" 2>&1 | tee /var/log/uwsgi.log
