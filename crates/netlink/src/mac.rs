//! New hardware addresses.

use std::io;

use cni_types::MacAddr;

/// A random unicast, locally administered hardware address.
///
/// # Errors
/// The kernel has no random numbers.
pub fn random_mac() -> io::Result<MacAddr> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(MacAddr::local_from(bytes))
}
