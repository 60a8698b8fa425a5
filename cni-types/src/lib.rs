//! The Container Network Interface contract, and nothing else.
//!
//! `CNI_*` variables and a JSON document come in, a result or an error goes out. This crate is
//! pure: it never talks to the kernel and never opens a file, so all of it is tested without root.
//! Everything follows the [CNI specification] 1.1.0 and, where the specification is silent, Go's
//! `encoding/json`, which is what the reference plugins' users have been relying on.
//!
//! [CNI specification]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md

mod cidr;
mod mac;
mod names;

pub use cidr::{CidrError, IpCidr};
pub use mac::{MacAddr, MacError};
pub use names::{Attachment, ContainerId, IfName, NameError, NetworkName};
