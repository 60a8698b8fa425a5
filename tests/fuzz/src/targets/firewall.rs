//! What netfilter sends, and what `iptables-save` prints.

use cni_firewall::fuzzing;
use cni_types::IpCidr;

use crate::request::attachment;

pub(super) fn datagram(bytes: &[u8]) {
    fuzzing::datagram(bytes);
}

/// Without a header, which bytes from nowhere rarely have.
pub(super) fn object(bytes: &[u8]) {
    fuzzing::object(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::comment(text, &attachment());
    }
}

pub(super) fn saved(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for address in ["10.1.0.5/24", "fd00::5/64"] {
        let address: IpCidr = address.parse().expect("an address");
        fuzzing::saved_table(&text, &attachment(), address);
    }
}
