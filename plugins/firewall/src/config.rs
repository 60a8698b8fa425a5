//! The config's keys, and the only place where they are validated.

use std::net::IpAddr;

use cni_firewall::forward::{AdminChain, AdminChainError, Ingress, Policy};
use cni_plugin::{AttachmentRequest, Request};
use cni_types::{CniError, CniResult, ErrorCode, IfName, Json, JsonError, NameError, ToCniError};
use serde::Deserialize;

/// The keys as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    backend: String,
    iptables_admin_chain_name: String,
    firewalld_zone: String,
    ingress_policy: String,
}

/// Which backend a config names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Nftables,
    Iptables,
    Firewalld,
    /// None, or one that nobody knows: the reference takes both for "whatever this host has".
    Whatever,
}

/// A valid config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirewallConfig {
    pub(crate) backend: Choice,
    pub(crate) admin_chain: AdminChain,
    pub(crate) zone: String,
    /// `None`: open.
    pub(crate) policy: Option<Policy>,
}

/// Why a config is refused, alone or together with the `prevResult`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to load netconf: {0}")]
    Decode(JsonError),
    #[error("iptablesAdminChainName: {name:?} {why}")]
    AdminChain { name: String, why: AdminChainError },
    #[error("unknown ingress policy: {0:?}")]
    Policy(String),
    #[error(
        "interface needs to be set for ingress policy {0:?}, make sure to chain \"firewall\" plugin with \"bridge\""
    )]
    NoInterface(&'static str),
    #[error("got empty bridge name")]
    NoBridge,
    #[error("prevResult.interfaces[0].name: {name:?} {why}")]
    Bridge { name: String, why: NameError },
    #[error("prevResult.interfaces[0].name: {0:?} would mean several interfaces to iptables")]
    Bridges(String),
    #[error("missing prevResult from earlier plugin")]
    NoPrevResult,
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Policy(_) => {
                Some("ingressPolicy: \"open\", \"same-bridge\" and \"isolated\" are known")
            }
            Self::NoPrevResult => {
                Some("this plugin does nothing alone: put it behind one that gives addresses")
            }
            _ => None,
        }
    }
}

impl FirewallConfig {
    /// Reads and validates the config of an ADD, CHECK or STATUS.
    pub(crate) fn load(request: &Request) -> Result<Self, CniError> {
        let conf: Conf = request.config.decode().map_err(ConfigError::Decode)?;
        Ok(Self::validate(&conf)?)
    }

    fn validate(conf: &Conf) -> Result<Self, ConfigError> {
        let policy = match conf.ingress_policy.as_str() {
            "" | "open" => None,
            "same-bridge" => Some(Policy::SameBridge),
            "isolated" => Some(Policy::Isolated),
            other => return Err(ConfigError::Policy(other.to_owned())),
        };
        let admin_chain = match conf.iptables_admin_chain_name.as_str() {
            "" => AdminChain::default(),
            name => name.parse().map_err(|why| ConfigError::AdminChain {
                name: name.to_owned(),
                why,
            })?,
        };
        Ok(Self {
            backend: choice(&conf.backend),
            admin_chain,
            zone: zone(&conf.firewalld_zone),
            policy,
        })
    }

    /// The bridge with the policy: the first interface of the result, as the reference has it.
    pub(crate) fn ingress(&self, result: &CniResult) -> Result<Option<Ingress>, ConfigError> {
        let Some(policy) = self.policy else {
            return Ok(None);
        };
        let first = result.interfaces.first();
        let name = first.map(|interface| interface.name.as_str());
        let bridge = match name {
            None => return Err(ConfigError::NoInterface(policy_name(policy))),
            Some("") => return Err(ConfigError::NoBridge),
            Some(name) if !is_one_interface(name) => {
                return Err(ConfigError::Bridges(name.to_owned()));
            }
            Some(name) => name.parse::<IfName>().map_err(|why| ConfigError::Bridge {
                name: name.to_owned(),
                why,
            })?,
        };
        Ok(Some(Ingress { policy, bridge }))
    }
}

/// What an ADD or CHECK is about.
pub(crate) fn prev_result(request: &AttachmentRequest) -> Result<CniResult, CniError> {
    let result = request.request.prev_result()?;
    Ok(result.ok_or(ConfigError::NoPrevResult)?)
}

