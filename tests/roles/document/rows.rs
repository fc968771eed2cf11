//! The documented commands, each with the answers that produce it and where its unit differs.

use super::Row;

const UNNAMED: &str = "the example gives no name, a unit needs one";
const COPY: &str = "the file is below /etc/ldms, the site's own a copy of what --set names";
const KEPT: &str = "nothing writes to it: it is mounted read-only";
const OWNED: &str = "a private copy that the container's munge accepts; the original is only read";
const SLIP: &str = "the synopsis has it, the example forgets it";
const IMAGE: &str = "the synopsis names the sampler's image by mistake";
const DEFAULT: &str = "grafana's default, said aloud";
const INI: &str = "the installer's own file where the site has none: it keeps the plugin allowed";

const KEY: &str = "munge=key";
const KEY_FILE: &str = "munge_key=/on-host/munge.key";
const NAMED: (&str, &str) = ("<CONTAINER_NAME>", "here");
const NO_MUNGE: &str = "munge=none";
const CONTAINER: &str = "container=here";

const MAESTRO: &str = "docker run -d --name=<CONTAINER_NAME> --network=host --privileged
         [ -v /run/munge:/run/munge:ro ] # expose host's munge to the container
         [ -v /on-host/munge.key:/etc/munge/munge.key:ro ] # use container's munged with custom key
         -v /on-host/ldms_cfg.yaml:/etc/ldms_cfg.yaml:ro # bind ldms_cfg.yaml, used by maestro_ctrl
         ovishpc/ldms-maestro # the image name";

const SAMPLER: &str = "docker run -d --name=<CONTAINER_NAME> --network=host --pid=host --privileged
         -e COMPID=<NUMBER> # set COMPID environment variable
         [ -v /run/munge:/run/munge:ro ] # expose host's munge to the container
         [ -v /on-host/munge.key:/etc/munge/munge.key:ro ] # use container's munged with custom key
         ovishpc/ldms-samp # the image name
              -x <XPRT>:<PORT>  # transport, listening port
              [ -a munge ] # use munge authentication
              [ OTHER LDMSD OPTIONS ]";

const AGGREGATOR: &str =
    "docker run -d --name=<CONTAINER_NAME> --network=host --pid=host --privileged
         -e COMPID=<NUMBER> # set COMPID environment variable
         [ -v /on-host/storage:/storage:rw ] # bind 'storage/'. Could be any path
         [ -v /on-host/dsosd.json:/etc/dsosd.json:ro ] # bind dsosd.json configuration
         [ -v /run/munge:/run/munge:ro ] # expose host's munge to the container
         [ -v /on-host/munge.key:/etc/munge/munge.key:ro ] # use container's munged with custom key
         ovishpc/ldms-samp # the image name
              -x <XPRT>:<PORT>  # transport, listening port
              [ -a munge ] # use munge authentication
              [ OTHER LDMSD OPTIONS ]";

const UI: &str = "docker run -d --name=<CONTAINER_NAME> --network=host --privileged
         -v /on-host/dsosd.conf:/opt/ovis/etc/dsosd.conf # dsosd.conf file
         -v /on-host/settings.py:/opt/ovis/ui/sosgui/settings.py # sosdb-ui Django setting file
         ovishpc/ldms-ui # the image name
             [ --http-socket=<ADDR>:<PORT> ] # addr:port to serve, \":80\" by default
             [ OTHER uWSGI OPTIONS ]";

const GRAFANA: &str = "docker run -d --name=<CONTAINER_NAME> --network=host --privileged
         [ -v /on-host/grafana.ini:/etc/grafana/grafana.ini:ro ] # custom grafana config
         [ -e GF_SERVER_HTTP_ADDR=<ADDR> ] # env var to override Grafana IP address binding
         [ -e GF_SERVER_HTTP_PORT=<PORT> ] # env var to override Grafana port binding
         ovishpc/ldms-grafana # the image name
              [ OTHER GRAFANA-SERVER OPTIONS ] # other options to grafana-server";

const ROW: Row = Row {
    place: "",
    text: "",
    chosen: &[],
    given: &[],
    host: "nid00100",
    role: "",
    sets: &[],
    differs: &[],
};

