//! An IP address with its prefix length, as CNI writes it: `10.1.2.3/24`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// An address and a prefix length. The address keeps its host bits.
///
/// [`IpNetwork`] does the arithmetic; this type adds the strictness of Go's `net.ParseCIDR`:
/// the prefix length is mandatory, decimal and without leading zeros, and an IPv4-mapped IPv6
/// address is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpCidr(IpNetwork);

/// The text is not `address/length`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct CidrError(String);

impl IpCidr {
    /// Joins an address and a prefix length.
    ///
    /// # Errors
    /// The length is more than the family has bits.
    pub fn new(addr: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        IpNetwork::new(addr, prefix)
            .map(Self)
            .map_err(|_out_of_range| CidrError(format!("{addr}/{prefix}")))
    }

    /// The address alone: `/32` or `/128`.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNetwork::from(addr))
    }

    /// The default route of a family: `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn default_route(v6: bool) -> Self {
        let any = if v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        Self::host(any).with_prefix_zero()
    }

    fn with_prefix_zero(self) -> Self {
        Self(IpNetwork::new(self.0.ip(), 0).unwrap_or(self.0))
    }

    /// The address, host bits included.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.0.ip()
    }

    /// The prefix length in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.0.prefix()
    }

    /// How many bits an address of this family has: 32 or 128.
    #[must_use]
    pub fn bits(&self) -> u8 {
        if self.is_ipv6() { 128 } else { 32 }
    }

    /// Whether this is IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.0.is_ipv6()
    }

    /// The first address of the subnet: all host bits zero.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// The last address of the subnet: all host bits one.
    #[must_use]
    pub fn broadcast(&self) -> IpAddr {
        self.0.broadcast()
    }

    /// The subnet this address is in: the same prefix, host bits zero.
    #[must_use]
    pub fn subnet(&self) -> Self {
        Self(IpNetwork::new(self.network(), self.prefix()).unwrap_or(self.0))
    }

    /// Whether the subnet holds `addr`. Families never hold each other.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(addr)
    }

    /// Whether the two subnets share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// Whether this is `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_default_route(&self) -> bool {
        self.prefix() == 0 && self.addr().is_unspecified()
    }
}

impl FromStr for IpCidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || CidrError(text.to_owned());
        let (addr, len) = text.split_once('/').ok_or_else(fail)?;
        let digits = !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit());
        if !digits || (len.len() > 1 && len.starts_with('0')) {
            return Err(fail());
        }
        let addr: IpAddr = addr.parse().map_err(|_not_an_address| fail())?;
        let len: u8 = len.parse().map_err(|_over_255| fail())?;
        let mapped = match addr {
            IpAddr::V6(v6) => v6.to_ipv4_mapped(),
            IpAddr::V4(_) => None,
        };
        match mapped {
            Some(v4) if len >= 96 => Self::new(v4.into(), len - 96),
            _ => Self::new(addr, len),
        }
        .map_err(|_out_of_range| fail())
    }
}

impl TryFrom<String> for IpCidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IpCidr> for String {
    fn from(cidr: IpCidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr(), self.prefix())
    }
}

impl fmt::Debug for IpCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_go_accepts_and_prints_it_canonically() {
        for (text, printed) in [
            ("10.1.2.3/24", "10.1.2.3/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0:0::1/64", "2001:db8::1/64"),
            ("::ffff:10.1.2.3/120", "10.1.2.3/24"),
        ] {
            assert_eq!(text.parse::<IpCidr>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "10.0.0.1",
            "10.0.0.0/255.255.0.0",
            "10.0.0.0/024",
            "10.0.0.0/33",
            "010.0.0.1/8",
            "::/129",
            "10.0.0.0/",
            "/24",
            "",
            "10.0.0.0/+8",
            " 10.0.0.0/8",
        ] {
            assert!(text.parse::<IpCidr>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn subnets_know_their_members_and_neighbours() {
        let net: IpCidr = "10.1.2.3/24".parse().unwrap();
        assert_eq!(net.subnet().to_string(), "10.1.2.0/24");
        assert!(net.contains("10.1.2.255".parse().unwrap()));
        assert!(!net.contains("10.1.3.0".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert!(net.overlaps(&"10.0.0.0/8".parse().unwrap()));
        assert!(!net.overlaps(&"10.1.3.0/24".parse().unwrap()));
        assert!(IpCidr::default_route(true).is_default_route());
    }
}
