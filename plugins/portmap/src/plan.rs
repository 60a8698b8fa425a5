//! What is to be published, given what the plugins before have made.

use cni_firewall::iptables::hostports::HostPorts;
use cni_firewall::portmap::{Masquerade, Publication};
use cni_types::{CniResult, IfName, IpCidr};

use crate::config::{Backend, PortmapConfig};

/// What is published, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    Nftables(Publication),
    Iptables(HostPorts),
}

impl Plan {
    /// `loopback` is the interface that leads to the container's IPv4 address.
    pub(crate) fn new(
        config: PortmapConfig,
        addresses: Vec<IpCidr>,
        loopback: Option<IfName>,
    ) -> Self {
        let publication = Publication {
            masquerade: config.masquerade,
            mark: config.mark,
            loopback,
            ..Publication::new(addresses, config.mappings)
        };
        match config.backend {
            Backend::Nftables {
                condition_v4,
                condition_v6,
            } => Self::Nftables(Publication {
                condition_v4,
                condition_v6,
                ..publication
            }),
            Backend::Iptables {
                set_mark_chain,
                condition_v4,
                condition_v6,
            } => Self::Iptables(HostPorts {
                publication,
                set_mark_chain,
                condition_v4,
                condition_v6,
            }),
        }
    }

    pub(crate) fn publication(&self) -> &Publication {
        match self {
            Self::Nftables(publication) => publication,
            Self::Iptables(ports) => &ports.publication,
        }
    }
}

/// The container's addresses in a result: of each family the first one that belongs to `ifname` in
/// a sandbox, or to no interface that is told.
pub(crate) fn addresses(result: &CniResult, ifname: &IfName) -> Vec<IpCidr> {
    let is_own = |index: usize| {
        result.interfaces.get(index).is_none_or(|interface| {
            interface.name == ifname.as_str() && !interface.sandbox.is_empty()
        })
    };
    let own = result
        .ips
        .iter()
        .filter(|ip| ip.interface.is_none_or(is_own));
    let mut addresses: Vec<IpCidr> = Vec::new();
    for address in own.map(|ip| ip.address) {
        let has_family = |other: &IpCidr| other.is_ipv6() == address.is_ipv6();
        if !addresses.iter().any(has_family) {
            addresses.push(address);
        }
    }
    addresses
}

/// The IPv4 address that mapped ports lead to from the host's loopback, if any of them do: whoever
/// connects there has a source address that can only come back masqueraded.
pub(crate) fn address_behind_loopback(
    config: &PortmapConfig,
    addresses: &[IpCidr],
) -> Option<IpCidr> {
    let reaches_loopback = config.mappings.iter().any(|mapping| {
        mapping.is_for(false)
            && mapping
                .host_ip
                .is_none_or(|host| host.is_unspecified() || host.is_loopback())
    });
    if config.masquerade == Masquerade::Never || !reaches_loopback {
        return None;
    }
    addresses.iter().copied().find(|address| !address.is_ipv6())
}

#[cfg(test)]
mod tests;
