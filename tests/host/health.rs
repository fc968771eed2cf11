//! A sampler whose port cannot be tried from the host, since it has a network of its own: whether
//! it works is asked with `ldms_ls` in its container, whose words are told where it does not.

use crate::machine::{Kind, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::medium::Medium;
use crate::node::{INSTALL, ask_inside, assert_nothing_there, ends, wait};

fn is_asked_in_its_container(kind: Kind, network: &str) {
    let medium = Medium::with_test_profiles();
    let host = kind.host().hostname("nid00100").bind_ro(&medium.dir, "/media/ldms");
    let host = host.bind_ro(&medium.keys, "/media/keys").boot();
    let refused = ends(&host, 1, &INSTALL.replace("sampler", "deaf"));
    for word in [
        "ldms-deaf.service",
        "does not work after 5 seconds",
        "in its container `ldms_ls -x sock -p 411 -h localhost` ends with 1: Connection failed/rejected.",
        // What ldmsd itself says of that.
        "auth munge",
        "undone",
    ] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert_nothing_there(&host, kind.engine);

    // The product's sampler, asked with munge.
    host.ok(&format!("{INSTALL} --set network={network}"));
    let own = format!("{} exec ldms-sampler readlink /proc/self/ns/net", kind.engine);
    assert_ne!(host.ok(&own), host.ok("readlink /proc/self/ns/net"));
    assert_eq!(ask_inside(&host, kind.engine, "-p 411 -a munge")["compid"], "100");
    // On the host's own network nobody listens: its check cannot have been that.
    host.ok("! ss -ltn | grep ':411 '");

    // An ldmsd that ends has no container to ask in: then its own words are told.
    let change = "cd /media/ldms && ldms-install --yes --set args='-c /etc/hostname'";
    let refused = ends(&host, 1, change);
    for word in ["ldms-sampler.service", "unknown command", "undone"] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    let client = "ldms_ls -x sock -h localhost -p 411 -a munge";
    wait(&host, 30, &format!("{} exec ldms-sampler {client} | grep -x compid=100", kind.engine));
}

/// On podman's default bridge.
#[test]
fn a_sampler_with_a_network_of_its_own_is_asked_in_its_container_by_podman() {
    is_asked_in_its_container(TRIXIE_PODMAN, "podman");
}

/// Without any: on docker's bridge munge waits, at each call, for name servers of the internet.
#[test]
fn a_sampler_with_a_network_of_its_own_is_asked_in_its_container_by_docker() {
    is_asked_in_its_container(TRIXIE_DOCKER, "none");
}
