//! Which of a container's links Docker has just put there. Pure.
//!
//! Docker does not tell its name, and where there are several networks, names say nothing: the
//! hardware address and the addresses do.

use std::net::IpAddr;

use cni_cnm::engine::Endpoint;
use cni_netlink::{Address, Link};
use cni_types::IpCidr;

use super::error::JoinError;

/// The addresses of an endpoint, IPv4 first.
pub(super) fn addresses(endpoint: &Endpoint) -> Vec<IpCidr> {
    let v4 = (&endpoint.ip_address, endpoint.ip_prefix_len);
    let v6 = (
        &endpoint.global_ipv6_address,
        endpoint.global_ipv6_prefix_len,
    );
    let read = |(text, prefix): (&String, u8)| IpCidr::new(text.parse().ok()?, prefix).ok();
    [v4, v6].into_iter().filter_map(read).collect()
}

/// The gateway that Docker tells for a family.
pub(super) fn gateway(endpoint: &Endpoint, ipv6: bool) -> Option<IpAddr> {
    let text = if ipv6 {
        &endpoint.ipv6_gateway
    } else {
        &endpoint.gateway
    };
    text.parse().ok()
}

/// The link of an endpoint: not one of those that were there before, and with all that Docker tells
/// of it.
pub(super) fn choose<'a>(
    links: &'a [Link],
    there: &[Address],
    endpoint: &Endpoint,
    (before, network): (&[u32], &str),
) -> Result<&'a Link, JoinError> {
    let wanted = addresses(endpoint);
    let has = |link: &Link, cidr: &IpCidr| {
        let mut all = there.iter();
        all.any(|one| one.index == link.index && one.cidr == *cidr)
    };
    let mut found = links.iter().filter(|link| {
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        !link.is_loopback()
            && !before.contains(&link.index)
            && (endpoint.mac_address.is_empty() || endpoint.mac_address.eq_ignore_ascii_case(&mac))
            && wanted.iter().all(|cidr| has(link, cidr))
    });
    let no_link = |found| JoinError::NoLink {
        network: network.to_owned(),
        found,
        what: describe(endpoint, &wanted),
    };
    let link = found.next().ok_or_else(|| no_link("no interface"))?;
    match found.next() {
        None => Ok(link),
        Some(_second) => Err(no_link("more than one interface")),
    }
}

fn describe(endpoint: &Endpoint, wanted: &[IpCidr]) -> String {
    let mut words: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    words.extend(Some(endpoint.mac_address.clone()).filter(|mac| !mac.is_empty()));
    if words.is_empty() {
        return "is new".to_owned();
    }
    format!("has {}", words.join(" and "))
}

#[cfg(test)]
mod tests {
    use cni_netlink::OperState;

    use super::*;

    const MAC: &str = "02:42:0a:4d:00:02";

    fn link(index: u32, mac: &str) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            kind: Some("veth".into()),
            mac: mac.parse().ok(),
            mtu: 1500,
            tx_queue_len: 1000,
            master: None,
            peer: None,
            peer_netns: None,
            flags: 0,
            operstate: OperState::Up,
            alias: None,
            group: 0,
            alt_names: Vec::new(),
            port: None,
            bridge: None,
        }
    }

    fn address(index: u32, cidr: &str) -> Address {
        Address {
            index,
            cidr: cidr.parse().unwrap(),
            peer: None,
            broadcast: None,
            scope: 0,
            flags: 0,
            label: None,
        }
    }

    fn endpoint(mac: &str, v4: &str, v6: &str) -> Endpoint {
        Endpoint {
            mac_address: mac.into(),
            ip_address: v4.into(),
            ip_prefix_len: 24,
            global_ipv6_address: v6.into(),
            global_ipv6_prefix_len: 64,
            ..Endpoint::default()
        }
    }

    fn chosen(endpoint: &Endpoint, before: &[u32]) -> Result<u32, String> {
        // 2 is of another network, 4 of the one that Docker adds for a way out; 5 and 6 share a
        // parent's hardware address, as ipvlan links do.
        let links = [
            link(2, "02:42:0a:4c:00:02"),
            link(3, MAC),
            link(4, "02:42:ac:12:00:02"),
            link(5, "02:00:00:00:00:09"),
            link(6, "02:00:00:00:00:09"),
        ];
        let there = [
            address(2, "10.76.0.2/24"),
            address(3, "10.77.0.2/24"),
            address(3, "fd77::2/64"),
            address(4, "172.18.0.2/24"),
            address(5, "10.78.0.5/24"),
            address(6, "10.79.0.6/24"),
        ];
        choose(&links, &there, endpoint, (before, "red"))
            .map(|link| link.index)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_the_one_with_the_hardware_address_and_the_addresses() {
        assert_eq!(chosen(&endpoint(MAC, "10.77.0.2", ""), &[2]), Ok(3));
        assert_eq!(chosen(&endpoint(MAC, "10.77.0.2", "fd77::2"), &[2]), Ok(3));
        assert_eq!(chosen(&endpoint("", "10.77.0.2", ""), &[2]), Ok(3));
        assert_eq!(chosen(&endpoint(MAC, "", ""), &[]), Ok(3));
        let shared = endpoint("02:00:00:00:00:09", "10.79.0.6", "");
        assert_eq!(chosen(&shared, &[]), Ok(6));
        assert_eq!(chosen(&endpoint("", "", ""), &[2, 4, 5, 6]), Ok(3));
    }

    #[test]
    fn it_is_not_guessed() {
        for (endpoint, before, said) in [
            (
                endpoint(MAC, "10.77.0.2", ""),
                &[3][..],
                "Docker has connected the container to red, but no interface in it has \
                 10.77.0.2/24 and 02:42:0a:4d:00:02",
            ),
            (
                endpoint(MAC, "10.77.0.9", ""),
                &[],
                "Docker has connected the container to red, but no interface in it has \
                 10.77.0.9/24 and 02:42:0a:4d:00:02",
            ),
            (
                endpoint("", "", ""),
                &[],
                "Docker has connected the container to red, but more than one interface in it \
                 is new",
            ),
        ] {
            assert_eq!(chosen(&endpoint, before), Err(said.to_owned()));
        }
    }
}
