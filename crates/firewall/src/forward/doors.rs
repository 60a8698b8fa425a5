//! Chains of others that drop what they do not know, and the two rules at their ends that let the
//! containers through:
//!
//! ```text
//! table inet filter {                 # the administrator's
//!     set tenon_forward_v4 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     chain forward {
//!         type filter hook forward priority filter; policy drop;
//!         ...
//!         ip saddr @tenon_forward_v4 accept
//!         ip daddr @tenon_forward_v4 ct state established,related accept
//!     }
//! }
//! ```
//!
//! At the end, where the policy would decide: what such a chain drops by a rule of its own stays
//! dropped. Sets and rules go with the last container, and the table is what it was.
//!
//! The chain of iptables is none of these: `iptables` cannot print a rule that looks up a set. It gets
//! the reference's rules.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::layout::{add_set, family};
use super::{Forwarding, Keeper};
use crate::error::Cause;
use crate::iptables;
use crate::matches::{End, address, of_family};
use crate::nft::{Ct, Expr, Family, Hook, Nft, Register, Table, Verdict};
use crate::owner::Tag;
use crate::registry::{Layout, Missing, OWN_TABLES, Registry, SetRule};

/// How the names of our sets begin in others' tables.
const PREFIX: &str = "tenon_forward_";
const FAMILIES: [Family; 3] = [Family::Inet, Family::Ip, Family::Ip6];

/// A chain of somebody else's that would drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Door {
    table: Table,
    chain: &'static str,
}

/// Names of others' tables and chains, kept until the process ends: the changes of a ruleset name
/// what they change by `&'static str`, since all else that they name is known beforehand.
fn keep(name: String) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let kept = name.leak();
    names.insert(kept);
    kept
}

fn registry(table: Table) -> Registry {
    Registry {
        table,
        goes_when_empty: |set| set.starts_with(PREFIX),
    }
}

/// Whether iptables' own chain drops what it does not know. Where there is no iptables, a chain with
/// its name is like any other.
pub(super) fn is_dropped_by_iptables(
    nft: &mut Nft,
    family: iptables::Family,
) -> Result<bool, Cause> {
    let table = family.filter();
    if !family.is_installed() {
        return Ok(false);
    }
    let chains = nft.hooked_chains(table.family)?;
    Ok(chains.iter().any(|chain| {
        chain.drops && chain.table == table.name && chain.chain == iptables::KERNEL_FORWARD
    }))
}

/// The chains that would drop packets of the forwarding's families.
fn find(nft: &mut Nft, forwarding: &Forwarding) -> Result<Vec<Door>, Cause> {
    let mut doors = Vec::new();
    if !matches!(forwarding.keeper, Keeper::Nftables(_)) {
        return Ok(doors);
    }
    for family in FAMILIES {
        if addresses_of(family, forwarding).is_empty() {
            continue;
        }
        for chain in nft.hooked_chains(family)? {
            let of_iptables = iptables::Family::ALL.into_iter().any(|iptables| {
                let filter = iptables.filter();
                (filter.family, filter.name, iptables::KERNEL_FORWARD)
                    == (family, chain.table.as_str(), chain.chain.as_str())
                    && iptables.is_installed()
            });
            let is_door = chain.drops
                && chain.hook.kind == Hook::FORWARD.kind
                && chain.hook.number == Hook::FORWARD.number
                && !chain.table.starts_with(OWN_TABLES)
                && !of_iptables;
            if is_door {
                let name = keep(chain.table);
                doors.push(Door {
                    table: Table { family, name },
                    chain: keep(chain.chain),
                });
            }
        }
    }
    Ok(doors)
}

fn addresses_of(family: Family, forwarding: &Forwarding) -> Vec<IpAddr> {
    let is_of = |address: &&IpAddr| match family {
        Family::Ip => address.is_ipv4(),
        Family::Ip6 => address.is_ipv6(),
        _ => true,
    };
    forwarding.addresses.iter().filter(is_of).copied().collect()
}

/// What each table has to hold: several chains of one table share the sets.
fn layouts(doors: &[Door], forwarding: &Forwarding) -> Vec<(Table, Layout)> {
    let mut tables: Vec<Table> = Vec::new();
    for door in doors {
        if !tables.contains(&door.table) {
            tables.push(door.table);
        }
    }
    let layout = |table: Table| {
        let mut layout = Layout::default();
        for v6 in [false, true] {
            let all = addresses_of(table.family, forwarding);
            let addresses: Vec<_> = all.into_iter().filter(|all| all.is_ipv6() == v6).collect();
            if addresses.is_empty() {
                continue;
            }
            let name = format!("{PREFIX}{}", family(v6));
            let chains = doors.iter().filter(|door| door.table == table);
            let rules = chains.flat_map(|door| rules(*door, &name, v6)).collect();
            add_set(&mut layout, name, &addresses, rules);
        }
        (table, layout)
    };
    tables.into_iter().map(layout).collect()
}

fn rules(door: Door, set: &str, v6: bool) -> [SetRule; 2] {
    let of = |end| {
        let mut matches = Vec::new();
        if door.table.family == Family::Inet {
            matches.extend(of_family(v6));
        }
        matches.push(address(end, v6, Register::FIRST));
        matches.push(Expr::Lookup {
            set: set.to_owned(),
            inverted: false,
        });
        matches
    };
    let mut answers = of(End::Destination);
    answers.extend(of_known_connections());
    let rule = |mut matches: Vec<Expr>| {
        matches.push(Expr::Verdict(Verdict::Accept));
        SetRule {
            chain: door.chain,
            rule: matches,
            named: false,
        }
    };
    [rule(of(End::Source)), rule(answers)]
}

/// `ct state established,related`
fn of_known_connections() -> [Expr; 3] {
    /// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)` and that of `IP_CT_RELATED`
    const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
    [
        Expr::Ct(Ct::State, Register::FIRST),
        Expr::mask(ESTABLISHED_OR_RELATED.to_ne_bytes().to_vec()),
        Expr::differs(0_u32.to_ne_bytes()),
    ]
}

pub(super) fn add(nft: &mut Nft, forwarding: &Forwarding, comment: &str) -> Result<(), Cause> {
    let doors = find(nft, forwarding)?;
    for (table, layout) in layouts(&doors, forwarding) {
        registry(table).add(nft, &layout, comment, |_nft| Ok(Vec::new()))?;
    }
    Ok(())
}

pub(super) fn check(
    nft: &mut Nft,
    forwarding: &Forwarding,
    owner: Tag,
) -> Result<Vec<Missing>, Cause> {
    let doors = find(nft, forwarding)?;
    let mut missing = Vec::new();
    for (table, layout) in layouts(&doors, forwarding) {
        missing.extend(registry(table).check(nft, &layout, owner)?);
    }
    Ok(missing)
}

/// Wherever they are: the chain's policy, or the config, may be another one by now.
pub(super) fn remove(nft: &mut Nft, condemned: &impl Fn(Tag) -> bool) -> Result<(), Cause> {
    let mut outcome = Ok(());
    for family in FAMILIES {
        let sets = match nft.sets_of_family(family) {
            Err(cause) if cause.is_unsupported() => continue,
            other => other?,
        };
        let ours = |(_, set): &(String, String)| set.starts_with(PREFIX);
        let tables: BTreeSet<String> = sets.into_iter().filter(ours).map(|set| set.0).collect();
        for name in tables {
            let name = keep(name);
            let swept = registry(Table { family, name }).sweep(nft, condemned);
            outcome = outcome.and(swept.map(drop));
        }
    }
    outcome
}
