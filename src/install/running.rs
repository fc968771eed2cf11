//! What shall run of a service: the service itself, then its companions.

use std::path::PathBuf;

use crate::munge::Proof;
use crate::plan::WantedService;
use crate::service::{Check, Service};

/// The service, which reads the files `uses` at its start and whose munge is proven first, and the
/// companions in its container, in the order in which they start.
pub fn wanted(
    service: &Service,
    uses: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    proof: Option<Proof>,
) -> Vec<WantedService> {
    let itself = WantedService {
        name: service.name.clone(),
        role: service.role.clone(),
        companion_of: None,
        unit: service.unit(),
        image: service.image_reference.clone(),
        container: service.container.clone(),
        needs: service.numbers_unit().into_iter().collect(),
        uses,
        writes,
        ports: service.ports.clone(),
        checks: service.checks.clone(),
        start_timeout: service.start_timeout,
        proof,
    };
    let companions = service.companions.iter().map(|companion| WantedService {
        name: companion.full_name(),
        companion_of: Some(service.name.clone()),
        unit: companion.unit(),
        needs: Vec::new(),
        uses: Vec::new(),
        writes: Vec::new(),
        ports: Vec::new(),
        checks: vec![Check::Running],
        proof: None,
        ..itself.clone()
    });
    let companions: Vec<_> = companions.collect();
    std::iter::once(itself).chain(companions).collect()
}
