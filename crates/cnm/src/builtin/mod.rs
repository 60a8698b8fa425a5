//! The drivers that libnetwork has inside itself, behind the same traits as those that serve HTTP.
//!
//! - [`BridgeDriver`][]: network driver `bridge`.
//! - [`BareDriver`][]: network drivers `null` and `host`.
//! - [`ipam`][]: IPAM drivers `default` and `null`.
//!
//! They work without a daemon: what they have to remember is in files, and every call finds there
//! what earlier ones left, whoever made them. A failure is a
//! [`Cause::Failed`](crate::Cause::Failed) that holds a [`CniError`](cni_types::CniError), with its
//! code, the chain of its causes and a hint.

mod bare;
mod bridge;
pub mod ipam;

pub use bare::BareDriver;
pub use bridge::{BridgeDriver, EndpointLinks};

use crate::wire::network;

/// All that is built in is of one node.
fn local() -> network::Capabilities {
    network::Capabilities {
        scope: "local".to_owned(),
        ..network::Capabilities::default()
    }
}
