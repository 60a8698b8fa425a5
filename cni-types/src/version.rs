//! Protocol versions.

use std::fmt;
use std::str::FromStr;

/// A version of the CNI specification that this suite speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpecVersion {
    /// 2016-01.
    V0_1_0,
    /// 2017-01: VERSION, `args`, dns in the config.
    V0_2_0,
    /// 2017-03: the result lists interfaces; chains.
    V0_3_0,
    /// 2017-04.
    V0_3_1,
    /// 2019-04: CHECK; prevResult is passed to DEL.
    V0_4_0,
    /// 2021-08: `ips[].version` is gone.
    V1_0_0,
    /// 2024-04: GC, STATUS, `cniVersions`.
    V1_1_0,
}

/// The text is not one of [`SpecVersion::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported CNI version {0:?}")]
pub struct UnsupportedVersion(pub String);

impl SpecVersion {
    /// Every version, oldest first.
    pub const ALL: &'static [Self] = &[
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version.
    pub const LATEST: Self = Self::V1_1_0;

    /// As it stands in `cniVersion`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether results list interfaces, ips and routes (0.3.0 on) rather than `ip4` and `ip6`.
    #[must_use]
    pub fn lists_interfaces(self) -> bool {
        self >= Self::V0_3_0
    }

    /// Whether CHECK exists and DEL gets a prevResult.
    #[must_use]
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether GC and STATUS exist.
    #[must_use]
    pub fn has_gc(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl FromStr for SpecVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnsupportedVersion(text.to_owned()))
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The numbers of any version text, known to us or not: `1.2` is (1, 2, 0).
///
/// The reference compares versions it does not support before it refuses them, and answers
/// differently for text that is no version at all.
#[must_use]
pub fn parse_numbers(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = [0; 3];
    let mut slots = numbers.iter_mut();
    for part in text.split('.') {
        *slots.next()? = part.parse().ok()?;
    }
    let [major, minor, micro] = numbers;
    Some((major, minor, micro))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_order_agree() {
        for pair in SpecVersion::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(parse_numbers(pair[0].as_str()) < parse_numbers(pair[1].as_str()));
        }
        for version in SpecVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(*version));
        }
        assert!("1.2.0".parse::<SpecVersion>().is_err());
        assert!("".parse::<SpecVersion>().is_err());
    }

    #[test]
    fn numbers_of_unknown_versions() {
        assert_eq!(parse_numbers("2.0.0"), Some((2, 0, 0)));
        assert_eq!(parse_numbers("1.2"), Some((1, 2, 0)));
        for bad in ["", "banana", "1.x", "1.2.3.4", "-1.0.0"] {
            assert_eq!(parse_numbers(bad), None, "{bad:?}");
        }
    }
}
