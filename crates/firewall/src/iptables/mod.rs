//! What is asked for from iptables: the reference's own rules, by its names, so that either suite
//! can remove what the other one made.
//!
//! ADD is one `iptables-restore --noflush` for each family: atomic, under one lock. Removal needs
//! no process at all where iptables is a front of `nf_tables`, as it is nearly everywhere: its
//! chains and rules are removed like any others, in one transaction.

pub(crate) mod forward;
pub mod hostports;
mod masquerade;
mod process;
mod tables;
mod text;
mod turn;

use std::fmt;

use cni_types::Attachment;

use crate::error::{FirewallError, Operation};
use crate::nft::Nft;

pub(crate) use forward::KERNEL_FORWARD;
pub use masquerade::{add, check, gc, remove, restore_for_add, restore_for_remove, wanted};
pub(crate) use masquerade::{has_chain, remove_from};
pub use tables::Family;

/// Whether iptables of at least one family can be used.
///
/// # Errors
/// It cannot; tells why iptables of IPv4 cannot.
pub fn probe(nft: &Nft) -> Result<(), FirewallError> {
    let usable = |family: Family| family.save("nat", nft.patience()).map(drop);
    usable(Family::V4).or_else(|failed| {
        usable(Family::V6).map_err(|_also_failed| failed.during(Operation::Probe, "iptables"))
    })
}

/// Removes what those `found` have that have no `valid` attachment; GC's way, which is not stopped by
/// a failure. Answers how many they were.
fn remove_stale(
    mut found: Vec<Attachment>,
    valid: &[Attachment],
    remove: impl FnMut(&Attachment) -> Result<(), FirewallError>,
) -> Result<usize, FirewallError> {
    found.retain(|found| {
        valid
            .iter()
            .all(|valid| valid.container_id != found.container_id)
    });
    found.sort_unstable();
    found.dedup();
    // All are tried before the first error is told.
    let outcomes: Vec<_> = found.iter().map(remove).collect();
    outcomes
        .into_iter()
        .collect::<Result<Vec<()>, _>>()
        .map(|removed| removed.len())
}

/// A rule that ADD made and that is not there any more, as `iptables-save` would print it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Whose table.
    pub family: Family,
    /// The rule.
    pub rule: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.family.programs().save;
        write!(f, "{program} does not print: {}", self.rule)
    }
}
