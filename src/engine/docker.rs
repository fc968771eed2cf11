//! docker: the daemon sets limits, so they are flags.

use crate::service::Service;

/// Flags of `docker run` for a service, without what `units/docker.service` always adds.
pub fn flags(service: &Service) -> Vec<String> {
    let mut flags = super::common_flags(service);
    if let Some(files) = service.nofile {
        flags.push(format!("--ulimit=nofile={files}:{files}"));
    }
    if service.unlimited_memlock {
        flags.push("--ulimit=memlock=-1:-1".into());
    }
    flags
}
