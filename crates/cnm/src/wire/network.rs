//! `/NetworkDriver.*`

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Options;

/// The reply to `GetCapabilities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Capabilities {
    /// Where the state of allocations lives: `local` or `global`.
    pub scope: String,
    /// How far connections reach: `local` or `global`; empty is as the scope.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connectivity_scope: String,
    /// Whether `GwAllocCheck` is to be called (since Engine 28).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gw_alloc_checker: bool,
}

/// `GwAllocCheck`: does the network need a gateway out of its pool?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GwAllocCheckRequest {
    /// As in [`CreateNetworkRequest`].
    pub options: Options,
}

/// The reply to `GwAllocCheck`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GwAllocCheckReply {
    /// No IPv4 gateway is needed.
    #[serde(rename = "SkipIPv4")]
    pub skip_ipv4: bool,
    /// No IPv6 gateway is needed.
    #[serde(rename = "SkipIPv6")]
    pub skip_ipv6: bool,
}

/// A network's addresses of one family, in `CreateNetwork` and `AllocateNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamData {
    /// The address space that the pool is of.
    pub address_space: String,
    /// The subnet, with its prefix length.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// The gateway's address, with the subnet's prefix length.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that are not to be given, by name, each with the prefix length: Docker sends it,
    /// whatever its documentation says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// `CreateNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateNetworkRequest {
    /// Which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// See [`super::label`].
    pub options: Options,
    /// Its IPv4 pools.
    #[serde(rename = "IPv4Data")]
    pub ipv4_data: Vec<IpamData>,
    /// Its IPv6 pools.
    #[serde(rename = "IPv6Data")]
    pub ipv6_data: Vec<IpamData>,
}

/// `AllocateNetwork`, from the manager of a swarm to a driver of global scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocateNetworkRequest {
    /// Which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The network's own options.
    pub options: BTreeMap<String, String>,
    /// Its IPv4 pools.
    #[serde(rename = "IPv4Data")]
    pub ipv4_data: Vec<IpamData>,
    /// Its IPv6 pools.
    #[serde(rename = "IPv6Data")]
    pub ipv6_data: Vec<IpamData>,
}

/// The reply to `AllocateNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocateNetworkReply {
    /// What `CreateNetwork` is to be given on each node.
    pub options: BTreeMap<String, String>,
}

/// `DeleteNetwork` and `FreeNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// Which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

/// The addresses of an endpoint. All three keys are always sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointInterface {
    /// The IPv4 address with its prefix length, or nothing.
    pub address: String,
    /// The IPv6 address with its prefix length, or nothing.
    #[serde(rename = "AddressIPv6")]
    pub address_ipv6: String,
    /// The hardware address, or nothing.
    pub mac_address: String,
}

/// `CreateEndpoint`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateEndpointRequest {
    /// On which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Which endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// What it has already.
    pub interface: EndpointInterface,
    /// Port mappings, and the endpoint's own options side by side with them.
    pub options: Options,
}

/// The reply to `CreateEndpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateEndpointReply {
    /// What the driver adds: fields that the request had are not the driver's to set.
    pub interface: EndpointInterface,
}

/// `EndpointOperInfo`, `DeleteEndpoint`, `Leave` and `RevokeExternalConnectivity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// On which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Which endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
}

/// The reply to `EndpointOperInfo`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointInfoReply {
    /// Whatever the driver has to tell.
    pub value: Options,
}

/// `Join`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinRequest {
    /// On which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Which endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The path of the sandbox's namespace.
    pub sandbox_key: String,
    /// Port mappings.
    pub options: Options,
}

/// The link that a driver wants moved into the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InterfaceName {
    /// Its name in the host's namespace. Empty: nothing is moved.
    pub src_name: String,
    /// What its name in the sandbox begins with.
    pub dst_prefix: String,
    /// Its name in the sandbox.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dst_name: String,
}

/// A route through a router: [`StaticRoute::route_type`].
pub const NEXT_HOP: i64 = 0;
/// A route straight to the link: [`StaticRoute::route_type`]. So is every other value than
/// [`NEXT_HOP`].
pub const CONNECTED: i64 = 1;

/// A route that the sandbox gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StaticRoute {
    /// Where to, with its prefix length.
    pub destination: String,
    /// [`NEXT_HOP`] or [`CONNECTED`].
    pub route_type: i64,
    /// The router.
    pub next_hop: String,
}

/// The reply to `Join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinReply {
    /// The link.
    pub interface_name: InterfaceName,
    /// The IPv4 gateway, or nothing.
    pub gateway: String,
    /// The IPv6 gateway, or nothing.
    #[serde(rename = "GatewayIPv6")]
    pub gateway_ipv6: String,
    /// Routes.
    pub static_routes: Vec<StaticRoute>,
    /// Whether Docker is not to join the sandbox to `docker_gwbridge` for want of a gateway.
    pub disable_gateway_service: bool,
}

/// `ProgramExternalConnectivity`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ProgramRequest {
    /// On which network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Which endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// As those of `Join`.
    pub options: Options,
}

/// `DiscoverNew` and `DiscoverDelete`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiscoveryRequest {
    /// 1 is a node.
    pub discovery_type: i64,
    /// `Address`, `BindAddress`, `Self`.
    pub discovery_data: Options,
}

/// A port that the container listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExposedPort {
    /// The IP protocol: 6 TCP, 17 UDP, 132 SCTP.
    pub proto: u8,
    /// The port.
    pub port: u16,
}

/// A port that is published on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortBinding {
    /// The IP protocol: 6 TCP, 17 UDP, 132 SCTP.
    #[serde(rename = "Proto")]
    pub proto: u8,
    /// The container's address; nothing is all of them.
    #[serde(rename = "IP")]
    pub ip: String,
    /// The container's port.
    #[serde(rename = "Port")]
    pub port: u16,
    /// The host's address; nothing is all of them.
    #[serde(rename = "HostIP")]
    pub host_ip: String,
    /// The host's port.
    #[serde(rename = "HostPort")]
    pub host_port: u16,
    /// The last of a range of ports to choose from; as the first without a range.
    #[serde(rename = "HostPortEnd")]
    pub host_port_end: u16,
}
