//! `macspoofchk`: a container's frames must carry the container's own MAC address.
//!
//! ```text
//! table bridge tenon_spoofcheck {
//!     set guarded {
//!         type ifname
//!         elements = { "veth1a2b3c4d" comment "..." }
//!     }
//!     set bindings {
//!         type ifname . ether_addr
//!         elements = { "veth1a2b3c4d" . 02:00:00:00:00:01 comment "..." }
//!     }
//!     chain prerouting {
//!         type filter hook prerouting priority dstnat; policy accept;
//!         iifname @guarded iifname . ether saddr != @bindings drop
//!     }
//! }
//! ```

use cni_types::{Attachment, IfName, MacAddr, NetworkName};

use crate::error::{Cause, FirewallError, Operation};
use crate::matches::interface_key;
use crate::nft::{
    Change, Expr, Family, Header, Hook, Meta, Nft, Part, Register, Table, Type, Verdict,
};
use crate::owner::{self, Tag};
use crate::registry::{Chain, Layout, Missing, Place, Registry, Set};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Bridge,
    name: "tenon_spoofcheck",
};
/// The ports whose frames are looked at.
const GUARDED: &str = "guarded";
/// The addresses that they may send from.
const BINDINGS: &str = "bindings";
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: |_none| false,
};

/// Which address may be used behind which bridge port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The host's end of the veth pair.
    pub host_ifname: IfName,
    /// The container's address.
    pub mac: MacAddr,
}

/// Drops what comes in by the port with another source address. Addresses that somebody else left
/// behind for a port of the same name are no longer allowed. Doing it again changes nothing.
///
/// # Errors
/// The kernel refused, or has no `nf_tables` for bridges.
pub fn add(nft: &mut Nft, attachment: &Attachment, binding: &Binding) -> Result<(), FirewallError> {
    let comment = owner::comment(attachment);
    REGISTRY
        .add(nft, &layout(binding), &comment, |nft| {
            delete_strangers(nft, binding)
        })
        .map_err(|cause| cause.during(Operation::AddSpoofCheck, attachment))
}

/// Stops it. Elements that belong to another attachment by now stay.
///
/// With the `binding`, as ADD had it, the cost does not depend on how many there are in all;
/// without it the whole table is read. The last one takes the table with it. A kernel without
/// `nf_tables` has nothing to remove.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    binding: Option<&Binding>,
) -> Result<(), FirewallError> {
    let owner = Tag::new(attachment);
    let is_own = |tag| tag == owner;
    match binding {
        Some(binding) => REGISTRY.remove(nft, is_own, &layout(binding).places),
        None => REGISTRY.sweep(nft, is_own),
    }
    .map(drop)
    .map_err(|cause| cause.during(Operation::RemoveSpoofCheck, attachment))
}

/// What is missing of what [`add`] makes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    binding: &Binding,
) -> Result<Vec<Missing>, FirewallError> {
    REGISTRY
        .check(nft, &layout(binding), Tag::new(attachment))
        .map_err(|cause| cause.during(Operation::CheckSpoofCheck, attachment))
}

/// Removes what belongs to the network and to none of its `valid` attachments. Answers how many
/// elements that were.
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
        .map_err(|cause| cause.during(Operation::CollectSpoofCheck, network))
}

/// Other addresses that are allowed behind the same port.
fn delete_strangers(nft: &mut Nft, binding: &Binding) -> Result<Vec<Change>, Cause> {
    let port = interface_key(&binding.host_ifname);
    let allowed = binding_key(binding);
    let strangers = nft
        .elements(TABLE, BINDINGS)?
        .into_iter()
        .filter(|element| element.key.starts_with(&port) && element.key != allowed);
    Ok(strangers
        .map(|element| Change::DeleteElement {
            table: TABLE,
            set: BINDINGS.to_owned(),
            key: element.key,
        })
        .collect())
}

/// What the table has to hold for a binding.
pub(crate) fn layout(binding: &Binding) -> Layout {
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
    let Binding { host_ifname, mac } = binding;
    Layout {
        chains: vec![Chain {
            name: "prerouting",
            hook: Some(Hook::BRIDGE_INPUT),
            rules: vec![rule()],
        }],
        sets: vec![
            set(GUARDED, Type(&[Part::Interface])),
            set(BINDINGS, Type(&[Part::Interface, Part::Ether])),
        ],
        places: vec![
            place(GUARDED, interface_key(host_ifname), host_ifname.to_string()),
            place(
                BINDINGS,
                binding_key(binding),
                format!("{mac} behind {host_ifname}"),
            ),
        ],
    }
}

/// The name and the address side by side; the address is padded to whole registers.
fn binding_key(binding: &Binding) -> Vec<u8> {
    let mut key = interface_key(&binding.host_ifname);
    key.extend(binding.mac.bytes());
    key.extend([0, 0]);
    key
}

/// `iifname @guarded iifname . ether saddr != @bindings drop`
fn rule() -> Vec<Expr> {
    let load_port = Expr::Meta(Meta::InputName, Register::FIRST);
    vec![
        load_port.clone(),
        Expr::Lookup {
            set: GUARDED.to_owned(),
            inverted: false,
        },
        load_port,
        Expr::Payload {
            header: Header::Link,
            offset: 6, // the source, behind the destination
            length: 6,
            register: Register::word(4),
        },
        Expr::Lookup {
            set: BINDINGS.to_owned(),
            inverted: true,
        },
        Expr::Verdict(Verdict::Drop),
    ]
}
