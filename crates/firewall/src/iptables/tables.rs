//! What all users of iptables have in common: its programs, its tables in `nf_tables`, and how a
//! chain is removed.

use std::fs;
use std::time::Duration;

use cni_types::IpCidr;

use super::process;
use crate::error::Cause;
use crate::nft::{Change, Expr, Family as NftFamily, Nft, Rule, Table, Transaction, Verdict};
use crate::registry::is_stale;

/// An address family of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `iptables`
    V4,
    /// `ip6tables`
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: &IpCidr) -> Self {
        if address.is_ipv6() {
            Self::V6
        } else {
            Self::V4
        }
    }

    /// Whether it is the one of IPv6.
    #[must_use]
    pub(super) fn is_v6(self) -> bool {
        self == Self::V6
    }
}

pub(super) struct Programs {
    pub(super) save: &'static str,
    pub(super) restore: &'static str,
    /// The same for the kernel's old tables, if they have names of their own.
    pub(super) legacy_save: &'static str,
    pub(super) legacy_restore: &'static str,
    /// Lists the old tables of the network namespace; absent without them.
    legacy_tables: &'static str,
}

impl Family {
    pub(super) fn programs(self) -> Programs {
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

    /// The `nat` table that iptables keeps in `nf_tables`.
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
    pub(super) fn has_legacy_nat(self) -> bool {
        self.has_legacy("nat")
    }

    /// The same of any table.
    pub(super) fn has_legacy(self, table: &str) -> bool {
        fs::read_to_string(self.programs().legacy_tables)
            .is_ok_and(|tables| tables.lines().any(|found| found == table))
    }

    /// What the program prints of a table.
    pub(super) fn save(self, table: &str, patience: Duration) -> Result<String, Cause> {
        process::run(self.programs().save, &["-t", table], "", patience)
    }

    /// Feeds the program.
    pub(super) fn restore(self, input: &str, patience: Duration) -> Result<(), Cause> {
        restore_with(self.programs().restore, input, patience)
    }
}

/// Which of these chains of the `nat` tables there are in `nf_tables`; none without it.
pub(super) fn have_chains(nft: &mut Nft, chains: &[(Family, &str)]) -> Result<Vec<bool>, Cause> {
    let asked: Vec<_> = chains
        .iter()
        .map(|(family, chain)| (family.table(), *chain))
        .collect();
    match nft.have_chains(&asked) {
        Err(cause) if cause.is_unsupported() => Ok(vec![false; chains.len()]),
        other => other,
    }
}

/// A chain that rules of another one jump to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jumped<'a> {
    pub(super) family: Family,
    /// Whose rules jump.
    pub(super) parent: &'a str,
    pub(super) chain: &'a str,
}

impl Jumped<'_> {
    /// Removes the jumps that have to go, and the chain if none stays.
    pub(super) fn remove(self, nft: &mut Nft, goes: impl Fn(&Rule) -> bool) -> Result<(), Cause> {
        let limit = nft.limit();
        let table = self.family.table();
        loop {
            let generation = nft.generation()?;
            if nft.have_chains(&[(table, self.chain)])? != [true] {
                return Ok(());
            }
            let rules = nft.rules(table, Some(self.parent))?;
            match nft.commit(&Transaction {
                generation: Some(generation),
                changes: self.plan_removal(&rules, &goes),
            }) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                other => return other,
            }
        }
    }

    fn plan_removal(self, rules: &[Rule], goes: impl Fn(&Rule) -> bool) -> Vec<Change> {
        let table = self.family.table();
        let (go, stay): (Vec<&Rule>, Vec<&Rule>) = rules
            .iter()
            .filter(|rule| rule.jumps_to(self.chain))
            .partition(|rule| goes(rule));
        let mut changes: Vec<Change> = go
            .iter()
            .map(|rule| Change::DeleteRule {
                table,
                chain: rule.chain.clone(),
                handle: rule.handle,
            })
            .collect();
        if stay.is_empty() {
            let chain = self.chain.to_owned();
            changes.push(Change::FlushChain {
                table,
                chain: chain.clone(),
            });
            changes.push(Change::DeleteChain { table, chain });
        }
        changes
    }
}

impl Rule {
    /// Whether the rule ends in a jump to a chain.
    pub(crate) fn jumps_to(&self, chain: &str) -> bool {
        let jump = |expr: &Expr| matches!(expr, Expr::Verdict(Verdict::Jump(to)) if to == chain);
        self.expressions.iter().any(jump)
    }
}

/// Removes something from the kernel's old tables, if there are any: `plan` says what
/// `iptables-restore` is to be fed, given what is there.
pub(super) fn remove_from_legacy(
    nft: &Nft,
    family: Family,
    plan: impl Fn(&str) -> Option<String>,
) -> Result<(), Cause> {
    if !family.has_legacy_nat() {
        return Ok(());
    }
    let programs = family.programs();
    // Where there is but one iptables, it has no second name.
    for (save_with, restore_from) in [
        (programs.legacy_save, programs.legacy_restore),
        (programs.save, programs.restore),
    ] {
        let saved = match process::run(save_with, &["-t", "nat"], "", nft.patience()) {
            Err(Cause::Spawn { .. }) => continue,
            other => other?,
        };
        return plan(&saved).map_or(Ok(()), |input| {
            restore_with(restore_from, &input, nft.patience())
        });
    }
    Ok(())
}

pub(super) fn restore_with(
    program: &'static str,
    input: &str,
    patience: Duration,
) -> Result<(), Cause> {
    // iptables' own patience is a second shorter, so that its words come before our deadline.
    let wait = patience.as_secs().saturating_sub(1).max(1).to_string();
    process::run(program, &["--noflush", "--wait", &wait], input, patience).map(drop)
}
