//! What the host forwards: addresses that are let through where others are not, and bridges that are
//! kept apart.
//!
//! ```text
//! table inet tenon_forward {
//!     set open_v4 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     set same-bridge_cni0_v4 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     chain between { oifname "cni0" meta nfproto ipv4 drop }
//!     chain forward {
//!         type filter hook forward priority filter; policy accept;
//!         iifname "cni0" oifname != "cni0" meta nfproto ipv4 jump between
//!     }
//! }
//! ```
//!
//! **Letting through cannot be done from a table of our own**: the kernel asks all chains at a hook,
//! and one drop is final. So it happens where the drop would (`doors`, or iptables' own table),
//! and `open_v4` and its like only tell for whom: rules of iptables and sources of firewalld have no
//! room for an owner. Keeping apart is a drop, and works from here.
//!
//! docs/decisions/010-forwarding.md tells which backend serves which host.

mod bridged;
mod doors;
mod iptables;
mod layout;
mod owners;

use std::net::IpAddr;

use cni_types::{Attachment, FastPaths, IfName, NetworkName};

use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{Family, Nft, Table};
use crate::owner::{self, Tag};
use crate::registry::{Missing, Registry};

pub use iptables::{AdminChain, AdminChainError, Opened};
pub(crate) use layout::layout;
pub use owners::Held;

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_forward",
};
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: |_all| true,
};

/// Who else may open connections to containers behind a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Those behind the same bridge, but none behind another bridge with a policy.
    SameBridge,
    /// Nobody behind any bridge with a policy, this one included.
    Isolated,
}

/// A bridge with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// Which.
    pub policy: Policy,
    /// The bridge.
    pub bridge: IfName,
}

/// Who keeps the rules that let addresses through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// `nf_tables`: the chains that would drop; iptables only where that is one of them.
    Nftables(AdminChain),
    /// iptables, by the reference's chains; the policies too.
    Iptables(AdminChain),
    /// firewalld: nobody here.
    Firewalld,
}

/// What an attachment wants of what the host forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// The bridge that it is behind, if that is to have a policy.
    pub ingress: Option<Ingress>,
    /// Who lets them through.
    pub keeper: Keeper,
    /// Whether iptables' rules are copied from those of other containers, where there are any,
    /// instead of its being run.
    pub fast_paths: FastPaths,
}

/// Something that ADD made and that is not there any more, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// In `nf_tables`.
    #[error("{0}")]
    Nftables(Missing),
    /// In iptables.
    #[error("{program} -t filter does not print: {rule}")]
    Iptables {
        /// Which of its programs.
        program: &'static str,
        /// The rule.
        rule: String,
    },
}

/// Lets the addresses through and sets the policy; with [`Keeper::Firewalld`], only the latter. Doing
/// it again changes nothing.
///
/// What iptables was asked for is told to `opened` as soon as it is done: undoing is [`shut`] for
/// each, and [`remove`].
///
/// # Errors
/// The kernel or iptables refused.
pub fn add(
    nft: &mut Nft,
    attachment: &Attachment,
    forwarding: &Forwarding,
    mut opened: impl FnMut(Opened),
) -> Result<(), FirewallError> {
    let mut add = |nft: &mut Nft| {
        let mut own = forwarding.clone();
        iptables::leave_what_is_there(nft, &mut own)?;
        let comment = owner::comment(attachment);
        bridged::add(nft, forwarding, &comment)?;
        let nothing_else = |_nft: &mut Nft| Ok(Vec::new());
        match REGISTRY.add(nft, &layout(&own), &comment, nothing_else) {
            // Then there is iptables in the kernel's old tables, or firewalld with them: they work
            // without anybody knowing for whom.
            Err(cause) if cause.is_unsupported() && own.works_without_nf_tables() => {}
            other => other?,
        }
        iptables::add(nft, forwarding, &mut opened)?;
        doors::add(nft, forwarding, &comment)
    };
    add(nft).map_err(|cause: Cause| cause.during(Operation::AddForwarding, attachment))
}

/// Takes back what iptables was asked for by an ADD that failed.
///
/// # Errors
/// The kernel or iptables refused.
pub fn shut(nft: &mut Nft, attachment: &Attachment, opened: &Opened) -> Result<(), FirewallError> {
    iptables::shut(nft, opened)
        .map_err(|cause| cause.during(Operation::RemoveForwarding, attachment))
}

