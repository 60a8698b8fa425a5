//! Pools: what they are called, and which addresses they have. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cni_ipam::{bits_of, predecessor, successor};
use cni_types::IpCidr;
use serde::{Deserialize, Serialize};

use super::error::IpamError;

/// Where pools must not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Space {
    /// For networks of this node.
    #[serde(rename = "LocalDefault")]
    Local,
    /// For networks of several nodes.
    #[serde(rename = "GlobalDefault")]
    Global,
}

impl Space {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "LocalDefault",
            Self::Global => "GlobalDefault",
        }
    }
}

impl FromStr for Space {
    type Err = IpamError;

    fn from_str(text: &str) -> Result<Self, IpamError> {
        [Self::Local, Self::Global]
            .into_iter()
            .find(|space| space.as_str() == text)
            .ok_or_else(|| IpamError::AddressSpace {
                space: text.to_owned(),
                known: "LocalDefault and GlobalDefault",
            })
    }
}

/// A pool, or a part of one: `LocalDefault/10.1.0.0/16` or `LocalDefault/10.1.0.0/16/10.1.5.0/24`,
/// as libnetwork writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PoolId {
    pub(super) space: Space,
    /// Without host bits.
    pub(super) subnet: IpCidr,
    /// The part to give addresses from.
    pub(super) part: Option<IpCidr>,
}

impl PoolId {
    /// The name of the files about the pool; the same for all its parts, which share addresses.
    pub(super) fn file_stem(&self) -> String {
        format!("{}_{}", self.space.as_str(), self.subnet)
            .replace('/', "_")
            .replace(':', "-")
    }

    /// The key of the part in the pool's record; the whole pool's is empty.
    pub(super) fn part_key(&self) -> String {
        self.part.map(|part| part.to_string()).unwrap_or_default()
    }

    /// The addresses that the pool gives when none is asked for by name. `None` if it has none.
    pub(super) fn span(&self) -> Option<Span> {
        let whole = Span::of_hosts(&self.subnet);
        match self.part {
            None => Some(whole),
            Some(part) => whole.intersect(part.network(), part.broadcast()),
        }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.space.as_str(), self.subnet)?;
        match self.part {
            Some(part) => write!(f, "/{part}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PoolId {
    type Err = IpamError;

    fn from_str(text: &str) -> Result<Self, IpamError> {
        let unknown = || IpamError::UnknownPool(text.to_owned());
        let (space, rest) = text.split_once('/').ok_or_else(unknown)?;
        let pieces: Vec<&str> = rest.split('/').collect();
        let cidr = |addr: &str, prefix: &str| format!("{addr}/{prefix}").parse::<IpCidr>().ok();
        let (subnet, part) = match pieces.as_slice() {
            [addr, prefix] => (cidr(addr, prefix), None),
            [addr, prefix, part_addr, part_prefix] => {
                let part = cidr(part_addr, part_prefix).ok_or_else(unknown)?;
                (cidr(addr, prefix), Some(part))
            }
            _ => (None, None),
        };
        let id = Self {
            space: space.parse().map_err(|_other: IpamError| unknown())?,
            subnet: subnet.ok_or_else(unknown)?,
            part,
        };
        // One pool has one name: what would read the same otherwise is no name of it.
        if id.to_string() == text && id.subnet == id.subnet.subnet() {
            Ok(id)
        } else {
            Err(unknown())
        }
    }
}

/// Addresses from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: IpAddr,
    pub(super) last: IpAddr,
}

impl Span {
    /// The addresses that hosts can have.
    ///
    /// An IPv4 subnet of two addresses or one has neither network nor broadcast address (RFC 3021),
    /// and an IPv6 subnet of two addresses or one no address that means its routers (RFC 6164); it
    /// never has a broadcast address.
    pub(super) fn of_hosts(subnet: &IpCidr) -> Self {
        let (mut first, mut last) = (subnet.network(), subnet.broadcast());
        if subnet.bits() - subnet.prefix() > 1 {
            first = successor(first).unwrap_or(first);
            if !subnet.is_ipv6() {
                last = predecessor(last).unwrap_or(last);
            }
        }
        Self { first, last }
    }

    fn intersect(self, first: IpAddr, last: IpAddr) -> Option<Self> {
        let span = Self {
            first: self.first.max(first),
            last: self.last.min(last),
        };
        (span.first <= span.last).then_some(span)
    }

    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        self.first.is_ipv4() == addr.is_ipv4()
            && (bits_of(self.first)..=bits_of(self.last)).contains(&bits_of(addr))
    }

    /// Every address once: those after `last`, and then from the beginning.
    pub(super) fn after(self, last: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let next = last.and_then(successor).filter(|next| self.contains(*next));
        let start = next.unwrap_or(self.first);
        let ascend = |from: Option<IpAddr>| std::iter::successors(from, |addr| successor(*addr));
        let upper = ascend(Some(start)).take_while(move |addr| *addr <= self.last);
        let lower = ascend(next.map(|_wraps| self.first)).take_while(move |addr| *addr < start);
        upper.chain(lower)
    }

