//! `ipMasq`: what a container sends beyond its subnet leaves with the host's address.
//!
//! ```text
//! table inet tenon_masquerade {
//!     set from_10.1.0.0/16 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat; policy accept;
//!         ip daddr 224.0.0.0/4 return
//!         ip6 daddr ff00::/8 return
//!         ip saddr @from_10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade
//!     }
//! }
//! ```
//!
//! A set and a rule for each subnet, an element for each address: an ADD to a known subnet is one
//! element, whatever the number of containers, and a connection's first packet looks up one set
//! for each subnet. docs/decisions/003-nf-tables.md tells why not one map of verdicts.

mod rules;

use cni_types::{Attachment, IpCidr, NetworkName};

use crate::error::{FirewallError, Operation};
use crate::nft::{Family, Nft, Table};
use crate::owner::{self, Tag};
use crate::registry::{Missing, Registry};

pub(crate) use rules::layout;

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_masquerade",
};
/// Its chain.
const CHAIN: &str = "postrouting";
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: |_each| true,
};

/// Masquerades what these addresses send beyond their subnets.
///
/// One transaction with nothing but the elements where the subnets are known already; otherwise the
/// rules are looked at and completed. Doing it again changes nothing.
///
/// # Errors
/// The kernel refused, or has no `nf_tables` with NAT.
pub fn add(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<(), FirewallError> {
    let comment = owner::comment(attachment);
    REGISTRY
        .add(nft, &layout(addresses), &comment, |_nft| Ok(Vec::new()))
        .map_err(|cause| cause.during(Operation::AddMasquerade, attachment))
}

/// Stops it. Elements that belong to another attachment by now stay.
///
/// With `addresses`, as ADD had them, the cost does not depend on how many there are in all;
/// without them the whole table is read. The last address of a subnet takes the subnet's set and
/// rule with it, the last one of all the table. A kernel without `nf_tables` has nothing to remove.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
) -> Result<(), FirewallError> {
    let owner = Tag::new(attachment);
    let is_own = |tag| tag == owner;
    match addresses {
        Some(addresses) => REGISTRY.remove(nft, is_own, &layout(addresses).places),
        None => REGISTRY.sweep(nft, is_own),
    }
    .map(drop)
    .map_err(|cause| cause.during(Operation::RemoveMasquerade, attachment))
}

/// What is missing of what [`add`] makes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<Vec<Missing>, FirewallError> {
    REGISTRY
        .check(nft, &layout(addresses), Tag::new(attachment))
        .map_err(|cause| cause.during(Operation::CheckMasquerade, attachment))
}

/// Removes what belongs to the network and to none of its `valid` attachments. Answers how many
/// addresses that were.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn gc(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
) -> Result<usize, FirewallError> {
    REGISTRY
        .sweep(nft, owner::stale(network, valid))
        .map(|places| places.len())
        .map_err(|cause| cause.during(Operation::CollectMasquerade, network))
}
