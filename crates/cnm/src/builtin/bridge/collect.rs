//! What is of a network and of none of the endpoints that it should have.

use cni_firewall::{masquerade, portmap};
use cni_netlink::{Link, delete_link};
use cni_types::{Attachment, CniError};

use super::host::{Host, ignore_gone};
use super::loopback;
use super::names::{Endpoint, Network};
use super::state::State;

/// Removes it; goes on after an error and tells all at the end.
pub(super) fn collect(
    host: &Host,
    state: &State,
    (network, valid): (&Network, &[Endpoint]),
) -> Result<(), CniError> {
    let outcomes = [
        collect_links(host, network, valid),
        collect_rules(host, state, (network, valid)),
        collect_records(state, network, valid),
    ];
    CniError::collect(outcomes.into_iter().filter_map(Result::err))
}

fn collect_links(host: &Host, network: &Network, valid: &[Endpoint]) -> Result<(), CniError> {
    let links = host.socket.links()?;
    let is_stale = |link: &&Link| {
        let alias = link.alias.as_deref();
        link.is_kind("veth") && network.is_stale(alias, valid) || network.is_abandoned(link, valid)
    };
    let stale = links.iter().filter(is_stale);
    let deleted = stale.map(|link| ignore_gone(host.socket.request(&delete_link(&link.id()))));
    CniError::collect(deleted.filter_map(Result::err).map(CniError::from))
}

fn collect_rules(
    host: &Host,
    state: &State,
    (network, valid): (&Network, &[Endpoint]),
) -> Result<(), CniError> {
    let owners: Vec<Attachment> = valid
        .iter()
        .map(|endpoint| endpoint.owner.clone())
        .collect();
    let mut nft = host.nft()?;
    let masquerade = masquerade::gc(&mut nft, network.name(), &owners);
    let ports = portmap::gc(&mut nft, network.name(), &owners);
    let idle = ports
        .as_ref()
        .map_or([].as_slice(), |removed| &removed.idle);
    let loopback = loopback::leave(host, state, (network, idle), &mut nft);
    let errors = [
        masquerade.err().map(CniError::from),
        ports.err().map(CniError::from),
    ];
    CniError::collect(errors.into_iter().flatten().chain(loopback.err()))
}

fn collect_records(state: &State, network: &Network, valid: &[Endpoint]) -> Result<(), CniError> {
    for id in state.endpoints(network)? {
        if !valid.iter().any(|endpoint| endpoint.as_str() == id) {
            state.remove_endpoint(&network.endpoint(&id)?)?;
        }
    }
    Ok(())
}
