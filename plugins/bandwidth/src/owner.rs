//! The names and marks of what is ours: made here, recognised here.
//!
//! An IFB is named as the reference names it, after network and container, so that its tools, its
//! CHECK and its DEL find ours too. That name has no room for a second interface of the container on
//! the same network: where it is taken, the IFB is named after the interface as well. The link's
//! alias says whose it is, since a name alone proves nothing.

use std::fmt::Write as _;

use cni_firewall::owner as tags;
pub(crate) use cni_firewall::owner::{is_of_attachment, is_stale, unmarked_group};
use cni_types::{Attachment, IfName};
use sha2::{Digest, Sha512};

/// The kind of link that all these names are for.
pub(crate) const KIND: &str = "ifb";

/// How many bytes of the hash are told: 12 digits, which fill a name up to its 15 bytes.
const HASH_BYTES: usize = 6;

/// The names that the attachment's IFB may have, in the order in which they are tried.
pub(crate) fn ifb_names(attachment: &Attachment) -> impl Iterator<Item = IfName> {
    let Attachment {
        network,
        container_id,
        ifname,
    } = attachment;
    // Names cannot contain the zero, so that no two lists of parts read the same.
    let second = [
        network.as_str(),
        "\0",
        container_id.as_str(),
        "\0",
        ifname.as_str(),
    ];
    // The reference's `getIfbDeviceName`.
    let first = [network.as_str(), container_id.as_str()];
    [ifb_name(&first), ifb_name(&second)].into_iter().flatten()
}

/// `bwp` and the beginning of a hash.
fn ifb_name(parts: &[&str]) -> Option<IfName> {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    let mut name = String::from("bwp");
    for byte in hash.finalize().iter().take(HASH_BYTES) {
        // Writing to a String cannot fail.
        let _ok = write!(name, "{byte:02x}");
    }
    name.parse().ok()
}

/// The alias of an attachment's IFB: the same text as on other plugins' links and rules.
pub(crate) fn alias(attachment: &Attachment) -> String {
    tags::comment(attachment)
}

/// Whether an IFB without a mark can be the attachment's: the reference marks nothing, and neither
/// has an ADD of ours that was killed before it came to that. Under the first name it can be of
/// another interface of the same container as well.
pub(crate) fn can_be_of_attachment(
    name: &str,
    alias: Option<&str>,
    attachment: &Attachment,
) -> bool {
    alias.is_none() && ifb_names(attachment).any(|own| own.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(network: &str, id: &str, ifname: &str) -> Attachment {
        Attachment {
            network: network.parse().unwrap(),
            container_id: id.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn names(attachment: &Attachment) -> [String; 2] {
        let names: Vec<_> = ifb_names(attachment).map(String::from).collect();
        names.try_into().unwrap()
    }

    // printf %s netc1 | sha512sum
    #[test]
    fn the_first_name_is_the_references() {
        let [first, second] = names(&attachment("net", "c1", "eth0"));
        assert_eq!(first, "bwp623e1c388032");
        assert_eq!(second.len(), 15);
        assert_ne!(first, second);
    }

    #[test]
    fn the_second_name_is_of_one_interface() {
        let [first, second] = names(&attachment("net", "c1", "eth0"));
        for (other, shares_first) in [
            (attachment("net", "c1", "eth1"), true),
            (attachment("ne", "tc1", "eth0"), true),
            (attachment("net", "c1e", "th0"), false),
            (attachment("net2", "c1", "eth0"), false),
        ] {
            let [other_first, other_second] = names(&other);
            assert_eq!(first == other_first, shares_first, "{other}");
            assert_ne!(second, other_second, "{other}");
        }
    }

    #[test]
    fn what_is_made_is_recognised_and_nothing_else() {
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c1", "eth1"),
        );
        let alias = alias(&one);
        let alias = Some(alias.as_str());
        assert!(is_of_attachment(alias, &one) && !is_of_attachment(alias, &two));
        assert!(is_stale(alias, &one.network, std::slice::from_ref(&two)));
        assert!(!is_stale(alias, &one.network, &[two.clone(), one.clone()]));
        assert!(!is_stale(alias, &"other".parse().unwrap(), &[]));
        for foreign in [None, Some(""), Some("uplink of rack 4")] {
            assert!(!is_of_attachment(foreign, &one) && !is_stale(foreign, &one.network, &[]));
        }
    }

    #[test]
    fn what_has_a_name_and_no_mark_can_be_the_references() {
        let (eth0, eth1) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c1", "eth1"),
        );
        let [first, second] = names(&eth0);
        for (name, of_eth1) in [(&first, true), (&second, false)] {
            assert!(can_be_of_attachment(name, None, &eth0));
            assert_eq!(can_be_of_attachment(name, None, &eth1), of_eth1);
            for marked in [alias(&eth0).as_str(), "somebody's"] {
                assert!(!can_be_of_attachment(name, Some(marked), &eth0));
            }
        }
        assert!(!can_be_of_attachment("bwp000000000000", None, &eth0));
    }
}
