//! What iptables does for an attachment, in both families.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cni_types::FastPaths;

use super::layout::{Purpose, in_name};
use super::{Forwarding, Keeper, Lost, Policy, TABLE, doors};
use crate::error::Cause;
use crate::iptables::Family;
use crate::iptables::forward::{self as chains, Wanted};
use crate::nft::{Glance, Nft};
use crate::registry::Place;

pub use chains::Opened;

/// The name of the chain in which administrators overrule the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminChain(String);

/// Why a chain cannot have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdminChainError(&'static str);

impl Default for AdminChain {
    fn default() -> Self {
        Self("CNI-ADMIN".to_owned())
    }
}

impl FromStr for AdminChain {
    type Err = AdminChainError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        /// `XT_EXTENSION_MAXNAMELEN` with its zero.
        const LONGEST: usize = 28;
        const OURS: [&str; 3] = [
            "CNI-FORWARD",
            "CNI-ISOLATION-STAGE-1",
            "CNI-ISOLATION-STAGE-2",
        ];
        const KERNELS: [&str; 3] = ["FORWARD", "INPUT", "OUTPUT"];
        let is_target =
            |name: &str| ["ACCEPT", "DROP", "QUEUE", "RETURN", "REJECT"].contains(&name);
        match name {
            _ if name.len() > LONGEST => Err(AdminChainError("is longer than 28 bytes")),
            _ if !name.bytes().all(|byte| byte.is_ascii_graphic()) => Err(AdminChainError(
                "has a character that iptables takes in no name",
            )),
            _ if name.contains(['"', '\'', '\\']) => Err(AdminChainError("has a quotation mark")),
            _ if name.is_empty() || name.starts_with(['-', '!']) => {
                Err(AdminChainError("is no name of a chain"))
            }
            _ if OURS.contains(&name) || KERNELS.contains(&name) || is_target(name) => {
                Err(AdminChainError("is taken"))
            }
            _ => Ok(Self(name.to_owned())),
        }
    }
}

impl fmt::Display for AdminChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What iptables has to do in one family; `None` if nothing.
fn wanted(nft: &mut Nft, forwarding: &Forwarding, family: Family) -> Result<Option<Wanted>, Cause> {
    let addresses: Vec<IpAddr> = forwarding.of_family(family == Family::V6).collect();
    if addresses.is_empty() {
        return Ok(None);
    }
    let (admin, ingress) = match &forwarding.keeper {
        Keeper::Iptables(admin) => (admin, forwarding.ingress.as_ref()),
        Keeper::Nftables(admin) if doors::is_dropped_by_iptables(nft, family)? => (admin, None),
        Keeper::Nftables(_) | Keeper::Firewalld => return Ok(None),
    };
    Ok(Some(Wanted {
        addresses,
        admin: admin.0.clone(),
        bridge: ingress.map(|ingress| ingress.bridge.to_string()),
        isolated: ingress.is_some_and(|ingress| ingress.policy == Policy::Isolated),
        copied: forwarding.fast_paths != FastPaths::Never,
    }))
}

/// Does not claim for the attachment a policy that iptables has already, and that nobody is on record
/// for: the reference made it, for containers that nobody knows, and it stays as the reference leaves
/// it.
pub(super) fn leave_what_is_there(nft: &mut Nft, own: &mut Forwarding) -> Result<(), Cause> {
    let Some(ingress) = own.ingress.clone() else {
        return Ok(());
    };
    if !matches!(own.keeper, Keeper::Iptables(_)) {
        return Ok(());
    }
    let sets = match nft.sets(TABLE) {
        Err(cause) if cause.is_unsupported() => return Ok(()),
        other => other?,
    };
    let bridge = in_name(ingress.bridge.as_str());
    let on_record = |v6| {
        let purpose = Purpose::Policy(Policy::SameBridge, bridge.clone());
        sets.contains(&purpose.set(v6))
    };
    for family in Family::ALL {
        let Some(wanted) = wanted(nft, own, family)? else {
            continue;
        };
        if !on_record(family == Family::V6) && chains::has_policy(nft, family, &wanted)? {
            own.ingress = None;
            break;
        }
    }
    Ok(())
}

pub(super) fn add(
    nft: &mut Nft,
    forwarding: &Forwarding,
    opened: &mut impl FnMut(Opened),
) -> Result<(), Cause> {
    for family in Family::ALL {
        if let Some(wanted) = wanted(nft, forwarding, family)? {
            opened(chains::add(nft, family, &wanted)?);
        }
    }
    Ok(())
}

pub(super) fn check(nft: &mut Nft, forwarding: &Forwarding) -> Result<Vec<Lost>, Cause> {
    let mut lost = Vec::new();
    for family in Family::ALL {
        let Some(wanted) = wanted(nft, forwarding, family)? else {
            continue;
        };
        let program = family.save_program();
        let rules = chains::missing(nft, family, &wanted)?.into_iter();
        lost.extend(rules.map(|rule| Lost::Iptables { program, rule }));
    }
    Ok(lost)
}

pub(super) fn shut(nft: &mut Nft, opened: &Opened) -> Result<(), Cause> {
    let closed = chains::close(nft, opened.family, &opened.addresses, opened.chains);
    let released = match &opened.bridge {
        Some(bridge) => chains::release(nft, opened.family, |found| found == bridge, false),
        None => Ok(()),
    };
    closed.and(released)
}

pub(super) fn close(nft: &mut Nft, addresses: &[IpAddr]) -> Result<(), Cause> {
    let outcomes = Family::ALL.map(|family| chains::close(nft, family, addresses, true));
    outcomes.into_iter().collect()
}

/// Takes away the policies of bridges whose sets have no element but these, which are about to go.
pub(super) fn release_idle(nft: &mut Nft, going: &[Place]) -> Result<(), Cause> {
    for (set, keys) in by_set(going) {
        if matches!(Purpose::of_set(set), Some((Purpose::Policy(..), _)))
            && nft.glance(TABLE, set, |key| keys.contains(key))? == Glance::Nothing
        {
            release_policy(nft, set)?;
        }
    }
    Ok(())
}

fn by_set(places: &[Place]) -> BTreeMap<&str, BTreeSet<&[u8]>> {
    let mut sets = BTreeMap::<_, BTreeSet<_>>::new();
    for place in places {
        let keys = sets.entry(place.set.as_str()).or_default();
        keys.insert(place.key.as_slice());
    }
    sets
}

/// Takes away the policies of bridges whose sets have gone with their last elements. Most have been
/// [released](release_idle) before; of several that went at once, nobody was the last to see.
pub(super) fn release(nft: &mut Nft, gone: &[Place]) -> Result<(), Cause> {
    let mut idle: Vec<&str> = gone.iter().map(|place| place.set.as_str()).collect();
    idle.sort_unstable();
    idle.dedup();
    if idle.is_empty() {
        return Ok(());
    }
    let left = nft.sets(TABLE)?;
    let mut outcome = Ok(());
    for set in idle
        .into_iter()
        .filter(|set| !left.iter().any(|left| left == set))
    {
        outcome = outcome.and(release_policy(nft, set));
    }
    outcome
}

/// What iptables has of the policy that a set is for, if it is for one.
fn release_policy(nft: &mut Nft, set: &str) -> Result<(), Cause> {
    let Some((Purpose::Policy(policy, bridge), v6)) = Purpose::of_set(set) else {
        return Ok(());
    };
    let family = if v6 { Family::V6 } else { Family::V4 };
    let inside_alone = policy == Policy::Isolated;
    let is_bridge = |found: &str| in_name(found) == bridge;
    chains::release(nft, family, is_bridge, inside_alone)
}
