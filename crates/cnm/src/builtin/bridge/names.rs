//! The names and marks of what is ours: made here, recognised here.
//!
//! Interfaces of an endpoint are named as libnetwork names them, `veth` and seven hexadecimal
//! digits, but the digits are a hash of the endpoint's id, so that it can be removed although
//! nothing is remembered of it. The alias of the host's end says whose it is, since a name alone
//! proves nothing.

use cni_firewall::owner::{self, Tag};
use cni_netlink::Link;
use cni_types::{Attachment, IfName, NetworkName};
use sha2::{Digest as _, Sha256};

use super::error::BridgeError;
use crate::ids::hex;

/// How many names are tried before giving up: each needs a clash of 28 bits.
pub(super) const NAMES: u8 = 8;

/// Which network, by an id that can name a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    id: String,
    /// In whose name rules are made that all its endpoints share.
    pub(super) owner: Attachment,
}

/// Which endpoint of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    id: String,
    pub(super) network: Network,
    /// In whose name its rules are made.
    pub(super) owner: Attachment,
}

impl Network {
    pub(super) fn new(id: &str) -> Result<Self, BridgeError> {
        let owner = owner_of(id, id).ok_or_else(|| BridgeError::Id {
            kind: "network",
            id: id.to_owned(),
        })?;
        let id = id.to_owned();
        Ok(Self { id, owner })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.id
    }

    /// What it is called by in the comments of rules.
    pub(super) fn name(&self) -> &NetworkName {
        &self.owner.network
    }

    pub(super) fn endpoint(&self, id: &str) -> Result<Endpoint, BridgeError> {
        let owner = owner_of(&self.id, id).ok_or_else(|| BridgeError::Id {
            kind: "endpoint",
            id: id.to_owned(),
        })?;
        Ok(Endpoint {
            id: id.to_owned(),
            network: self.clone(),
            owner,
        })
    }

    /// The alias of a bridge that was made for it.
    pub(super) fn bridge_alias(&self) -> String {
        format!("tenon: bridge of network {}", self.id)
    }

    /// The group that host ends are made in: see [`owner::unmarked_group`].
    pub(super) fn unmarked_group(&self) -> u32 {
        owner::unmarked_group(self.name())
    }

    /// Whether a link is a host end whose maker was killed before it could say whose it is.
    pub(super) fn is_unmarked(&self, link: &Link) -> bool {
        link.is_kind("veth") && link.alias.is_none() && link.group == self.unmarked_group()
    }

    /// Whether it is one that none of `valid` is being made for.
    pub(super) fn is_abandoned(&self, link: &Link, valid: &[Endpoint]) -> bool {
        self.is_unmarked(link)
            && !valid
                .iter()
                .any(|endpoint| endpoint.has_host_name(&link.name))
    }

    fn is_host_end(&self, alias: Option<&str>) -> bool {
        let prefix = Tag::network_prefix(self.name());
        let tag = alias.and_then(Tag::parse);
        tag.is_some_and(|tag| tag.has_network_prefix(prefix))
    }

    /// Whether a link with this alias is the host's end of an endpoint that is none of `valid`.
    pub(super) fn is_stale(&self, alias: Option<&str>, valid: &[Endpoint]) -> bool {
        let is_valid = |endpoint: &Endpoint| endpoint.is_host_end(alias);
        self.is_host_end(alias) && !valid.iter().any(is_valid)
    }
}

impl Endpoint {
    pub(super) fn new(network_id: &str, id: &str) -> Result<Self, BridgeError> {
        Network::new(network_id)?.endpoint(id)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.id
    }

    /// The names of the host's and the container's end. `attempt` counts those that somebody else
    /// has.
    pub(super) fn interfaces(&self, attempt: u8) -> Result<(IfName, IfName), BridgeError> {
        let digest = hex(&Sha256::digest(format!("{}\0{attempt}", self.id)));
        let name = |digits: std::ops::Range<usize>| {
            let digits = digest.get(digits).unwrap_or_default();
            format!("veth{digits}").parse()
        };
        let names = name(0..7).and_then(|host| Ok((host, name(7..14)?)));
        names.map_err(|_never| BridgeError::NoName)
    }

