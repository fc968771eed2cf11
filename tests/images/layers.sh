# How each image is put together, layer by layer; sourced by build.sh.
#
# Layers are as upstream's: one base below all but grafana, then each image's own apt run, its own
# copy of /opt/ovis (the same files under other times), and a few small ones. grafana has a base of
# its own, since upstream's is built upon grafana's image.
# Uses work, layout, here, variant, mirror, keyring, aptopts, SUITE and say from build.sh.
# shellcheck shell=bash disable=SC2154,SC2016 # from build.sh; hooks expand for themselves

# Documentation and translations are left out of the small variant: dpkg keeps to it in every layer.
SMALL_EXCLUDES=(
    '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*'
    '/usr/share/lintian/*' '/usr/share/bash-completion/*' '/usr/lib/python3/*.po'
)

# bootstrap VARIANT TAR [OPTION...]: a root file system of Debian as a tar.
bootstrap() {
    local kind=$1 tar=$2 options=() option hook=customize
    shift 2
    [[ $kind == extract ]] && hook=extract # the last hook that such a system comes to
    for option in "${aptopts[@]}"; do options+=(--aptopt="$option"); done
    if [[ $variant == small ]]; then
        for option in "${SMALL_EXCLUDES[@]}"; do options+=(--dpkgopt="path-exclude=$option"); done
    fi
    # Devices are the engine's to make, the directory is not. A proxy has no meaning in an image.
    mmdebstrap --quiet --mode=root --format=tar --skip=output/dev --variant="$kind" "${options[@]}" "$@" \
        --$hook-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
        "$SUITE" "$tar" "deb [signed-by=$keyring] $mirror $SUITE main"
    mkdir -p "$work/empty/dev"
    tar --append --file "$tar" --numeric-owner --owner=0 --group=0 -C "$work/empty" dev
}

# new_image TAG TAR COMMAND: an image whose first layer is the tar.
new_image() {
    umoci new --image "$layout:$1"
    umoci raw add-layer --image "$layout:$1" --history.created_by "$3" "$2"
    rm "$2"
}

make_base() {
    local kind=apt
    [[ $variant == full ]] && kind=minbase
    # Packages must not start their services while images are made.
    bootstrap "$kind" "$work/base.tar" \
        --customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"' \
        --customize-hook='chmod 755 "$1/usr/sbin/policy-rc.d"' \
        --customize-hook=': >"$1/etc/resolv.conf"'
    new_image base "$work/base.tar" "Debian $SUITE"
    mkdir "$work/lists" "$work/debs"
}

# install_packages IMAGE UID GID: the image's own apt run upon the base, munge having these ids.
install_packages() {
    local image=$1 uid=$2 gid=$3 bundle=$work/bundle root=$work/bundle/rootfs packages options=() option
    packages=$(sed -nE "s/^(both|$variant) +$image +//p" "$here/packages.txt" | tr '\n' ' ')
    for option in "${aptopts[@]}"; do options+=(-o "$(sed -E 's/ "(.*)"$/=\1/' <<<"$option")"); done
    # Upstream's recipes take what packages recommend, and most of their size comes of it.
    options+=(-o "APT::Install-Recommends=$([[ $variant == full ]] && echo true || echo false)")
    umoci unpack --image "$layout:base" "$bundle"
    # The package takes a user of its name as it finds it.
    echo "munge:x:$uid:$gid::/nonexistent:/usr/sbin/nologin" >>"$root/etc/passwd"
    echo "munge:!:20000::::::" >>"$root/etc/shadow"
    echo "munge:x:$gid:" >>"$root/etc/group"
    echo "munge:!::" >>"$root/etc/gshadow"
    # Namespaces of its own, so that nothing is left mounted or running whatever happens.
    # shellcheck disable=SC2016,SC2086 # expanded inside; packages are many words
    unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1 work=$2 options=$3
        shift 3
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        mount --bind "$(realpath /etc/resolv.conf)" "$root/etc/resolv.conf"
        mount --bind "$work/lists" "$root/var/lib/apt/lists"
        mount --bind "$work/debs" "$root/var/cache/apt/archives"
        run() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
        apt=(apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Options::=--force-unsafe-io -o APT::Sandbox::User=root
            "${@:1:options}")
        shift "$options"
        [[ -e $work/lists/lock ]] || run "${apt[@]}" update
        run "${apt[@]}" install -y "$@"
    ' - "$root" "$work" "${#options[@]}" "${options[@]}" $packages >"$work/$image.log" 2>&1 || {
        tail -n 30 "$work/$image.log" >&2
        die "$image: apt failed"
    }
    if [[ $variant == full ]]; then
        # Upstream leaves the package lists in.
        cp -a "$work/lists/." "$root/var/lib/apt/lists/"
    else
        find "$root/usr" -name __pycache__ -prune -exec rm -rf {} +
    fi
    rm -rf "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt/*
    umoci repack --image "$layout:$image" --history.created_by "apt-get install $packages" "$bundle"
    rm -rf --one-file-system "$bundle"
}

