//! Addresses as numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address as a number. An IPv4 address uses the low 32 bits.
#[must_use]
pub fn bits_of(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The next address of the same family, if there is one.
#[must_use]
pub fn successor(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(Ipv4Addr::from_bits)
            .map(IpAddr::V4),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(Ipv6Addr::from_bits)
            .map(IpAddr::V6),
    }
}

/// The address before, of the same family, if there is one.
#[must_use]
pub fn predecessor(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_sub(1)
            .map(Ipv4Addr::from_bits)
            .map(IpAddr::V4),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_sub(1)
            .map(Ipv6Addr::from_bits)
            .map(IpAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_end_where_the_family_ends() {
        for (addr, next) in [
            ("0.0.0.0", Some("0.0.0.1")),
            ("10.0.0.255", Some("10.0.1.0")),
            ("255.255.255.255", None),
            ("::", Some("::1")),
            ("::ffff", Some("::1:0")),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ] {
            let addr: IpAddr = addr.parse().unwrap();
            let next: Option<IpAddr> = next.map(|text| text.parse().unwrap());
            assert_eq!(successor(addr), next, "{addr}");
            if let Some(next) = next {
                assert_eq!(predecessor(next), Some(addr), "{next}");
            }
        }
        assert_eq!(predecessor("0.0.0.0".parse().unwrap()), None);
        assert_eq!(predecessor("::".parse().unwrap()), None);
    }
}
