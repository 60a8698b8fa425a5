//! Conditions on mapped packets, in the words of `nft`.
//!
//! No `nft` runs here to read them, so this reads what such conditions are made of, and refuses the
//! rest by name:
//!
//! ```text
//! ip saddr|daddr [!=] ADDRESS[/LENGTH]|ADDRESS-ADDRESS      (ip6 for IPv6)
//! [meta] iifname [!=] NAME|"NAME"|PREFIX*
//! tcp|udp|sctp|th sport|dport [!=] PORT | PORT-PORT
//! [meta] mark [!=] NUMBER
//! meta l4proto [!=] tcp|udp|sctp
//! ```

use std::net::IpAddr;
use std::str::FromStr;

use cni_types::{IfName, IpCidr};
use nix::libc;

use super::Protocol;
use crate::matches::{End, address, is_in, octets};
use crate::nft::{Expr, Header, Meta, Register, Relation};

/// What else a packet has to be so that a mapping holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    text: String,
    matches: Vec<Expr>,
}

/// Words that are no condition, or none that is understood here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// Another kind of match.
    #[error("{0:?} is no match that can be read here")]
    Unknown(String),
    /// A match of the other family.
    #[error("{0:?} is of the other address family")]
    OtherFamily(String),
    /// Not a value of the match.
    #[error("{value:?} is not {wanted}")]
    Value {
        /// What was found.
        value: String,
        /// What was expected.
        wanted: &'static str,
    },
    /// The end of the words in the middle of a match.
    #[error("something is missing behind {0:?}")]
    Incomplete(String),
}

impl Condition {
    /// Reads the words of a condition for packets of one family; no words are no condition.
    ///
    /// # Errors
    /// The first word that is not understood.
    pub fn parse(words: &[impl AsRef<str>], v6: bool) -> Result<Option<Self>, ConditionError> {
        // Several words may be one string: the reference joins all of them.
        let words: Vec<&str> = words
            .iter()
            .flat_map(|words| words.as_ref().split_whitespace())
            .collect();
        let mut parser = Parser {
            words: &words,
            last: "",
            v6,
        };
        let mut matches = Vec::new();
        while !parser.words.is_empty() {
            matches.extend(parser.one()?);
        }
        Ok((!matches.is_empty()).then(|| Self {
            text: words.join(" "),
            matches,
        }))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self) -> &[Expr] {
        &self.matches
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    last: &'a str,
    v6: bool,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<&'a str, ConditionError> {
        let Some((first, rest)) = self.words.split_first() else {
            return Err(ConditionError::Incomplete(self.last.to_owned()));
        };
        self.words = rest;
        self.last = first;
        Ok(first)
    }

    /// Whether what follows is to be matched, or anything else.
    fn relation(&mut self) -> Relation {
        let relation = match self.words.first() {
            Some(&("!=" | "ne")) => Relation::Different,
            Some(&("==" | "eq")) => Relation::Equal,
            _ => return Relation::Equal,
        };
        let _operator = self.next();
        relation
    }

    fn one(&mut self) -> Result<Vec<Expr>, ConditionError> {
        match self.next()? {
            "meta" => {
                let key = self.next()?;
                self.meta(key)
            }
            key @ ("iifname" | "mark") => self.meta(key),
            family @ ("ip" | "ip6") => self.address(family),
            "th" => self.port(None),
            word => match Protocol::from_str(word) {
                Ok(protocol) => self.port(Some(protocol)),
                Err(_other) => Err(ConditionError::Unknown(word.to_owned())),
            },
        }
    }

    fn meta(&mut self, key: &str) -> Result<Vec<Expr>, ConditionError> {
        let meta = match key {
            "iifname" => Meta::InputName,
            "mark" => Meta::Mark,
            "l4proto" => Meta::Transport,
            _ => return Err(ConditionError::Unknown(key.to_owned())),
        };
        let relation = self.relation();
        let value = self.next()?;
        let bytes = match meta {
            Meta::InputName => interface(value)?,
            Meta::Mark => mark(value)?,
            _ => vec![transport(value)?.number()],
        };
        Ok(vec![
            Expr::Meta(meta, Register::FIRST),
            Expr::Compare { relation, bytes },
        ])
    }

    fn address(&mut self, family: &str) -> Result<Vec<Expr>, ConditionError> {
        if (family == "ip6") != self.v6 {
            return Err(ConditionError::OtherFamily(family.to_owned()));
        }
        let end = match self.next()? {
            "saddr" => End::Source,
            "daddr" => End::Destination,
            other => return Err(ConditionError::Unknown(format!("{family} {other}"))),
        };
        let relation = self.relation();
        let value = self.next()?;
        if let Some((from, to)) = value.split_once('-') {
            let (from, to) = (self.ip(from)?, self.ip(to)?);
            let load = address(end, self.v6, Register::FIRST);
            return range(load, relation, value, (octets(from), octets(to)));
        }
        let subnet = match value.split_once('/') {
            Some(_) => value.parse::<IpCidr>().ok(),
            None => Some(IpCidr::host(self.ip(value)?)),
        };
        let subnet = subnet.filter(|subnet| subnet.is_ipv6() == self.v6);
        let subnet = subnet.ok_or_else(|| unexpected(value, "an address of this family"))?;
        Ok(is_in(end, &subnet, relation == Relation::Equal))
    }

    fn ip(&self, text: &str) -> Result<IpAddr, ConditionError> {
        let address = text.parse::<IpAddr>().ok();
        address
            .filter(|address| address.is_ipv6() == self.v6)
            .ok_or_else(|| unexpected(text, "an address of this family"))
    }

