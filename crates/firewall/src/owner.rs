//! Who owns a rule or an element: the tags are made here and recognised here, nowhere else.
//!
//! A tag is the beginning of a comment. It holds a hash of the network, for GC, and one of the
//! attachment, so that DEL takes away its own and not the rules of whoever has been given the same
//! address since. It is the reference plugins' form and text (`pkg/ip/ipmasq_nftables_linux.go`),
//! so what they left behind is recognised by the same code. What it does not recognise is foreign.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use cni_types::{Attachment, NetworkName};
use sha2::{Digest, Sha512};

use crate::nft::COMMENT_MAX;

/// The hashes of one attachment: `<16 hex digits>-<16 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    network: u64,
    attachment: u64,
}

/// The first eight bytes of a SHA-512, which print as its first 16 hex digits.
fn hash(parts: &[&str]) -> u64 {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    digest
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Tag {
    /// The tag of an attachment.
    #[must_use]
    pub fn new(attachment: &Attachment) -> Self {
        let ifname = attachment.ifname.as_str();
        Self {
            network: hash(&[attachment.network.as_str()]),
            attachment: hash(&[ifname, ":", attachment.container_id.as_str()]),
        }
    }

    /// Recognises the tag that a comment begins with; `None` for the comment of somebody else.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let hex = |text: &str| {
            let digits = text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            (text.len() == 16 && digits)
                .then(|| u64::from_str_radix(text, 16).ok())
                .flatten()
        };
        let tag = comment.split_once(',').map_or(comment, |(tag, _names)| tag);
        let (network, attachment) = tag.split_once('-')?;
        Some(Self {
            network: hex(network)?,
            attachment: hex(attachment)?,
        })
    }

    /// The part of every tag of a network that tells it from other networks' tags.
    #[must_use]
    pub fn network_prefix(network: &NetworkName) -> u64 {
        hash(&[network.as_str()])
    }

    /// Whether the attachment is of the network with this [prefix](Self::network_prefix).
    #[must_use]
    pub fn has_network_prefix(self, prefix: u64) -> bool {
        self.network == prefix
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.network, self.attachment)
    }
}

/// Tells the tags of a network's attachments that are none of the `valid` ones.
pub(crate) fn stale(network: &NetworkName, valid: &[Attachment]) -> impl Fn(Tag) -> bool + use<> {
    let prefix = Tag::network_prefix(network);
    let valid: BTreeSet<Tag> = valid.iter().map(Tag::new).collect();
    move |tag| tag.has_network_prefix(prefix) && !valid.contains(&tag)
}

/// Whether a comment, or the alias of a link, is the attachment's.
#[must_use]
pub fn is_of_attachment(text: Option<&str>, attachment: &Attachment) -> bool {
    text.and_then(Tag::parse) == Some(Tag::new(attachment))
}

/// Whether it is that of an attachment to the network that is none of the `valid` ones.
#[must_use]
pub fn is_stale(text: Option<&str>, network: &NetworkName, valid: &[Attachment]) -> bool {
    text.and_then(Tag::parse).is_some_and(stale(network, valid))
}

/// The group in which links of the network are made, and which they leave when they get their alias:
/// the kernel takes no alias with the request that makes a link. Whatever is killed in between leaves one
/// that is recognised by this. It is a number that nobody chooses by hand, of the network's hash, and none
/// that links are deleted together by.
#[must_use]
pub fn unmarked_group(network: &NetworkName) -> u32 {
    const NOT_DRAWN: u32 = 1 << 30;
    let [.., a, b, c, d] = Tag::network_prefix(network).to_be_bytes();
    NOT_DRAWN | (u32::from_be_bytes([a, b, c, d]) & (NOT_DRAWN - 1))
}

/// The whole comment of an attachment: its tag, and its names for whoever reads the ruleset. Cut to
/// what `nft` can read back.
#[must_use]
pub fn comment(attachment: &Attachment) -> String {
    let mut text = Tag::new(attachment).to_string();
    let names = [
        ("net", attachment.network.as_str()),
        ("if", attachment.ifname.as_str()),
        ("id", attachment.container_id.as_str()),
    ];
    for (key, name) in names {
        // Writing to a String cannot fail.
        let _ok = write!(text, ", {key}: {}", printable(name));
    }
    text.truncate(COMMENT_MAX);
    text
}

/// `nft` quotes comments without escaping anything in them.
fn printable(name: &str) -> String {
    name.chars()
        .filter(|&c| c != '"')
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect()
}

/// The reference's iptables chain for the masquerade of a container on a network: `CNI-` and 24 hex
/// digits (`utils.FormatChainName`). The interface is not part of it.
#[must_use]
pub fn reference_chain(attachment: &Attachment) -> String {
    chain_name("CNI-", attachment)
}

/// The reference's iptables chain for the port mappings of a container on a network.
pub(crate) fn reference_dnat_chain(attachment: &Attachment) -> String {
    chain_name("CNI-DN-", attachment)
}

/// What its first releases had besides.
pub(crate) fn reference_snat_chain(attachment: &Attachment) -> String {
    chain_name("CNI-SN-", attachment)
}