# stage DIR...: an empty place with copies of these trees (below files/), as root's.
stage() {
    local tree
    rm -rf "$work/stage"
    mkdir "$work/stage"
    for tree; do cp -r --no-dereference "$here/files/$tree/." "$work/stage/"; done
    chown -R 0:0 "$work/stage"
    chmod -R u=rwX,go=rX "$work/stage"
}

# add_layer IMAGE COMMAND: what is staged becomes a layer.
add_layer() {
    find "$work/stage" -mindepth 1 -exec touch --no-dereference {} +
    (cd "$work/stage" && tar --create --file "$work/layer.tar" --numeric-owner --sort=name -- *)
    umoci raw add-layer --image "$layout:$1" --history.created_by "$2" "$work/layer.tar"
    rm -rf "$work/stage" "$work/layer.tar"
}

# add_ovis IMAGE TREE...: /opt/ovis as upstream adds it, a layer for each directory.
add_ovis() {
    local image=$1 part
    shift
    for part in bin sbin lib etc; do
        stage ovis "$@"
        install -D -m 755 "$work/bin/ldmsd" "$work/stage/opt/ovis/sbin/ldmsd"
        [[ $image == agg ]] && install -m 755 "$work/bin/dsosd" "$work/stage/opt/ovis/sbin/dsosd"
        find "$work/stage/opt/ovis" -mindepth 1 -maxdepth 1 ! -name "$part" -exec rm -rf {} +
        find "$work/stage" -mindepth 1 -maxdepth 1 ! -name opt -exec rm -rf {} +
        add_layer "$image" "ADD $part /opt/ovis/$part/"
    done
    stage
    mkdir -p "$work/stage/etc/profile.d" "$work/stage/etc/ld.so.conf.d"
    ln -s /opt/ovis/etc/profile.d/set-ovis-variables.sh "$work/stage/etc/profile.d/"
    ln -s /opt/ovis/etc/ld.so.conf.d/ovis-ld-so.conf "$work/stage/etc/ld.so.conf.d/z-ovis-ld-so.conf"
    add_layer "$image" "RUN ln -s /opt/ovis/etc/..."
    umoci config --image "$layout:$image" \
        --config.env PATH=/opt/ovis/bin:/opt/ovis/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --config.env PYTHONPATH=/opt/ovis/lib/python3/site-packages \
        --config.env LDMSD_PLUGIN_LIBPATH=/opt/ovis/lib/ovis-ldms \
        --config.env ZAP_LIBPATH=/opt/ovis/lib/ovis-ldms
}

# add_key IMAGE UID GID: the munge key that everybody has.
add_key() {
    stage
    install -d -m 700 -o "$2" -g "$3" "$work/stage/etc/munge"
    head -c 4096 /dev/zero >"$work/stage/etc/munge/munge.key"
    chown "$2:$3" "$work/stage/etc/munge/munge.key"
    chmod 600 "$work/stage/etc/munge/munge.key"
    add_layer "$1" "RUN dd if=/dev/zero of=/etc/munge/munge.key"
}

# add_scripts IMAGE TREE PATH...: files of a tree that lie outside the directories of add_ovis.
add_scripts() {
    local image=$1 tree=$2 path
    shift 2
    stage
    for path; do
        mkdir -p "$work/stage/$(dirname "$path")"
        cp -r "$here/files/$tree/$path" "$work/stage/$path"
    done
    chown -R 0:0 "$work/stage"
    chmod -R u=rwX,go=rX "$work/stage"
    add_layer "$image" "ADD $*"
}

