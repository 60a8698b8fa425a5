//! The packet filter's part.

use cni_firewall::{Nft, masquerade};
use cni_types::CniError;

use super::host::Host;
use super::names::Endpoint;
use super::state::EndpointRecord;

/// Removes all rules of an endpoint. Where nothing is remembered of it, they are searched for.
///
/// Returns the socket, since closing it takes its time.
pub(super) fn remove_all(
    host: &Host,
    endpoint: &Endpoint,
    record: Option<&EndpointRecord>,
    errors: &mut Vec<CniError>,
) -> Option<Nft> {
    let mut nft = match host.nft() {
        Ok(nft) => nft,
        Err(error) => {
            errors.push(error.into());
            return None;
        }
    };
    let addresses = record.map(|record| record.addresses.as_slice());
    let outcomes = [masquerade::remove(&mut nft, &endpoint.owner, addresses)];
    let failures = outcomes.into_iter().filter_map(Result::err);
    errors.extend(failures.map(CniError::from));
    Some(nft)
}