/// iptables takes no longer names than these 28 bytes.
fn chain_name(prefix: &str, attachment: &Attachment) -> String {
    let mut hasher = Sha512::new();
    hasher.update(attachment.network.as_str().as_bytes());
    hasher.update(attachment.container_id.as_str().as_bytes());
    let mut chain = prefix.to_owned();
    for byte in hasher.finalize().iter().take(12) {
        let _ok = write!(chain, "{byte:02x}");
    }
    chain.truncate(28);
    chain
}

/// The reference's comment on its iptables rules (`utils.FormatComment`), names in Go's `%q`.
#[must_use]
pub fn reference_comment(attachment: &Attachment) -> String {
    // Network names and container ids have no character that %q would escape.
    format!(
        "name: \"{}\" id: \"{}\"",
        attachment.network, attachment.container_id
    )
}

/// The reference's comment on its MAC spoof check's rules; its chains are named after the rest.
#[must_use]
pub(crate) fn reference_spoofcheck(attachment: &Attachment) -> String {
    format!(
        "macspoofchk-{}-{}",
        attachment.container_id, attachment.ifname
    )
}

/// The reference's chains for the MAC spoof check of an attachment: the one that its rule jumps
/// to, and the one that this jumps to.
#[must_use]
pub(crate) fn reference_spoofcheck_chains(attachment: &Attachment) -> [String; 2] {
    let first = format!(
        "cni-br-iface-{}-{}",
        attachment.container_id, attachment.ifname
    );
    let second = format!("{first}-mac");
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(network: &str, container_id: &str, ifname: &str) -> Attachment {
        Attachment {
            network: network.parse().unwrap(),
            container_id: container_id.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    /// Comments that people and other programs write.
    const FOREIGN: &[&str] = &[
        "",
        "-",
        ",",
        "kubernetes service portals",
        "netavark",
        "!fw3",
        "macspoofchk-abc-eth0",
        "name: \"net\" id: \"c1\"",
        "0123456789abcdef",
        "0123456789abcdef-",
        "-0123456789abcdef",
        "0123456789abcdef-0123456789abcde",
        "0123456789abcdef-0123456789abcdeff",
        "0123456789ABCDEF-0123456789ABCDEF",
        "0123456789abcdeg-0123456789abcdef",
        "+123456789abcdef-0123456789abcdef",
        " 0123456789abcdef-0123456789abcdef",
        "0123456789abcdef-0123456789abcdef net: x",
    ];

    #[test]
    fn networks_have_groups_of_their_own_that_no_deletion_draws() {
        let groups = ["net", "other"].map(|name| unmarked_group(&name.parse().unwrap()));
        assert_ne!(groups[0], groups[1]);
        assert!(groups.iter().all(|group| group >> 30 == 1), "{groups:x?}");
    }

    #[test]
    fn foreign_comments_are_not_recognised() {
        for comment in FOREIGN {
            assert_eq!(Tag::parse(comment), None, "{comment:?}");
        }
    }

    #[test]
    fn what_is_made_is_recognised_even_when_it_was_cut() {
        for attachment in [
            attachment("n", "c", "e"),
            attachment("net", &"f".repeat(64), "eth0"),
            attachment(&"n".repeat(200), &"c".repeat(200), "abcdefghijklmno"),
            attachment("net", "c1", "et\"h,0"),
            attachment("net", "c1", "\u{e9}th0"),
        ] {
            let comment = comment(&attachment);
            assert!(comment.len() <= COMMENT_MAX, "{comment}");
            assert!(comment.is_ascii() && !comment.contains('"'), "{comment}");
            assert_eq!(Tag::parse(&comment), Some(Tag::new(&attachment)));
        }
    }

    #[test]
    fn tags_tell_attachments_and_networks_apart() {
        let tag = Tag::new(&attachment("net", "c1", "eth0"));
        for other in [
            attachment("net2", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
            attachment("net", "c1", "eth1"),
        ] {
            assert_ne!(tag, Tag::new(&other), "{other}");
        }
        let prefix = |name: &str| Tag::network_prefix(&name.parse().unwrap());
        assert!(tag.has_network_prefix(prefix("net")));
        assert!(!tag.has_network_prefix(prefix("net2")));
    }

    #[test]
    fn the_text_is_the_references() {
        // printf %s net | sha512sum; printf %s eth0:c1 | sha512sum
        assert_eq!(
            comment(&attachment("net", "c1", "eth0")),
            "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
        );
    }

    // printf %s netc1 | sha512sum
    #[test]
    fn chain_names_are_the_references() {
        let chain = reference_chain(&attachment("net", "c1", "eth0"));
        assert_eq!(chain, "CNI-623e1c388032b20529218ecc");
        assert_eq!(chain.len(), 28);
        let one = attachment(
            "test",
            "icee6giejonei6sohng6ahngee7laquohquee9shiGo7fohferakah3Feiyoolu2pei7ciPhoh7shaoX6vai3vuf0ahfaeng8yohb9ceu0daez5hashee8ooYai5wa3y",
            "eth0",
        );
        assert_eq!(reference_dnat_chain(&one), "CNI-DN-67e92b96e692a494b6b85");
        assert_eq!(reference_snat_chain(&one).len(), 28);
    }
}