pub(super) const ROWS: [Row; 28] = [
    Row {
        place: "SYNOPSIS, maestro",
        text: MAESTRO,
        given: &[NAMED],
        role: "maestro",
        sets: &[CONTAINER, NO_MUNGE, "ldms_cfg=/on-host/ldms_cfg.yaml"],
        differs: &[
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
        ],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, maestro, host's munge",
        text: MAESTRO,
        chosen: &["/run/munge"],
        given: &[NAMED],
        role: "maestro",
        sets: &[CONTAINER, "munge=host", "ldms_cfg=/on-host/ldms_cfg.yaml"],
        differs: &[
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
        ],
        ..ROW
    },
    Row {
        place: "Maestro Container, SYNOPSIS",
        text: MAESTRO,
        chosen: &["munge.key"],
        given: &[NAMED],
        role: "maestro",
        sets: &[CONTAINER, KEY, KEY_FILE],
        differs: &[
            ("-mount /on-host/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("+mount /etc/ldms/munge/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", COPY),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, maestro",
        text: r"docker run -d --network=host -v /on-host/ldms_cfg.yaml:/etc/ldms_cfg.yaml:rw \
         ovishpc/ldms-maestro",
        role: "maestro",
        sets: &[NO_MUNGE, "privileged=no", "config_writable=yes"],
        differs: &[
            ("+name ldms-maestro", UNNAMED),
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, maestro, using munge on the host",
        text: r"docker run -d --network=host -v /on-host/ldms_cfg.yaml:/etc/ldms_cfg.yaml:rw \
         -v /run/munge:/run/munge:ro \
         ovishpc/ldms-maestro",
        role: "maestro",
        sets: &["munge=host", "privileged=no", "config_writable=yes"],
        differs: &[
            ("+name ldms-maestro", UNNAMED),
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, maestro, with munged in a container",
        text: r"docker run -d --network=host -v /on-host/ldms_cfg.yaml:/etc/ldms_cfg.yaml:rw \
         -v /path/to/munge.key:/etc/munge/munge.key:ro \
         ovishpc/ldms-maestro",
        role: "maestro",
        sets: &[KEY, "munge_key=/path/to/munge.key", "privileged=no", "config_writable=yes"],
        differs: &[
            ("+name ldms-maestro", UNNAMED),
            ("-mount /path/to/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("+mount /etc/ldms/munge/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("-mount /on-host/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
        ],
        ..ROW
    },
    Row {
        place: "Maestro Container, Example usage",
        text: r"docker run -d --network=host --privileged \
         -v /run/munge:/run/munge:ro \
         -v /my/ldms_cfg.yaml:/etc/ldms_cfg.yaml:rw \
         ovishpc/ldms-maestro",
        role: "maestro",
        sets: &["munge=host", "ldms_cfg=/my/ldms_cfg.yaml"],
        differs: &[
            ("+name ldms-maestro", UNNAMED),
            ("-mount /my/ldms_cfg.yaml -> /etc/ldms_cfg.yaml rw", COPY),
            ("+mount /etc/ldms/maestro/ldms_cfg.yaml -> /etc/ldms_cfg.yaml ro", KEPT),
        ],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, sampler",
        text: SAMPLER,
        given: &[NAMED, ("<NUMBER>", "7"), ("<XPRT>", "sock"), ("<PORT>", "411")],
        role: "sampler",
        sets: &[CONTAINER, NO_MUNGE, "compid=7"],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, sampler, host's munge",
        text: SAMPLER,
        chosen: &["/run/munge", "-a munge"],
        given: &[NAMED, ("<NUMBER>", "7"), ("<XPRT>", "rdma"), ("<PORT>", "10444")],
        role: "sampler",
        sets: &[CONTAINER, "munge=host", "compid=7", "xprt=rdma", "port=10444"],
        differs: &[("+ulimit memlock=-1:-1", "a fabric registers memory")],
        ..ROW
    },
    Row {
        place: "LDMS Sampler Container, SYNOPSIS",
        text: SAMPLER,
        chosen: &["munge.key", "-a munge", "OTHER"],
        given: &[
            NAMED,
            ("<NUMBER>", "7"),
            ("<XPRT>", "sock"),
            ("<PORT>", "411"),
            ("OTHER LDMSD OPTIONS", "-v INFO"),
        ],
        role: "sampler",
        sets: &[CONTAINER, KEY, KEY_FILE, "compid=7", "args=-v INFO"],
        differs: &[
            ("-mount /on-host/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("+mount /etc/ldms/munge/munge.key -> /etc/munge/munge.key ro", OWNED),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, sampler, no authentication",
        text: r"docker run -d --name=samp --network=host --pid=host --privileged \
         -e COMPID=${HOSTNAME#bitzer} \
         ovishpc/ldms-samp -x sock:411",
        given: &[("${HOSTNAME#bitzer}", "17")],
        host: "bitzer17",
        role: "sampler",
        sets: &["container=samp", NO_MUNGE, "compid=prefix:bitzer"],
        ..ROW
    },
    Row {
        place: "EXAMPLES, sampler, with host's munge",
        text: r"docker run -d --name=samp --network=host --pid=host --privileged \
         -v /run/munge:/run/munge:ro \
         -e COMPID=${HOSTNAME#bitzer} \
         ovishpc/ldms-samp -x sock:411 -a munge",
        given: &[("${HOSTNAME#bitzer}", "17")],
        host: "bitzer17",
        role: "sampler",
        sets: &["container=samp", "munge=host", "compid=prefix:bitzer"],
        ..ROW
    },
    Row {
        place: "EXAMPLES, sampler, with munged in the container",
        text: r"docker run -d --name=samp --network=host --pid=host --privileged \
         -v /path/to/munge.key:/etc/munge/munge.key:ro \
         -e COMPID=${HOSTNAME#bitzer} \
         ovishpc/ldms-samp -x sock:411 -a munge",
        given: &[("${HOSTNAME#bitzer}", "17")],
        host: "bitzer17",
        role: "sampler",
        sets: &["container=samp", KEY, "munge_key=/path/to/munge.key", "compid=prefix:bitzer"],
        differs: &[
            ("-mount /path/to/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("+mount /etc/ldms/munge/munge.key -> /etc/munge/munge.key ro", OWNED),
        ],
        ..ROW
    },
    Row {
        place: "LDMS Sampler Container, Usage examples",
        text: r"docker run -d --name=samp --network=host --pid=host --privileged \
         -e COMPID=${HOSTNAME##*([^1-9])} \
         -v /run/munge:/run/munge:ro \
         ovishpc/ldms-samp -x sock:411 -a munge",
        given: &[("${HOSTNAME##*([^1-9])}", "100")],
        role: "sampler",
        sets: &["container=samp", "munge=host", "compid=hostname-digits"],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, aggregator",
        text: AGGREGATOR,
        given: &[NAMED, ("<NUMBER>", "7"), ("<XPRT>", "sock"), ("<PORT>", "411")],
        role: "aggregator",
        sets: &[CONTAINER, NO_MUNGE, "compid=7", "storage="],
        differs: &[("-image ovishpc/ldms-samp", IMAGE), ("+image ovishpc/ldms-agg", IMAGE)],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, aggregator, everything with the host's munge",
        text: AGGREGATOR,
        chosen: &["/storage", "dsosd.json", "/run/munge", "-a munge", "OTHER"],
        given: &[
            NAMED,
            ("<NUMBER>", "7"),
            ("<XPRT>", "rdma"),
            ("<PORT>", "412"),
            ("OTHER LDMSD OPTIONS", "-m 2g"),
        ],
        role: "aggregator",
        sets: &[
            CONTAINER,
            "munge=host",
            "compid=7",
            "xprt=rdma",
            "port=412",
            "storage=/on-host/storage",
            "dsosd=yes",
            "dsosd_json=/on-host/dsosd.json",
            "args=-m 2g",
        ],
        differs: &[
            ("-image ovishpc/ldms-samp", IMAGE),
            ("+image ovishpc/ldms-agg", IMAGE),
            ("-mount /on-host/dsosd.json -> /etc/dsosd.json ro", COPY),
            ("+mount /etc/ldms/aggregator/dsosd.json -> /etc/dsosd.json ro", COPY),
            ("+ulimit memlock=-1:-1", "a fabric registers memory"),
        ],
        ..ROW
    },
    Row {
        place: "LDMS Aggregator Container, SYNOPSIS",
        text: AGGREGATOR,
        chosen: &["/storage", "munge.key", "-a munge"],
        given: &[
            NAMED,
            ("<NUMBER>", "7"),
            ("<XPRT>", "sock"),
            ("<PORT>", "411"),
            ("/on-host/storage:/storage", "/on-host/storage:/any/path"),
        ],
        role: "aggregator",
        sets: &[
            CONTAINER,
            KEY,
            KEY_FILE,
            "compid=7",
            "storage=/on-host/storage",
            "storage_target=/any/path",
        ],
        differs: &[
            ("-image ovishpc/ldms-samp", IMAGE),
            ("+image ovishpc/ldms-agg", IMAGE),
            ("-mount /on-host/munge.key -> /etc/munge/munge.key ro", OWNED),
            ("+mount /etc/ldms/munge/munge.key -> /etc/munge/munge.key ro", OWNED),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, aggregator, WITHOUT storage",
        text: r"docker run -d --name=agg1 --network=host --privileged \
         ovishpc/ldms-agg -x sock:411 -a munge",
        role: "aggregator",
        sets: &[
            "container=agg1",
            "munge=image-key",
            "accept_insecure_munge_key=yes",
            "storage=",
            "compid=7",
        ],
        differs: &[("+pid host", SLIP), ("+env COMPID=7", SLIP)],
        ..ROW
    },
    Row {
        place: "EXAMPLES, aggregator, WITH storage",
        text: r"docker run -d --name=agg2 --network=host --privileged \
         -v /on-host/dsosd.json:/etc/dsosd.json:rw \
         -v /on-host/storage:/storage:rw \
         -v /run/munge:/run/munge:ro \
         ovishpc/ldms-agg -x sock:411 -a munge",
        role: "aggregator",
        sets: &[
            "container=agg2",
            "munge=host",
            "storage=/on-host/storage",
            "dsosd=yes",
            "config_writable=yes",
            "compid=7",
        ],
        differs: &[
            ("+pid host", SLIP),
            ("+env COMPID=7", SLIP),
            ("-mount /on-host/dsosd.json -> /etc/dsosd.json rw", COPY),
            ("+mount /etc/ldms/aggregator/dsosd.json -> /etc/dsosd.json rw", COPY),
        ],
        ..ROW
    },
    Row {
        place: "LDMS Aggregator Container, Example usage",
        text: r"docker run -d --name=agg --network=host --privileged \
         -v /run/munge:/run/munge:ro \
         -v /on-host/storage:/storage:rw \
         ovishpc/ldms-agg -x sock:411 -a munge",
        role: "aggregator",
        sets: &[
            "container=agg",
            "munge=host",
            "storage=/on-host/storage",
            "compid=7",
            "pid=private",
        ],
        differs: &[("+env COMPID=7", SLIP)],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, ui",
        text: UI,
        given: &[NAMED],
        role: "ui",
        sets: &[CONTAINER, "dsosd_conf=/on-host/dsosd.conf", "settings_py=/on-host/settings.py"],
        differs: &[
            ("-mount /on-host/dsosd.conf -> /opt/ovis/etc/dsosd.conf rw", COPY),
            ("+mount /etc/ldms/ui/dsosd.conf -> /opt/ovis/etc/dsosd.conf ro", KEPT),
            ("-mount /on-host/settings.py -> /opt/ovis/ui/sosgui/settings.py rw", COPY),
            ("+mount /etc/ldms/ui/settings.py -> /opt/ovis/ui/sosgui/settings.py ro", KEPT),
        ],
        ..ROW
    },
    Row {
        place: "LDMS UI Back-End Container, SYNOPSIS",
        text: UI,
        chosen: &["--http-socket", "OTHER"],
        given: &[
            NAMED,
            ("<ADDR>", "10.0.0.5"),
            ("<PORT>", "8080"),
            ("OTHER uWSGI OPTIONS", "--processes 4"),
        ],
        role: "ui",
        sets: &[
            CONTAINER,
            "address=10.0.0.5",
            "port=8080",
            "args=--processes 4",
            "config_writable=yes",
        ],
        differs: &[
            ("-mount /on-host/dsosd.conf -> /opt/ovis/etc/dsosd.conf rw", COPY),
            ("+mount /etc/ldms/ui/dsosd.conf -> /opt/ovis/etc/dsosd.conf rw", COPY),
            ("-mount /on-host/settings.py -> /opt/ovis/ui/sosgui/settings.py rw", COPY),
            ("+mount /etc/ldms/ui/settings.py -> /opt/ovis/ui/sosgui/settings.py rw", COPY),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, ui back-end",
        text: r"docker run -d --network=host --privileged \
         -v /on-host/dsosd.conf:/opt/ovis/etc/dsosd.conf \
         -v /on-host/settings.py:/opt/ovis/ui/sosgui/settings.py \
         ovishpc/ldms-ui",
        role: "ui",
        differs: &[
            ("+name ldms-ui", UNNAMED),
            ("-mount /on-host/dsosd.conf -> /opt/ovis/etc/dsosd.conf rw", COPY),
            ("+mount /etc/ldms/ui/dsosd.conf -> /opt/ovis/etc/dsosd.conf ro", KEPT),
            ("-mount /on-host/settings.py -> /opt/ovis/ui/sosgui/settings.py rw", COPY),
            ("+mount /etc/ldms/ui/settings.py -> /opt/ovis/ui/sosgui/settings.py ro", KEPT),
        ],
        ..ROW
    },
    Row {
        place: "LDMS UI Back-End Container, Usage example",
        text: r"docker run -d --name=ui --network=host --privileged \
           -v /HOST/dsosd.conf:/opt/ovis/etc/dsosd.conf \
           -v /HOST/settings.py:/opt/ovis/ui/sosgui/settings.py \
         ovishpc/ldms-ui",
        role: "ui",
        sets: &["container=ui"],
        differs: &[
            ("-mount /HOST/dsosd.conf -> /opt/ovis/etc/dsosd.conf rw", COPY),
            ("+mount /etc/ldms/ui/dsosd.conf -> /opt/ovis/etc/dsosd.conf ro", KEPT),
            ("-mount /HOST/settings.py -> /opt/ovis/ui/sosgui/settings.py rw", COPY),
            ("+mount /etc/ldms/ui/settings.py -> /opt/ovis/ui/sosgui/settings.py ro", KEPT),
        ],
        ..ROW
    },
    Row {
        place: "SYNOPSIS, grafana",
        text: GRAFANA,
        given: &[NAMED],
        role: "grafana",
        sets: &[CONTAINER],
        differs: &[
            ("+env GF_SERVER_HTTP_PORT=3000", DEFAULT),
            ("+mount /etc/ldms/grafana/grafana.ini -> /etc/grafana/grafana.ini ro", INI),
        ],
        ..ROW
    },
    Row {
        place: "LDMS-Grafana Container, SYNOPSIS",
        text: GRAFANA,
        chosen: &["grafana.ini", "HTTP_ADDR", "HTTP_PORT", "OTHER"],
        given: &[
            NAMED,
            ("<ADDR>", "10.0.0.5"),
            ("<PORT>", "3001"),
            ("OTHER GRAFANA-SERVER OPTIONS", "cfg:default.users.default_theme=light"),
        ],
        role: "grafana",
        sets: &[
            CONTAINER,
            "grafana_ini=/on-host/grafana.ini",
            "address=10.0.0.5",
            "port=3001",
            "args=cfg:default.users.default_theme=light",
        ],
        differs: &[
            ("-mount /on-host/grafana.ini -> /etc/grafana/grafana.ini ro", COPY),
            ("+mount /etc/ldms/grafana/grafana.ini -> /etc/grafana/grafana.ini ro", COPY),
        ],
        ..ROW
    },
    Row {
        place: "EXAMPLES, grafana",
        text: "docker run -d --privileged --network=host ovishpc/ldms-grafana",
        role: "grafana",
        differs: &[
            ("+name ldms-grafana", UNNAMED),
            ("+env GF_SERVER_HTTP_PORT=3000", DEFAULT),
            ("+mount /etc/ldms/grafana/grafana.ini -> /etc/grafana/grafana.ini ro", INI),
        ],
        ..ROW
    },
    Row {
        place: "LDMS-Grafana Container",
        text: "docker run -d --name=grafana --privileged --network=host ovishpc/ldms-grafana",
        role: "grafana",
        sets: &["container=grafana"],
        differs: &[
            ("+env GF_SERVER_HTTP_PORT=3000", DEFAULT),
            ("+mount /etc/ldms/grafana/grafana.ini -> /etc/grafana/grafana.ini ro", INI),
        ],
        ..ROW
    },
];