    fn has_host_name(&self, name: &str) -> bool {
        let names = (0..NAMES).filter_map(|attempt| self.interfaces(attempt).ok());
        names.into_iter().any(|(host, _)| host.as_str() == name)
    }

    /// The alias of the host's end: the same text as the comment of its rules.
    pub(super) fn alias(&self) -> String {
        owner::comment(&self.owner)
    }

    /// Whether a link with this alias is its host's end.
    pub(super) fn is_host_end(&self, alias: Option<&str>) -> bool {
        alias.and_then(Tag::parse) == Some(Tag::new(&self.owner))
    }
}

/// The bridge of a network that names none, as libnetwork calls it.
pub(super) fn bridge_name(network_id: &str) -> Result<IfName, BridgeError> {
    let name = format!("br-{}", short(network_id));
    name.parse().map_err(|_error| BridgeError::Id {
        kind: "network",
        id: network_id.to_owned(),
    })
}

/// By which people know an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// In whose name rules are made. Owners are attachments, and an endpoint is none yet: its network
/// is called by the first digits of its id, its container by the endpoint's id, and the interface
/// `eth0`, whatever it will be called. Here and nowhere else. What a network's endpoints share is
/// the network's own, which stands in the container's place then.
fn owner_of(network_id: &str, id: &str) -> Option<Attachment> {
    // The whole of it must be fit for a file's name.
    let _fit: NetworkName = network_id.parse().ok()?;
    Some(Attachment {
        network: short(network_id).parse().ok()?,
        container_id: id.parse().ok()?,
        ifname: "eth0".parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NetworkId;

    fn endpoint(network: &str, id: &str) -> Endpoint {
        Endpoint::new(network, id).unwrap()
    }

    #[test]
    fn interfaces_are_named_as_libnetworks_and_always_the_same() {
        let one = endpoint("n1", &"ab".repeat(32));
        let (host, container) = one.interfaces(0).unwrap();
        for name in [&host, &container] {
            let digits = name.as_str().strip_prefix("veth").unwrap();
            assert_eq!(digits.len(), 7);
            assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(host, container);
        assert_eq!(one.interfaces(0).unwrap(), (host.clone(), container));
        assert_ne!(one.interfaces(1).unwrap().0, host);
        assert_ne!(endpoint("n1", "e2").interfaces(0).unwrap().0, host);
    }

    #[test]
    fn a_bridge_is_named_as_libnetworks() {
        let id = NetworkId::derive("red");
        assert_eq!(
            bridge_name(id.as_str()).unwrap().as_str(),
            "br-b984b19d26c9"
        );
        assert_eq!(bridge_name("n1").unwrap().as_str(), "br-n1");
    }

    #[test]
    fn ids_that_lead_elsewhere_are_refused() {
        for id in ["", ".", "..", "../n1", "a/b", ".n1", "-n1", "n 1", "n\0"] {
            let error = Network::new(id).unwrap_err();
            assert!(
                error.to_string().starts_with("invalid network id"),
                "{error}"
            );
            let error = Endpoint::new("n1", id).unwrap_err();
            assert!(
                error.to_string().starts_with("invalid endpoint id"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_made_is_recognised_and_nothing_else() {
        let (one, two) = (endpoint("n1", "e1"), endpoint("n1", "e2"));
        let alias = one.alias();
        let alias = Some(alias.as_str());
        assert!(one.is_host_end(alias) && !two.is_host_end(alias));
        assert!(one.network.is_host_end(alias));
        assert!(one.network.is_stale(alias, std::slice::from_ref(&two)));
        assert!(!one.network.is_stale(alias, &[two, one.clone()]));
        let other = Network::new("n2").unwrap();
        assert!(!other.is_host_end(alias) && !other.is_stale(alias, &[]));
        for foreign in [None, Some(""), Some("uplink"), Some("n1 e1 eth0")] {
            assert!(!one.is_host_end(foreign) && !one.network.is_stale(foreign, &[]));
        }
        assert_ne!(Tag::new(&one.network.owner), Tag::new(&one.owner));
        let whole = endpoint(&"cd".repeat(32), &"ab".repeat(32));
        assert!(
            whole
                .alias()
                .contains("net: cdcdcdcdcdcd, if: eth0, id: abab")
        );
        assert!(whole.is_host_end(Some(&whole.alias())));
    }
}
