//! The packet filter's part.

use cni_firewall::{FirewallError, Nft, isolation, masquerade, portmap};
use cni_types::CniError;

use super::external;
use super::host::{Host, Made};
use super::names::Endpoint;
use super::state::{EndpointRecord, State};

/// Closes an internal network in. To look is cheaper than to do it again.
pub(super) fn ensure_isolation(host: &Host, made: &Made) -> Result<(), FirewallError> {
    if !made.config.internal {
        return Ok(());
    }
    let (mut nft, owner, bridge) = (host.nft()?, &made.network.owner, &made.config.bridge);
    if isolation::check(&mut nft, owner, bridge)?.is_empty() {
        return Ok(());
    }
    isolation::add(&mut nft, owner, bridge)
}

/// Opens an internal network again.
pub(super) fn remove_isolation(host: &Host, made: &Made) -> Result<(), FirewallError> {
    if !made.config.internal {
        return Ok(());
    }
    isolation::remove(&mut host.nft()?, &made.network.owner, &made.config.bridge)
}

/// What is missing of the rules of an endpoint and of its network, in words.
pub(super) fn missing(
    host: &Host,
    made: &Made,
    (endpoint, record): (&Endpoint, &EndpointRecord),
) -> Result<Vec<String>, CniError> {
    let mut missing = Vec::new();
    let mut nft = host.nft()?;
    if made.config.internal {
        let (owner, bridge) = (&made.network.owner, &made.config.bridge);
        missing.extend(isolation::check(&mut nft, owner, bridge)?);
    }
    let masqueraded = made.config.masqueraded(&record.addresses);
    if !masqueraded.is_empty() {
        missing.extend(masquerade::check(&mut nft, &endpoint.owner, &masqueraded)?);
    }
    if let Some(published) = external::publication(made, record)? {
        missing.extend(portmap::check(&mut nft, &endpoint.owner, &published)?);
    }
    Ok(missing.iter().map(ToString::to_string).collect())
}

/// Removes all rules of an endpoint. Where nothing is remembered of it, they are searched for.
///
/// Returns the socket, since closing it takes its time.
pub(super) fn remove_all(
    host: &Host,
    state: &State,
    (endpoint, record): (&Endpoint, Option<&EndpointRecord>),
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
    let masquerade = masquerade::remove(&mut nft, &endpoint.owner, addresses);
    errors.extend(masquerade.err().map(CniError::from));
    errors.extend(external::remove(host, state, (endpoint, record), &mut nft).err());
    Some(nft)
}
