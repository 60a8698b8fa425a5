//! `nf_tables` over netlink, without a process.
//!
//! [`Change`]s and [`Transaction`]s are values; [`Nft`] is the one thing here that talks to the
//! kernel. docs/decisions/003-nf-tables.md tells why the wire format is written here and not
//! taken from a crate.

mod change;
mod encode;
mod expr;
#[cfg(test)]
pub(crate) mod fake;
mod fuzzing;
mod number;
mod query;
mod socket;
mod userdata;
mod view;

pub use change::{Change, Family, Hook, Part, Table, Transaction, Type};
pub use expr::{Ct, Expr, Header, Meta, Register, Relation, Verdict};
pub(crate) use fuzzing::read_as_everything;
pub(crate) use query::{Answer, Glance, Question};
pub use socket::Nft;
pub(crate) use userdata::COMMENT_MAX;
pub use view::{BaseChain, Element, Rule};
