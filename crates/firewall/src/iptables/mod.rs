//! `ipMasqBackend: "iptables"`: the reference's own rules, by its names, so that either suite can
//! remove what the other one made.
//!
//! ADD is one `iptables-restore --noflush` for each family: atomic, under one lock. Removal needs
//! no process at all where iptables is a front of `nf_tables`, as it is nearly everywhere: its
//! chains and rules are removed like any others, in one transaction.

pub(crate) mod forward;
mod process;
mod rules;

use std::fmt;
use std::fs;
use std::time::Duration;

use cni_types::{Attachment, IpCidr, NetworkName};

use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{
    Change, Expr, Family as NftFamily, Header, Nft, Register, Relation, Rule, Table, Transaction,
    Verdict,
};
use crate::owner;
use crate::registry::is_stale;

pub(crate) use forward::KERNEL_FORWARD;
pub use rules::{Family, restore_for_add, restore_for_remove, wanted};

/// A rule that ADD made and that is not there any more, as `iptables-save` would print it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Whose table.
    pub family: Family,
    /// The rule.
    pub rule: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.family.programs().save;
        write!(f, "{program} -t nat does not print: {}", self.rule)
    }
}

struct Programs {
    save: &'static str,
    restore: &'static str,
    /// The same for the kernel's old tables, if they have names of their own.
    legacy_save: &'static str,
    legacy_restore: &'static str,
    /// Lists the old tables of the network namespace; absent without them.
    legacy_tables: &'static str,
}

impl Family {
    fn programs(self) -> Programs {
        match self {
            Self::V4 => Programs {
                save: "iptables-save",
                restore: "iptables-restore",
                legacy_save: "iptables-legacy-save",
                legacy_restore: "iptables-legacy-restore",
                legacy_tables: "/proc/thread-self/net/ip_tables_names",
            },
            Self::V6 => Programs {
                save: "ip6tables-save",
                restore: "ip6tables-restore",
                legacy_save: "ip6tables-legacy-save",
                legacy_restore: "ip6tables-legacy-restore",
                legacy_tables: "/proc/thread-self/net/ip6_tables_names",
            },
        }
    }

    /// Whether there is iptables for the family on this machine.
    #[must_use]
    pub fn is_installed(self) -> bool {
        process::is_installed(self.programs().restore)
    }

    /// What prints the rules.
    pub(crate) fn save_program(self) -> &'static str {
        self.programs().save
    }

    /// The table that iptables keeps in `nf_tables`.
    pub(crate) fn table(self) -> Table {
        Table {
            family: match self {
                Self::V4 => NftFamily::Ip,
                Self::V6 => NftFamily::Ip6,
            },
            name: "nat",
        }
    }

    /// Whether the kernel's old tables, which `nf_tables` does not show, have NAT rules here.
    fn has_legacy_nat(self) -> bool {
        self.has_legacy("nat")
    }

    fn has_legacy(self, name: &str) -> bool {
        fs::read_to_string(self.programs().legacy_tables)
            .is_ok_and(|tables| tables.lines().any(|table| table == name))
    }
}

