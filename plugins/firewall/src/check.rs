//! CHECK: is everything that ADD made still there? It asks, and makes nothing.

use cni_firewall::Nft;
use cni_firewall::forward::{self, Forwarding};
use cni_plugin::AttachmentRequest;
use cni_types::CniError;

use crate::backend::Backend;
use crate::config::{FirewallConfig, addresses, prev_result};
use crate::error::FirewallError;

/// Compares, and tells all differences in one error.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = FirewallConfig::load(&request.request)?;
    let result = prev_result(request)?;
    let ingress = config.ingress(&result)?;
    let backend = Backend::choose(&config)?;
    let forwarding = Forwarding {
        addresses: addresses(&result),
        ingress,
        keeper: backend.keeper,
        fast_paths: request.request.env.fast_paths,
    };
    let lost = forward::check(&mut Nft::open()?, &request.attachment, &forwarding)?;
    let mut found: Vec<FirewallError> = lost.into_iter().map(FirewallError::Lost).collect();
    if let Some(firewalld) = &backend.firewalld {
        let zone = &config.zone;
        for address in forwarding.addresses {
            if !firewalld.has_source(address, zone)? {
                let zone = zone.clone();
                found.push(FirewallError::NotInZone { address, zone });
            }
        }
    }
    CniError::collect(found.into_iter().map(CniError::from))
}
