//! The result of an ADD, in the newest version's shape, and its older forms.
//!
//! Inside the suite there is one [`CniResult`]; [`wire`] reads and writes what goes over the wire
//! in each of the seven versions ([specification, "Success"]).
//!
//! [specification, "Success"]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#add-success

mod wire;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{IpCidr, Json, SpecVersion};

pub use wire::ResultError;

/// What an ADD made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniResult {
    /// The interfaces made or used, host side and container side.
    pub interfaces: Vec<Interface>,
    /// The addresses given.
    pub ips: Vec<IpConfig>,
    /// The routes set.
    pub routes: Vec<Route>,
    /// Name resolution for the container.
    pub dns: Dns,
}

/// A network interface of the result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as text because loopback's is not one an interface may be given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU in bytes; 0 is "not told". Since 1.1.0.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The path of its namespace; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// A vhost-user socket. Since 1.1.0.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// A PCI address. Since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// An address of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    /// Which of the result's interfaces has it.
    pub interface: Option<usize>,
    /// The address with its subnet's prefix length.
    pub address: IpCidr,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
}

/// A route of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Where it leads.
    pub dst: IpCidr,
    /// Through which router; none is "the gateway of the address's family".
    #[serde(
        default,
        with = "wire::optional_ip",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes; 0 is none. Since 1.1.0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// Maximum segment size to advertise, in bytes; 0 is none. Since 1.1.0.
    #[serde(default, rename = "advmss", skip_serializing_if = "is_zero")]
    pub adv_mss: u32,
    /// Its metric, lower is preferred; 0 is the kernel's default. Since 1.1.0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// Its table; none is the main table. Since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Its scope as in `rtnetlink(7)`: 0 global, 253 link, 254 host. Since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl Route {
    /// A route with a destination and a router, and nothing else.
    #[must_use]
    pub const fn via(dst: IpCidr, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: 0,
            adv_mss: 0,
            priority: 0,
            table: None,
            scope: None,
        }
    }
}

/// Name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers, most preferred first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search domains, most preferred first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde wants"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl CniResult {
    /// Reads a result that says its own version, or else is of `default`.
    ///
    /// # Errors
    /// Not a result of that version, or of one we do not know.
    pub fn from_json(doc: &Json, default: SpecVersion) -> Result<Self, ResultError> {
        wire::read(doc, default)
    }

    /// Reads a `prevResult`: a result of the config's version, or of a relative with the same
    /// shape.
    ///
    /// # Errors
    /// As [`Self::from_json`]; also a version of another family.
    pub fn from_prev_result(doc: &Json, config: SpecVersion) -> Result<Self, ResultError> {
        wire::read_prev(doc, config)
    }

    /// The document of the given version: indented by four spaces, no newline at the end.
    ///
    /// # Errors
    /// Up to 0.2.0 a result must have an address.
    pub fn to_text(&self, version: SpecVersion) -> Result<String, ResultError> {
        wire::write(self, version)
    }

    /// The document of the given version as a tree.
    ///
    /// # Errors
    /// As [`Self::to_text`].
    pub fn to_json(&self, version: SpecVersion) -> Result<Json, ResultError> {
        let text = self.to_text(version)?;
        Json::parse(text.as_bytes()).map_err(ResultError::Decode)
    }
}
