//! Port mappings read out of what `iptables-save` prints: ours, the reference's, other
//! containers'.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use cni_types::{Attachment, IpCidr, NetworkName};

use super::rules::DNAT;
use crate::owner;
use crate::portmap::{Mapping, Protocol};

/// A line of a saved table, and what of it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) entry: Option<Entry>,
    pub(super) mapping: Option<Mapped>,
}

/// Which ports of the host lead to a container's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) chain: String,
    pub(super) protocol: Protocol,
    pub(super) ports: Vec<RangeInclusive<u16>>,
    /// Network and container, as the comment has them.
    pub(super) owner: Option<(String, String)>,
    /// Whether anything else is asked of the packet.
    pub(super) conditional: bool,
}

/// Where a container's chain sends ports to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) chain: String,
    pub(super) protocol: Protocol,
    /// The one address of the host that it is for.
    pub(super) host: Option<IpAddr>,
    pub(super) ports: RangeInclusive<u16>,
    /// The container's address.
    pub(super) target: IpAddr,
}

pub(super) fn read(saved: &str) -> Vec<Line> {
    let lines = saved.lines().filter(|line| line.starts_with("-A "));
    lines
        .map(|text| {
            let words = words(text);
            Line {
                text: text.to_owned(),
                entry: Entry::read(&words),
                mapping: Mapped::read(&words),
            }
        })
        .collect()
}

/// The words of a line, without the quotes around them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                words.push(std::mem::take(&mut word));
            }
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}

fn value<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    let mut rest = words.iter().skip_while(|word| *word != option);
    rest.nth(1).map(String::as_str)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

impl Entry {
    fn read(words: &[String]) -> Option<Self> {
        // -A CHAIN -p X -m comment --comment X -m multiport --dports X -j CHAIN
        const PLAIN: usize = 14;
        if value(words, "-A")? != DNAT {
            return None;
        }
        let protocol = value(words, "-p")?.parse().ok()?;
        let ports = value(words, "--dports")?.split(',').map(range);
        Some(Self {
            chain: value(words, "-j")?.to_owned(),
            protocol,
            ports: ports.collect::<Option<_>>()?,
            owner: value(words, "--comment").and_then(names),
            conditional: words.len() != PLAIN,
        })
    }

    /// Whose it is, for people.
    pub(super) fn owner_text(&self) -> String {
        self.owner.as_ref().map_or_else(
            || format!("chain {}", self.chain),
            |(network, container)| format!("net: {network}, id: {container}"),
        )
    }

    fn has(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.contains(&port))
    }

    /// Whether all of its ports lead where it does.
    pub(super) fn is_covered_by<'a>(&self, entries: impl Iterator<Item = &'a Self>) -> bool {
        let alike: Vec<&Self> = entries
            .filter(|entry| entry.chain == self.chain && entry.protocol == self.protocol)
            .collect();
        let mut all = self.ports.iter().cloned().flatten();
        all.all(|port| alike.iter().any(|entry| entry.has(port)))
    }
}

/// `dnat name: "net" id: "c1"`
fn names(comment: &str) -> Option<(String, String)> {
    let rest = comment.strip_prefix("dnat name: \"")?;
    let (network, rest) = rest.split_once("\" id: \"")?;
    let container = rest.strip_suffix('"')?;
    Some((network.to_owned(), container.to_owned()))
}

impl Mapped {
    fn read(words: &[String]) -> Option<Self> {
        if value(words, "-j")? != "DNAT" {
            return None;
        }
        let host = value(words, "-d").and_then(|host| host.parse::<IpCidr>().ok());
        Some(Self {
            chain: value(words, "-A")?.to_owned(),
            protocol: value(words, "-p")?.parse().ok()?,
            host: host.map(|host| host.addr()),
            ports: range(value(words, "--dport")?)?,
            target: target(value(words, "--to-destination")?)?,
        })
    }

    /// Whether it is for the same port, at the same address of the host, or either at all of them.
    pub(super) fn clashes_with(&self, mapping: &Mapping) -> bool {
        let same_host = match (self.host, mapping.single_host()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.protocol == mapping.protocol
            && self.ports.contains(&mapping.host_port.get())
            && same_host
    }
}

/// The address of `10.1.0.5:80` and `[fd00::5]:80`.
fn target(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0.parse().ok(),
        None => text.split(':').next()?.parse().ok(),
    }
}

/// The containers of a network that a saved table has port mappings of. A line counts if it has the
/// reference's comment and leads to the chain that goes with it.
pub(super) fn containers(lines: &[Line], network: &NetworkName) -> Vec<Attachment> {
    let of_line = |line: &Line| {
        let entry = line.entry.as_ref()?;
        let (of_network, container_id) = entry.owner.as_ref()?;
        if of_network != network.as_str() {
            return None;
        }
        let attachment = Attachment {
            network: network.clone(),
            container_id: container_id.parse().ok()?,
            // The chain serves all interfaces of the container.
            ifname: "any".parse().ok()?,
        };
        (owner::reference_dnat_chain(&attachment) == entry.chain).then_some(attachment)
    };
    let mut found: Vec<Attachment> = lines.iter().filter_map(of_line).collect();
    found.sort_unstable();
    found.dedup();
    found
}
