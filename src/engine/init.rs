//! The small init that an engine puts in front of a program which would ignore SIGTERM as
//! process 1: engines bring it as a program of its own, which some hosts do not have.

use super::Kind;
use crate::service::Service;

/// Lets services go without an init where the engine has no program for it (`there`): they work,
/// and only their stop is slower, whereas the engine would refuse to start them. Gives what the
/// administrator should know.
pub fn settle(services: &mut [Service], kind: Kind, there: bool) -> Option<String> {
    if there {
        return None;
    }
    let (program, package) = match kind {
        Kind::Docker => ("docker-init", "tini or docker-init"),
        Kind::Podman => ("catatonit", "catatonit"),
    };
    let mut without = Vec::new();
    for service in services.iter_mut().filter(|service| service.init) {
        service.init = false;
        without.push(format!("{} {} s", service.name, service.stop_timeout.as_secs()));
    }
    (!without.is_empty()).then(|| {
        format!(
            "{kind} has no {program} here, so a stop takes its whole time: {}; install it \
             (package {package}) and run ldms-install again",
            without.join(", ")
        )
    })
}
