//! Port mappings for those who ask for iptables: `backend: "iptables"`.
//!
//! A chain for each container, as the reference has it; the chains that all share stay, as the
//! reference leaves them. What is new is the guard in table `raw`, which keeps containers from what
//! listens on the host's loopback.

mod fuzzing;
mod rules;
mod runs;
mod saved;

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni_types::{Attachment, NetworkName};

pub(crate) use self::fuzzing::read_saved;
use self::rules::{DNAT, GUARD, Wanted, guard_rules, restore_for_guard, wanted};
use self::saved::{Entry, Line, containers};
use super::tables::{Family, Jumped, have_chains, remove_from_legacy};
use super::text::{declares, restore_for_removal};
use super::turn::Turn;
use super::{Missing, remove_stale};
use crate::conntrack;
use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{Nft, Table};
use crate::owner;
use crate::portmap::{self, Protocol, Publication, port_name};

/// What is published, and how iptables is to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPorts {
    /// What is published. Its own conditions are for `nf_tables` and do not count.
    pub publication: Publication,
    /// A chain of somebody else's that marks what is to be masqueraded.
    pub set_mark_chain: Option<String>,
    /// What else IPv4 packets have to be, in the words of iptables.
    pub condition_v4: Vec<String>,
    /// What else IPv6 packets have to be.
    pub condition_v6: Vec<String>,
}

impl HostPorts {
    /// As the reference does it without further keys.
    #[must_use]
    pub fn new(publication: Publication) -> Self {
        Self {
            publication,
            set_mark_chain: None,
            condition_v4: Vec::new(),
            condition_v6: Vec::new(),
        }
    }
}

/// Publishes ports, and forgets the UDP connections that had been made to them before. What is there
/// of the same container and network is replaced. After an error, nothing is published.
///
/// # Errors
/// A port is taken: [`Cause::PortTaken`] names its owner. iptables is not installed, failed, or
/// waited too long for its lock.
pub fn add(nft: &mut Nft, attachment: &Attachment, ports: &HostPorts) -> Result<(), FirewallError> {
    let make = |nft: &mut Nft| {
        for family in Family::ALL {
            if let Some(wanted) = wanted(attachment, ports, family) {
                ensure(nft, family, &wanted, ports)?;
            }
        }
        if ports.publication.loopback.is_some() {
            ensure_guard(nft)?;
        }
        portmap::forget_older(nft, &ports.publication)
    };
    portmap::ensure_free(nft, attachment, &ports.publication)
        .and_then(|()| {
            make(nft).inspect_err(|_failed| {
                // Half done is not done; the error that counts is the first one.
                let _also_failed = withdraw(nft, attachment, &[]);
            })
        })
        .map_err(|cause| cause.during(Operation::PublishPorts, attachment))
}

/// Makes a family's rules, again and again while others make the shared chains at the same moment.
fn ensure(nft: &mut Nft, family: Family, wanted: &Wanted, ports: &HostPorts) -> Result<(), Cause> {
    let limit = nft.limit();
    let mut turn = None;
    loop {
        let text = saved(nft, family)?;
        let lines = saved::read(&text);
        if turn.is_none() && wanted.lacks_shared(&lines) {
            turn = Some(Turn::wait(limit));
            continue;
        }
        let stale = compare(&lines, wanted, ports, family)?;
        let Some(input) = wanted.restore(&text, &lines, &stale) else {
            return Ok(());
        };
        match family.restore(&input, nft.patience()) {
            Err(Cause::Program { stderr, .. }) if stderr.contains("already exists") => {
                limit.retry()?;
            }
            other => return other,
        }
    }
}

/// The `nat` table as text, if anybody has mapped ports with it yet: otherwise it is not worth a
/// process.
fn saved(nft: &mut Nft, family: Family) -> Result<String, Cause> {
    if have_chains(nft, &[(family, DNAT)])? == [true] || family.has_legacy_nat() {
        family.save("nat", nft.patience())
    } else {
        Ok(String::new())
    }
}

