//! Published ports of the host's loopback addresses.
//!
//! The kernel takes packets of 127.0.0.0/8 for impossible on any interface but `lo`, unless the
//! interface's `route_localnet` says otherwise. It is switched on for a bridge while ports are
//! published by way of it, when the packet filter keeps out what others send to such addresses.

use cni_firewall::{Nft, portmap};
use cni_netlink::sysctl;
use cni_types::{CniError, IfName};

use super::host::{Host, Made};
use super::names::Network;
use super::state::State;

fn key(bridge: &IfName) -> [&str; 5] {
    ["net", "ipv4", "conf", bridge.as_str(), "route_localnet"]
}

/// Switches it on for the bridge of a network that publishes ports, and remembers that it was off.
///
/// Under the lock: otherwise an endpoint that goes could switch it off behind one that comes.
pub(super) fn enter(host: &Host, state: &State, network: &Network) -> Result<(), CniError> {
    let _lock = state.lock(host.deadline)?;
    let mut made = Made::get(state, network)?;
    let key = key(&made.config.bridge);
    if sysctl::read(&key)? == "1" {
        return Ok(());
    }
    if !made.record.localnet {
        made.record.localnet = true;
        state.write_network(network, &made.record)?;
    }
    Ok(sysctl::write(&key, "1")?)
}

/// Switches it on for a bridge that has been made again, if ports are published by way of it.
pub(super) fn restore(host: &Host, state: &State, made: &Made) -> Result<(), CniError> {
    if made.record.localnet && portmap::uses_loopback(&mut host.nft()?, &made.config.bridge)? {
        enter(host, state, &made.network)?;
    }
    Ok(())
}

/// Switches it off again, if it was off before, for a bridge by which nobody is reached any more.
pub(super) fn leave(
    host: &Host,
    state: &State,
    (network, idle): (&Network, &[IfName]),
    nft: &mut Nft,
) -> Result<(), CniError> {
    let made = Made::load(state, network)?;
    let Some(made) = made.filter(|made| made.record.localnet && idle.contains(&made.config.bridge))
    else {
        return Ok(());
    };
    let _lock = state.lock(host.deadline)?;
    // Somebody may have come while the lock was waited for.
    if portmap::uses_loopback(nft, &made.config.bridge)? {
        return Ok(());
    }
    match sysctl::write(&key(&made.config.bridge), "0") {
        Err(error) if !error.is_gone() => Err(error.into()),
        _ => Ok(()),
    }
}
