//! Ports of one bridge that are kept apart.
//!
//! ```text
//! table bridge tenon_forward {
//!     set isolated_v4 {
//!         type ipv4_addr
//!         elements = { 10.1.0.5 comment "..." }
//!     }
//!     chain forward {
//!         type filter hook forward priority filter; policy accept;
//!         ip saddr @isolated_v4 drop
//!         ip daddr @isolated_v4 drop
//!     }
//! }
//! ```
//!
//! What a bridge forwards between its own ports is seen by rules for routed packets only where
//! `br_netfilter` is loaded and asked to show it: elsewhere, the reference's `isolated` isolates
//! nobody. What is for the host itself does not come by here. Addresses tell the bridge, since not
//! every kernel can (`meta ibrname`).

use std::fs;

use super::layout::{add_set, family};
use super::{Forwarding, Ingress, Keeper, Policy};
use crate::error::Cause;
use crate::matches::{End, address};
use crate::nft::{Expr, Family, Hook, Meta, Nft, Register, Table, Verdict};
use crate::owner::Tag;
use crate::registry::{Chain, Layout, Missing, Registry, SetRule};

const TABLE: Table = Table {
    family: Family::Bridge,
    name: "tenon_forward",
};
const REGISTRY: Registry = Registry {
    table: TABLE,
    goes_when_empty: |_all| true,
};
const FORWARD: &str = "forward";

/// What the table has to hold for an attachment; nothing unless its bridge is isolated.
pub(crate) fn layout(forwarding: &Forwarding) -> Layout {
    let mut layout = Layout::default();
    let isolated = |ingress: &Ingress| ingress.policy == Policy::Isolated;
    if !forwarding.ingress.as_ref().is_some_and(isolated) {
        return layout;
    }
    for v6 in [false, true] {
        let addresses: Vec<_> = forwarding.of_family(v6).collect();
        if !addresses.is_empty() {
            let name = format!("isolated_{}", family(v6));
            let rules = [End::Source, End::Destination].map(|end| rule(end, &name, v6));
            add_set(&mut layout, name, &addresses, rules.to_vec());
        }
    }
    if !layout.sets.is_empty() {
        layout.chains = vec![Chain {
            name: FORWARD,
            hook: Some(Hook::BRIDGE_FORWARD),
            rules: Vec::new(),
        }];
    }
    layout
}

/// `ip saddr @SET drop`
fn rule(end: End, set: &str, v6: bool) -> SetRule {
    /// `ETH_P_IP` and `ETH_P_IPV6`
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    let protocol = if v6 { IPV6 } else { IPV4 };
    SetRule {
        chain: FORWARD,
        rule: vec![
            Expr::Meta(Meta::LinkProtocol, Register::FIRST),
            Expr::equals(protocol.to_be_bytes()),
            address(end, v6, Register::FIRST),
            Expr::Lookup {
                set: set.to_owned(),
                inverted: false,
            },
            Expr::Verdict(Verdict::Drop),
        ],
        named: false,
    }
}

pub(super) fn add(nft: &mut Nft, forwarding: &Forwarding, comment: &str) -> Result<(), Cause> {
    let layout = layout(forwarding);
    if layout.places.is_empty() {
        return Ok(());
    }
    match REGISTRY.add(nft, &layout, comment, |_nft| Ok(Vec::new())) {
        Err(cause) if cause.is_unsupported() && iptables_suffices(forwarding) => Ok(()),
        other => other,
    }
}

/// Whether iptables sees what the bridge forwards, and keeps the ports apart.
fn iptables_suffices(forwarding: &Forwarding) -> bool {
    let is_shown = |v6| {
        let program = if v6 { "ip6tables" } else { "iptables" };
        fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{program}"))
            .is_ok_and(|shown| shown.trim() == "1")
    };
    let families = [false, true].into_iter();
    matches!(forwarding.keeper, Keeper::Iptables(_))
        && families
            .filter(|v6| forwarding.of_family(*v6).next().is_some())
            .all(is_shown)
}

pub(super) fn remove(nft: &mut Nft, condemned: impl Fn(Tag) -> bool) -> Result<(), Cause> {
    REGISTRY.sweep(nft, condemned).map(drop)
}

pub(super) fn check(
    nft: &mut Nft,
    forwarding: &Forwarding,
    owner: Tag,
) -> Result<Vec<Missing>, Cause> {
    match layout(forwarding) {
        layout if layout.places.is_empty() || iptables_suffices(forwarding) => Ok(Vec::new()),
        layout => REGISTRY.check(nft, &layout, owner),
    }
}
