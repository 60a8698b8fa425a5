//! The keys as they are written.

use std::collections::BTreeMap;

use cni_types::config::DnsConf;
use cni_types::{Json, JsonError};
use serde::{Deserialize, Deserializer};

/// All keys of both backends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Conf {
    pub(super) r#type: String,
    pub(super) backend: String,
    pub(super) network: String,
    pub(super) driver: Option<String>,
    #[serde(rename = "driverURL")]
    pub(super) driver_url: String,
    pub(super) ipam_driver: String,
    #[serde(rename = "ipamDriverURL")]
    pub(super) ipam_driver_url: String,
    pub(super) options: BTreeMap<String, Scalar>,
    pub(super) ipam_options: BTreeMap<String, Scalar>,
    pub(super) endpoint_options: BTreeMap<String, Scalar>,
    pub(super) subnet: String,
    pub(super) ip_range: String,
    pub(super) gateway: String,
    pub(super) aux_addresses: BTreeMap<String, String>,
    pub(super) subnet_v6: String,
    pub(super) ip_range_v6: String,
    pub(super) gateway_v6: String,
    #[serde(rename = "enableIPv6")]
    pub(super) enable_ipv6: Option<bool>,
    pub(super) internal: bool,
    pub(super) is_default_gateway: bool,
    pub(super) sandbox_key_style: String,
    pub(super) existing_network: String,
    #[serde(rename = "endpointID")]
    pub(super) endpoint_id: String,
    pub(super) check_driver: Option<bool>,
    pub(super) ipam: IpamConf,
    pub(super) dns: DnsConf,
    pub(super) args: ArgsConf,
    pub(super) runtime_config: RuntimeConf,
}

/// What a removal needs; whatever is wrong with it, there is a default.
#[derive(Debug, Clone, Default)]
pub(super) struct RemovalConf {
    pub(super) network: String,
    pub(super) data_dir: String,
    pub(super) timeout: Json,
    pub(super) engine_socket: String,
    pub(super) on_driver_down: String,
    pub(super) strict_delete: bool,
    pub(super) force_delete: bool,
    pub(super) remove_network_when_unused: bool,
    pub(super) driver: String,
    pub(super) driver_url: String,
}

impl RemovalConf {
    /// Reads each key by itself, so that a wrong one takes no other with it.
    pub(super) fn read(config: &Json) -> Self {
        let text = |key| match config.get(key) {
            Some(Json::String(text)) => text.clone(),
            _ => String::new(),
        };
        let flag = |key| matches!(config.get(key), Some(Json::Bool(true)));
        Self {
            network: text("network"),
            data_dir: text("dataDir"),
            timeout: config.get("timeout").cloned().unwrap_or_default(),
            engine_socket: text("engineSocket"),
            on_driver_down: text("onDriverDown"),
            strict_delete: flag("strictDelete"),
            force_delete: flag("forceDelete"),
            remove_network_when_unused: flag("removeNetworkWhenUnused"),
            driver: text("driver"),
            driver_url: text("driverURL"),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct IpamConf {
    pub(super) r#type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ArgsConf {
    pub(super) cni: CniArgsConf,
    pub(super) docker: DockerArgs,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CniArgsConf {
    pub(super) ips: Vec<String>,
    pub(super) mac: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DockerArgs {
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RuntimeConf {
    pub(super) port_mappings: Vec<PortMapping>,
    pub(super) ips: Vec<String>,
    pub(super) mac: String,
    pub(super) ip_ranges: Vec<Vec<IpRange>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PortMapping {
    pub(super) host_port: i64,
    pub(super) container_port: i64,
    pub(super) protocol: String,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct IpRange {
    pub(super) subnet: String,
    pub(super) range_start: String,
    pub(super) range_end: String,
    pub(super) gateway: String,
}

/// The value of an option, which goes over the wire as text: `docker network create -o` knows nothing
/// else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(text) => Ok(Self(text)),
            Json::Bool(value) => Ok(Self(value.to_string())),
            Json::Number(number) => Ok(Self(number.to_string())),
            other => Err(serde::de::Error::custom(JsonError::new(format!(
                "a string, a number or a boolean is expected, not {other}"
            )))),
        }
    }
}
