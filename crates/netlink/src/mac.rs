//! Hardware addresses for new links, and what else must be nobody else's.

use std::hash::{BuildHasher as _, RandomState};

use cni_types::MacAddr;

/// A random unicast address of the locally administered range, as the kernel gives one to a link
/// that was made without: 46 random bits.
///
/// The standard library seeds its hashers from the kernel's random numbers, which costs one system
/// call; a static program that asks through libc's `getrandom` by name takes the way over
/// `/dev/urandom`, with seven.
#[must_use]
pub fn random_mac() -> MacAddr {
    let [random @ .., _, _] = RandomState::new().hash_one(()).to_ne_bytes();
    MacAddr::local_from(random)
}

/// 32 bytes that nobody else has, from the same source. Not for secrets.
#[must_use]
pub fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&RandomState::new().hash_one(()).to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn bytes_differ() {
        let all: BTreeSet<[u8; 32]> = (0..100).map(|_| random_bytes()).collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|bytes| bytes[..8] != bytes[8..16]));
    }

    #[test]
    fn addresses_are_local_unicast_and_differ_also_between_threads() {
        let mut all: BTreeSet<MacAddr> = (0..100).map(|_| random_mac()).collect();
        all.extend((0..20).map(|_| std::thread::spawn(random_mac).join().unwrap()));
        assert_eq!(all.len(), 120);
        assert!(
            all.iter()
                .all(|mac| mac.is_unicast() && mac.bytes()[0] & 2 == 2)
        );
    }
}
