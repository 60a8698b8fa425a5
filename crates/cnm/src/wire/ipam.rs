//! `/IpamDriver.*`

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The reply to `GetCapabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Whether addresses are requested for a hardware address.
    #[serde(rename = "RequiresMACAddress")]
    pub requires_mac_address: bool,
    /// Whether a controller that starts again has to request everything again.
    #[serde(rename = "RequiresRequestReplay")]
    pub requires_request_replay: bool,
}

/// The reply to `GetDefaultAddressSpaces`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AddressSpaces {
    /// For networks of drivers with local scope.
    pub local_default_address_space: String,
    /// For networks of drivers with global scope.
    pub global_default_address_space: String,
}

/// `RequestPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestPoolRequest {
    /// Of which address space.
    pub address_space: String,
    /// The wanted subnet; empty leaves it to the driver.
    pub pool: String,
    /// The part of it to give addresses from; empty is all.
    pub sub_pool: String,
    /// `docker network create --ipam-opt`. `null` without any.
    pub options: Option<BTreeMap<String, String>>,
    /// Whether an IPv6 pool is wanted.
    pub v6: bool,
}

/// The reply to `RequestPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestPoolReply {
    /// What the pool is called from now on. The same request gets the same one, counted.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The subnet.
    pub pool: String,
    /// With key [`GATEWAY`](super::label::GATEWAY) a gateway that the driver chose.
    pub data: BTreeMap<String, String>,
}

/// `ReleasePool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleasePoolRequest {
    /// Which pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
}

/// `RequestAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestAddressRequest {
    /// Out of which pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The wanted address, without a prefix length; empty leaves it to the driver.
    pub address: String,
    /// See [`super::label`]. `null` without any.
    pub options: Option<BTreeMap<String, String>>,
}

/// The reply to `RequestAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestAddressReply {
    /// The address with its prefix length.
    pub address: String,
    /// Whatever the driver has to tell.
    pub data: BTreeMap<String, String>,
}

/// `ReleaseAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReleaseAddressRequest {
    /// Of which pool.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The address, without a prefix length.
    pub address: String,
}
