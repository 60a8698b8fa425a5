//! Port mappings: what comes in at a port of the host goes to a container.
//!
//! ```text
//! table inet tenon_portmap {
//!     map any_v4 {
//!         type inet_proto . inet_service : ipv4_addr . inet_service
//!         elements = { tcp . 8080 comment "..." : 10.1.0.5 . 80 }
//!     }
//!     map at_v4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//!     set hairpin_10.1.0.0/16 { type ipv4_addr; elements = { 10.1.0.5 comment "..." } }
//!     chain prerouting {
//!         type nat hook prerouting priority dstnat; policy accept;
//!         fib daddr type local jump hostports
//!     }
//!     chain hostports {
//!         jump from_own_subnets
//!         jump with_conditions
//!         dnat ip to ip daddr . meta l4proto . th dport map @at_v4
//!         dnat ip to meta l4proto . th dport map @any_v4
//!         jump not_mapped
//!     }
//!     ...
//! }
//! ```
//!
//! A mapping is an element of a map: an ADD costs the same with five thousand mappings as with none,
//! and so does a connection's first packet, the only one that sees any of this.
//! docs/decisions/007-port-mappings.md has the whole ruleset and tells why it is this one.
//!
//! A library for whoever publishes ports: the chained plugin, and drivers that do it themselves.
//! IPv4 loopback needs, besides, `route_localnet` of the interface that leads to the container:
//! [`Publication::loopback`] and [`Removed::idle`] tell when.

mod admit;
mod condition;
mod layout;
mod rules;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use cni_types::{Attachment, IfName, IpCidr, NetworkName};

use crate::conntrack::{self, Locality};
use crate::error::{Cause, FirewallError, Operation};
use crate::matches::interface_key;
use crate::nft::{Family, Nft, Table};
use crate::owner::{self, Tag};
use crate::registry::{Missing, Place, Registry};

pub use condition::{Condition, ConditionError};
pub(crate) use layout::{layout, port_name};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_portmap",
};
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: layout::goes_when_empty,
};

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// `IPPROTO_*`
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// No protocol that ports can be mapped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {0:?}")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// In any case, as iptables takes it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(&protocol.to_string()))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// A port of the host and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The one address of the host that it is for. `None`: all, of both families; unspecified
    /// (`0.0.0.0`, `::`): all of one.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: NonZeroU16,
    /// The container's port.
    pub container_port: NonZeroU16,
    /// Of which protocol.
    pub protocol: Protocol,
}

impl Mapping {
    /// Whether the mapping is for packets of a family.
    #[must_use]
    pub fn is_for(&self, v6: bool) -> bool {
        self.host_ip.is_none_or(|address| address.is_ipv6() == v6)
    }

    /// The one address of the host that it is for.
    pub(crate) fn single_host(&self) -> Option<IpAddr> {
        self.host_ip.filter(|address| !address.is_unspecified())
    }
}

/// The bit of the packet mark that tells, on the way from the one hook to the other, that a packet
/// comes from the container's own subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MarkBit(u8);

impl MarkBit {
    /// `None` if there is no such bit: they are counted from 0 to 31.
    #[must_use]
    pub const fn new(bit: u8) -> Option<Self> {
        if bit < 32 { Some(Self(bit)) } else { None }
    }

    /// The number of the bit.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The mark that has this bit alone.
    #[must_use]
    pub const fn value(self) -> u32 {
        1 << self.0
    }
}

impl Default for MarkBit {
    /// The reference's: Kubernetes has 14 and 15, Calico 20 to 31.
    fn default() -> Self {
        Self(13)
    }
}

/// Which connections to a mapped port come to the container with the host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    /// None.
    Never,
    /// Those whose answers would not find their way back otherwise: from the container's own subnet,
    /// and over loopback.
    Needed,
    /// All.
    Always,
}

/// What an attachment publishes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The container's addresses with the prefix lengths of their subnets. The first one of each
    /// family is what ports are mapped to.
    pub addresses: Vec<IpCidr>,
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// Whose address the container sees.
    pub masquerade: Masquerade,
    /// How it is told, until then, who needs it.
    pub mark: MarkBit,
    /// The host's interface by which the container's IPv4 address is reached, if mapped ports are to
    /// be reached over loopback. The caller sets its `route_localnet`; packets from outside that
    /// claim to be for loopback, which the kernel lets through then, are dropped here.
    pub loopback: Option<IfName>,
    /// What else IPv4 packets have to be.
    pub condition_v4: Option<Condition>,
    /// What else IPv6 packets have to be.
    pub condition_v6: Option<Condition>,
}

impl Publication {
    /// Mappings that are masqueraded where needed, without loopback and without conditions.
    #[must_use]
    pub fn new(addresses: Vec<IpCidr>, mappings: Vec<Mapping>) -> Self {
        Self {
            addresses,
            mappings,
            masquerade: Masquerade::Needed,
            mark: MarkBit::default(),
            loopback: None,
            condition_v4: None,
            condition_v6: None,
        }
    }

    /// What ports of a family are mapped to.
    pub(crate) fn address(&self, v6: bool) -> Option<IpCidr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|address| address.is_ipv6() == v6)
    }

    fn condition(&self, v6: bool) -> Option<&Condition> {
        if v6 {
            self.condition_v6.as_ref()
        } else {
            self.condition_v4.as_ref()
        }
    }
}

/// What a removal found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many elements there were.
    pub elements: usize,
    /// Interfaces by which no container is reached over loopback any more: their `route_localnet`
    /// may be reset.
    pub idle: Vec<IfName>,
}

