//! What the command says: for people, and for programs.

use std::fmt::Write as _;

use cni_types::{CniError, CniResult, Dns, ErrorCode, Route};
use cnitool::{CatalogError, RuntimeError};
use serde_json::Value;

/// How a verb that succeeded is told.
#[derive(Debug)]
pub(crate) struct Report {
    /// For people.
    pub(crate) text: String,
    /// With `--json`.
    pub(crate) json: Value,
    /// Why the verb has failed even so.
    pub(crate) failure: Option<String>,
}

impl Report {
    /// The report of a success.
    pub(crate) fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            failure: None,
        }
    }

    pub(crate) fn json_text(&self) -> String {
        let mut text = cni_types::pretty(&self.json).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// An error as plugins print it, with the code of the plugin that failed.
pub(crate) fn error_document(error: &anyhow::Error) -> String {
    let document = if let Some(error) = error.downcast_ref::<RuntimeError>() {
        error.to_cni_error()
    } else {
        let code = if error.is::<CatalogError>() {
            ErrorCode::INVALID_CONFIG
        } else {
            ErrorCode::IO
        };
        CniError::new(code, format!("{error:#}"))
    };
    let mut text = cni_types::pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// A result, one line for each thing, indented.
pub(crate) fn describe(result: &CniResult) -> String {
    let mut text = String::new();
    for interface in &result.interfaces {
        let side = match interface.sandbox.as_str() {
            "" => "on the host".to_owned(),
            sandbox => format!("in {sandbox}"),
        };
        let mut facts = vec![interface.name.clone(), side];
        if !interface.mac.is_empty() {
            facts.push(format!("mac {}", interface.mac));
        }
        if interface.mtu != 0 {
            facts.push(format!("mtu {}", interface.mtu));
        }
        line(&mut text, "interface", &facts.join(", "));
    }
    for ip in &result.ips {
        let name = ip
            .interface
            .and_then(|index| result.interfaces.get(index))
            .map_or_else(String::new, |interface| format!(" on {}", interface.name));
        let gateway = ip
            .gateway
            .map_or_else(String::new, |gateway| format!(", gateway {gateway}"));
        line(
            &mut text,
            "address",
            &format!("{}{name}{gateway}", ip.address),
        );
    }
    for route in &result.routes {
        line(&mut text, "route", &describe_route(route));
    }
    describe_dns(&mut text, &result.dns);
    text
}

fn describe_route(route: &Route) -> String {
    let mut text = match (route.dst.prefix(), route.dst.is_ipv6()) {
        (0, false) => "default".to_owned(),
        (0, true) => "default (IPv6)".to_owned(),
        _ => route.dst.to_string(),
    };
    let mut fact = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _infallible = write!(text, " {name} {value}");
    };
    match route.gw {
        Some(gw) => fact("via", gw.to_string()),
        None => fact("via", "the gateway".to_owned()),
    }
    let numbers = [
        ("mtu", (route.mtu != 0).then_some(route.mtu)),
        ("advmss", (route.adv_mss != 0).then_some(route.adv_mss)),
        ("metric", (route.priority != 0).then_some(route.priority)),
        ("table", route.table),
        ("scope", route.scope.map(u32::from)),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            fact(name, value.to_string());
        }
    }
    text
}

fn describe_dns(text: &mut String, dns: &Dns) {
    let facts = [
        ("servers", dns.nameservers.join(" ")),
        ("domain", dns.domain.clone()),
        ("search", dns.search.join(" ")),
        ("options", dns.options.join(" ")),
    ];
    let said = facts.iter().filter(|(_, value)| !value.is_empty());
    let said: Vec<_> = said
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !said.is_empty() {
        line(text, "dns", &said.join(", "));
    }
}

/// One indented line with a name in front.
pub(crate) fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String does not fail.
    let _infallible = writeln!(text, "  {name:<10} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Json, SpecVersion};

    #[test]
    fn a_result_reads_well() {
        let document = br#"{"cniVersion": "1.1.0",
            "interfaces": [{"name": "cni0", "mac": "02:00:00:00:00:01"},
                           {"name": "eth0", "mtu": 1400, "sandbox": "/run/netns/c1"}],
            "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
                    {"address": "fd00::2/64"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "::/0"},
                       {"dst": "10.2.0.0/16", "gw": "10.1.0.9", "priority": 5, "table": 0}],
            "dns": {"nameservers": ["10.1.0.1"], "search": ["a.b", "c"]}}"#;
        let document = Json::parse(document).unwrap();
        let result = CniResult::from_json(&document, SpecVersion::LATEST).unwrap();
        assert_eq!(
            describe(&result),
            "  interface  cni0, on the host, mac 02:00:00:00:00:01
  interface  eth0, in /run/netns/c1, mtu 1400
  address    10.1.0.2/24 on eth0, gateway 10.1.0.1
  address    fd00::2/64
  route      default via 10.1.0.1
  route      default (IPv6) via the gateway
  route      10.2.0.0/16 via 10.1.0.9 metric 5 table 0
  dns        servers 10.1.0.1, search a.b c
"
        );
    }

    #[test]
    fn an_error_document_has_the_plugins_code() {
        let error = anyhow::Error::from(RuntimeError::NoNetns);
        let document: Value = serde_json::from_str(&error_document(&error)).unwrap();
        assert_eq!(document["code"], 8);
        let other: Value = serde_json::from_str(&error_document(&anyhow::anyhow!("x"))).unwrap();
        assert_eq!((&other["code"], &other["msg"]), (&5.into(), &"x".into()));
    }
}
