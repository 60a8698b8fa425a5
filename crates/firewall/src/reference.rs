//! What the reference plugins leave on a machine, removed for the attachments that we DEL: after an
//! upgrade in place, nobody else would.
//!
//! Whether there is anything is asked in one exchange with the kernel; it costs a DEL next to
//! nothing where there is not.

mod ports;

use cni_types::{Attachment, IpCidr};

use crate::error::{Cause, FirewallError, Operation};
use crate::iptables::{self, Family as IptablesFamily};
use crate::nft::{Change, Family, Nft, Rule, Table, Transaction};
use crate::owner::{self, Tag};
use crate::registry::is_stale;

pub use ports::{publishes, remove_ports};

/// The reference's masquerade rules since 1.6.0, one for each address, in one chain.
const MASQUERADE: Table = Table {
    family: Family::Inet,
    name: "cni_plugins_masquerade",
};
const MASQUERADE_CHAIN: &str = "masq_checks";
/// The reference's MAC spoof checks; the table may well be somebody else's, too.
const SPOOFCHECK: Table = Table {
    family: Family::Bridge,
    name: "nat",
};
const SPOOFCHECK_CHAIN: &str = "PREROUTING";

/// Removes what the reference plugins made for an attachment: masquerade rules of iptables and of
/// nftables, and the MAC spoof check. Tables and shared chains stay, as the reference leaves them.
///
/// `addresses`, if known, keep the rules of the same container's other interfaces (see
/// [`iptables::remove`]). A process is started only for the kernel's old iptables, and only where
/// there are any NAT rules in them.
///
/// # Errors
/// iptables or the kernel refused. The other kinds have been removed all the same.
pub fn remove(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
) -> Result<(), FirewallError> {
    remove_all(nft, attachment, addresses)
        .map_err(|cause| cause.during(Operation::RemoveReference, attachment))
}

fn remove_all(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
) -> Result<(), Cause> {
    let iptables_chain = owner::reference_chain(attachment);
    let [spoof_chain, spoof_mac_chain] = owner::reference_spoofcheck_chains(attachment);
    let asked = [
        (IptablesFamily::V4.table(), iptables_chain.as_str()),
        (IptablesFamily::V6.table(), iptables_chain.as_str()),
        (MASQUERADE, MASQUERADE_CHAIN),
        (SPOOFCHECK, spoof_chain.as_str()),
        (SPOOFCHECK, spoof_mac_chain.as_str()),
    ];
    let have = match nft.have_chains(&asked) {
        Err(cause) if cause.is_unsupported() => vec![false; asked.len()],
        other => other?,
    };
    let has = |at: usize| have.get(at).copied().unwrap_or_default();
    let mut results = Vec::new();
    for (family, exists) in [(IptablesFamily::V4, has(0)), (IptablesFamily::V6, has(1))] {
        let which = (family, exists);
        results.push(iptables::remove_from(nft, attachment, addresses, which));
    }
    if has(2) {
        results.push(remove_masquerade(nft, attachment));
    }
    if has(3) || has(4) {
        results.push(remove_spoofcheck(nft, attachment));
    }
    results.into_iter().collect()
}

/// Whether the reference's rules masquerade all of an attachment's addresses: after an upgrade in
/// place that is as good as our own.
///
/// # Errors
/// The kernel cannot be asked, or iptables failed.
pub fn masquerades(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpCidr],
) -> Result<bool, FirewallError> {
    let owner = Tag::new(attachment);
    let rules = present_rules(nft, MASQUERADE, MASQUERADE_CHAIN)
        .map_err(|cause| cause.during(Operation::CheckMasquerade, attachment))?;
    let own = rules
        .iter()
        .filter_map(|rule| rule.comment.as_deref())
        .filter(|comment| Tag::parse(comment) == Some(owner));
    if own.count() >= addresses.len() {
        return Ok(true);
    }
    // Only where there is a chain is there a process to be started.
    if !iptables::has_chain(nft, attachment)? {
        return Ok(false);
    }
    Ok(iptables::check(nft, attachment, addresses)?.is_empty())
}

