//! The bridge of a network, and what the host needs for it.

use std::time::{Duration, Instant};

use cni_firewall::{FirewallError, Nft};
use cni_netlink::{
    CreateBridge, Dad, Link, LinkId, NetlinkError, Socket, add_address, delete_address,
    delete_link, set_alias, set_master, set_port, set_up, sysctl,
};
use cni_types::{CniError, ErrorCode, IfName, IpCidr};

use super::config::NetworkConfig;
use super::endpoint::find_host_end;
use super::error::BridgeError;
use super::filter;
use super::loopback;
use super::names::Network;
use super::state::{NetworkRecord, State};

pub(super) const IPV4_FORWARDING: [&str; 3] = ["net", "ipv4", "ip_forward"];
pub(super) const IPV6_FORWARDING: [&str; 5] = ["net", "ipv6", "conf", "all", "forwarding"];

/// A network that has been made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) network: Network,
    pub(super) config: NetworkConfig,
    pub(super) record: NetworkRecord,
}

impl Made {
    /// What was remembered of a network.
    pub(super) fn load(state: &State, network: &Network) -> Result<Option<Self>, CniError> {
        let Some(record) = state.network(network)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            network: network.clone(),
            config: NetworkConfig::parse(&record.request)?,
            record,
        }))
    }

    /// The same; a network that was never made is an error.
    pub(super) fn get(state: &State, network: &Network) -> Result<Self, CniError> {
        let missing = || BridgeError::NoNetwork(network.as_str().to_owned());
        Ok(Self::load(state, network)?.ok_or_else(missing)?)
    }

    /// Whether a bridge is the one that was made for the network.
    pub(super) fn is_own(&self, bridge: &Link) -> bool {
        self.record.mac.is_some() && self.record.mac == bridge.mac
    }
}

/// The host for the time of one call: the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) socket: Socket,
    pub(super) deadline: Instant,
}

impl Host {
    /// Nothing waits longer than until `deadline`.
    pub(super) fn open(deadline: Instant) -> Result<Self, CniError> {
        let socket = Socket::open()?;
        socket.set_timeout(remaining(deadline)).map_err(|error| {
            CniError::new(
                ErrorCode::KERNEL,
                "failed to set the timeout of the rtnetlink socket",
            )
            .with_details(error.to_string())
        })?;
        Ok(Self { socket, deadline })
    }

    pub(super) fn nft(&self) -> Result<Nft, FirewallError> {
        let mut nft = Nft::open()?;
        nft.set_patience(remaining(self.deadline));
        Ok(nft)
    }

    /// The bridge of that name, if there is one.
    pub(super) fn find_bridge(&self, name: &IfName) -> Result<Option<Link>, CniError> {
        match self.socket.find_link(name)? {
            Some(link) if !link.is_kind("bridge") => {
                Err(BridgeError::NotABridge(name.clone()).into())
            }
            found => Ok(found),
        }
    }

    /// Makes the bridge what the network was told, whatever has become of it: a reboot takes it
    /// away, with its addresses and the forwarding.
    pub(super) fn ensure_bridge(&self, state: &State, made: &mut Made) -> Result<LinkId, CniError> {
        let found = self.find_bridge(&made.config.bridge)?;
        let is_new = found.is_none();
        let (id, own) = match found {
            Some(link) => {
                if !link.is_up() {
                    self.socket.request(&set_up(&link.id()))?;
                }
                (link.id(), made.is_own(&link))
            }
            None => (self.make_bridge(state, made)?, true),
        };
        self.ensure_addresses(state, made, (&id, own))?;
        filter::ensure_isolation(self, made)?;
        forward(&made.config)?;
        if is_new {
            loopback::restore(self, state, made)?;
        }
        Ok(id)
    }

    fn make_bridge(&self, state: &State, made: &Made) -> Result<LinkId, CniError> {
        let name = &made.config.bridge;
        let gone = || BridgeError::BridgeGone(name.clone());
        let create = CreateBridge {
            name: name.clone(),
            // Always the same, so that neighbours need not learn another one, and known before it
            // is made, so that it can be told from somebody else's.
            mac: Some(made.record.mac.ok_or_else(gone)?),
            mtu: made.config.mtu,
            vlan_filtering: false,
            up: true,
        };
        let id = match self.socket.create_bridge(&create) {
            // Another call was quicker.
            Err(error) if error.is_exists() => match self.find_bridge(name)? {
                Some(link) => return Ok(link.id()),
                None => return Err(error.into()),
            },
            other => other?,
        };
        // The bridge is a router's leg, not a host that configures itself. A kernel without IPv6
        // has no such switches.
        let off = if made.config.ipv6 { "0" } else { "1" };
        for (key, value) in [("accept_ra", "0"), ("disable_ipv6", off)] {
            let _no_ipv6 = sysctl::write(&["net", "ipv6", "conf", name.as_str(), key], value);
        }
        self.socket
            .request(&set_alias(&id, &made.network.bridge_alias()))?;
        self.adopt_ports(state, made, &id)?;
        Ok(id)
    }

