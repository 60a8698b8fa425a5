//! Which maps, sets and elements a publication is made of.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use cni_types::{IfName, IpCidr};
use sha2::{Digest, Sha512};

use super::rules::{self, Key};
use super::{Condition, Mapping, MarkBit, Masquerade, Protocol, Publication};
use crate::error::Cause;
use crate::matches::{interface_key, octets};
use crate::nft::{Part, Type};
use crate::registry::{Layout, Place, Set, SetRule};

/// Containers that are reached over loopback, by the interface that leads to them.
pub(super) const LOOPBACK: &str = "loopback";

/// The maps without conditions are there as long as the table is: their rules have to be in order.
pub(super) fn goes_when_empty(set: &str) -> bool {
    !FAMILIES
        .iter()
        .any(|&v6| KEYS.iter().any(|&key| set == map_name(v6, key, None)))
}

const FAMILIES: [bool; 2] = [false, true];
const KEYS: [Key; 2] = [Key::AddressAndPort, Key::Port];

/// What the table has to hold for a publication; nothing if no mapping is for a family that the
/// container has an address of.
pub(crate) fn layout(publication: &Publication) -> Result<Layout, Cause> {
    let mut layout = Layout {
        chains: rules::chains(|v6, key| map_name(v6, key, None)),
        ..Layout::default()
    };
    for v6 in FAMILIES {
        for key in KEYS {
            layout.sets.push(map(v6, key, None));
        }
    }
    for v6 in FAMILIES {
        let Some(container) = publication.address(v6) else {
            continue;
        };
        if !publication
            .mappings
            .iter()
            .any(|mapping| mapping.is_for(v6))
        {
            continue;
        }
        add_mappings(&mut layout, publication, container)?;
        add_masquerade(&mut layout, publication, container);
        if let (false, Some(interface)) = (v6, &publication.loopback) {
            add_loopback(&mut layout, interface, container);
        }
    }
    if layout.places.is_empty() {
        return Ok(Layout::default());
    }
    Ok(layout)
}

fn add_mappings(
    layout: &mut Layout,
    publication: &Publication,
    container: IpCidr,
) -> Result<(), Cause> {
    let v6 = container.is_ipv6();
    let condition = publication.condition(v6);
    let mut places: Vec<Place> = Vec::new();
    for mapping in publication.mappings.iter().filter(|all| all.is_for(v6)) {
        places.push(place(mapping, container, condition));
    }
    // Stable: of several that are for the same port, the first one counts.
    places.sort_by(|one, other| (&one.set, &one.key).cmp(&(&other.set, &other.key)));
    for pair in places.windows(2) {
        if let [one, other] = pair {
            let same_port = (&one.set, &one.key) == (&other.set, &other.key);
            if same_port && one.data != other.data {
                return Err(Cause::PortTwice(one.name.clone()));
            }
        }
    }
    places.dedup();
    // A map under a condition goes with its last element, so it must not come without one.
    let conditional = KEYS.map(|key| condition.map(|condition| map(v6, key, Some(condition))));
    let is_used = |map: &Set| places.iter().any(|place| place.set == map.name);
    layout
        .sets
        .extend(conditional.into_iter().flatten().filter(is_used));
    layout.places.extend(places);
    Ok(())
}

fn place(mapping: &Mapping, container: IpCidr, condition: Option<&Condition>) -> Place {
    let Mapping {
        host_port,
        container_port,
        protocol,
        ..
    } = mapping;
    let v6 = container.is_ipv6();
    let host = mapping.single_host();
    let (of_address, key_type) = match host {
        Some(address) => (octets(address), Key::AddressAndPort),
        None => (Vec::new(), Key::Port),
    };
    let port_key = [&[protocol.number(), 0, 0, 0][..], &port(host_port.get())].concat();
    let data = [&octets(container.addr())[..], &port(container_port.get())].concat();
    Place {
        set: map_name(v6, key_type, condition),
        key: [of_address, port_key].concat(),
        data: Some(data),
        name: port_name(mapping, v6),
    }
}

/// What people call a port of the host.
pub(crate) fn port_name(mapping: &Mapping, v6: bool) -> String {
    let Mapping {
        host_port,
        protocol,
        ..
    } = mapping;
    match (mapping.single_host(), v6) {
        (Some(address), _) => format!("{host_port}/{protocol} of {address}"),
        (None, false) => format!("{host_port}/{protocol} of any IPv4 address"),
        (None, true) => format!("{host_port}/{protocol} of any IPv6 address"),
    }
}

/// A port as part of a concatenation.
fn port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// `any_v4`, `at_v6`; those under a condition are named after it.
pub(super) fn map_name(v6: bool, key: Key, condition: Option<&Condition>) -> String {
    let family = if v6 { "v6" } else { "v4" };
    let key = match key {
        Key::Port => "any",
        Key::AddressAndPort => "at",
    };
    condition.map_or_else(
        || format!("{key}_{family}"),
        |condition| format!("{key}_{family}_if_{:08x}", hash(condition.text())),
    )
}

