//! Networks: how they are made and removed.

use std::time::Instant;

use cni_netlink::random_mac;
use cni_types::CniError;

use super::config::NetworkConfig;
use super::endpoint;
use super::error::BridgeError;
use super::filter;
use super::host::{Host, Made};
use super::names::Network;
use super::state::{NetworkRecord, State};
use crate::wire::network::CreateNetworkRequest;

/// Makes a network. Doing it again, with the same options, makes it whole again.
pub(super) fn create(
    state: &State,
    request: &CreateNetworkRequest,
    deadline: Instant,
) -> Result<(), CniError> {
    let network = Network::new(&request.network_id)?;
    let config = NetworkConfig::parse(request)?;
    let host = Host::open(deadline)?;
    let (mut made, is_new) = remember(&host, state, (network, config, request), deadline)?;
    let Err(error) = host.ensure_bridge(state, &mut made) else {
        return Ok(());
    };
    if !is_new {
        return Err(error);
    }
    Err(match take_down(&host, state, &made, deadline) {
        Ok(()) => error,
        Err(second) => error.and(format_args!("also: {second}")),
    })
}

/// Writes down what is about to be made, so that it can be removed whatever happens. Answers whether
/// it is new.
fn remember(
    host: &Host,
    state: &State,
    (network, config, request): (Network, NetworkConfig, &CreateNetworkRequest),
    deadline: Instant,
) -> Result<(Made, bool), CniError> {
    let _lock = state.lock(deadline)?;
    if let Some(record) = state.network(&network)? {
        if record.request != *request {
            return Err(BridgeError::NetworkExists(network.as_str().to_owned()).into());
        }
        let made = Made {
            network,
            config,
            record,
        };
        return Ok((made, false));
    }
    refuse_conflicts(state, &network, &config)?;
    let alias = network.bridge_alias();
    let (mac, added) = match host.find_bridge(&config.bridge)? {
        None => (Some(random_mac()), Vec::new()),
        // It was made for this network, and somebody has removed our memory of it.
        Some(link) if link.alias.as_deref() == Some(&alias) => (link.mac, Vec::new()),
        Some(foreign) => (None, host.missing_addresses(&config, &foreign.id())?),
    };
    let record = NetworkRecord {
        request: request.clone(),
        mac,
        added,
        localnet: false,
    };
    state.write_network(&network, &record)?;
    let made = Made {
        network,
        config,
        record,
    };
    Ok((made, true))
}

/// As libnetwork: no two networks share a bridge or an address.
fn refuse_conflicts(
    state: &State,
    network: &Network,
    config: &NetworkConfig,
) -> Result<(), CniError> {
    for id in state.networks()? {
        let Some(other) = Made::load(state, &Network::new(&id)?)? else {
            continue;
        };
        if let Some(what) = config.conflict(&other.config) {
            return Err(BridgeError::Conflict {
                id: network.as_str().to_owned(),
                bridge: config.bridge.clone(),
                other: id,
                what,
            }
            .into());
        }
    }
    Ok(())
}

/// Removes a network, with what is left of its endpoints.
pub(super) fn delete(state: &State, network_id: &str, deadline: Instant) -> Result<(), CniError> {
    let network = Network::new(network_id)?;
    let Some(made) = Made::load(state, &network)? else {
        return Ok(());
    };
    take_down(&Host::open(deadline)?, state, &made, deadline)
}

/// Everything that can be removed is; the network is forgotten only if all was.
fn take_down(host: &Host, state: &State, made: &Made, deadline: Instant) -> Result<(), CniError> {
    let mut errors = Vec::new();
    for id in state.endpoints(&made.network)? {
        let removed = made.network.endpoint(&id).map_err(CniError::from);
        let removed = removed.and_then(|left| endpoint::remove(host, state, &left));
        errors.extend(removed.err());
    }
    errors.extend(host.remove_bridge(made).err());
    errors.extend(
        filter::remove_isolation(host, made)
            .err()
            .map(CniError::from),
    );
    CniError::collect(errors)?;
    let _lock = state.lock(deadline)?;
    Ok(state.remove_network(&made.network)?)
}