    /// Endpoints that lived through the loss of their bridge come back to it.
    fn adopt_ports(&self, state: &State, made: &Made, bridge: &LinkId) -> Result<(), CniError> {
        for id in state.endpoints(&made.network)? {
            let endpoint = made.network.endpoint(&id)?;
            let end = find_host_end(self, state, &endpoint)?;
            let Some((link, _other)) = end.filter(|(link, _other)| link.master.is_none()) else {
                continue;
            };
            let record = state.endpoint(&endpoint)?;
            let hairpin = record.is_some_and(|record| !record.ports.is_empty());
            let (port, isolated) = (link.id(), !made.config.icc);
            let mut changes = vec![set_master(&port, Some(bridge.index))];
            if hairpin || isolated {
                let flag = |wanted: bool| wanted.then_some(true);
                changes.push(set_port(&port, flag(hairpin), flag(isolated)));
            }
            ignore_gone(self.socket.send_all(&changes).map_err(NetlinkError::from))?;
        }
        Ok(())
    }

    /// What the bridge has of somebody else's stays. What it is given is remembered before, if it
    /// is not the network's own and so does not go with it.
    fn ensure_addresses(
        &self,
        state: &State,
        made: &mut Made,
        (bridge, own): (&LinkId, bool),
    ) -> Result<(), CniError> {
        let missing = self.missing_addresses(&made.config, bridge)?;
        let is_known = |cidr: &IpCidr| made.record.added.contains(cidr);
        if !own && !missing.iter().all(is_known) {
            self.remember_addresses(state, made, &missing)?;
        }
        for cidr in missing {
            match self.socket.request(&add_address(bridge, cidr, Dad::Skip)) {
                // Another call was quicker.
                Err(error) if error.is_exists() => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    fn remember_addresses(
        &self,
        state: &State,
        made: &mut Made,
        missing: &[IpCidr],
    ) -> Result<(), CniError> {
        let _lock = state.lock(self.deadline)?;
        // Another call may have changed it since.
        let gone = || BridgeError::NoNetwork(made.network.as_str().to_owned());
        let mut record = state.network(&made.network)?.ok_or_else(gone)?;
        let new = missing.iter().filter(|cidr| !record.added.contains(cidr));
        let new: Vec<IpCidr> = new.copied().collect();
        record.added.extend(new);
        state.write_network(&made.network, &record)?;
        made.record = record;
        Ok(())
    }

    /// The addresses that the bridge is to have and has not.
    pub(super) fn missing_addresses(
        &self,
        config: &NetworkConfig,
        bridge: &LinkId,
    ) -> Result<Vec<IpCidr>, NetlinkError> {
        let has = self.socket.addresses(Some(bridge))?;
        let has = |cidr: &IpCidr| has.iter().any(|address| address.cidr == *cidr);
        Ok(config
            .bridge_addresses()
            .filter(|cidr| !has(cidr))
            .collect())
    }

    /// Takes the bridge away if it was made for the network and nobody else has put a port on it,
    /// and otherwise what it was given.
    pub(super) fn remove_bridge(&self, made: &Made) -> Result<(), CniError> {
        let link = match self.socket.find_link(&made.config.bridge)? {
            Some(link) if link.is_kind("bridge") => link,
            _ => return Ok(()),
        };
        let id = link.id();
        if !made.is_own(&link) {
            let given = made.record.added.iter();
            let removed = given.map(|cidr| self.socket.request(&delete_address(&id, *cidr)));
            let errors = removed.filter_map(|outcome| ignore_gone(outcome).err());
            return CniError::collect(errors.map(CniError::from));
        }
        if self.socket.bridge_ports(&id)?.is_empty() {
            ignore_gone(self.socket.request(&delete_link(&id)))?;
        }
        Ok(())
    }
}

/// Lets the host forward packets, whose switch is left as it is by networks that go: others may
/// rely on it.
fn forward(config: &NetworkConfig) -> Result<(), CniError> {
    let mut before = None;
    if config.forwards(false) {
        before = sysctl::write_if_different(&IPV4_FORWARDING, "1")?;
    }
    if config.forwards(true)
        && let Err(error) = sysctl::write_if_different(&IPV6_FORWARDING, "1")
    {
        let back = before.map(|before| sysctl::write(&IPV4_FORWARDING, &before));
        let error = CniError::from(error);
        return Err(match back {
            Some(Err(second)) => error.and(format_args!("also: {second}")),
            _ => error,
        });
    }
    Ok(())
}

/// A timeout of zero would be none at all.
fn remaining(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// What is gone needs no changing.
pub(super) fn ignore_gone<T>(outcome: Result<T, NetlinkError>) -> Result<(), NetlinkError> {
    match outcome {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}
