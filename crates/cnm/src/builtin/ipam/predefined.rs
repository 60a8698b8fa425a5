//! The pools that networks get that ask for none, as Docker has them.

use std::net::{IpAddr, Ipv4Addr};

use cni_types::IpCidr;

use super::pool::Space;

/// Docker's default address pools, in the order in which they are tried.
///
/// Local: `172.17.0.0/16` to `172.31.0.0/16`, then `192.168.0.0/16` in pieces of `/20`.
/// Global: `10.0.0.0/8` in pieces of `/24`.
pub(super) fn pools(space: Space) -> impl Iterator<Item = IpCidr> {
    let local = (17..=31)
        .map(|second| ([172, second, 0, 0], 16))
        .chain((0..16).map(|piece| ([192, 168, piece * 16, 0], 20)));
    let global =
        (0..=255).flat_map(|second| (0..=255).map(move |third| ([10, second, third, 0], 24)));
    let local = (space == Space::Local).then_some(local);
    let global = (space == Space::Global).then_some(global);
    local
        .into_iter()
        .flatten()
        .chain(global.into_iter().flatten())
        .filter_map(|(octets, prefix)| IpCidr::new(IpAddr::V4(Ipv4Addr::from(octets)), prefix).ok())
}

/// The first pool that has no address in common with what is in use.
pub(super) fn first_free(space: Space, in_use: &[IpCidr]) -> Option<IpCidr> {
    pools(space).find(|pool| !in_use.iter().any(|used| used.overlaps(pool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> IpCidr {
        text.parse().unwrap()
    }

    #[test]
    fn the_defaults_are_dockers() {
        let local: Vec<String> = pools(Space::Local).map(|pool| pool.to_string()).collect();
        assert_eq!(local.len(), 15 + 16);
        assert_eq!(
            (local[0].as_str(), local[14].as_str()),
            ("172.17.0.0/16", "172.31.0.0/16")
        );
        assert_eq!(
            (local[15].as_str(), local[16].as_str(), local[30].as_str()),
            ("192.168.0.0/20", "192.168.16.0/20", "192.168.240.0/20")
        );
        let global: Vec<String> = pools(Space::Global).map(|pool| pool.to_string()).collect();
        assert_eq!(
            (global.len(), global[257].as_str()),
            (65_536, "10.1.1.0/24")
        );
    }

    #[test]
    fn what_is_in_use_is_passed_over() {
        let first = |used: &[&str]| {
            let used: Vec<IpCidr> = used.iter().map(|text| cidr(text)).collect();
            first_free(Space::Local, &used).map(|pool| pool.to_string())
        };
        assert_eq!(first(&[]).unwrap(), "172.17.0.0/16");
        assert_eq!(
            first(&["172.17.5.0/24", "10.0.0.0/8"]).unwrap(),
            "172.18.0.0/16"
        );
        assert_eq!(first(&["172.16.0.0/12"]).unwrap(), "192.168.0.0/20");
        assert_eq!(
            first(&["172.16.0.0/12", "192.168.1.1/32"]).unwrap(),
            "192.168.16.0/20"
        );
        assert_eq!(first(&["172.16.0.0/12", "192.168.0.0/16"]), None);
        assert_eq!(first(&["::/0"]).unwrap(), "172.17.0.0/16");
    }
}
