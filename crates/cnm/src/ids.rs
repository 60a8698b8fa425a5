//! The identifiers of networks and endpoints.
//!
//! Docker draws 256 random bits for each. Ours are derived from names, in the same form: 64
//! lower-case hexadecimal digits, which every driver known accepts, and whose first 9 digits are as
//! good as unique, which some need. So all nodes agree on a network's id without talking to each other,
//! and an endpoint can be removed although nothing is remembered of it.

use std::fmt;

use cni_types::Attachment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The 64 digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 digits, by which people know it.
            #[must_use]
            pub fn short(&self) -> &str {
                self.0.get(..12).unwrap_or(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Which network.
    NetworkId
}
id! {
    /// Which endpoint.
    EndpointId
}

impl NetworkId {
    /// Reads an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The id of the network of that name: the same on every node.
    #[must_use]
    pub fn derive(name: &str) -> Self {
        Self(digest(&["cnm-shim/net", name]))
    }
}

impl EndpointId {
    /// The id of an attachment's endpoint. Drivers may hold a grudge against an id that they failed
    /// to delete: such an endpoint's successor is of the next generation.
    #[must_use]
    pub fn derive(network: &str, attachment: &Attachment, generation: u32) -> Self {
        let generation = match generation {
            0 => String::new(),
            later => later.to_string(),
        };
        let (container, ifname) = (attachment.container_id.as_str(), attachment.ifname.as_str());
        let mut parts = vec!["cnm-shim/ep", network, container, ifname];
        if !generation.is_empty() {
            parts.push(&generation);
        }
        Self(digest(&parts))
    }

    /// An id out of 32 random bytes, as Docker's.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex(&bytes))
    }
}

/// The digest of parts that cannot run into each other: no name has a zero byte.
fn digest(parts: &[&str]) -> String {
    hex(&Sha256::digest(parts.join("\0")))
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str, ifname: &str) -> Attachment {
        Attachment {
            network: "pods".parse().unwrap(),
            container_id: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    #[test]
    fn ids_are_stable_and_of_dockers_form() {
        let network = NetworkId::derive("red");
        // sha256("cnm-shim/net\0red"): an id that has been used must never change.
        assert_eq!(
            network.as_str(),
            "b984b19d26c92a7f00c2493e37a0838a7456d8d47b2fbea7885bdd482cb1bae7"
        );
        assert_eq!(network.short().len(), 12);
        let one = EndpointId::derive("red", &attachment("c1", "eth0"), 0);
        let others = [
            EndpointId::derive("red", &attachment("c1", "eth1"), 0),
            EndpointId::derive("red", &attachment("c2", "eth0"), 0),
            EndpointId::derive("blue", &attachment("c1", "eth0"), 0),
            EndpointId::derive("red", &attachment("c1", "eth0"), 1),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert_eq!(one.as_str().len(), 64);
        let digits = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(one.as_str().chars().all(digits));
    }
}