/// All addresses of a result, each once: the reference does not look at whose they are either.
pub(crate) fn addresses(result: &CniResult) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in &result.ips {
        let address = ip.address.addr();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Backend and zone of a config that need not be valid: what DEL and GC know of firewalld.
pub(crate) fn firewalld_of(config: &Json) -> (Choice, String) {
    let text = |key| config.get(key).and_then(Json::as_str).unwrap_or_default();
    (choice(text("backend")), zone(text("firewalldZone")))
}

fn choice(backend: &str) -> Choice {
    match backend {
        "nftables" => Choice::Nftables,
        "iptables" => Choice::Iptables,
        "firewalld" => Choice::Firewalld,
        _ => Choice::Whatever,
    }
}

fn zone(zone: &str) -> String {
    let zone = if zone.is_empty() { "trusted" } else { zone };
    zone.to_owned()
}

fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::SameBridge => "same-bridge",
        Policy::Isolated => "isolated",
    }
}

/// A name that ends in `+` is the beginning of many to iptables, and what is no word is none.
fn is_one_interface(name: &str) -> bool {
    !name.ends_with('+') && !name.contains(['"', '\'', '\\']) && !name.starts_with(['-', '!'])
}

#[cfg(test)]
mod tests {
    use cni_types::Interface;

    use super::*;

    fn load(text: &str) -> Result<FirewallConfig, ConfigError> {
        let doc = Json::parse(text.as_bytes()).unwrap();
        FirewallConfig::validate(&doc.decode().map_err(ConfigError::Decode)?)
    }

    fn result(names: &[&str]) -> CniResult {
        let interface = |name: &&str| Interface {
            name: (*name).to_owned(),
            ..Interface::default()
        };
        CniResult {
            interfaces: names.iter().map(interface).collect(),
            ..CniResult::default()
        }
    }

    #[test]
    fn nothing_is_the_references_default() {
        for text in [
            "{}",
            r#"{"backend": "", "ingressPolicy": "open"}"#,
            r#"{"BACKEND": null}"#,
        ] {
            assert_eq!(
                load(text).unwrap(),
                FirewallConfig {
                    backend: Choice::Whatever,
                    admin_chain: "CNI-ADMIN".parse().unwrap(),
                    zone: "trusted".to_owned(),
                    policy: None,
                }
            );
        }
    }

    #[test]
    fn keys_are_read() {
        let config = load(
            r#"{"backend": "nftables", "iptablesAdminChainName": "DOCKER-USER",
                "firewalldZone": "internal", "ingressPolicy": "isolated"}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.backend, Choice::Nftables);
        assert_eq!(config.admin_chain.to_string(), "DOCKER-USER");
        assert_eq!(config.zone, "internal");
        assert_eq!(config.policy, Some(Policy::Isolated));
        // As the reference has it.
        assert_eq!(
            load(r#"{"backend": "ebpf"}"#).unwrap().backend,
            Choice::Whatever
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, code, message) in [
            (r#"{"backend": 1}"#, 6, "failed to load netconf: backend: "),
            (
                r#"{"ingressPolicy": "closed"}"#,
                7,
                "unknown ingress policy: \"closed\"",
            ),
            (
                r#"{"iptablesAdminChainName": "a b"}"#,
                7,
                "iptablesAdminChainName: \"a b\" has a character that iptables takes in no name",
            ),
            (
                r#"{"iptablesAdminChainName": "-x"}"#,
                7,
                "iptablesAdminChainName: \"-x\" is no name of a chain",
            ),
            (
                r#"{"iptablesAdminChainName": "CNI-FORWARD"}"#,
                7,
                "iptablesAdminChainName: \"CNI-FORWARD\" is taken",
            ),
            (
                r#"{"iptablesAdminChainName": "abcdefghijklmnopqrstuvwxyz123"}"#,
                7,
                "iptablesAdminChainName: \"abcdefghijklmnopqrstuvwxyz123\" is longer than 28 bytes",
            ),
        ] {
            let error = CniError::from(load(text).unwrap_err());
            assert_eq!(error.code.0, code, "{text}");
            assert!(error.msg.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn the_bridge_is_the_first_interface() {
        let config = load(r#"{"ingressPolicy": "same-bridge"}"#).unwrap();
        let ingress = config
            .ingress(&result(&["cni0", "veth1"]))
            .unwrap()
            .unwrap();
        assert_eq!(ingress.bridge.as_str(), "cni0");
        for (names, message) in [
            (
                &[][..],
                "interface needs to be set for ingress policy \"same-bridge\", make sure to chain \"firewall\" plugin with \"bridge\"",
            ),
            (&[""], "got empty bridge name"),
            (
                &["br+"],
                "prevResult.interfaces[0].name: \"br+\" would mean several interfaces to iptables",
            ),
            (
                &["a/b"],
                "prevResult.interfaces[0].name: \"a/b\" contains / or : or whitespace characters",
            ),
        ] {
            let error = config.ingress(&result(names)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(load("{}").unwrap().ingress(&result(&[])).unwrap(), None);
    }
}
