//! The names and marks of what is ours: made here, recognised here.
//!
//! Host ends are named as the reference names them, `veth` and eight hexadecimal digits, but the
//! digits are a hash of the attachment, so that a DEL finds its link when the namespace with the
//! other end cannot be reached any more. The link's alias says whose it is, since a name alone
//! proves nothing.

use cni_firewall::owner::{self as tags, Tag};
pub(crate) use cni_firewall::owner::{is_of_attachment, is_stale, unmarked_group};
use cni_types::{Attachment, IfName};
use sha2::{Digest, Sha512};

/// The alias of a bridge that we have made, with a MAC address of its own.
pub(crate) const BRIDGE_ALIAS: &str = "tenon: the MAC address is fixed";

/// Whether a bridge with this alias is one that we have made.
pub(crate) fn is_own_bridge(alias: Option<&str>) -> bool {
    alias == Some(BRIDGE_ALIAS)
}

/// How many names are tried before giving up: each needs a clash of 32 bits.
pub(crate) const HOST_NAMES: u8 = 8;

/// The name of the host end. `attempt` counts the names that somebody else has.
pub(crate) fn host_name(attachment: &Attachment, attempt: u8) -> Option<IfName> {
    let Attachment {
        network,
        container_id,
        ifname,
    } = attachment;
    veth_name(
        &[network.as_str(), container_id.as_str(), ifname.as_str()],
        attempt,
    )
}

/// The name of the bridge's end of the veth pair whose other end is the gateway of a VLAN.
pub(crate) fn vlan_port_name(bridge: &IfName, vlan: u16, attempt: u8) -> Option<IfName> {
    veth_name(
        &["vlan gateway", bridge.as_str(), &vlan.to_string()],
        attempt,
    )
}

fn veth_name(parts: &[&str], attempt: u8) -> Option<IfName> {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part.as_bytes());
        // Names cannot contain it, so that no two lists of parts read the same.
        hash.update([0]);
    }
    hash.update([attempt]);
    let digits = u32::from_be_bytes(*hash.finalize().first_chunk()?);
    format!("veth{digits:08x}").parse().ok()
}

/// The alias of an attachment's host end: the same text as the comment of its rules.
pub(crate) fn alias(attachment: &Attachment) -> String {
    tags::comment(attachment)
}

/// The name of the abstract socket that one ADD of an attachment holds. It has at most 107 bytes.
pub(crate) fn claim_name(attachment: &Attachment) -> String {
    format!("tenon bridge ADD {}", Tag::new(attachment))
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

    #[test]
    fn names_are_stable_and_differ() {
        let one = attachment("net", "c1", "eth0");
        let name = host_name(&one, 0).unwrap();
        assert_eq!(host_name(&one, 0), Some(name.clone()));
        assert!(name.as_str().starts_with("veth") && name.as_str().len() == 12);
        for other in [
            attachment("net", "c1", "eth1"),
            attachment("net", "c1e", "th0"),
            attachment("n", "etc1", "eth0"),
        ] {
            assert_ne!(host_name(&other, 0).unwrap(), name);
        }
        assert_ne!(host_name(&one, 1).unwrap(), name);
        assert_ne!(
            vlan_port_name(&"cni0".parse().unwrap(), 1, 0),
            vlan_port_name(&"cni0".parse().unwrap(), 2, 0)
        );
    }

    #[test]
    fn what_is_made_is_recognised_and_nothing_else() {
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let alias = alias(&one);
        assert!(is_of_attachment(Some(&alias), &one) && !is_of_attachment(Some(&alias), &two));
        assert!(is_stale(
            Some(&alias),
            &one.network,
            std::slice::from_ref(&two)
        ));
        assert!(!is_stale(
            Some(&alias),
            &one.network,
            &[two.clone(), one.clone()]
        ));
        assert!(!is_stale(Some(&alias), &"other".parse().unwrap(), &[]));
        for foreign in [
            None,
            Some(""),
            Some("uplink to rack 4"),
            Some("net c1 eth0"),
            Some("tenon"),
        ] {
            assert!(
                !is_of_attachment(foreign, &one) && !is_stale(foreign, &one.network, &[]),
                "{foreign:?}"
            );
        }
    }
}