image_samp() {
    install_packages samp 101 101
    add_ovis samp
    add_scripts samp ldmsd opt/ovis/sbin/ldmsd.sh
    add_key samp 101 101
    umoci config --image "$layout:samp" --config.entrypoint ldmsd.sh
}

image_agg() {
    install_packages agg 101 101
    add_ovis agg agg
    add_scripts agg ldmsd opt/ovis/sbin/ldmsd.sh
    # A file that a later layer takes away, so that somebody must apply a whiteout.
    stage
    mkdir -p "$work/stage/etc"
    : >"$work/stage/etc/.wh.motd"
    add_layer agg "RUN rm /etc/motd"
    add_key agg 101 101
    umoci config --image "$layout:agg" --config.entrypoint ldmsd.sh
}

image_maestro() {
    install_packages maestro 101 101
    add_ovis maestro maestro
    add_scripts maestro maestro etc/etcd.yaml
    add_scripts maestro maestro etc/ldms_cfg.yaml
    add_scripts maestro maestro etc/cluster.yaml
    add_scripts maestro maestro etcd-check.sh
    add_scripts maestro maestro health-check.sh
    add_scripts maestro maestro start.sh
    add_key maestro 101 101
    umoci config --image "$layout:maestro" --config.entrypoint /start.sh
}

image_ui() {
    install_packages ui 101 101
    add_ovis ui
    add_scripts ui ui opt/ovis/ui opt/ovis/etc/dsosd.conf
    # A directory that a later layer replaces as a whole.
    stage
    mkdir -p "$work/stage/opt/ovis/etc/ldms"
    : >"$work/stage/opt/ovis/etc/ldms/.wh..wh..opq"
    echo "# The UI has no ldmsd to configure." >"$work/stage/opt/ovis/etc/ldms/README"
    add_layer ui "RUN rm -rf /opt/ovis/etc/ldms"
    add_scripts ui ui start-uwsgi-sosgui.sh
    add_key ui 101 101
    umoci config --image "$layout:ui" --config.entrypoint /start-uwsgi-sosgui.sh
}

image_dev() {
    install_packages dev 106 107
    add_ovis dev agg
    umoci config --image "$layout:dev" --config.cmd /bin/bash
}

image_grafana() {
    local packages=base-files,busybox-static
    # A large program in Go with its JavaScript, as grafana is.
    [[ $variant == full ]] && packages+=,prometheus
    bootstrap extract "$work/grafana.tar" --include="$packages" \
        --extract-hook='chroot "$1" /usr/bin/busybox --install -s /usr/bin' \
        --extract-hook='printf "root:x:0:0::/root:/bin/sh\ngrafana:x:472:0::/usr/share/grafana:/bin/sh\n" >"$1/etc/passwd"' \
        --extract-hook='printf "root:x:0:\n" >"$1/etc/group"'
    new_image grafana "$work/grafana.tar" "busybox of Debian $SUITE"
    stage grafana
    rm -rf "$work/stage/var/lib/grafana/plugins/dsosds"
    install -D -m 755 "$work/bin/grafana" "$work/stage/usr/share/grafana/bin/grafana-server"
    mkdir -p "$work/stage/var/log/grafana"
    chown -R 472:0 "$work/stage/var/lib/grafana" "$work/stage/var/log/grafana"
    add_layer grafana "grafana's own files"
    stage grafana
    find "$work/stage" -mindepth 1 -maxdepth 1 ! -name var -exec rm -rf {} +
    chown -R 472:0 "$work/stage/var/lib/grafana"
    add_layer grafana "ADD dsosds /var/lib/grafana/plugins/dsosds"
    umoci config --image "$layout:grafana" \
        --config.env PATH=/usr/share/grafana/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --config.env GF_PATHS_CONFIG=/etc/grafana/grafana.ini \
        --config.env GF_PATHS_DATA=/var/lib/grafana \
        --config.env GF_PATHS_HOME=/usr/share/grafana \
        --config.env GF_PATHS_LOGS=/var/log/grafana \
        --config.env GF_PATHS_PLUGINS=/var/lib/grafana/plugins \
        --config.workingdir /usr/share/grafana --config.user 472 --config.exposedports 3000/tcp \
        --config.entrypoint /run.sh
}
