//! `ipMasqBackend: "iptables"`.

mod rules;

use cni_types::{Attachment, IpCidr, NetworkName};

use super::tables::{Family, Jumped, have_chains, remove_from_legacy};
use super::{Missing, remove_stale};
use crate::error::{Cause, FirewallError, Operation};
use crate::nft::{Expr, Header, Nft, Register, Relation, Rule};
use crate::owner;

pub use rules::{restore_for_add, restore_for_remove, wanted};

const PARENT: &str = "POSTROUTING";

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
        // Only where the chain can be there already is there anything to compare with.
        let ensure = |nft: &mut Nft| {
            let exists = have_chains(nft, &[(family, &chain)])? == [true];
            let saved = if exists || family.has_legacy_nat() {
                family.save("nat", patience)?
            } else {
                String::new()
            };
            restore_for_add(attachment, addresses, family, &saved)
                .map_or(Ok(()), |input| family.restore(&input, patience))
        };
        ensure(nft).map_err(|cause: Cause| cause.during(Operation::AddMasquerade, attachment))?;
    }
    Ok(())
}

/// Whether there is anything to look at with a process: the attachment's chain in `nf_tables`, or any
/// NAT rules in the kernel's old tables.
pub(crate) fn has_chain(nft: &mut Nft, attachment: &Attachment) -> Result<bool, FirewallError> {
    let chain = owner::reference_chain(attachment);
    let asked = Family::ALL.map(|family| (family, chain.as_str()));
    let have = have_chains(nft, &asked)
        .map_err(|cause| cause.during(Operation::CheckMasquerade, attachment))?;
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
        let saved = family
            .save("nat", nft.patience())
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
    let asked = Family::ALL.map(|family| (family, chain.as_str()));
    let failed = |cause: Cause| cause.during(Operation::RemoveMasquerade, attachment);
    let have = have_chains(nft, &asked).map_err(failed)?;
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
        let has_nat = have_chains(nft, &[(family, PARENT)]).map_err(failed)? == [true];
        if has_nat || family.has_legacy_nat() {
            let saved = match family.save("nat", nft.patience()) {
                Err(Cause::Spawn { .. }) => continue,
                other => other.map_err(failed)?,
            };
            stale.extend(rules::containers(&saved, network));
        }
    }
    remove_stale(stale, valid, |container| remove(nft, container, None))
}

/// Removes the rules of one family, `exists` telling whether `nf_tables` has the chain.
pub(crate) fn remove_from(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: Option<&[IpCidr]>,
    (family, exists): (Family, bool),
) -> Result<(), Cause> {
    if exists {
        let chain = owner::reference_chain(attachment);
        let jumped = Jumped {
            family,
            parent: PARENT,
            chain: &chain,
        };
        jumped.remove(nft, |rule| {
            addresses.is_none_or(|own| rules::is_own(source(rule), own))
        })?;
    }
    remove_from_legacy(nft, family, |saved| {
        restore_for_remove(attachment, addresses, saved)
    })
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