/// Refuses ports that other containers have. Answers which chains were left behind: they lead to this
/// container's own address, which nobody else can have now.
fn compare(
    lines: &[Line],
    wanted: &Wanted,
    ports: &HostPorts,
    family: Family,
) -> Result<Vec<String>, Cause> {
    let v6 = family.is_v6();
    let own = ports.publication.address(v6).map(|own| own.addr());
    let entries: BTreeMap<(&str, Protocol), &Entry> = lines
        .iter()
        .filter_map(|line| line.entry.as_ref())
        // It is for conditions to tell mappings apart.
        .filter(|entry| entry.chain != wanted.chain && !entry.conditional)
        .map(|entry| ((entry.chain.as_str(), entry.protocol), entry))
        .collect();
    let mut stale = Vec::new();
    for mapped in lines.iter().filter_map(|line| line.mapping.as_ref()) {
        let mut mappings = ports.publication.mappings.iter();
        let clash = mappings.find(|mapping| mapping.is_for(v6) && mapped.clashes_with(mapping));
        let entry = entries.get(&(mapped.chain.as_str(), mapped.protocol));
        let (Some(mapping), Some(entry)) = (clash, entry) else {
            continue;
        };
        if Some(mapped.target) == own {
            stale.push(mapped.chain.clone());
        } else if ports.condition(family).is_empty() {
            return Err(Cause::PortTaken {
                port: port_name(mapping, v6),
                owner: entry.owner_text(),
            });
        }
    }
    stale.sort_unstable();
    stale.dedup();
    Ok(stale)
}

const RAW: &str = "raw";
/// IPv6 has no loopback that another could send from.
const GUARDED: Family = Family::V4;

/// The guard is for all containers and stays, as the shared chains do.
fn ensure_guard(nft: &mut Nft) -> Result<(), Cause> {
    let limit = nft.limit();
    let mut turn = None;
    loop {
        let Some(input) = restore_for_guard(&saved_guard(nft)?) else {
            return Ok(());
        };
        if turn.is_none() {
            turn = Some(Turn::wait(limit));
            continue;
        }
        match GUARDED.restore(&input, nft.patience()) {
            Err(Cause::Program { stderr, .. }) if stderr.contains("already exists") => {
                limit.retry()?;
            }
            other => return other,
        }
    }
}

/// Table `raw` as text, if the guard can be in it.
fn saved_guard(nft: &mut Nft) -> Result<String, Cause> {
    let table = Table {
        name: RAW,
        ..GUARDED.table()
    };
    let exists = match nft.have_chains(&[(table, GUARD)]) {
        Err(cause) if cause.is_unsupported() => false,
        other => other? == [true],
    };
    if exists || GUARDED.has_legacy(RAW) {
        GUARDED.save(RAW, nft.patience())
    } else {
        Ok(String::new())
    }
}

/// Which rules are missing.
///
/// # Errors
/// iptables is not installed, or failed.
pub fn check(
    nft: &mut Nft,
    attachment: &Attachment,
    ports: &HostPorts,
) -> Result<Vec<Missing>, FirewallError> {
    let mut missing = missing(nft, attachment, ports)?;
    if ports.publication.loopback.is_some() {
        let family = GUARDED;
        let saved = family
            .save(RAW, nft.patience())
            .map_err(|cause| cause.during(Operation::CheckPorts, attachment))?;
        // What the reference has published before an upgrade has no guard.
        let lost =
            |rule: &String| declares(&saved, GUARD) && !saved.lines().any(|line| line == rule);
        let rules = guard_rules().into_iter().filter(lost);
        missing.extend(rules.map(|rule| Missing { family, rule }));
    }
    Ok(missing)
}

