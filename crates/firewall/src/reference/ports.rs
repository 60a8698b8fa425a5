//! Port mappings that the reference made with its nftables backend, since 1.6.0: tables `ip` and
//! `ip6 cni_hostport`, a rule for each mapping, the container's id as its comment.

use std::net::IpAddr;

use cni_types::Attachment;

use super::{present_rules, remove_planned};
use crate::error::{Cause, FirewallError, Operation};
use crate::iptables::hostports::{self, HostPorts, forget_translated};
use crate::matches::octets;
use crate::nft::{Change, Expr, Family, Nft, Rule, Table};
use crate::portmap::{Mapping, Publication};

/// Where destinations are changed, now and in earlier releases.
const TRANSLATING: [&str; 2] = ["hostports", "hostip_hostports"];
const MASQUERADING: &str = "masquerading";

fn table(v6: bool) -> Table {
    Table {
        family: if v6 { Family::Ip6 } else { Family::Ip },
        name: "cni_hostport",
    }
}

/// Removes the rules of a container: those that are about its addresses on this network, as far as
/// these are known, since the comment does not tell the network. Forgets the UDP connections that
/// they led there. Tables and chains stay, as the reference leaves them.
///
/// # Errors
/// The kernel refused.
pub fn remove_ports(
    nft: &mut Nft,
    attachment: &Attachment,
    addresses: &[IpAddr],
) -> Result<(), FirewallError> {
    remove_all(nft, attachment, addresses)
        .map_err(|cause| cause.during(Operation::RemoveReference, attachment))
}

fn remove_all(nft: &mut Nft, attachment: &Attachment, addresses: &[IpAddr]) -> Result<(), Cause> {
    let first = TRANSLATING[0];
    let mut removed = false;
    let have = match nft.have_chains(&[(table(false), first), (table(true), first)]) {
        Err(cause) if cause.is_unsupported() => return Ok(()),
        other => other?,
    };
    if !have.contains(&true) {
        // Looking through all connections takes milliseconds, even where there are none.
        return Ok(());
    }
    for (v6, exists) in [false, true].into_iter().zip(have) {
        if !exists {
            continue;
        }
        let own: Vec<Vec<u8>> = addresses
            .iter()
            .filter(|address| address.is_ipv6() == v6)
            .map(|address| octets(*address))
            .collect();
        let table = table(v6);
        let goes = |rule: &&Rule| {
            let chain = rule.chain.as_str();
            (TRANSLATING.contains(&chain) || chain == MASQUERADING)
                && rule.comment.as_deref() == Some(attachment.container_id.as_str())
                && (own.is_empty() || own.iter().any(|own| mentions(rule, own)))
        };
        removed |= remove_planned(nft, |nft| {
            let rules = nft.rules(table, None)?;
            let gone = rules.iter().filter(goes).map(|rule| Change::DeleteRule {
                table,
                chain: rule.chain.clone(),
                handle: rule.handle,
            });
            Ok(gone.collect())
        })?;
    }
    if removed {
        forget_translated(nft, addresses)?;
    }
    Ok(())
}

/// Whether a rule compares with, or translates to, these bytes.
fn mentions(rule: &Rule, wanted: &[u8]) -> bool {
    compares(rule, wanted) || loads(rule, wanted)
}

fn compares(rule: &Rule, wanted: &[u8]) -> bool {
    let mut exprs = rule.expressions.iter();
    exprs.any(|expr| matches!(expr, Expr::Compare { bytes, .. } if bytes == wanted))
}

fn loads(rule: &Rule, wanted: &[u8]) -> bool {
    let mut exprs = rule.expressions.iter();
    exprs.any(|expr| matches!(expr, Expr::Immediate { bytes, .. } if bytes == wanted))
}

/// Whether the reference's rules, of either backend, publish all that is to be published: after an
/// upgrade in place that is as good as our own.
///
/// # Errors
/// The kernel cannot be asked, or iptables failed.
pub fn publishes(
    nft: &mut Nft,
    attachment: &Attachment,
    publication: &Publication,
) -> Result<bool, FirewallError> {
    let by_nft = publishes_by_nft(nft, attachment, publication)
        .map_err(|cause| cause.during(Operation::CheckPorts, attachment))?;
    if by_nft {
        return Ok(true);
    }
    // Only where there is a chain is there a process to be started.
    if !hostports::has_chain(nft, attachment)? {
        return Ok(false);
    }
    let ports = HostPorts::new(publication.clone());
    Ok(hostports::missing(nft, attachment, &ports)?.is_empty())
}

fn publishes_by_nft(
    nft: &mut Nft,
    attachment: &Attachment,
    publication: &Publication,
) -> Result<bool, Cause> {
    let id = attachment.container_id.as_str();
    for v6 in [false, true] {
        let Some(container) = publication.address(v6) else {
            continue;
        };
        let mut rules = Vec::new();
        for chain in TRANSLATING {
            rules.extend(present_rules(nft, table(v6), chain)?);
        }
        rules.retain(|rule| rule.comment.as_deref() == Some(id));
        let mut mappings = publication.mappings.iter().filter(|all| all.is_for(v6));
        if !mappings.all(|mapping| {
            rules
                .iter()
                .any(|rule| translates(rule, mapping, container.addr()))
        }) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn translates(rule: &Rule, mapping: &Mapping, container: IpAddr) -> bool {
    let host = mapping.single_host();
    compares(rule, &[mapping.protocol.number()])
        && compares(rule, &mapping.host_port.get().to_be_bytes())
        && host.is_none_or(|host| compares(rule, &octets(host)))
        && loads(rule, &octets(container))
        && loads(rule, &mapping.container_port.get().to_be_bytes())
}
