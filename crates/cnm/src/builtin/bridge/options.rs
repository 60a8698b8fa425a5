//! The network's own options: `docker network create -o`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use cni_types::{IfName, Json};

use super::error::BridgeError;
use crate::wire::{Options, label};

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub(super) const ENABLE_ICC: &str = "com.docker.network.bridge.enable_icc";
pub(super) const ENABLE_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub(super) const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
const HOST_BINDING_IPV4: &str = "com.docker.network.bridge.host_binding_ipv4";
const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// What libnetwork understands and this driver does not do. To ignore them would open what is to be
/// closed, or the other way round.
const UNSUPPORTED: [&str; 3] = [
    "com.docker.network.host_ipv4",
    "com.docker.network.host_ipv6",
    "com.docker.network.bridge.trusted_host_interfaces",
];
/// dockerd's own mark on `docker0`.
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";

const KNOWN: [&str; 10] = [
    BRIDGE_NAME,
    ENABLE_ICC,
    ENABLE_MASQUERADE,
    INHIBIT_IPV4,
    HOST_BINDING_IPV4,
    GATEWAY_MODE_IPV4,
    GATEWAY_MODE_IPV6,
    MTU,
    PREFIX,
    DEFAULT_BRIDGE,
];

/// Reads the value of an option.
fn parse<T: FromStr>(key: &'static str, value: &str) -> Result<T, BridgeError> {
    let why = match key {
        BRIDGE_NAME => "it is not the name of an interface",
        HOST_BINDING_IPV4 => "it is not an IPv4 address",
        _ => "it is not a number",
    };
    value.parse().map_err(|_error| BridgeError::Option {
        key,
        value: value.to_owned(),
        why,
    })
}

/// Options by name.
#[derive(Debug)]
pub(super) struct Generic(BTreeMap<String, String>);

impl Generic {
    /// A map of strings, by the protocol; values that are not strings are taken for their text.
    pub(super) fn of(options: &Options) -> Result<Self, BridgeError> {
        let members = match options.get(label::GENERIC) {
            None | Some(Json::Null) => return Ok(Self(BTreeMap::new())),
            Some(Json::Object(members)) => members,
            Some(other) => {
                return Err(BridgeError::Malformed {
                    key: label::GENERIC,
                    why: format!("{other} is not a map"),
                });
            }
        };
        let text = |value: &Json| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let pairs = members
            .iter()
            .map(|(key, value)| (key.clone(), text(value)));
        Ok(Self(pairs.collect()))
    }

    /// The value of an option; an empty one is none.
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// The bridge, if it is named.
    pub(super) fn bridge(&self) -> Result<Option<IfName>, BridgeError> {
        let name = self.get(BRIDGE_NAME);
        name.map(|name| parse(BRIDGE_NAME, name)).transpose()
    }

    /// A boolean as Go's `strconv.ParseBool` reads it.
    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, BridgeError> {
        match self.get(key) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(BridgeError::Option {
                key,
                value: other.to_owned(),
                why: "it is not true or false",
            }),
        }
    }

    pub(super) fn host_binding(&self) -> Result<Option<Ipv4Addr>, BridgeError> {
        let key = HOST_BINDING_IPV4;
        let address = self.get(key).map(|value| parse(key, value)).transpose()?;
        // All addresses is what there is without it.
        Ok(address.filter(|address: &Ipv4Addr| !address.is_unspecified()))
    }

    /// In bytes. 0 leaves it to the kernel.
    pub(super) fn mtu(&self) -> Result<Option<u32>, BridgeError> {
        let mtu = self.get(MTU).map(|value| parse(MTU, value)).transpose()?;
        Ok(mtu.filter(|mtu| *mtu != 0))
    }

    /// The name in the sandbox is this and a number.
    pub(super) fn prefix(&self) -> Result<String, BridgeError> {
        let Some(prefix) = self.get(PREFIX) else {
            return Ok("eth".to_owned());
        };
        if format!("{prefix}0").parse::<IfName>().is_err() {
            return Err(BridgeError::Option {
                key: PREFIX,
                value: prefix.to_owned(),
                why: "with a number it is not the name of an interface",
            });
        }
        Ok(prefix.to_owned())
    }

    /// How packets of a family get out and in: translated, or as they are.
    pub(super) fn is_nat(&self, v6: bool) -> Result<bool, BridgeError> {
        let key = if v6 {
            GATEWAY_MODE_IPV6
        } else {
            GATEWAY_MODE_IPV4
        };
        match self.get(key) {
            None | Some("nat") => Ok(true),
            Some("routed") => Ok(false),
            Some(value @ ("isolated" | "nat-unprotected")) => Err(BridgeError::Unsupported {
                key,
                value: value.to_owned(),
            }),
            Some(value) => Err(BridgeError::Option {
                key,
                value: value.to_owned(),
                why: "there is nat and routed",
            }),
        }
    }

    pub(super) fn refuse_unsupported(&self) -> Result<(), BridgeError> {
        let is_default = self.flag(DEFAULT_BRIDGE)?.unwrap_or(false);
        let refused = UNSUPPORTED.into_iter().find(|key| self.get(key).is_some());
        match refused.or_else(|| is_default.then_some(DEFAULT_BRIDGE)) {
            None => Ok(()),
            Some(key) => Err(BridgeError::Unsupported {
                key,
                value: self.get(key).unwrap_or_default().to_owned(),
            }),
        }
    }

    /// What libnetwork ignores, too.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| !KNOWN.contains(name) && !UNSUPPORTED.contains(name))
    }
}
