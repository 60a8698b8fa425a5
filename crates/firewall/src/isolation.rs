//! Networks that lead nowhere: what is forwarded between their bridge and other interfaces is
//! dropped, both ways.
//!
//! ```text
//! table inet tenon_isolation {
//!     set internal {
//!         type ifname
//!         elements = { "br-1a2b3c4d5e6f" comment "..." }
//!     }
//!     set inside {
//!         type ifname . ifname
//!         elements = { "br-1a2b3c4d5e6f" . "br-1a2b3c4d5e6f" comment "..." }
//!     }
//!     chain forward {
//!         type filter hook forward priority filter; policy accept;
//!         iifname @internal iifname . oifname != @inside drop
//!         oifname @internal iifname . oifname != @inside drop
//!     }
//! }
//! ```
//!
//! The second set is what "the same interface" is to `nf_tables`, which cannot compare two of a
//! packet's properties: what a bridge forwards between its own ports comes by here where
//! `br_netfilter` is loaded. The host itself reaches the network, and is reached by it.

use cni_types::{Attachment, IfName};

use crate::error::{FirewallError, Operation};
use crate::matches::interface_key;
use crate::nft::{Expr, Family, Hook, Meta, Nft, Part, Register, Table, Type, Verdict};
use crate::owner::{self, Tag};
use crate::registry::{Chain, Layout, Missing, Place, Registry, Set};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_isolation",
};
/// The bridges.
const INTERNAL: &str = "internal";
/// Each bridge with itself.
const INSIDE: &str = "inside";
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: |_none| false,
};

/// Isolates the network behind a bridge. Doing it again changes nothing.
///
/// # Errors
/// The kernel refused, or has no `nf_tables`.
pub fn add(nft: &mut Nft, owner: &Attachment, bridge: &IfName) -> Result<(), FirewallError> {
    let nothing_else = |_nft: &mut Nft| Ok(Vec::new());
    REGISTRY
        .add(nft, &layout(bridge), &owner::comment(owner), nothing_else)
        .map_err(|cause| cause.during(Operation::AddIsolation, bridge))
}

/// Stops it. A bridge that is somebody else's by now stays isolated; the last one takes the table
/// with it. A kernel without `nf_tables` has nothing to remove.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn remove(nft: &mut Nft, owner: &Attachment, bridge: &IfName) -> Result<(), FirewallError> {
    let owner = Tag::new(owner);
    REGISTRY
        .remove(nft, |tag| tag == owner, &layout(bridge).places)
        .map(drop)
        .map_err(|cause| cause.during(Operation::RemoveIsolation, bridge))
}

/// What is missing of what [`add`] makes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(
    nft: &mut Nft,
    owner: &Attachment,
    bridge: &IfName,
) -> Result<Vec<Missing>, FirewallError> {
    REGISTRY
        .check(nft, &layout(bridge), Tag::new(owner))
        .map_err(|cause| cause.during(Operation::CheckIsolation, bridge))
}

/// What the table has to hold for a bridge.
pub(crate) fn layout(bridge: &IfName) -> Layout {
    let set = |name: &str, key| Set {
        name: name.to_owned(),
        key,
        data: None,
        rules: Vec::new(),
    };
    let place = |set: &str, key, name| Place {
        set: set.to_owned(),
        key,
        data: None,
        name,
    };
    let key = interface_key(bridge);
    Layout {
        chains: vec![Chain {
            name: "forward",
            hook: Some(Hook::FORWARD),
            rules: vec![rule(Meta::InputName), rule(Meta::OutputName)],
        }],
        sets: vec![
            set(INTERNAL, Type(&[Part::Interface])),
            set(INSIDE, Type(&[Part::Interface, Part::Interface])),
        ],
        places: vec![
            place(INTERNAL, key.clone(), bridge.to_string()),
            place(INSIDE, key.repeat(2), format!("what stays in {bridge}")),
        ],
    }
}

/// `iifname @internal iifname . oifname != @inside drop`
fn rule(end: Meta) -> Vec<Expr> {
    vec![
        Expr::Meta(end, Register::FIRST),
        Expr::Lookup {
            set: INTERNAL.to_owned(),
            inverted: false,
        },
        Expr::Meta(Meta::InputName, Register::FIRST),
        Expr::Meta(Meta::OutputName, Register::word(4)),
        Expr::Lookup {
            set: INSIDE.to_owned(),
            inverted: true,
        },
        Expr::Verdict(Verdict::Drop),
    ]
}
