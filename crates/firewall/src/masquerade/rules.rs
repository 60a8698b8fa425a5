//! The rules and the places of elements, as values.

use cni_types::IpCidr;

use crate::matches::{End, address, is_in, octets, of_family};
use crate::nft::{Expr, Hook, Part, Register, Type, Verdict};
use crate::registry::{Chain, Layout, Place, Set, SetRule};

use super::CHAIN;

/// What the table has to hold for these addresses.
pub(crate) fn layout(addresses: &[IpCidr]) -> Layout {
    let addresses = distinct(addresses.iter().copied());
    let subnets = distinct(addresses.iter().map(IpCidr::subnet));
    Layout {
        chains: vec![Chain {
            name: CHAIN,
            hook: Some(Hook::SOURCE_NAT),
            rules: multicast_rules(),
        }],
        sets: subnets.iter().map(set).collect(),
        places: addresses.iter().map(place).collect(),
    }
}

/// Each of them once.
fn distinct(all: impl Iterator<Item = IpCidr>) -> Vec<IpCidr> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

fn place(address: &IpCidr) -> Place {
    Place {
        set: set_name(&address.subnet()),
        key: octets(address.addr()),
        data: None,
        name: address.addr().to_string(),
    }
}

/// `nft` reads no name with a colon in it.
fn set_name(subnet: &IpCidr) -> String {
    format!("from_{subnet}").replace(':', "-")
}

fn set(subnet: &IpCidr) -> Set {
    let part = if subnet.is_ipv6() {
        &[Part::Ipv6]
    } else {
        &[Part::Ipv4]
    };
    Set {
        name: set_name(subnet),
        key: Type(part),
        data: None,
        rules: vec![SetRule {
            chain: CHAIN,
            rule: subnet_rule(subnet),
            named: false,
        }],
    }
}

fn multicast_rules() -> Vec<Vec<Expr>> {
    ["224.0.0.0/4", "ff00::/8"]
        .iter()
        .filter_map(|subnet| subnet.parse::<IpCidr>().ok())
        .map(|multicast| {
            let mut rule = of_family(multicast.is_ipv6()).to_vec();
            rule.extend(is_in(End::Destination, &multicast, true));
            rule.push(Expr::Verdict(Verdict::Return));
            rule
        })
        .collect()
}

fn subnet_rule(subnet: &IpCidr) -> Vec<Expr> {
    let mut rule = of_family(subnet.is_ipv6()).to_vec();
    rule.push(address(End::Source, subnet.is_ipv6(), Register::FIRST));
    rule.push(Expr::Lookup {
        set: set_name(subnet),
        inverted: false,
    });
    rule.extend(is_in(End::Destination, subnet, false));
    rule.push(Expr::Masquerade);
    rule
}
