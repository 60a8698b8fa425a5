//! What goes over HTTP between us and Docker Engine, as far as it is of use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) message: String,
}

/// Who an Engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServerVersion {
    /// Its version, as in `20.10.24+dfsg1`.
    pub version: String,
    /// The newest version of the API that it speaks.
    pub api_version: String,
    /// The oldest one.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
}

impl ServerVersion {
    /// The first number of its version; nothing if that is no number, as for an unreleased one.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Container {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, with a slash before it.
    pub name: String,
    /// Whether it runs.
    pub state: State,
    /// How it was made.
    pub host_config: HostConfig,
    /// Where it is connected.
    pub network_settings: NetworkSettings,
}

/// How many digits of an id stand for it: `docker ps` shows so many.
const SHORT_ID: usize = 12;

impl Container {
    /// Whether this is its id, in full or as people know it, or its name.
    #[must_use]
    pub fn is_called(&self, id_or_name: &str) -> bool {
        self.name.strip_prefix('/') == Some(id_or_name)
            || (id_or_name.len() >= SHORT_ID && self.id.starts_with(id_or_name))
    }
}

/// Whether a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Whether it has a process.
    pub running: bool,
    /// Its first process; 0 without one.
    pub pid: i32,
}

/// How a container was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `none`, `host`, `container:<id>`, `default`, or the network that it began with. It never
    /// changes, whatever the container is connected to.
    pub network_mode: String,
}

/// Where a container is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// The sandbox's id; empty without one.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// The path of its namespace; empty without one.
    pub sandbox_key: String,
    /// The endpoints by their networks' names, even if they were connected by id.
    pub networks: BTreeMap<String, Endpoint>,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint {
    /// The network's id; empty while the container does not run.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Its id; empty while the container does not run.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The IPv4 gateway, or nothing.
    pub gateway: String,
    /// The IPv4 address, without its prefix length, or nothing.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// The IPv4 prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// The IPv6 gateway, or nothing.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// The IPv6 address, without its prefix length, or nothing.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// The IPv6 prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// The hardware address; nothing if the driver did not tell.
    pub mac_address: String,
    /// Names by which other containers find it.
    pub aliases: Vec<String>,
    /// What it was connected with.
    pub driver_opts: BTreeMap<String, String>,
}

/// What an endpoint is to be like. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointConfig {
    /// Its addresses.
    #[serde(rename = "IPAMConfig", skip_serializing_if = "Option::is_none")]
    pub ipam_config: Option<EndpointIpam>,
    /// Its hardware address. Engine heeds it from API 1.54 on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Options of the driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Names by which other containers find it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The endpoint with the highest one is the gateway, since Engine 28.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gw_priority: Option<i64>,
}

/// An endpoint's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndpointIpam {
    /// The IPv4 address, without a prefix length, or nothing.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// The IPv6 address, without a prefix length, or nothing.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// `local`, `global` or `swarm`.
    pub scope: String,
    /// Its driver.
    pub driver: String,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Whether it leads nowhere.
    pub internal: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: NetworkIpam,
    /// The running containers on it by id.
    pub containers: BTreeMap<String, AttachedContainer>,
    /// Its driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A container on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AttachedContainer {
    /// The container's name, without a slash.
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The hardware address, or nothing.
    pub mac_address: String,
    /// The IPv4 address with its prefix length, or nothing.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// The IPv6 address with its prefix length, or nothing.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// A network's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkIpam {
    /// The IPAM driver; empty is Docker's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// The IPAM driver's options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The pools; none leaves them to the IPAM driver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<IpamPool>,
}

/// A pool of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamPool {
    /// The subnet, with its prefix length.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The part of it to give addresses from, with its prefix length.
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// The gateway, without a prefix length.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that are not to be given, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// A network to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// Always true: Engine before 25.0 makes a second network of a name otherwise, and afterwards
    /// can do nothing with either by name.
    check_duplicate: bool,
    /// Its driver.
    pub driver: String,
    /// Whether it leads nowhere.
    pub internal: bool,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: NetworkIpam,
    /// Its driver's options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl CreateNetwork {
    /// A network with addresses of Docker's choice and no options.
    pub fn new(name: impl Into<String>, driver: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            check_duplicate: true,
            driver: driver.into(),
            internal: false,
            enable_ipv6: false,
            ipam: NetworkIpam::default(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// The reply to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct CreateNetworkReply {
    pub(super) id: String,
}

/// A container in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConnectRequest<'a> {
    pub(super) container: &'a str,
    pub(super) endpoint_config: &'a EndpointConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DisconnectRequest<'a> {
    pub(super) container: &'a str,
    pub(super) force: bool,
}
