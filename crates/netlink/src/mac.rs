//! Hardware addresses for new links.

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