    /// The next address after `last` that nobody has.
    pub(super) fn first_free(
        self,
        last: Option<IpAddr>,
        taken: &BTreeSet<IpAddr>,
    ) -> Option<IpAddr> {
        // Among one more than are taken, one is free.
        self.after(last)
            .take(taken.len() + 1)
            .find(|addr| !taken.contains(addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PoolId {
        text.parse().unwrap()
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ids_are_libnetworks() {
        for text in [
            "LocalDefault/10.1.0.0/16",
            "LocalDefault/10.1.0.0/16/10.1.5.0/24",
            "GlobalDefault/fd00:1::/64",
            "LocalDefault/fd00:1::/64/fd00:1::8000:0/112",
        ] {
            assert_eq!(id(text).to_string(), text);
            let stem: Result<cni_types::NetworkName, _> = id(text).file_stem().parse();
            assert!(stem.is_ok(), "{stem:?}");
        }
        assert_ne!(
            id("LocalDefault/10.1.0.0/16").file_stem(),
            id("GlobalDefault/10.1.0.0/16").file_stem()
        );
        for text in [
            "",
            "LocalDefault",
            "LocalDefault/",
            "LocalDefault/10.1.0.0",
            "LocalDefault/10.1.0.1/16",
            "LocalDefault/10.1.0.0/016",
            "LocalDefault/10.1.0.0/16/",
            "LocalDefault/10.1.0.0/16/10.1.5.0",
            "LocalDefault/10.1.0.0/16/10.1.5.0/24/1",
            "Other/10.1.0.0/16",
            "../../etc/10.1.0.0/16",
        ] {
            let error = text.parse::<PoolId>().unwrap_err();
            assert!(matches!(error, IpamError::UnknownPool(_)), "{text}");
        }
    }

    #[test]
    fn only_what_hosts_can_have_is_given() {
        for (pool, first, last) in [
            ("10.1.0.0/16", "10.1.0.1", "10.1.255.254"),
            ("10.1.0.0/30", "10.1.0.1", "10.1.0.2"),
            ("10.1.0.0/31", "10.1.0.0", "10.1.0.1"),
            ("10.1.0.7/32", "10.1.0.7", "10.1.0.7"),
            ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
            ("fd00::/126", "fd00::1", "fd00::3"),
            ("fd00::/127", "fd00::", "fd00::1"),
            ("fd00::7/128", "fd00::7", "fd00::7"),
            ("10.1.0.0/16/10.1.0.0/24", "10.1.0.1", "10.1.0.255"),
            ("10.1.0.0/16/10.1.255.0/24", "10.1.255.0", "10.1.255.254"),
            ("10.1.0.0/16/10.1.5.9/32", "10.1.5.9", "10.1.5.9"),
        ] {
            let span = id(&format!("LocalDefault/{pool}")).span().unwrap();
            assert_eq!((span.first, span.last), (addr(first), addr(last)), "{pool}");
        }
        assert_eq!(id("LocalDefault/10.1.0.0/16/10.1.0.0/32").span(), None);
    }

    #[test]
    fn a_walk_begins_after_the_last_one_and_comes_round() {
        let span = Span {
            first: addr("10.0.0.1"),
            last: addr("10.0.0.4"),
        };
        let walk = |last: Option<&str>| -> Vec<u8> {
            let octets = span.after(last.map(addr)).map(|addr| match addr {
                IpAddr::V4(v4) => v4.octets()[3],
                IpAddr::V6(_) => unreachable!(),
            });
            octets.collect()
        };
        assert_eq!(walk(None), [1, 2, 3, 4]);
        assert_eq!(walk(Some("10.0.0.2")), [3, 4, 1, 2]);
        assert_eq!(walk(Some("10.0.0.4")), [1, 2, 3, 4]);
        assert_eq!(walk(Some("10.0.0.0")), [1, 2, 3, 4]);
        // Before the pool was made anew.
        assert_eq!(walk(Some("10.9.0.2")), [1, 2, 3, 4]);
        assert_eq!(walk(Some("fd00::1")), [1, 2, 3, 4]);
        let top = Span {
            first: addr("255.255.255.254"),
            last: addr("255.255.255.255"),
        };
        assert_eq!(top.after(None).count(), 2);
    }

    #[test]
    fn the_free_one_is_found_among_many() {
        let span = id("LocalDefault/fd00::/64").span().unwrap();
        let taken: BTreeSet<IpAddr> = (1..=5).map(|n| addr(&format!("fd00::{n}"))).collect();
        assert_eq!(span.first_free(None, &taken), Some(addr("fd00::6")));
        let small = id("LocalDefault/fd00::/126").span().unwrap();
        assert_eq!(small.first_free(Some(addr("fd00::2")), &taken), None);
    }
}
