//! Addresses by 256, so that a walk passes over that many taken ones in a few instructions.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// 256 addresses in a row, which differ in their last eight bits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(u128);

/// Set in the number of a block of IPv4 addresses; IPv6 needs only 120 bits for its own.
const IPV4: u128 = 1 << 120;

/// A lease's address as one number of both families. IPv4 addresses are mapped ones (RFC 4291,
/// 2.5.5.2), which no lease has: its name would not be canonical.
pub(crate) fn number_of(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The inverse of [`number_of`].
pub(crate) fn addr_of(number: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical()
}

impl Block {
    /// The block of an address, and which address of it this is.
    #[must_use]
    pub fn of(addr: IpAddr) -> (Self, u8) {
        match addr {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                let number = u32::from_be_bytes([0, a, b, c]);
                (Self(IPV4 | u128::from(number)), d)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let [last, ..] = bits.to_le_bytes();
                (Self(bits >> 8), last)
            }
        }
    }

    /// One of its addresses.
    #[must_use]
    pub fn addr(self, offset: u8) -> IpAddr {
        if self.0 & IPV4 == 0 {
            return Ipv6Addr::from_bits(self.0 << 8 | u128::from(offset)).into();
        }
        let [c, b, a, ..] = self.0.to_le_bytes();
        [a, b, c, offset].into()
    }

    /// Its number: blocks that follow one another have numbers that do.
    pub(crate) fn number(self) -> u128 {
        self.0
    }
}

/// Which addresses of a [`Block`] are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bitmap([u64; 4]);

impl Bitmap {
    /// How many bytes it has where it is stored.
    pub(crate) const SIZE: usize = 32;

    /// Whether an address is taken.
    #[must_use]
    pub fn contains(&self, offset: u8) -> bool {
        let word = self.0.get(usize::from(offset / 64));
        word.is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    /// Takes an address, or frees it.
    pub fn set(&mut self, offset: u8, taken: bool) {
        if let Some(word) = self.0.get_mut(usize::from(offset / 64)) {
            let bit = 1 << (offset % 64);
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }

    /// The first free address of `from..=to`.
    #[must_use]
    pub fn first_free(&self, from: u8, to: u8) -> Option<u8> {
        let words = self.0.iter().zip((0_u8..).step_by(64));
        let mut free = words.filter_map(|(word, base)| {
            let below = from.saturating_sub(base);
            let from_on = u64::MAX.checked_shl(below.into())?;
            let free = !word & from_on;
            // At most 63, since there is one.
            let place = u8::try_from(free.trailing_zeros()).ok()?;
            (free != 0).then(|| base + place)
        });
        free.next().filter(|offset| *offset <= to)
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (words, _none) = bytes.as_chunks();
        let mut bitmap = Self::default();
        for (word, bytes) in bitmap.0.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        bitmap
    }
}

/// Taken addresses, as many as there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blocks(BTreeMap<Block, Bitmap>);

impl Blocks {
    pub(crate) fn insert(&mut self, addr: IpAddr) {
        let (block, offset) = Block::of(addr);
        self.0.entry(block).or_default().set(offset, true);
    }

    pub(crate) fn get(&self, block: Block) -> Bitmap {
        self.0.get(&block).copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Block, Bitmap)> {
        self.0.iter().map(|(block, bitmap)| (*block, *bitmap))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_families_have_blocks_of_their_own() {
        for (text, offset) in [
            ("0.0.0.0", 0),
            ("10.0.3.255", 255),
            ("255.255.255.255", 255),
            ("::", 0),
            ("::a00:3ff", 255),
            ("::ffff:10.0.3.255", 255),
            ("fd00::107", 7),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 255),
        ] {
            let addr: IpAddr = text.parse().unwrap();
            let (block, at) = Block::of(addr);
            assert_eq!((at, block.addr(at)), (offset, addr), "{text}");
        }
        let block = |text: &str| Block::of(text.parse().unwrap()).0;
        assert_eq!(block("10.0.3.0"), block("10.0.3.255"));
        assert_ne!(block("10.0.3.255"), block("10.0.4.0"));
        assert_ne!(block("10.0.3.1"), block("::a00:301"));
        assert_ne!(block("10.0.3.1"), block("::ffff:10.0.3.1"));
    }

    proptest! {
        #[test]
        fn the_first_free_one_is_what_looking_at_each_finds(
            taken in proptest::collection::vec(any::<u8>(), 0..600),
            dense in any::<bool>(), from in any::<u8>(), to in any::<u8>(),
        ) {
            let mut bitmap = Bitmap::default();
            for offset in 0..=u8::MAX {
                bitmap.set(offset, taken.contains(&offset) != dense);
            }
            let model = (from..=to).find(|offset| !bitmap.contains(*offset));
            prop_assert_eq!(bitmap.first_free(from, to), model);
            prop_assert_eq!(Bitmap::from_bytes(&bitmap.to_bytes()), bitmap);
        }
    }
}