fn hash(text: &str) -> u32 {
    let digest = Sha512::digest(text.as_bytes());
    digest
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn map(v6: bool, key: Key, condition: Option<&Condition>) -> Set {
    let name = map_name(v6, key, condition);
    let key_type: &[Part] = match (v6, key) {
        (_, Key::Port) => &[Part::Protocol, Part::Port],
        (false, Key::AddressAndPort) => &[Part::Ipv4, Part::Protocol, Part::Port],
        (true, Key::AddressAndPort) => &[Part::Ipv6, Part::Protocol, Part::Port],
    };
    let data: &[Part] = if v6 {
        &[Part::Ipv6, Part::Port]
    } else {
        &[Part::Ipv4, Part::Port]
    };
    // Those without a condition are looked up where packets come by anyway.
    let rules = condition.map(|condition| SetRule {
        chain: rules::WITH_CONDITIONS,
        rule: rules::translate(v6, key, &name, Some(condition)),
        named: false,
    });
    Set {
        key: Type(key_type),
        data: Some(Type(data)),
        rules: rules.into_iter().collect(),
        name,
    }
}

fn add_masquerade(layout: &mut Layout, publication: &Publication, container: IpCidr) {
    let v6 = container.is_ipv6();
    let subnet = container.subnet();
    let set_rule = |chain, rule, named| SetRule { chain, rule, named };
    let (name, rules) = match publication.masquerade {
        Masquerade::Never => return,
        Masquerade::Always => {
            let name = format!("always_{}", if v6 { "v6" } else { "v4" });
            let rule = rules::always(v6, &name);
            (name, vec![set_rule(rules::POSTROUTING, rule, false)])
        }
        Masquerade::Needed => {
            let bit = publication.mark;
            let name = hairpin_name(&subnet, bit);
            let on = rules::mark(&subnet, bit, true);
            let off = rules::mark(&subnet, bit, false);
            let masquerade = rules::hairpin(&subnet, bit, &name);
            let rules = vec![
                set_rule(rules::FROM_OWN_SUBNETS, on, true),
                set_rule(rules::NOT_MAPPED, off, true),
                set_rule(rules::POSTROUTING, masquerade, false),
            ];
            (name, rules)
        }
    };
    layout.places.push(Place {
        set: name.clone(),
        key: octets(container.addr()),
        data: None,
        name: format!("{} in {name}", container.addr()),
    });
    layout.sets.push(Set {
        name,
        key: Type(if v6 { &[Part::Ipv6] } else { &[Part::Ipv4] }),
        data: None,
        rules,
    });
}

/// `nft` reads no name with a colon in it.
fn hairpin_name(subnet: &IpCidr, bit: MarkBit) -> String {
    let name = format!("hairpin_{subnet}").replace(':', "-");
    if bit == MarkBit::default() {
        name
    } else {
        format!("{name}_bit_{}", bit.number())
    }
}

fn add_loopback(layout: &mut Layout, interface: &IfName, container: IpCidr) {
    let set_rule = |chain, rule, named| SetRule { chain, rule, named };
    layout.chains.push(rules::guard());
    layout.sets.push(Set {
        name: LOOPBACK.to_owned(),
        key: Type(&[Part::Interface, Part::Ipv4]),
        data: None,
        rules: vec![
            set_rule(rules::GUARD, rules::keep_out(), true),
            set_rule(rules::POSTROUTING, rules::over_loopback(LOOPBACK), false),
        ],
    });
    layout.places.push(Place {
        set: LOOPBACK.to_owned(),
        key: [interface_key(interface), octets(container.addr())].concat(),
        data: None,
        name: format!("{} over loopback and {interface}", container.addr()),
    });
}

/// By way of which interface an element lets loopback through.
pub(super) fn loopback_interface(place: &Place) -> Option<IfName> {
    if place.set != LOOPBACK {
        return None;
    }
    let name = place.key.split(|&byte| byte == 0).next()?;
    let name = name.get(..nix::libc::IFNAMSIZ.min(name.len()))?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// The host's port, and where it led, of UDP mappings of a family.
pub(super) fn udp_targets(gone: &[Place], v6: bool) -> BTreeSet<(u16, SocketAddr)> {
    gone.iter()
        .filter_map(target)
        .filter(|(protocol, _, to)| *protocol == Protocol::Udp.number() && to.is_ipv6() == v6)
        .map(|(_, host_port, to)| (host_port, to))
        .collect()
}

/// Protocol, host's port and target of a mapping, read back from its element.
fn target(place: &Place) -> Option<(u8, u16, SocketAddr)> {
    let data = place.data.as_deref()?;
    let to = match *data {
        [a, b, c, d, high, low, _, _] => {
            let address = IpAddr::from([a, b, c, d]);
            SocketAddr::new(address, u16::from_be_bytes([high, low]))
        }
        [ref address @ .., high, low, _, _] => {
            let address = IpAddr::from(*address.first_chunk::<16>()?);
            SocketAddr::new(address, u16::from_be_bytes([high, low]))
        }
        _ => return None,
    };
    let &[protocol, _, _, _, high, low, _, _] = place.key.last_chunk()?;
    Some((protocol, u16::from_be_bytes([high, low]), to))
}