/// What an attachment has, as far as it is known: for [`remove`], and for whoever else let its
/// addresses through. `known` are the addresses that it had; those that somebody else has by now are
/// not among the answer.
///
/// # Errors
/// The kernel cannot be asked.
pub fn held(
    nft: &mut Nft,
    attachment: &Attachment,
    known: &[IpAddr],
) -> Result<Held, FirewallError> {
    let own = Tag::new(attachment);
    owners::held(nft, |tag| tag == own, known)
        .map_err(|cause| cause.during(Operation::RemoveForwarding, attachment))
}

/// What attachments of the network have that are none of the `valid` ones: for [`collect`].
///
/// # Errors
/// The kernel cannot be asked.
pub fn stale(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
) -> Result<Held, FirewallError> {
    owners::held(nft, owner::stale(network, valid), &[])
        .map_err(|cause| cause.during(Operation::CollectForwarding, network))
}

/// Removes everything of an attachment, by whatever backend it was made, the reference's rules too.
/// A kernel without `nf_tables` has but iptables' rules to remove.
///
/// # Errors
/// The kernel or iptables refused. The rest has been removed all the same.
pub fn remove(nft: &mut Nft, attachment: &Attachment, held: &Held) -> Result<(), FirewallError> {
    let own = Tag::new(attachment);
    withdraw(nft, held, |tag| tag == own)
        .map_err(|cause| cause.during(Operation::RemoveForwarding, attachment))
}

/// Removes everything of the network that belongs to none of its `valid` attachments.
///
/// # Errors
/// The kernel or iptables refused. The rest has been removed all the same.
pub fn collect(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
    held: &Held,
) -> Result<(), FirewallError> {
    withdraw(nft, held, owner::stale(network, valid))
        .map_err(|cause| cause.during(Operation::CollectForwarding, network))
}

/// The owners' elements go after the rules that they tell about: whatever is interrupted is found
/// again.
fn withdraw(nft: &mut Nft, held: &Held, condemned: impl Fn(Tag) -> bool) -> Result<(), Cause> {
    let rules = iptables::close(nft, &held.in_iptables());
    let doors = doors::remove(nft, &condemned);
    let bridged = bridged::remove(nft, &condemned);
    rules?;
    iptables::release_idle(nft, &held.places)?;
    let gone = REGISTRY.remove(nft, &condemned, &held.places);
    let policies = gone.and_then(|gone| iptables::release(nft, &gone));
    doors.and(bridged).and(policies)
}

/// What is missing of what [`add`] makes. Makes nothing.
///
/// # Errors
/// The kernel cannot be asked, or iptables failed.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    forwarding: &Forwarding,
) -> Result<Vec<Lost>, FirewallError> {
    let owner = Tag::new(attachment);
    let check = |nft: &mut Nft| {
        let mut missing = bridged::check(nft, forwarding, owner)?;
        missing.extend(doors::check(nft, forwarding, owner)?);
        // Owners are told to DEL and GC alone; the reference tells none.
        if forwarding.ingress.is_some() && !matches!(forwarding.keeper, Keeper::Iptables(_)) {
            missing.extend(REGISTRY.check(nft, &layout(forwarding), owner)?);
        }
        let mut lost: Vec<Lost> = missing.into_iter().map(Lost::Nftables).collect();
        lost.extend(iptables::check(nft, forwarding)?);
        Ok(lost)
    };
    check(nft).map_err(|cause: Cause| cause.during(Operation::CheckForwarding, attachment))
}

impl Forwarding {
    /// Whether it does all it has to without a rule of `nf_tables`.
    fn works_without_nf_tables(&self) -> bool {
        match self.keeper {
            Keeper::Nftables(_) => false,
            Keeper::Iptables(_) => true,
            Keeper::Firewalld => self.ingress.is_none(),
        }
    }

    fn of_family(&self, v6: bool) -> impl Iterator<Item = IpAddr> {
        let of_family = self.addresses.iter().copied();
        of_family.filter(move |address| address.is_ipv6() == v6)
    }
}
