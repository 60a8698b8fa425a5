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

use std::collections::BTreeSet;
use std::fmt;

use cni_types::{Attachment, IfName, MacAddr, NetworkName};

use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{
    BaseChain, Change, Element, Expr, Family, Header, Hook, KeyType, Meta, Nft, Register, Rule,
    Table, Transaction, Verdict,
};
use crate::owner::{self, Tag};
use crate::registry::{Place, Registry, Seen, claim, tag_of};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Bridge,
    name: "tenon_spoofcheck",
};
/// Its chain.
pub const CHAIN: &str = "prerouting";
/// The ports whose frames are looked at.
const GUARDED: &str = "guarded";
/// The addresses that they may send from.
const BINDINGS: &str = "bindings";
const REGISTRY: Registry = Registry {
    table: TABLE,
    chain: CHAIN,
    sets_come_and_go: false,
};

/// Which address may be used behind which bridge port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The host's end of the veth pair.
    pub host_ifname: IfName,
    /// The container's address.
    pub mac: MacAddr,
}

/// Something that ADD made and that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The chain is not called by the kernel as it should be.
    Chain,
    /// The rule that drops.
    Rule,
    /// The port is not looked at.
    Port(IfName),
    /// The container's address is not allowed.
    Mac(MacAddr),
    /// An element that is tagged as somebody else's.
    OfOther {
        /// The port.
        host_ifname: IfName,
        /// The comment of the element.
        comment: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => write!(f, "chain {TABLE} {CHAIN} is missing or not at its hook"),
            Self::Rule => write!(f, "chain {TABLE} {CHAIN} has not its rule"),
            Self::Port(port) => write!(f, "table {TABLE} does not guard {port}"),
            Self::Mac(mac) => write!(f, "table {TABLE} does not know {mac}"),
            Self::OfOther {
                host_ifname,
                comment,
            } => write!(
                f,
                "the guard of {host_ifname} is of another owner: {comment}"
            ),
        }
    }
}

/// What the kernel has for a binding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The ruleset's generation when it was read.
    pub generation: u32,
    /// The rules of our chain.
    pub rules: Vec<Rule>,
    /// The element of the port, and that of the port with the address.
    pub elements: Vec<Option<Element>>,
    /// Other addresses that are allowed behind the same port.
    pub strangers: Vec<Vec<u8>>,
}

