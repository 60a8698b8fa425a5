//! The reference's chains for what is forwarded: `CNI-FORWARD` with two accepts for each address, and
//! the stages of its ingress policies. By its names and its text, so that either suite can remove
//! what the other one made.
//!
//! The first ADD is one `iptables-restore --noflush` for each family. What is there already is read
//! from `nf_tables`, which is where iptables keeps its rules nearly everywhere; only where the
//! kernel's old tables are in use, `iptables-save` has to tell. In the first case later ADDs copy
//! what is there, and neither they nor removal need a process.
//!
//! The rules bear no owner: the reference would not recognise one that does. Who an address was
//! opened for is told by [`crate::forward`].

mod copy;
mod fuzzing;
mod line;
mod table;

use std::net::IpAddr;

use super::turn::Turn;
use super::{Family, process, tables};
use crate::error::Cause;
use crate::nft::{Nft, Rule, Table, Transaction};
use crate::registry::is_stale;
use line::{FORWARD, Line, STAGE_ONE, STAGE_TWO};
use table::{Filter, Removal};

pub(crate) use fuzzing::{read_rule, read_saved};
pub(crate) use line::KERNEL_FORWARD;
pub(crate) use table::Wanted;

impl Family {
    /// The filter table that iptables keeps in `nf_tables`.
    pub(crate) fn filter(self) -> Table {
        Table {
            name: "filter",
            ..self.table()
        }
    }

    /// Whether an address is of the family.
    pub(crate) fn is_of(self, address: &IpAddr) -> bool {
        address.is_ipv6() == (self == Self::V6)
    }
}

/// What an ADD made, to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub(crate) family: Family,
    pub(crate) addresses: Vec<IpAddr>,
    /// The chains were not there before.
    pub(crate) chains: bool,
    /// The bridge whose policy was not there before.
    pub(crate) bridge: Option<String>,
}

/// Makes what is wanted and not there. Answers what that was.
pub(crate) fn add(nft: &mut Nft, family: Family, wanted: &Wanted) -> Result<Opened, Cause> {
    let limit = nft.limit();
    let mut turn = None;
    let mut failed = None;
    loop {
        let generation = generation_to_copy_in(nft, wanted)?;
        let before = observe(nft, family, wanted)?;
        if turn.is_none() && before.lacks_shared(wanted) {
            turn = Some(Turn::wait(limit));
            continue;
        }
        let Some(input) = before.restore_for_add(wanted) else {
            return Ok(before.opened(family, wanted));
        };
        let copies = before.copies(wanted, family.filter());
        if let (Some(_unchanged), Some(changes)) = (generation, copies) {
            match nft.commit(&Transaction {
                generation,
                changes,
            }) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                other => return other.map(|()| before.opened(family, wanted)),
            }
            continue;
        }
        match failed {
            // Somebody may have made, or removed, a chain in between.
            Some((then, failure)) if then == before => return Err(failure),
            Some(_) => limit.retry()?,
            None => {}
        }
        match restore(nft, family.programs().restore, &input) {
            Ok(()) => return Ok(before.opened(family, wanted)),
            Err(failure) => failed = Some((before, failure)),
        }
    }
}

/// What was read after this is true for as long as the ruleset has this generation. `None` where
/// nothing is to be copied.
fn generation_to_copy_in(nft: &mut Nft, wanted: &Wanted) -> Result<Option<u32>, Cause> {
    if !wanted.copied {
        return Ok(None);
    }
    match nft.generation() {
        Err(cause) if cause.is_unsupported() => Ok(None),
        other => other.map(Some),
    }
}

/// What is wanted and not there, as `iptables-save` would print it.
pub(crate) fn missing(
    nft: &mut Nft,
    family: Family,
    wanted: &Wanted,
) -> Result<Vec<String>, Cause> {
    let filter = observe(nft, family, wanted)?;
    let missing = filter.missing(wanted).into_iter();
    Ok(missing
        .map(|(chain, kind)| format!("-A {chain} {}", kind.text()))
        .collect())
}

/// Whether the bridge has its rules already, whoever made them.
pub(crate) fn has_policy(nft: &mut Nft, family: Family, wanted: &Wanted) -> Result<bool, Cause> {
    let filter = observe(nft, family, wanted)?;
    Ok(!filter
        .missing(wanted)
        .iter()
        .any(|(chain, _)| [STAGE_ONE, STAGE_TWO].contains(&chain.as_str())))
}

/// Removes the accepts of addresses. With the last ones go the chains (`tidy`), unless the
/// administrator's is in use.
pub(crate) fn close(
    nft: &mut Nft,
    family: Family,
    addresses: &[IpAddr],
    tidy: bool,
) -> Result<(), Cause> {
    let of_family = |address: &&IpAddr| family.is_of(address);
    let own: Vec<IpAddr> = addresses.iter().filter(of_family).copied().collect();
    if own.is_empty() {
        return Ok(());
    }
    remove(nft, family, FORWARD, |filter| filter.close(&own, tidy))
}

/// Removes the ingress policy of a bridge, or only that its ports are kept apart.
pub(crate) fn release(
    nft: &mut Nft,
    family: Family,
    is_bridge: impl Fn(&str) -> bool,
    inside_alone: bool,
) -> Result<(), Cause> {
    remove(nft, family, STAGE_ONE, |filter| {
        filter.release(&is_bridge, inside_alone)
    })
}

