//! What the kernel's routing subsystem sends.

use cni_netlink::fuzzing;

pub(super) fn datagram(bytes: &[u8]) {
    fuzzing::datagram(bytes);
}

/// Without a header, which bytes from nowhere rarely have: flags, and what would follow it.
pub(super) fn payload(bytes: &[u8]) {
    if let Some((flags, payload)) = bytes.split_first_chunk() {
        fuzzing::payload(u16::from_ne_bytes(*flags), payload);
    }
}
