//! STATUS: would an ADD work?

use cni_netlink::{Feature, Socket};
use cni_plugin::Request;
use cni_types::CniError;

use crate::config::{BandwidthConfig, Direction};
use crate::error::BandwidthError;

/// Tells what the kernel lacks of what the config asks for.
///
/// What single containers ask for through `runtimeConfig` is not known here. A node whose kernel
/// cannot do it still runs all others, so that is no reason to call it unavailable.
pub(crate) fn status(request: &Request) -> Result<(), CniError> {
    let config = BandwidthConfig::load(request)?;
    let mut needs = Vec::new();
    if config.ingress.is_some() {
        needs.push((Direction::Ingress, Feature::Tbf));
    }
    if config.egress.is_some() {
        let egress = [Feature::Tbf, Feature::Ifb, Feature::Ingress];
        needs.extend(egress.map(|feature| (Direction::Egress, feature)));
    }
    if needs.is_empty() {
        return Ok(());
    }
    let features: Vec<Feature> = needs.iter().map(|(_, feature)| *feature).collect();
    let missing = Socket::open()?.missing(&features)?;
    let missing = needs
        .iter()
        .filter(|(_, feature)| missing.contains(feature));
    CniError::collect(missing.map(|(direction, feature)| {
        CniError::from(BandwidthError::NotAvailable {
            key: direction.key(),
            missing: feature.to_string(),
        })
    }))
}