impl Filter {
    fn opened(&self, family: Family, wanted: &Wanted) -> Opened {
        let missing = self.missing(wanted);
        let is_new = |address: &&IpAddr| {
            let from = line::Kind::From(**address);
            missing.iter().any(|(_, kind)| *kind == from)
        };
        let new_policy = |bridge: &&String| {
            let leaving = line::Kind::Leaving((*bridge).clone());
            missing.iter().any(|(_, kind)| *kind == leaving)
        };
        Opened {
            family,
            addresses: wanted.addresses.iter().filter(is_new).copied().collect(),
            chains: !self.has_chain(FORWARD),
            bridge: wanted.bridge.as_ref().filter(new_policy).cloned(),
        }
    }
}

/// What ADD and CHECK compare with: the chains that an attachment needs.
fn observe(nft: &mut Nft, family: Family, wanted: &Wanted) -> Result<Filter, Cause> {
    if family.has_legacy("filter") {
        return save(nft, family.programs().save).map(|saved| Filter::of_text(&saved));
    }
    let chains = wanted.chains();
    let asked: Vec<_> = chains
        .iter()
        .map(|&chain| (family.filter(), chain))
        .collect();
    let have = match nft.have_chains(&asked) {
        Err(cause) if cause.is_unsupported() => return Ok(Filter::default()),
        other => other?,
    };
    let mut filter = Filter::default();
    let found = chains.iter().zip(have).filter(|(_, exists)| *exists);
    filter
        .chains
        .extend(found.map(|(chain, _)| (*chain).to_owned()));
    for chain in [KERNEL_FORWARD, FORWARD, STAGE_ONE, STAGE_TWO] {
        if chain == KERNEL_FORWARD || filter.has_chain(chain) {
            for rule in nft.rules(family.filter(), Some(chain))? {
                let line = Line::of_rule(&rule);
                filter.samples.take(&rule, &line);
                filter.lines.push(line);
            }
        }
    }
    Ok(filter)
}

/// Removes what `plan` tells, where there is a chain.
fn remove(
    nft: &mut Nft,
    family: Family,
    chain: &str,
    plan: impl Fn(&Filter) -> Removal,
) -> Result<(), Cause> {
    let exists = match nft.have_chains(&[(family.filter(), chain)]) {
        Err(cause) if cause.is_unsupported() => false,
        other => other? == [true],
    };
    if exists {
        remove_from_nf_tables(nft, family, &plan)?;
    }
    if family.has_legacy("filter") {
        remove_from_legacy(nft, family, &plan)?;
    }
    Ok(())
}

fn remove_from_nf_tables(
    nft: &mut Nft,
    family: Family,
    plan: &impl Fn(&Filter) -> Removal,
) -> Result<(), Cause> {
    let limit = nft.limit();
    loop {
        let generation = nft.generation()?;
        let filter = whole(nft, family)?;
        let removal = plan(&filter);
        match nft.commit(&Transaction {
            generation: Some(generation),
            changes: removal.changes(family.filter()),
        }) {
            Err(cause) if is_stale(&cause) => limit.retry()?,
            other => return other,
        }
    }
}

/// All rules of the table, to know who jumps where, and which of the chains that they jump to there
/// are.
fn whole(nft: &mut Nft, family: Family) -> Result<Filter, Cause> {
    let rules: Vec<Rule> = nft.rules(family.filter(), None)?;
    let lines: Vec<Line> = rules.iter().map(Line::of_rule).collect();
    let mut chains: Vec<String> = lines
        .iter()
        .filter_map(|line| line.target.clone())
        .collect();
    chains.extend([FORWARD, STAGE_ONE, STAGE_TWO].map(str::to_owned));
    chains.sort_unstable();
    chains.dedup();
    let asked: Vec<_> = chains
        .iter()
        .map(|chain| (family.filter(), chain.as_str()))
        .collect();
    let have = nft.have_chains(&asked)?;
    let mut have = have.into_iter();
    chains.retain(|_chain| have.next().unwrap_or_default());
    Ok(Filter {
        chains,
        lines,
        ..Filter::default()
    })
}

fn remove_from_legacy(
    nft: &Nft,
    family: Family,
    plan: &impl Fn(&Filter) -> Removal,
) -> Result<(), Cause> {
    let programs = family.programs();
    // Where there is but one iptables, it has no second name.
    for (save_with, restore_with) in [
        (programs.legacy_save, programs.legacy_restore),
        (programs.save, programs.restore),
    ] {
        let saved = match save(nft, save_with) {
            Err(Cause::Spawn { .. }) => continue,
            other => other?,
        };
        let removal = plan(&Filter::of_text(&saved));
        if removal.is_empty() {
            return Ok(());
        }
        return restore(nft, restore_with, &removal.restore());
    }
    Ok(())
}

fn save(nft: &Nft, program: &'static str) -> Result<String, Cause> {
    process::run(program, &["-t", "filter"], "", nft.patience())
}

fn restore(nft: &Nft, program: &'static str, input: &str) -> Result<(), Cause> {
    tables::restore_with(program, input, nft.patience())
}
