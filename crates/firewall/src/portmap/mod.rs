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
//! docs/decisions/008-port-mappings.md has the whole ruleset and tells why it is this one.
//!
//! A library for whoever publishes ports: the chained plugin, and drivers that do it themselves.
//! IPv4 loopback needs, besides, `route_localnet` of the interface that leads to the container:
//! [`Publication::loopback`] and [`Removed::idle`] tell when.

mod admit;
mod condition;
mod layout;
mod publication;
mod rules;

use cni_types::{Attachment, IfName, NetworkName};

use crate::conntrack::{self, Locality};
use crate::error::{Cause, FirewallError, Operation};
use crate::matches::interface_key;
use crate::nft::{Family, Nft, Table};
use crate::owner::{self, Tag};
use crate::registry::{Missing, Place, Registry};

pub use condition::{Condition, ConditionError};
pub(crate) use layout::{layout, port_name};
pub use publication::{Mapping, MarkBit, Masquerade, Protocol, Publication, UnknownProtocol};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_portmap",
};
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: layout::goes_when_empty,
};

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
/// changes nothing; other ports that the attachment has published stay, until [`remove`]. After an
/// error, nothing is published.
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
        let added = REGISTRY.add_if(nft, &layout, &comment, |nft, found| {
            admit::admit(nft, owner, publication, (&layout.places, found))
        });
        let may_be_done = added.as_ref().err().is_none_or(Cause::is_unheard);
        let forgotten = added.and_then(|()| forget_older(nft, publication));
        if forgotten.is_err() && may_be_done {
            // Half done is not done; the error that counts is the first one.
            let _also_failed = withdraw(nft, |tag| tag == owner);
        }
        forgotten
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
