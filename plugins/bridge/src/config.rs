//! The config's keys, and the only place where they are validated.

mod vlan;

use std::str::FromStr;

use cni_types::config::{DnsConf, MacConf, MacRequestError, requested_mac};
use cni_types::{
    CniError, Dns, ErrorCode, IfName, Json, JsonError, MacAddr, NameError, ToCniError,
};
use serde::Deserialize;

use cni_plugin::AttachmentRequest;

use self::vlan::TrunkConf;
pub(crate) use self::vlan::{VlanError, Vlans};

/// The keys as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the keys of the reference")]
struct Conf {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: i64,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Vec<TrunkConf>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    ipam: IpamConf,
    dns: DnsConf,
    args: ArgsConf,
    runtime_config: MacConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpamConf {
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArgsConf {
    cni: MacConf,
}

/// How the container's traffic to the world is masqueraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masquerade {
    /// It is not.
    Off,
    /// By our own `nf_tables` rules.
    Nftables,
    /// By the reference's iptables chains.
    Iptables,
}

/// What the container's end of the veth pair is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// An IPAM plugin of this type gives addresses.
    Ipam(String),
    /// Up, without addresses.
    LayerTwo,
    /// Left down, for whoever configures it later.
    Down,
}

/// What the bridge has to do with the container's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gateway {
    /// Nothing.
    No,
    /// It has the gateway's address, and the host forwards.
    Yes,
    /// It is the default gateway as well.
    Default,
}

/// How a container's port behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortConfig {
    pub(crate) hairpin: bool,
    pub(crate) isolated: bool,
    pub(crate) spoof_check: bool,
    pub(crate) vlans: Vlans,
}

/// A valid config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeConfig {
    pub(crate) bridge: IfName,
    pub(crate) promiscuous: bool,
    /// Bytes; `None` leaves it to the kernel.
    pub(crate) mtu: Option<u32>,
    pub(crate) gateway: Gateway,
    pub(crate) force_address: bool,
    pub(crate) masquerade: Masquerade,
    pub(crate) port: PortConfig,
    /// The MAC address that the container's end was asked to have.
    pub(crate) mac: Option<MacAddr>,
    /// Whether IPv6 addresses wait for duplicate address detection.
    pub(crate) detect_duplicates: bool,
    pub(crate) addressing: Addressing,
    /// What replaces the IPAM's name resolution.
    pub(crate) dns: Option<Dns>,
}

/// Why a config is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to load netconf: {0}")]
    Decode(JsonError),
    #[error("bridge: {name:?} {why}")]
    BridgeName { name: String, why: NameError },
    #[error("mtu: invalid MTU {0} (0 is the kernel's default)")]
    Mtu(i64),
    #[error("ipMasqBackend: unknown ipmasq backend {0:?}")]
    MasqueradeBackend(String),
    #[error("cannot set hairpin mode and promiscuous mode at the same time")]
    HairpinAndPromiscuous,
    #[error("cannot use IPAM when DisableContainerInterface flag is set")]
    IpamAndDisabled,
    #[error(transparent)]
    Mac(#[from] MacRequestError),
    #[error(transparent)]
    Vlan(#[from] VlanError),
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            Self::Mac(error) => error.code(),
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::MasqueradeBackend(_) => Some("\"nftables\" and \"iptables\" are known"),
            Self::HairpinAndPromiscuous => Some("set one of hairpinMode and promiscMode to false"),
            Self::IpamAndDisabled => Some("remove ipam, or set disableContainerInterface to false"),
            _ => None,
        }
    }
}

impl BridgeConfig {
    /// Reads and validates the config of an ADD or CHECK.
    pub(crate) fn load(request: &AttachmentRequest) -> Result<Self, CniError> {
        let conf: Conf = request
            .request
            .config
            .decode()
            .map_err(ConfigError::Decode)?;
        Ok(Self::validate(conf, &request.request.env.args)?)
    }

    fn validate(conf: Conf, cni_args: &str) -> Result<Self, ConfigError> {
        if conf.hairpin_mode && conf.promisc_mode {
            return Err(ConfigError::HairpinAndPromiscuous);
        }
        let mac = requested_mac(&conf.runtime_config, &conf.args.cni, cni_args)?;
        let addressing = addressing(&conf)?;
        Ok(Self {
            bridge: bridge_name(conf.bridge)?,
            promiscuous: conf.promisc_mode,
            mtu: mtu(conf.mtu)?,
            gateway: match (conf.is_default_gateway, conf.is_gateway) {
                (true, _) => Gateway::Default,
                (false, true) => Gateway::Yes,
                (false, false) => Gateway::No,
            },
            force_address: conf.force_address,
            masquerade: masquerade(conf.ip_masq, conf.ip_masq_backend.as_deref())?,
            port: PortConfig {
                hairpin: conf.hairpin_mode,
                isolated: conf.port_isolation,
                spoof_check: conf.macspoofchk,
                vlans: Vlans::new(conf.vlan, &conf.vlan_trunk, conf.preserve_default_vlan)?,
            },
            mac,
            detect_duplicates: conf.enabledad,
            addressing,
            dns: conf.dns.replacement(),
        })
    }

    /// The type of the IPAM plugin, if there is one.
    pub(crate) fn ipam(&self) -> Option<&str> {
        match &self.addressing {
            Addressing::Ipam(plugin) => Some(plugin),
            Addressing::LayerTwo | Addressing::Down => None,
        }
    }
}

/// The type of the IPAM plugin in a config that need not be valid: DEL, GC and STATUS delegate
/// whatever else an operator has done to it.
pub(crate) fn ipam_type(config: &Json) -> Option<&str> {
    config
        .get("ipam")?
        .get("type")?
        .as_str()
        .filter(|ipam| !ipam.is_empty())
}

fn bridge_name(name: String) -> Result<IfName, ConfigError> {
    let name = if name.is_empty() {
        "cni0".to_owned()
    } else {
        name
    };
    IfName::from_str(&name).map_err(|why| ConfigError::BridgeName { name, why })
}

fn mtu(mtu: i64) -> Result<Option<u32>, ConfigError> {
    match u32::try_from(mtu) {
        Ok(0) => Ok(None),
        // IFLA_MTU is an unsigned number to some parts of the kernel and a signed one to others.
        Ok(mtu) if i32::try_from(mtu).is_ok() => Ok(Some(mtu)),
        _ => Err(ConfigError::Mtu(mtu)),
    }
}

fn masquerade(on: bool, backend: Option<&str>) -> Result<Masquerade, ConfigError> {
    match backend {
        None | Some("" | "nftables") if on => Ok(Masquerade::Nftables),
        Some("iptables") if on => Ok(Masquerade::Iptables),
        None | Some("" | "nftables" | "iptables") => Ok(Masquerade::Off),
        Some(other) => Err(ConfigError::MasqueradeBackend(other.to_owned())),
    }
}

fn addressing(conf: &Conf) -> Result<Addressing, ConfigError> {
    match (
        conf.ipam.r#type.is_empty(),
        conf.disable_container_interface,
    ) {
        (false, false) => Ok(Addressing::Ipam(conf.ipam.r#type.clone())),
        (true, false) => Ok(Addressing::LayerTwo),
        (true, true) => Ok(Addressing::Down),
        (false, true) => Err(ConfigError::IpamAndDisabled),
    }
}

#[cfg(test)]
mod tests;
