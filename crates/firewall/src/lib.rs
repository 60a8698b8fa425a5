//! Netfilter: the only crate that speaks to it.
//!
//! - [`nft`][]: `nf_tables` over netlink, without a process; transactions are values.
//! - [`masquerade`][]: `ipMasq`.
//! - [`spoofcheck`][]: `macspoofchk`.
//! - [`iptables`][]: `ipMasq` for those who ask for iptables.
//! - [`mod@reference`][]: what the reference plugins left behind.
//! - [`owner`][]: whose a rule is.
//!
//! Rules are fixed and attachments are elements of sets, tagged with their owner, so that an ADD
//! costs the same with ten thousand attachments as with none. DEL and GC take away what carries the
//! right tag and nothing else.

mod error;
pub mod iptables;
pub mod masquerade;
pub mod nft;
pub mod owner;
pub mod reference;
mod registry;
pub mod spoofcheck;
mod wire;

pub use error::{Cause, FirewallError, Operation};
pub use nft::Nft;