/// Makes the reference's rules. What is there already is not made again.
///
/// # Errors
/// iptables is not installed, failed, or waited too long for its lock.
pub fn add(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<(), FirewallError> {
    let patience = nft.patience();
    for family in Family::ALL {
        if !addresses
            .iter()
            .any(|address| Family::of(address) == family)
        {
            continue;
        }
        let chain = owner::reference_chain(attachment);
        let programs = family.programs();
        // Only where the chain can be there already is there anything to compare with.
        let ensure = |nft: &mut Nft| {
            let exists = match nft.have_chains(&[(family.table(), &chain)]) {
                Err(cause) if cause.is_unsupported() => false,
                other => other? == [true],
            };
            let saved = if exists || family.has_legacy_nat() {
                save(programs.save, patience)?
            } else {
                String::new()
            };
            restore_for_add(attachment, addresses, family, &saved)
                .map_or(Ok(()), |input| restore(programs.restore, &input, patience))
        };
        ensure(nft).map_err(|cause: Cause| cause.during(Operation::AddMasquerade, attachment))?;
    }
    Ok(())
}

/// Whether there is anything to look at with a process: the attachment's chain in `nf_tables`, or any
/// NAT rules in the kernel's old tables.
pub(crate) fn has_chain(nft: &mut Nft, attachment: &Attachment) -> Result<bool, FirewallError> {
    let chain = owner::reference_chain(attachment);
    let asked = Family::ALL.map(|family| (family.table(), chain.as_str()));
    let have = match nft.have_chains(&asked) {
        Err(cause) if cause.is_unsupported() => Vec::new(),
        other => other.map_err(|cause| cause.during(Operation::CheckMasquerade, attachment))?,
    };
    Ok(have.contains(&true) || Family::ALL.into_iter().any(Family::has_legacy_nat))
}

/// Which of the reference's rules are missing.
///
/// # Errors
/// iptables is not installed, or failed.
pub fn check(
    nft: &Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<Vec<Missing>, FirewallError> {
    let mut missing = Vec::new();
    for family in Family::ALL {
        let wanted = wanted(attachment, addresses, family);
        if wanted.is_empty() {
            continue;
        }
        let saved = save(family.programs().save, nft.patience())
            .map_err(|cause| cause.during(Operation::CheckMasquerade, attachment))?;
        missing.extend(
            wanted
                .into_iter()
                .filter(|rule| !saved.lines().any(|has| has == rule))
                .map(|rule| Missing { family, rule }),
        );
    }
    Ok(missing)
}

/// Removes the attachment's rules, whoever made them: [`add`] or the reference.
///
/// The chain belongs to the container and the network, not to the interface: with `addresses`, it
/// stays as long as it serves other addresses. Without them, all of it goes. Where nothing is there,
/// or no iptables is installed, there is nothing to do; a process is started only for the kernel's
/// old tables, and only where there are any.
///
/// # Errors
/// iptables or the kernel refused.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
) -> Result<(), FirewallError> {
    let chain = owner::reference_chain(attachment);
    let asked = Family::ALL.map(|family| (family.table(), chain.as_str()));
    let failed = |cause: Cause| cause.during(Operation::RemoveMasquerade, attachment);
    let have = match nft.have_chains(&asked) {
        Err(cause) if cause.is_unsupported() => vec![false; asked.len()],
        other => other.map_err(failed)?,
    };
    for (family, exists) in Family::ALL.into_iter().zip(have) {
        remove_from(nft, attachment, addresses, (family, exists)).map_err(failed)?;
    }
    Ok(())
}

/// Removes the rules of containers that have no `valid` attachment to the network. Answers how many
/// containers that were.
///
/// A process is started only where there are NAT rules of iptables.
///
/// # Errors
/// iptables or the kernel refused; the other containers' rules have been removed all the same.
pub fn gc(
    nft: &mut Nft,
    network: &NetworkName,
    valid: &[Attachment],
) -> Result<usize, FirewallError> {
    let failed = |cause: Cause| cause.during(Operation::CollectMasquerade, network);
    let mut stale = Vec::new();
    for family in Family::ALL {
        let has_nat = match nft.have_chains(&[(family.table(), "POSTROUTING")]) {
            Err(cause) if cause.is_unsupported() => false,
            other => other.map_err(failed)? == [true],
        };
        if has_nat || family.has_legacy_nat() {
            let saved = match save(family.programs().save, nft.patience()) {
                Err(Cause::Spawn { .. }) => continue,
                other => other.map_err(failed)?,
            };
            stale.extend(rules::containers(&saved, network));
        }
    }
    stale.retain(|found| {
        valid
            .iter()
            .all(|valid| valid.container_id != found.container_id)
    });
    stale.sort_unstable();
    stale.dedup();
    let outcomes: Vec<_> = stale
        .iter()
        .map(|container| remove(nft, container, None))
        .collect();
    outcomes
        .into_iter()
        .collect::<Result<Vec<()>, _>>()
        .map(|removed| removed.len())
}

/// Removes the rules of one family, `exists` telling whether `nf_tables` has the chain.
pub(crate) fn remove_from(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    (family, exists): (Family, bool),
) -> Result<(), Cause> {
    if exists {
        remove_from_nf_tables(nft, attachment, addresses, family)?;
    }
    if family.has_legacy_nat() {
        remove_from_legacy(nft, attachment, addresses, family)?;
    }
    Ok(())
}

fn remove_from_nf_tables(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    family: Family,
) -> Result<(), Cause> {
    let limit = nft.limit();
    let chain = owner::reference_chain(attachment);
    let table = family.table();
    loop {
        let generation = nft.generation()?;
        if nft.have_chains(&[(table, &chain)])? != [true] {
            return Ok(());
        }
        let rules = nft.rules(table, Some("POSTROUTING"))?;
        let changes = plan_removal(table, &chain, &rules, addresses);
        match nft.commit(&Transaction {
            generation: Some(generation),
            changes,
        }) {
            Err(cause) if is_stale(&cause) => limit.retry()?,
            other => return other,
        }
    }
}

fn plan_removal(
    table: Table,
    chain: &str,
    rules: &[Rule],
    addresses: Option<&[IpCidr]>,
) -> Vec<Change> {
    let (go, stay): (Vec<&Rule>, Vec<&Rule>) = rules
        .iter()
        .filter(|rule| rule.jumps_to(chain))
        .partition(|rule| addresses.is_none_or(|own| rules::is_own(source(rule), own)));
    let mut changes: Vec<Change> = go
        .iter()
        .map(|rule| Change::DeleteRule {
            table,
            chain: rule.chain.clone(),
            handle: rule.handle,
        })
        .collect();
    if stay.is_empty() {
        let chain = chain.to_owned();
        changes.push(Change::FlushChain {
            table,
            chain: chain.clone(),
        });
        changes.push(Change::DeleteChain { table, chain });
    }
    changes
}

/// The one address that a rule of iptables matches as a source. A subnet reads as none.
fn source(rule: &Rule) -> Option<IpCidr> {
    let mut expressions = rule.expressions.iter();
    let length = expressions.find_map(|expr| match expr {
        Expr::Payload {
            header: Header::Network,
            offset: 12 | 8,
            length: length @ (4 | 16),
            register: Register::FIRST,
        } => Some(*length),
        _ => None,
    })?;
    let Some(Expr::Compare {
        relation: Relation::Equal,
        bytes,
    }) = expressions.next()
    else {
        return None;
    };
    let address = match length {
        4 => <[u8; 4]>::try_from(bytes.as_slice()).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes.as_slice()).ok()?.into(),
    };
    Some(IpCidr::host(address))
}

