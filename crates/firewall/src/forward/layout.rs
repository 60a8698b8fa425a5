//! The sets, rules and elements of our own table, as values.

use std::net::IpAddr;

use cni_types::IfName;
use sha2::{Digest, Sha512};

use super::{Forwarding, Ingress, Keeper, Policy};
use crate::matches::{interface_key, octets, of_family};
use crate::nft::{Expr, Hook, Meta, Part, Register, Type, Verdict};
use crate::registry::{Chain, Layout, Place, Set, SetRule};

/// What the kernel calls.
const FORWARD: &str = "forward";
/// What leaves a bridge with a policy.
const BETWEEN: &str = "between";

/// What a set of the table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Addresses that are let through by `nf_tables` or iptables.
    Open,
    /// Addresses that are let through by firewalld.
    Zoned,
    /// The containers that a bridge has its policy for. [`Policy::Isolated`] has a set besides that
    /// of [`Policy::SameBridge`].
    Policy(Policy, String),
}

impl Purpose {
    pub(super) fn set(&self, v6: bool) -> String {
        let family = family(v6);
        match self {
            Self::Open => format!("open_{family}"),
            Self::Zoned => format!("zoned_{family}"),
            Self::Policy(policy, bridge) => format!("{}{bridge}_{family}", prefix(*policy)),
        }
    }

    /// What a set is, and of which family (`true`: IPv6); `None` for one of somebody else's.
    pub(super) fn of_set(name: &str) -> Option<(Self, bool)> {
        let (rest, family) = name.rsplit_once('_')?;
        let v6 = match family {
            "v4" => false,
            "v6" => true,
            _ => return None,
        };
        let purpose = match rest {
            "open" => Self::Open,
            "zoned" => Self::Zoned,
            _ => [Policy::SameBridge, Policy::Isolated]
                .into_iter()
                .find_map(|policy| {
                    let bridge = rest.strip_prefix(prefix(policy))?;
                    Some(Self::Policy(policy, bridge.to_owned()))
                })?,
        };
        Some((purpose, v6))
    }
}

pub(super) fn family(v6: bool) -> &'static str {
    if v6 { "v6" } else { "v4" }
}

fn prefix(policy: Policy) -> &'static str {
    match policy {
        Policy::SameBridge => "same-bridge_",
        Policy::Isolated => "isolated_",
    }
}

/// A bridge in the name of a set, where `nft` reads letters, digits and few others.
pub(super) fn in_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.chars().all(is_plain) {
        return name.to_owned();
    }
    let plain = |c| if is_plain(c) { c } else { '-' };
    let digest = Sha512::digest(name.as_bytes());
    let hash = digest
        .first_chunk()
        .map_or(0, |hash| u32::from_be_bytes(*hash));
    format!("{}-{hash:08x}", name.chars().map(plain).collect::<String>())
}

/// What the table has to hold for an attachment.
pub(crate) fn layout(forwarding: &Forwarding) -> Layout {
    let mut layout = Layout::default();
    let open = match forwarding.keeper {
        Keeper::Nftables(_) | Keeper::Iptables(_) => Purpose::Open,
        Keeper::Firewalld => Purpose::Zoned,
    };
    for v6 in [false, true] {
        let addresses: Vec<IpAddr> = forwarding.of_family(v6).collect();
        if addresses.is_empty() {
            continue;
        }
        add_set(&mut layout, open.set(v6), &addresses, Vec::new());
        let Some(ingress) = &forwarding.ingress else {
            continue;
        };
        let has_rules = !matches!(forwarding.keeper, Keeper::Iptables(_));
        for policy in policies(ingress) {
            let rules = if has_rules {
                rules(policy, &ingress.bridge, v6)
            } else {
                Vec::new()
            };
            let name = Purpose::Policy(policy, in_name(ingress.bridge.as_str())).set(v6);
            add_set(&mut layout, name, &addresses, rules);
        }
        if has_rules {
            layout.chains = chains();
        }
    }
    layout
}

/// Those that are isolated are kept from other bridges as well.
fn policies(ingress: &Ingress) -> impl Iterator<Item = Policy> {
    let isolated = (ingress.policy == Policy::Isolated).then_some(Policy::Isolated);
    [Policy::SameBridge].into_iter().chain(isolated)
}

/// A set of addresses with an element for each of them.
pub(super) fn add_set(
    layout: &mut Layout,
    name: String,
    addresses: &[IpAddr],
    rules: Vec<SetRule>,
) {
    let v6 = addresses.iter().any(IpAddr::is_ipv6);
    let places = addresses.iter().map(|address| Place {
        set: name.clone(),
        key: octets(*address),
        data: None,
        name: format!("{address} in {name}"),
    });
    layout.places.extend(places);
    layout.sets.push(Set {
        name,
        key: Type(if v6 { &[Part::Ipv6] } else { &[Part::Ipv4] }),
        data: None,
        rules,
    });
}

fn chains() -> Vec<Chain> {
    let chain = |name, hook| Chain {
        name,
        hook,
        rules: Vec::new(),
    };
    vec![chain(BETWEEN, None), chain(FORWARD, Some(Hook::FORWARD))]
}

fn rules(policy: Policy, bridge: &IfName, v6: bool) -> Vec<SetRule> {
    let set_rule = |chain, rule| SetRule {
        chain,
        rule,
        named: true,
    };
    let key = interface_key(bridge);
    let comes_in = [
        Expr::Meta(Meta::InputName, Register::FIRST),
        Expr::equals(key.clone()),
    ];
    let goes_out = |compare: fn(Vec<u8>) -> Expr| {
        [
            Expr::Meta(Meta::OutputName, Register::FIRST),
            compare(key.clone()),
        ]
    };
    let rule = |matches: &[&[Expr]], verdict| {
        let mut rule = matches.concat();
        rule.extend(of_family(v6));
        rule.push(Expr::Verdict(verdict));
        rule
    };
    let inside = goes_out(Expr::equals);
    match policy {
        Policy::SameBridge => {
            let elsewhere = goes_out(Expr::differs);
            let jump = Verdict::Jump(BETWEEN.to_owned());
            vec![
                set_rule(FORWARD, rule(&[&comes_in, &elsewhere], jump)),
                set_rule(BETWEEN, rule(&[&inside], Verdict::Drop)),
            ]
        }
        Policy::Isolated => vec![set_rule(
            FORWARD,
            rule(&[&comes_in, &inside], Verdict::Drop),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_recognised_by_their_names() {
        let bridge = "same-bridge_x".to_owned();
        for purpose in [
            Purpose::Open,
            Purpose::Zoned,
            Purpose::Policy(Policy::SameBridge, bridge.clone()),
            Purpose::Policy(Policy::Isolated, bridge),
        ] {
            for v6 in [false, true] {
                let found = Purpose::of_set(&purpose.set(v6));
                assert_eq!(found, Some((purpose.clone(), v6)));
            }
        }
        for foreign in ["", "open", "open_v5", "opened_v4", "isolated", "_v4"] {
            assert_eq!(Purpose::of_set(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_bridge_in_a_name_can_be_read_by_nft() {
        assert_eq!(in_name("br-1a2b.3_c"), "br-1a2b.3_c");
        let (one, other) = (in_name("br+0"), in_name("br@0"));
        assert!(
            one.starts_with("br-0-") && other.starts_with("br-0-"),
            "{one}"
        );
        assert_ne!(one, other);
    }
}
