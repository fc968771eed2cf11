//! podman: the container inherits the unit's limits, so they are in the unit.

use crate::service::Service;

/// Flags of `podman run` for a service, without what `units/podman.service` always adds.
pub fn flags(service: &Service) -> Vec<String> {
    super::common_flags(service)
}