/// Whether the reference's rules keep an attachment from forging MAC addresses: a jump from the hook,
/// one from the attachment's chain, and a MAC address to let through before all others are dropped.
///
/// # Errors
/// The kernel cannot be asked.
pub fn guards(nft: &mut Nft, attachment: &Attachment) -> Result<bool, FirewallError> {
    let [chain, mac_chain] = owner::reference_spoofcheck_chains(attachment);
    let comment = owner::reference_spoofcheck(attachment);
    for (chain, rules) in [
        (SPOOFCHECK_CHAIN, 1),
        (chain.as_str(), 1),
        (mac_chain.as_str(), 2),
    ] {
        let found = present_rules(nft, SPOOFCHECK, chain)
            .map_err(|cause| cause.during(Operation::CheckSpoofCheck, attachment))?;
        let own = found
            .iter()
            .filter(|rule| rule.comment.as_ref() == Some(&comment));
        if own.count() < rules {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rules of a chain; none where there is no such chain.
fn present_rules(nft: &mut Nft, table: Table, chain: &str) -> Result<Vec<Rule>, Cause> {
    if nft.have_chains(&[(table, chain)])? != [true] {
        return Ok(Vec::new());
    }
    nft.rules(table, Some(chain))
}

/// Applies what `plan` finds, again and again while others change the ruleset in between. Answers
/// whether there was anything.
fn remove_planned(
    nft: &mut Nft,
    plan: impl Fn(&mut Nft) -> Result<Vec<Change>, Cause>,
) -> Result<bool, Cause> {
    let limit = nft.limit();
    loop {
        let generation = Some(nft.generation()?);
        let changes = plan(nft)?;
        let any = !changes.is_empty();
        match nft.commit(&Transaction {
            generation,
            changes,
        }) {
            Err(cause) if is_stale(&cause) => limit.retry()?,
            other => return other.map(|()| any),
        }
    }
}

fn remove_masquerade(nft: &mut Nft, attachment: &Attachment) -> Result<(), Cause> {
    let owner = Tag::new(attachment);
    let is_own = |comment: &str| Tag::parse(comment) == Some(owner);
    let plan = |nft: &mut Nft| delete_rules(nft, MASQUERADE, MASQUERADE_CHAIN, is_own);
    remove_planned(nft, plan).map(drop)
}

fn remove_spoofcheck(nft: &mut Nft, attachment: &Attachment) -> Result<(), Cause> {
    let comment = owner::reference_spoofcheck(attachment);
    let chains = owner::reference_spoofcheck_chains(attachment);
    remove_planned(nft, |nft| {
        let asked = chains.each_ref().map(|chain| (SPOOFCHECK, chain.as_str()));
        let have = nft.have_chains(&asked)?;
        let mut changes = delete_rules(nft, SPOOFCHECK, SPOOFCHECK_CHAIN, |text| text == comment)?;
        let existing = || chains.iter().zip(&have).filter(|(_, exists)| **exists);
        // The first chain jumps to the second, so both are flushed before either can be deleted.
        changes.extend(existing().map(|(chain, _)| Change::FlushChain {
            table: SPOOFCHECK,
            chain: chain.clone(),
        }));
        changes.extend(existing().map(|(chain, _)| Change::DeleteChain {
            table: SPOOFCHECK,
            chain: chain.clone(),
        }));
        Ok(changes)
    })
    .map(drop)
}

fn delete_rules(
    nft: &mut Nft,
    table: Table,
    chain: &str,
    is_own: impl Fn(&str) -> bool,
) -> Result<Vec<Change>, Cause> {
    let rules = nft.rules(table, Some(chain))?;
    Ok(rules
        .into_iter()
        .filter(|rule| rule.comment.as_deref().is_some_and(&is_own))
        .map(|rule| Change::DeleteRule {
            table,
            chain: rule.chain,
            handle: rule.handle,
        })
        .collect())
}