impl Rule {
    /// Whether the rule ends in a jump to a chain.
    pub(crate) fn jumps_to(&self, chain: &str) -> bool {
        let jump = |expr: &Expr| matches!(expr, Expr::Verdict(Verdict::Jump(to)) if to == chain);
        self.expressions.iter().any(jump)
    }
}

fn remove_from_legacy(
    nft: &Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    family: Family,
) -> Result<(), Cause> {
    let programs = family.programs();
    // Where there is but one iptables, it has no second name.
    for (save_with, restore_with) in [
        (programs.legacy_save, programs.legacy_restore),
        (programs.save, programs.restore),
    ] {
        let saved = match save(save_with, nft.patience()) {
            Err(Cause::Spawn { .. }) => continue,
            other => other?,
        };
        return restore_for_remove(attachment, addresses, &saved).map_or(Ok(()), |input| {
            restore(restore_with, &input, nft.patience())
        });
    }
    Ok(())
}

fn save(program: &'static str, patience: Duration) -> Result<String, Cause> {
    process::run(program, &["-t", "nat"], "", patience)
}

fn restore(program: &'static str, input: &str, patience: Duration) -> Result<(), Cause> {
    // iptables' own patience is a second shorter, so that its words come before our deadline.
    let wait = patience.as_secs().saturating_sub(1).max(1).to_string();
    process::run(program, &["--noflush", "--wait", &wait], input, patience).map(drop)
}
