//! What is asked for from iptables: the reference's own rules, by its names, so that either suite
//! can remove what the other one made.
//!
//! ADD is one `iptables-restore --noflush` for each family: atomic, under one lock. Removal needs
//! no process at all where iptables is a front of `nf_tables`, as it is nearly everywhere: its
//! chains and rules are removed like any others, in one transaction.

pub mod hostports;
mod masquerade;
mod process;
mod tables;
mod text;

use std::fmt;

pub use masquerade::{add, check, gc, remove, restore_for_add, restore_for_remove, wanted};
pub(crate) use masquerade::{has_chain, remove_from};
pub use tables::Family;

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
