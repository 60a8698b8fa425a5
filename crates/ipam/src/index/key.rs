//! Hashes that stay the same from one build to the next: an index outlives the program.

use crate::lease::trim;

/// Stands for the text of a lease. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// The key of a lease file's content; white space around it does not matter.
    pub(crate) fn of(content: &[u8]) -> Self {
        Self::mixed(fnv(trim(content)))
    }

    pub(super) fn of_number(number: u128) -> Self {
        Self::mixed(fnv(&number.to_le_bytes()))
    }

    /// The key that had this number.
    pub(super) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }

    /// Spreads what FNV leaves in the low bits over all of them (`MurmurHash3`'s finalizer).
    const fn mixed(mut hash: u64) -> Self {
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 33;
        Self(if hash == 0 { 1 } else { hash })
    }
}

/// FNV-1a with 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index that another build has written would not be understood.
    #[test]
    fn keys_stay_as_they_are() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Key::of(b"a\r\neth0").number(), 0x3aa3_cd12_aab2_d6ca);
        assert_eq!(Key::of(b" a\r\neth0\n"), Key::of(b"a\r\neth0"));
        assert_ne!(Key::of(b"a\r\neth0"), Key::of(b"a"));
    }
}