/// Whether there is anything to look at with a process: the attachment's chain in `nf_tables`, or any
/// NAT rules in the kernel's old tables.
pub(crate) fn has_chain(nft: &mut Nft, attachment: &Attachment) -> Result<bool, FirewallError> {
    let chain = owner::reference_dnat_chain(attachment);
    let asked = Family::ALL.map(|family| (family, chain.as_str()));
    let have = have_chains(nft, &asked)
        .map_err(|cause| cause.during(Operation::CheckPorts, attachment))?;
    Ok(have.contains(&true) || Family::ALL.into_iter().any(Family::has_legacy_nat))
}

/// Which of those rules are missing that the reference has, too.
pub(crate) fn missing(
    nft: &mut Nft,
    attachment: &Attachment,
    ports: &HostPorts,
) -> Result<Vec<Missing>, FirewallError> {
    let mut missing = Vec::new();
    for family in Family::ALL {
        let Some(wanted) = wanted(attachment, ports, family) else {
            continue;
        };
        let saved =
            saved(nft, family).map_err(|cause| cause.during(Operation::CheckPorts, attachment))?;
        let lines = saved::read(&saved);
        let rules = wanted.missing(&lines).into_iter().cloned();
        missing.extend(rules.map(|rule| Missing { family, rule }));
    }
    Ok(missing)
}

/// Withdraws what the container publishes on the network, whoever made it: [`add`] or the reference.
/// With the container's addresses, the UDP connections that were made to it are forgotten.
///
/// Where nothing is there, or no iptables is installed, there is nothing to do; a process is started
/// only for the kernel's old tables, and only where there are any.
///
/// # Errors
/// iptables or the kernel refused.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpAddr],
) -> Result<(), FirewallError> {
    withdraw(nft, attachment, addresses)
        .map_err(|cause| cause.during(Operation::WithdrawPorts, attachment))
}

fn withdraw(nft: &mut Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Result<(), Cause> {
    let dnat = owner::reference_dnat_chain(attachment);
    let snat = owner::reference_snat_chain(attachment);
    let parents = [(DNAT, dnat.as_str()), ("CNI-HOSTPORT-SNAT", snat.as_str())];
    let all = Family::ALL.map(|family| {
        parents.map(|(parent, chain)| Jumped {
            family,
            parent,
            chain,
        })
    });
    let all: Vec<Jumped<'_>> = all.into_iter().flatten().collect();
    let asked: Vec<_> = all.iter().map(|all| (all.family, all.chain)).collect();
    let have = have_chains(nft, &asked)?;
    for (jumped, exists) in all.iter().zip(&have) {
        if *exists {
            jumped.remove(nft, |_each| true)?;
        }
        remove_from_legacy(nft, jumped.family, |saved| {
            restore_for_removal(jumped.chain, saved, |_each| true)
        })?;
    }
    if have.contains(&true) {
        forget_translated(nft, addresses)?;
    }
    Ok(())
}

/// Forgets the UDP connections that were led to these addresses.
pub(crate) fn forget_translated(nft: &mut Nft, addresses: &[IpAddr]) -> Result<(), Cause> {
    for v6 in [false, true] {
        if addresses.iter().any(|address| address.is_ipv6() == v6) {
            conntrack::forget(nft, v6, |connection| {
                let target = connection.answers_from.ip();
                addresses.contains(&target) && connection.destination.ip() != target
            })?;
        }
    }
    Ok(())
}

/// Withdraws what is published by containers that have no `valid` attachment to the network. Answers
/// how many containers that were.
///
/// # Errors
/// iptables or the kernel refused; the other containers' rules have been removed all the same.
pub fn gc(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
) -> Result<usize, FirewallError> {
    let failed = |cause: Cause| cause.during(Operation::CollectPorts, network);
    let mut stale = Vec::new();
    for family in Family::ALL {
        let text = match saved(nft, family) {
            Err(Cause::Spawn { .. }) => continue,
            other => other.map_err(failed)?,
        };
        stale.extend(containers(&saved::read(&text), network));
    }
    remove_stale(stale, valid, |container| remove(nft, container, &[]))
}

#[cfg(test)]
mod tests;
