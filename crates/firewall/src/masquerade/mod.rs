//! `ipMasq`: what a container sends beyond its subnet leaves with the host's address.
//!
//! ```text
//! table inet tenon_masquerade {
//!     set from_10.1.0.0/16 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat; policy accept;
//!         ip daddr 224.0.0.0/4 return
//!         ip6 daddr ff00::/8 return
//!         ip saddr @from_10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade
//!     }
//! }
//! ```
//!
//! A set and a rule for each subnet, an element for each address: an ADD to a known subnet is one
//! element, whatever the number of containers, and a connection's first packet looks up one set
//! for each subnet. docs/decisions/003-nf-tables.md tells why not one map of verdicts.

mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use cni_types::{Attachment, IpCidr, NetworkName};

use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{BaseChain, Change, Element, Expr, Family, Hook, Nft, Rule, Table, Transaction};
use crate::owner::{self, Tag};
use crate::registry::{Registry, Seen, claim, tag_of};

use rules::{distinct, key_type, multicast_rules, places, set_name, subnet_rule, subnets};

/// The table; nothing else is in it.
pub const TABLE: Table = Table {
    family: Family::Inet,
    name: "tenon_masquerade",
};
/// Its chain.
pub const CHAIN: &str = "postrouting";
const REGISTRY: Registry = Registry {
    table: TABLE,
    chain: CHAIN,
    sets_come_and_go: true,
};

/// Something that ADD made and that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The chain is not called by the kernel as it should be.
    Chain,
    /// Multicast destinations are not exempted.
    MulticastRule,
    /// The subnet's rule.
    SubnetRule(IpCidr),
    /// The container's address.
    Address(IpAddr),
    /// The container's address, which is tagged as somebody else's.
    AddressOfOther {
        /// The address.
        address: IpAddr,
        /// The comment of the element.
        comment: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => write!(f, "chain {TABLE} {CHAIN} is missing or not at its hook"),
            Self::MulticastRule => {
                write!(f, "chain {TABLE} {CHAIN} does not exempt multicast")
            }
            Self::SubnetRule(subnet) => {
                write!(f, "chain {TABLE} {CHAIN} has no rule for {subnet}")
            }
            Self::Address(address) => write!(f, "no element for {address} in table {TABLE}"),
            Self::AddressOfOther { address, comment } => {
                write!(
                    f,
                    "the element for {address} is of another owner: {comment}"
                )
            }
        }
    }
}

/// What the kernel has for some addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The ruleset's generation when it was read.
    pub generation: u32,
    /// The rules of our chain, in order.
    pub rules: Vec<Rule>,
    /// One answer for each address, in order.
    pub elements: Vec<Option<Element>>,
}

/// Masquerades what these addresses send beyond their subnets.
///
/// One transaction with nothing but the elements where the subnets are known already; otherwise the
/// rules are looked at and completed. Doing it again changes nothing.
///
/// # Errors
/// The kernel refused, or has no `nf_tables` with NAT.
pub fn add(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<(), FirewallError> {
    let sets: Vec<String> = subnets(addresses).iter().map(set_name).collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let (places, comment) = (places(addresses), owner::comment(attachment));
    REGISTRY
        .add(nft, &sets, (&places, &comment), |nft, seen| {
            let observed = observed(nft, seen)?;
            Ok(plan_add(attachment, addresses, &observed))
        })
        .map_err(|cause| cause.during(Operation::AddMasquerade, attachment))
}

/// Stops it. Elements that belong to another attachment by now stay.
///
/// With `addresses`, as ADD had them, the cost does not depend on how many there are in all;
/// without them the whole table is read. The last address of a subnet takes the subnet's set and
/// rule with it, the last one of all the table. A kernel without `nf_tables` has nothing to remove.
///
/// # Errors
/// The kernel refused, or the ruleset kept changing.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
) -> Result<(), FirewallError> {
    let owner = Tag::new(attachment);
    match addresses {
        Some(addresses) => REGISTRY.remove(nft, owner, &places(addresses)),
        None => REGISTRY.sweep(nft, |tag| tag == owner),
    }
    .map(drop)
    .map_err(|cause| cause.during(Operation::RemoveMasquerade, attachment))
}

/// What is missing of what [`add`] makes.
///
/// # Errors
/// The kernel cannot be asked.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<Vec<Missing>, FirewallError> {
    let failed = |cause: Cause| cause.during(Operation::CheckMasquerade, attachment);
    let observed = REGISTRY
        .look_up(nft, &[], &places(addresses))
        .and_then(|seen| observed(nft, seen))
        .map_err(failed)?;
    let chain = nft.base_chain(TABLE, CHAIN).map_err(failed)?;
    Ok(missing(attachment, addresses, &observed, chain.as_ref()))
}

/// Removes what belongs to the network and to none of its `valid` attachments. Answers how many
/// addresses that were.
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
        .map_err(|cause| cause.during(Operation::CollectMasquerade, network))
}

fn observed(nft: &mut Nft, seen: Seen) -> Result<Observed, Cause> {
    Ok(Observed {
        generation: seen.generation,
        rules: nft.rules(TABLE, CHAIN)?,
        elements: seen.elements,
    })
}