/// Publishes ports, and forgets the UDP connections that had been made to them before. Doing it again
/// changes nothing. After an error, nothing is published.
///
/// # Errors
/// A port is taken: [`Cause::PortTaken`] names its owner. A port is mapped twice. The kernel refused,
/// or has no `nf_tables` with NAT.
pub fn add(
    nft: &mut Nft,
    attachment: &Attachment,
    publication: &Publication,
) -> Result<(), FirewallError> {
    let add = |nft: &mut Nft| {
        let layout = layout(publication)?;
        if layout.places.is_empty() {
            return Ok(());
        }
        let comment = owner::comment(attachment);
        let owner = Tag::new(attachment);
        REGISTRY.add_if(nft, &layout, &comment, |nft, found| {
            admit::admit(nft, owner, publication, (&layout.places, found))
        })?;
        forget_older(nft, publication).inspect_err(|_failed| {
            // Half done is not done; the error that counts is the first one.
            let _also_failed = withdraw(nft, |tag| tag == owner);
        })
    };
    add(nft).map_err(|cause| cause.during(Operation::PublishPorts, attachment))
}

/// Withdraws whatever the attachment publishes, wherever it is, and forgets the UDP connections that
/// had been made to it. A kernel without `nf_tables` has nothing to remove.
///
/// Reads all of the table, but changes no more than is the attachment's.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn remove(nft: &mut Nft, attachment: &Attachment) -> Result<Removed, FirewallError> {
    let owner = Tag::new(attachment);
    withdraw(nft, |tag| tag == owner)
        .map_err(|cause| cause.during(Operation::WithdrawPorts, attachment))
}

/// What is missing of what [`add`] makes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    publication: &Publication,
) -> Result<Vec<Missing>, FirewallError> {
    let check = |nft: &mut Nft| match layout(publication)? {
        layout if layout.places.is_empty() => Ok(Vec::new()),
        layout => REGISTRY.check(nft, &layout, Tag::new(attachment)),
    };
    check(nft).map_err(|cause| cause.during(Operation::CheckPorts, attachment))
}

/// Withdraws what belongs to the network and to none of its `valid` attachments.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn gc(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
) -> Result<Removed, FirewallError> {
    withdraw(nft, owner::stale(network, valid))
        .map_err(|cause| cause.during(Operation::CollectPorts, network))
}

/// Whether any container is reached over loopback by way of an interface.
///
/// # Errors
/// The kernel cannot be asked.
pub fn uses_loopback(nft: &mut Nft, interface: &IfName) -> Result<bool, FirewallError> {
    is_loopback_used(nft, interface)
        .map_err(|cause| cause.during(Operation::CheckLoopback, interface))
}

fn is_loopback_used(nft: &mut Nft, interface: &IfName) -> Result<bool, Cause> {
    let by_way_of = interface_key(interface);
    let all = nft.elements(TABLE, layout::LOOPBACK)?;
    Ok(all
        .iter()
        .any(|element| element.key.starts_with(&by_way_of)))
}

fn withdraw(nft: &mut Nft, condemned: impl Fn(Tag) -> bool) -> Result<Removed, Cause> {
    let gone = REGISTRY.sweep(nft, condemned)?;
    forget_gone(nft, &gone)?;
    let mut removed = Removed {
        elements: gone.len(),
        idle: Vec::new(),
    };
    let mut interfaces: Vec<IfName> = gone.iter().filter_map(layout::loopback_interface).collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    for interface in interfaces {
        if !is_loopback_used(nft, &interface)? {
            removed.idle.push(interface);
        }
    }
    Ok(removed)
}

/// Refuses what another attachment publishes in `nf_tables`, for whoever publishes by other means.
pub(crate) fn ensure_free(
    nft: &mut Nft,
    attachment: &Attachment,
    publication: &Publication,
) -> Result<(), Cause> {
    let layout = layout(publication)?;
    let found = match REGISTRY.find(nft, &layout.places) {
        Err(cause) if cause.is_unsupported() => return Ok(()),
        other => other?,
    };
    let owner = Tag::new(attachment);
    admit::admit(nft, owner, publication, (&layout.places, &found))
}

/// Forgets what clients had going with these ports before they were mapped to this container.
pub(crate) fn forget_older(nft: &mut Nft, publication: &Publication) -> Result<(), Cause> {
    for v6 in [false, true] {
        let Some(container) = publication.address(v6) else {
            continue;
        };
        let udp: Vec<&Mapping> = publication
            .mappings
            .iter()
            .filter(|mapping| mapping.protocol == Protocol::Udp && mapping.is_for(v6))
            .collect();
        if udp.is_empty() {
            continue;
        }
        let mut locality = Locality::default();
        conntrack::forget(nft, v6, |connection| {
            let to = connection.destination;
            let is_mapped = udp.iter().any(|mapping| {
                mapping.host_port.get() == to.port()
                    && mapping.single_host().is_none_or(|host| host == to.ip())
            });
            is_mapped
                && connection.answers_from.ip() != container.addr()
                && locality.is_local(to.ip())
        })?;
    }
    Ok(())
}

/// Forgets what clients have going with ports that are not mapped any more.
fn forget_gone(nft: &mut Nft, gone: &[Place]) -> Result<(), Cause> {
    for v6 in [false, true] {
        let targets = layout::udp_targets(gone, v6);
        if !targets.is_empty() {
            conntrack::forget(nft, v6, |connection| {
                targets.contains(&(connection.destination.port(), connection.answers_from))
            })?;
        }
    }
    Ok(())
}
