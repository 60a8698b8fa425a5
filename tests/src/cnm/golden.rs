//! What a real controller was seen to ask of a driver, and how to compare with it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cnm::driver::{Method, Request};

const RECORDED: &str = include_str!("../../golden/dockerd-20.10.txt");

/// The lines of a section of `tests/golden/dockerd-20.10.txt`, e.g. `attach` or `after Join`.
/// Panics when there is no such section.
pub fn section(name: &str) -> Vec<String> {
    let heading = format!("## {name}");
    let lines = RECORDED.lines().skip_while(|line| **line != *heading);
    assert!(lines.clone().next().is_some(), "no section {name:?}");
    lines
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Requests as lines of the recording: `name body`, with sorted keys and what differs from run to
/// run replaced. Ids that are given keep their letters, so that a later part of a conversation is
/// comparable too.
#[derive(Debug, Default)]
pub struct Normaliser {
    /// The ids seen so far: their letters.
    seen: BTreeMap<String, String>,
    counts: BTreeMap<char, usize>,
}

/// Keys whose values are replaced, and by what.
const IDS: &[(&str, char)] = &[
    ("NetworkID", 'N'),
    ("EndpointID", 'E'),
    ("PoolID", 'P'),
    ("MacAddress", 'M'),
    ("com.docker.network.endpoint.macaddress", 'M'),
    ("SandboxKey", 'S'),
];

impl Normaliser {
    /// With no id seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines of these requests.
    pub fn lines(&mut self, requests: &[Request]) -> Vec<String> {
        requests.iter().map(|one| self.line(one)).collect()
    }

    fn line(&mut self, request: &Request) -> String {
        match request.json() {
            Value::Null => request.name().to_owned(),
            mut body => {
                self.replace(&mut body);
                format!("{} {body}", request.name())
            }
        }
    }

    fn replace(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let known = IDS.iter().find(|(id, _)| id == key);
                    match (known, value) {
                        (Some((_, letter)), Value::String(id)) if !id.is_empty() => {
                            *id = self.letter(id, *letter);
                        }
                        (_, value) => self.replace(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace(item)),
            _ => {}
        }
    }

    /// `N` for the first, then `N2`, `N3`, ...
    fn letter(&mut self, id: &str, letter: char) -> String {
        if let Some(known) = self.seen.get(id) {
            return known.clone();
        }
        let count = self.counts.entry(letter).or_default();
        *count += 1;
        let shown = match *count {
            1 => letter.to_string(),
            more => format!("{letter}{more}"),
        };
        self.seen.insert(id.to_owned(), shown.clone());
        shown
    }
}

/// The lines that are of none of these methods, e.g. without the handshake that another controller
/// repeats.
pub fn without(lines: &[String], methods: &[Method]) -> Vec<String> {
    let kept = lines
        .iter()
        .filter(|line| !methods.iter().any(|method| name(line) == method.name()));
    kept.cloned().collect()
}

/// Only the names of the calls.
pub fn names(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| name(line).to_owned()).collect()
}

fn name(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_and_well_formed() {
        assert_eq!(section("network create").len(), 7);
        assert_eq!(section("after RequestAddress"), Vec::<String>::new());
        assert_eq!(
            section("after CreateEndpoint"),
            ["IpamDriver.ReleaseAddress"]
        );
        for line in RECORDED.lines().filter(|line| line.contains("Driver.")) {
            assert!(Method::named(name(line)).is_some(), "{line}");
        }
    }

    #[test]
    #[should_panic(expected = "no section \"attach \"")]
    fn a_missing_section_is_no_empty_one() {
        section("attach ");
    }

    #[test]
    fn ids_become_letters_and_keep_them() {
        let mut normaliser = Normaliser::new();
        let mut body = serde_json::json!({
            "NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "/s",
            "Interface": {"MacAddress": "", "Address": "n1"},
        });
        normaliser.replace(&mut body);
        assert_eq!(
            body.to_string(),
            r#"{"EndpointID":"E","Interface":{"Address":"n1","MacAddress":""},"NetworkID":"N","SandboxKey":"S"}"#
        );
        let mut next = serde_json::json!([{"EndpointID": "e2", "NetworkID": "n1"}]);
        normaliser.replace(&mut next);
        assert_eq!(next.to_string(), r#"[{"EndpointID":"E2","NetworkID":"N"}]"#);
    }

    #[test]
    fn methods_are_left_out() {
        let lines = section("detach");
        let kept = without(&lines, &[Method::RevokeExternalConnectivity, Method::Leave]);
        assert_eq!(
            names(&kept),
            ["NetworkDriver.DeleteEndpoint", "IpamDriver.ReleaseAddress"]
        );
    }
}