/// Drops what comes in by the port with another source address. Doing it again changes nothing.
///
/// # Errors
/// The kernel refused, or has no `nf_tables` for bridges.
pub fn add(nft: &mut Nft, attachment: &Attachment, binding: &Binding) -> Result<(), FirewallError> {
    let (places, comment) = (places(binding), owner::comment(attachment));
    REGISTRY
        .add(
            nft,
            &[GUARDED, BINDINGS],
            (&places, &comment),
            |nft, seen| {
                let observed = observe(nft, binding, seen)?;
                Ok(plan_add(attachment, binding, &observed))
            },
        )
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
    match binding {
        Some(binding) => REGISTRY.remove(nft, owner, &places(binding)),
        None => REGISTRY.sweep(nft, |tag| tag == owner),
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
    let failed = |cause: Cause| cause.during(Operation::CheckSpoofCheck, attachment);
    let seen = REGISTRY
        .look_up(nft, &[], &places(binding))
        .map_err(failed)?;
    let observed = Observed {
        generation: seen.generation,
        rules: nft.rules(TABLE, CHAIN).map_err(failed)?,
        elements: seen.elements,
        strangers: Vec::new(),
    };
    let chain = nft.base_chain(TABLE, CHAIN).map_err(failed)?;
    Ok(missing(attachment, binding, &observed, chain.as_ref()))
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
    let prefix = Tag::network_prefix(network);
    let valid: BTreeSet<Tag> = valid.iter().map(Tag::new).collect();
    REGISTRY
        .sweep(nft, |tag| {
            tag.has_network_prefix(prefix) && !valid.contains(&tag)
        })
        .map_err(|cause| cause.during(Operation::CollectSpoofCheck, network))
}

fn observe(nft: &mut Nft, binding: &Binding, seen: Seen) -> Result<Observed, Cause> {
    let port = port_key(&binding.host_ifname);
    let allowed = binding_key(binding);
    let strangers = nft
        .elements(TABLE, BINDINGS)?
        .into_iter()
        .map(|element| element.key)
        .filter(|key| key.starts_with(&port) && *key != allowed)
        .collect();
    Ok(Observed {
        generation: seen.generation,
        rules: nft.rules(TABLE, CHAIN)?,
        elements: seen.elements,
        strangers,
    })
}

/// All that is missing, elements included. Addresses that somebody else left behind for a port of
/// the same name are no longer allowed.
#[must_use]
pub fn plan_add(attachment: &Attachment, binding: &Binding, observed: &Observed) -> Transaction {
    let mut changes = vec![
        Change::AddTable(TABLE),
        Change::AddChain {
            table: TABLE,
            chain: CHAIN,
            hook: Hook::BRIDGE_INPUT,
        },
        Change::AddSet {
            table: TABLE,
            set: GUARDED.to_owned(),
            key: KeyType::Interface,
        },
        Change::AddSet {
            table: TABLE,
            set: BINDINGS.to_owned(),
            key: KeyType::InterfaceAndMac,
        },
    ];
    if !has_rule(&observed.rules) {
        changes.push(Change::AddRule {
            table: TABLE,
            chain: CHAIN,
            rule: rule(),
        });
    }
    changes.extend(observed.strangers.iter().map(|key| Change::DeleteElement {
        table: TABLE,
        set: BINDINGS.to_owned(),
        key: key.clone(),
    }));
    let comment = owner::comment(attachment);
    let claims = claim(TABLE, &places(binding), &observed.elements, &comment);
    changes.extend(claims);
    Transaction {
        generation: Some(observed.generation),
        changes,
    }
}

fn missing(
    attachment: &Attachment,
    binding: &Binding,
    observed: &Observed,
    chain: Option<&BaseChain>,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    if !chain.is_some_and(|chain| Hook::BRIDGE_INPUT.is_of(chain)) {
        missing.push(Missing::Chain);
    }
    if !has_rule(&observed.rules) {
        missing.push(Missing::Rule);
    }
    let owner = Tag::new(attachment);
    let absent = [
        Missing::Port(binding.host_ifname.clone()),
        Missing::Mac(binding.mac),
    ];
    for (absent, element) in absent.into_iter().zip(&observed.elements) {
        match element {
            None => missing.push(absent),
            Some(element) if tag_of(element) != Some(owner) => missing.push(Missing::OfOther {
                host_ifname: binding.host_ifname.clone(),
                comment: element.comment.clone().unwrap_or_default(),
            }),
            Some(_ours) => {}
        }
    }
    missing
}

fn places(binding: &Binding) -> [Place; 2] {
    [
        Place {
            set: GUARDED.to_owned(),
            key: port_key(&binding.host_ifname),
        },
        Place {
            set: BINDINGS.to_owned(),
            key: binding_key(binding),
        },
    ]
}

/// An interface name as `meta iifname` loads it: 16 bytes, padded with zeros.
fn port_key(host_ifname: &IfName) -> Vec<u8> {
    let mut key = host_ifname.as_str().as_bytes().to_vec();
    key.resize(nix::libc::IFNAMSIZ, 0);
    key
}

/// The name and the address side by side; the address is padded to whole registers.
fn binding_key(binding: &Binding) -> Vec<u8> {
    let mut key = port_key(&binding.host_ifname);
    key.extend(binding.mac.bytes());
    key.extend([0, 0]);
    key
}

fn has_rule(rules: &[Rule]) -> bool {
    rules.iter().any(|has| has.expressions == rule())
}

/// `iifname @guarded iifname . ether saddr != @bindings drop`
fn rule() -> Vec<Expr> {
    let load_port = Expr::Meta(Meta::InputName, Register::First);
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
            register: Register::Second,
        },
        Expr::Lookup {
            set: BINDINGS.to_owned(),
            inverted: true,
        },
        Expr::Verdict(Verdict::Drop),
    ]
}
