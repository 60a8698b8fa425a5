//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet hardware address, printed in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

/// The text is not a six-byte hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address {0:?}: six bytes as 02:00:00:00:00:01 are needed")]
pub struct MacError(String);

impl MacAddr {
    /// From its six bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// A unicast, locally administered address out of six arbitrary bytes, as the kernel's
    /// `eth_random_addr` makes one.
    #[must_use]
    pub const fn local_from(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfe) | 0x02;
        Self(bytes)
    }

    /// The six bytes.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 6] {
        self.0
    }

    /// Whether an interface can have this address: not multicast and not all zeros.
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    fn parse_groups(text: &str, separator: char, width: usize) -> Option<[u8; 6]> {
        let mut bytes = [0; 6];
        let mut at = bytes.iter_mut();
        for group in text.split(separator) {
            if group.len() != width || !group.is_ascii() {
                return None;
            }
            for start in (0..width).step_by(2) {
                *at.next()? = u8::from_str_radix(group.get(start..start + 2)?, 16).ok()?;
            }
        }
        at.next().is_none().then_some(bytes)
    }
}

impl FromStr for MacAddr {
    type Err = MacError;

    /// Reads the notations of Go's `net.ParseMAC`: `02:00:5e:00:53:01`, `02-00-5e-00-53-01` and
    /// `0200.5e00.5301`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex_only = text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b":-.".contains(&b));
        hex_only
            .then(|| {
                Self::parse_groups(text, ':', 2)
                    .or_else(|| Self::parse_groups(text, '-', 2))
                    .or_else(|| Self::parse_groups(text, '.', 4))
            })
            .flatten()
            .map(Self)
            .ok_or_else(|| MacError(text.to_owned()))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let colon = if position == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three_notations() {
        for text in ["02:00:5E:00:53:01", "02-00-5e-00-53-01", "0200.5e00.5301"] {
            assert_eq!(
                text.parse::<MacAddr>().unwrap().to_string(),
                "02:00:5e:00:53:01"
            );
        }
    }

    #[test]
    fn refuses_anything_else() {
        for text in [
            "",
            "02",
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "2:0:5e:0:53:1",
            "02:00-5e:00:53:01",
            "+2:00:5e:00:53:01",
            "0200.5e00",
            "zz:00:5e:00:53:01",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn random_bytes_become_a_local_unicast_address() {
        let mac = MacAddr::local_from([0xff; 6]);
        assert_eq!(mac.to_string(), "fe:ff:ff:ff:ff:ff");
        assert!(mac.is_unicast());
        assert!(!MacAddr::new([1, 0, 0, 0, 0, 0]).is_unicast());
        assert!(!MacAddr::new([0; 6]).is_unicast());
    }
}