/// All that is missing, elements included.
#[must_use]
pub fn plan_add(attachment: &Attachment, addresses: &[IpCidr], observed: &Observed) -> Transaction {
    let has = |rule: &[Expr]| observed.rules.iter().any(|has| has.expressions == rule);
    let mut changes = vec![
        Change::AddTable(TABLE),
        Change::AddChain {
            table: TABLE,
            chain: CHAIN,
            hook: Hook::SOURCE_NAT,
        },
    ];
    for rule in multicast_rules()
        .into_iter()
        .rev()
        .filter(|rule| !has(rule))
    {
        changes.push(Change::InsertRule {
            table: TABLE,
            chain: CHAIN,
            rule,
        });
    }
    for subnet in subnets(addresses) {
        changes.push(Change::AddSet {
            table: TABLE,
            set: set_name(&subnet),
            key: key_type(&subnet),
        });
        let rule = subnet_rule(&subnet);
        if !has(&rule) {
            changes.push(Change::AddRule {
                table: TABLE,
                chain: CHAIN,
                rule,
            });
        }
    }
    let comment = owner::comment(attachment);
    let claims = claim(TABLE, &places(addresses), &observed.elements, &comment);
    changes.extend(claims);
    Transaction {
        generation: Some(observed.generation),
        changes,
    }
}

fn missing(
    attachment: &Attachment,
    addresses: &[IpCidr],
    observed: &Observed,
    chain: Option<&BaseChain>,
) -> Vec<Missing> {
    let has = |rule: &[Expr]| observed.rules.iter().any(|has| has.expressions == rule);
    let mut missing = Vec::new();
    if !chain.is_some_and(|chain| Hook::SOURCE_NAT.is_of(chain)) {
        missing.push(Missing::Chain);
    }
    if !multicast_rules().iter().all(|rule| has(rule)) {
        missing.push(Missing::MulticastRule);
    }
    for subnet in subnets(addresses) {
        if !has(&subnet_rule(&subnet)) {
            missing.push(Missing::SubnetRule(subnet));
        }
    }
    let owner = Tag::new(attachment);
    for (address, element) in distinct(addresses).iter().zip(&observed.elements) {
        match element {
            None => missing.push(Missing::Address(address.addr())),
            Some(element) if tag_of(element) != Some(owner) => {
                missing.push(Missing::AddressOfOther {
                    address: address.addr(),
                    comment: element.comment.clone().unwrap_or_default(),
                });
            }
            Some(_ours) => {}
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container_id: &str) -> Attachment {
        Attachment {
            network: "net".parse().unwrap(),
            container_id: container_id.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    fn cidrs(texts: &[&str]) -> Vec<IpCidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn text(transaction: &Transaction) -> Vec<String> {
        transaction
            .changes
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// What the kernel shows after these changes.
    fn rules_of(transaction: &Transaction) -> Vec<Rule> {
        transaction
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::AddRule { chain, rule, .. } | Change::InsertRule { chain, rule, .. } => {
                    Some(Rule {
                        chain: (*chain).to_owned(),
                        handle: 1,
                        expressions: rule.clone(),
                        comment: None,
                    })
                }
                _ => None,
            })
            .collect()
    }

    fn element(attachment: &Attachment, key: [u8; 4]) -> Element {
        Element {
            key: key.to_vec(),
            comment: Some(owner::comment(attachment)),
        }
    }

    #[test]
    fn the_first_add_declares_everything_in_one_guarded_transaction() {
        let observed = Observed {
            generation: 7,
            rules: Vec::new(),
            elements: vec![None, None],
        };
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        let plan = plan_add(&attachment("c1"), &addresses, &observed);
        assert_eq!(plan.generation, Some(7));
        assert_eq!(
            text(&plan),
            [
                "add table inet tenon_masquerade",
                "add chain inet tenon_masquerade postrouting",
                "insert rule inet tenon_masquerade postrouting",
                "insert rule inet tenon_masquerade postrouting",
                "add set inet tenon_masquerade from_10.1.0.0/16",
                "add rule inet tenon_masquerade postrouting",
                "add set inet tenon_masquerade from_fd00-1--/64",
                "add rule inet tenon_masquerade postrouting",
                "create element inet tenon_masquerade from_10.1.0.0/16",
                "create element inet tenon_masquerade from_fd00-1--/64",
            ]
        );
    }

    #[test]
    fn rules_and_elements_that_are_there_are_not_made_again() {
        let (one, addresses) = (attachment("c1"), cidrs(&["10.1.0.5/16"]));
        let first = plan_add(
            &one,
            &addresses,
            &Observed {
                elements: vec![None],
                ..Observed::default()
            },
        );
        let observed = Observed {
            rules: rules_of(&first),
            elements: vec![Some(element(&one, [10, 1, 0, 5]))],
            ..Observed::default()
        };
        assert_eq!(
            text(&plan_add(&one, &addresses, &observed)),
            [
                "add table inet tenon_masquerade",
                "add chain inet tenon_masquerade postrouting",
                "add set inet tenon_masquerade from_10.1.0.0/16",
            ]
        );
        let base = BaseChain {
            kind: "nat".to_owned(),
            number: 4,
            priority: 100,
        };
        assert_eq!(missing(&one, &addresses, &observed, Some(&base)), []);
    }

    #[test]
    fn an_element_of_another_owner_is_replaced_in_the_same_transaction() {
        let (one, addresses) = (attachment("c1"), cidrs(&["10.1.0.5/16"]));
        for other in [
            element(&attachment("c2"), [10, 1, 0, 5]),
            Element {
                key: vec![10, 1, 0, 5],
                comment: None,
            },
        ] {
            let plan = plan_add(
                &one,
                &addresses,
                &Observed {
                    elements: vec![Some(other)],
                    ..Observed::default()
                },
            );
            let text = text(&plan);
            assert_eq!(
                &text[text.len() - 2..],
                [
                    "delete element inet tenon_masquerade from_10.1.0.0/16",
                    "create element inet tenon_masquerade from_10.1.0.0/16",
                ]
            );
        }
    }
}