    fn port(&mut self, protocol: Option<Protocol>) -> Result<Vec<Expr>, ConditionError> {
        let offset = match self.next()? {
            "sport" => 0,
            "dport" => 2,
            other => return Err(ConditionError::Unknown(other.to_owned())),
        };
        let relation = self.relation();
        let value = self.next()?;
        let load = Expr::Payload {
            header: Header::Transport,
            offset,
            length: 2,
            register: Register::FIRST,
        };
        let mut matches = Vec::new();
        if let Some(protocol) = protocol {
            matches.push(Expr::Meta(Meta::Transport, Register::FIRST));
            matches.push(Expr::equals([protocol.number()]));
        }
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) => Ok(port.to_be_bytes().to_vec()),
            Err(_no_number) => Err(unexpected(text, "a port")),
        };
        match value.split_once('-') {
            Some((from, to)) => {
                matches.extend(range(load, relation, value, (port(from)?, port(to)?))?);
            }
            None => matches.extend([
                load,
                Expr::Compare {
                    relation,
                    bytes: port(value)?,
                },
            ]),
        }
        Ok(matches)
    }
}

fn unexpected(value: &str, wanted: &'static str) -> ConditionError {
    ConditionError::Value {
        value: value.to_owned(),
        wanted,
    }
}

fn range(
    load: Expr,
    relation: Relation,
    value: &str,
    (from, to): (Vec<u8>, Vec<u8>),
) -> Result<Vec<Expr>, ConditionError> {
    if relation != Relation::Equal || from > to {
        return Err(unexpected(value, "one value, or a range that is to match"));
    }
    let compare = |relation, bytes| Expr::Compare { relation, bytes };
    Ok(vec![
        load,
        compare(Relation::AtLeast, from),
        compare(Relation::AtMost, to),
    ])
}

/// A whole name is compared with its padding, the beginning of one without.
fn interface(text: &str) -> Result<Vec<u8>, ConditionError> {
    let wanted = "the name of an interface";
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let (name, whole) = match text.strip_suffix('*') {
        Some(beginning) => (beginning, false),
        None => (text, true),
    };
    let name = IfName::from_str(name).map_err(|_why| unexpected(text, wanted))?;
    let mut bytes = name.as_str().as_bytes().to_vec();
    if whole {
        bytes.resize(libc::IFNAMSIZ, 0);
    }
    Ok(bytes)
}

fn mark(text: &str) -> Result<Vec<u8>, ConditionError> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(number) => Ok(number.to_ne_bytes().to_vec()),
        Err(_no_number) => Err(unexpected(text, "a number")),
    }
}

fn transport(text: &str) -> Result<Protocol, ConditionError> {
    Protocol::from_str(text).map_err(|_unknown| unexpected(text, "tcp, udp or sctp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, v6: bool) -> Result<Option<Condition>, ConditionError> {
        Condition::parse(&[text], v6)
    }

    #[test]
    fn nothing_is_no_condition() {
        assert_eq!(parse("", false), Ok(None));
        assert_eq!(Condition::parse(&[] as &[&str], true), Ok(None));
    }

    #[test]
    fn words_and_joined_words_are_the_same() {
        let joined = parse("ip saddr != 192.0.2.0/24 iifname eth0", false).unwrap();
        let words = ["ip", "saddr", "!=", "192.0.2.0/24", "iifname", "eth0"];
        assert_eq!(Condition::parse(&words, false).unwrap(), joined);
        let joined = joined.unwrap();
        assert_eq!(joined.text(), "ip saddr != 192.0.2.0/24 iifname eth0");
        assert_eq!(joined.matches().len(), 4);
    }

    /// Family, words, and what is said about them.
    const REFUSED: &str = r#"
        4 | ct state new         | "ct" is no match that can be read here
        4 | -s 10.0.0.0/8        | "-s" is no match that can be read here
        4 | meta skuid 0         | "skuid" is no match that can be read here
        4 | oifname eth0         | "oifname" is no match that can be read here
        4 | ip dscp 1            | "ip dscp" is no match that can be read here
        4 | tcp flags syn        | "flags" is no match that can be read here
        6 | ip saddr 10.0.0.1    | "ip" is of the other address family
        4 | ip6 saddr ::1        | "ip6" is of the other address family
        4 | ip saddr ::1         | "::1" is not an address of this family
        4 | ip saddr ::1/128     | "::1/128" is not an address of this family
        4 | ip saddr 10.0.0.0/33 | "10.0.0.0/33" is not an address of this family
        4 | ip saddr { 10.0.0.1 }| "{" is not an address of this family
        4 | ip daddr             | something is missing behind "daddr"
        4 | iifname !=           | something is missing behind "!="
        4 | iifname a/b          | "a/b" is not the name of an interface
        4 | tcp dport 70000      | "70000" is not a port
        4 | tcp dport 9-1        | "9-1" is not one value, or a range that is to match
        4 | tcp dport != 1-9     | "1-9" is not one value, or a range that is to match
        4 | mark 0xzz            | "0xzz" is not a number
        4 | meta l4proto icmp    | "icmp" is not tcp, udp or sctp
    "#;

    #[test]
    fn what_is_not_understood_is_named() {
        for row in REFUSED.trim().lines() {
            let [family, words, message] = row.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{row}");
            };
            let error = parse(words, family == "6").expect_err(row);
            assert_eq!(error.to_string(), message, "{row}");
        }
    }
}
