//! Hardware addresses for new links, and what else must be nobody else's.

use std::fs::File;
use std::io::Read as _;

use cni_types::MacAddr;
use nix::libc;

/// A random unicast address of the locally administered range, as the kernel gives one to a link
/// that was made without: 46 random bits.
#[must_use]
pub fn random_mac() -> MacAddr {
    MacAddr::local_from(random())
}

/// 32 bytes that nobody else has, from the same source. Not for secrets.
#[must_use]
pub fn random_bytes() -> [u8; 32] {
    random()
}

/// From the kernel, by the system call itself: libc's function by that name is found late in a static
/// program, and the standard library's hashers, which are seeded from there too, make every thread's
/// local storage larger.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The first one, of Linux 5.6, never waits; an older kernel may, early after its start.
    for flags in [libc::GRND_INSECURE, 0] {
        // SAFETY: the kernel writes at most `N` bytes to where `bytes` has as many.
        #[expect(unsafe_code, reason = "nix has no wrapper of this call")]
        let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), N, flags) };
        if usize::try_from(got) == Ok(N) {
            return bytes;
        }
    }
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    assert!(read.is_ok(), "the kernel has no random numbers: {read:?}");
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
