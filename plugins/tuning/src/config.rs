//! The config's keys, and the only place where they are validated.

mod allow;
mod sysctl;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cni_types::{
    ArgsError, CniArgs, CniError, ErrorCode, Json, JsonError, MacAddr, MacError, ToCniError,
};
use serde::Deserialize;

pub(crate) use self::allow::AllowList;
pub(crate) use self::sysctl::{Source, SysctlConf, SysctlConfError, SysctlName};
use crate::plan::LinkValues;

/// Where the reference keeps what DEL is to restore.
const DATA_DIR: &str = "/run/cni/tuning";

/// The keys as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    sysctl: BTreeMap<String, String>,
    mac: String,
    promisc: bool,
    mtu: i64,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue_len: Option<i64>,
    runtime_config: RuntimeConf,
    args: ArgsConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeConf {
    mac: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArgsConf {
    cni: Overrides,
}

/// What is written here beats all else, also with a value that asks for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overrides {
    sysctl: BTreeMap<String, String>,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<i64>,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue_len: Option<i64>,
}

/// A valid config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TuningConfig {
    /// What the interface is to have; `promisc` is never `Some(false)`.
    pub(crate) link: LinkValues,
    /// What is to be set, the more general before the more special where one key overrides another.
    pub(crate) sysctls: Vec<SysctlConf>,
}

/// Why a config is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to load netconf: {0}")]
    Decode(JsonError),
    #[error(transparent)]
    Sysctl(#[from] SysctlConfError),
    #[error("{key}: invalid args {text} for MAC addr")]
    Mac {
        key: &'static str,
        text: String,
        #[source]
        source: MacError,
    },
    #[error("{key}: {mac} is not an address that an interface can have")]
    MacNotUnicast { key: &'static str, mac: MacAddr },
    #[error("{key}: invalid MTU {mtu} (0 leaves it as it is)")]
    Mtu { key: &'static str, mtu: i64 },
    #[error("{key}: invalid transmit queue length {packets}")]
    TxQueueLen { key: &'static str, packets: i64 },
    #[error(transparent)]
    Args(#[from] ArgsError),
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            Self::Args(_) => ErrorCode::INVALID_ENVIRONMENT,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Sysctl(error) => error.hint(),
            _ => None,
        }
    }
}

impl TuningConfig {
    /// Reads and validates a config. What the operator of the host allows is not looked at.
    pub(crate) fn load(config: &Json, cni_args: &str) -> Result<Self, ConfigError> {
        let cni = config.get("args").and_then(|args| args.get("cni"));
        for (place, object) in [("", Some(config)), ("args.cni.", cni)] {
            sysctl::refuse_duplicates(place, object.and_then(|object| object.get("sysctl")))?;
        }
        let conf: Conf = config.decode().map_err(ConfigError::Decode)?;
        Self::validate(conf, cni_args)
    }

    fn validate(conf: Conf, cni_args: &str) -> Result<Self, ConfigError> {
        let mac = requested_mac(&conf, cni_args)?;
        let over = conf.args.cni;
        let (mtu_key, mtu) = overridden(over.mtu, ("args.cni.mtu", "mtu"), Some(conf.mtu));
        let (queue_key, packets) = overridden(
            over.tx_queue_len,
            ("args.cni.txQLen", "txQLen"),
            conf.tx_queue_len,
        );
        let link = LinkValues {
            mac,
            promisc: over.promisc.unwrap_or(conf.promisc).then_some(true),
            mtu: valid_mtu(mtu_key, mtu.unwrap_or_default())?,
            all_multicast: over.allmulti.or(conf.allmulti),
            tx_queue_len: packets
                .map(|packets| valid_tx_queue_len(queue_key, packets))
                .transpose()?,
        };
        let of = |source, map: BTreeMap<String, String>| {
            map.into_iter()
                .map(move |(key, value)| SysctlConf::new(source, key, &value))
        };
        let sysctls = of(Source::Config, conf.sysctl).chain(of(Source::Args, over.sysctl));
        Ok(Self {
            link,
            sysctls: sysctls.collect::<Result<_, _>>()?,
        })
    }

    /// Reads and validates the config of an ADD: also what the operator of the host allows.
    pub(crate) fn load_allowed(config: &Json, cni_args: &str) -> Result<Self, CniError> {
        let config = Self::load(config, cni_args)?;
        AllowList::for_all(&config.sysctls)?;
        Ok(config)
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.link.is_empty() && self.sysctls.is_empty()
    }
}

/// `dataDir` in a config that need not be valid: DEL and GC look at nothing else. What is no path
/// cannot have been the directory of any ADD.
pub(crate) fn data_dir(config: &Json) -> PathBuf {
    let dir = config.get("dataDir").and_then(Json::as_str);
    dir.filter(|dir| !dir.is_empty()).unwrap_or(DATA_DIR).into()
}

/// The value of the runtime's argument or else of the config, and where it stands.
fn overridden<T>(
    argument: Option<T>,
    (argument_key, key): (&'static str, &'static str),
    value: Option<T>,
) -> (&'static str, Option<T>) {
    match argument {
        Some(argument) => (argument_key, Some(argument)),
        None => (key, value),
    }
}

fn valid_mtu(key: &'static str, mtu: i64) -> Result<Option<u32>, ConfigError> {
    match u32::try_from(mtu) {
        Ok(0) => Ok(None),
        // IFLA_MTU is an unsigned number to some parts of the kernel and a signed one to others.
        Ok(valid) if i32::try_from(valid).is_ok() => Ok(Some(valid)),
        _ => Err(ConfigError::Mtu { key, mtu }),
    }
}

fn valid_tx_queue_len(key: &'static str, packets: i64) -> Result<u32, ConfigError> {
    u32::try_from(packets).map_err(|_out_of_range| ConfigError::TxQueueLen { key, packets })
}

/// `args.cni` beats the runtime's capability, which beats the environment, which beats the config.
fn requested_mac(conf: &Conf, cni_args: &str) -> Result<Option<MacAddr>, ConfigError> {
    let args = CniArgs::parse(cni_args, &["MAC"])?;
    let lesser = [
        ("runtimeConfig.mac", conf.runtime_config.mac.as_str()),
        ("MAC of CNI_ARGS", args.get("MAC").unwrap_or_default()),
        ("mac", conf.mac.as_str()),
    ];
    let (key, text) = match &conf.args.cni.mac {
        Some(mac) => ("args.cni.mac", mac.as_str()),
        None => *lesser
            .iter()
            .find(|(_, text)| !text.is_empty())
            .unwrap_or(&("mac", "")),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let mac: MacAddr = text.parse().map_err(|source| ConfigError::Mac {
        key,
        text: text.to_owned(),
        source,
    })?;
    if !mac.is_unicast() {
        return Err(ConfigError::MacNotUnicast { key, mac });
    }
    Ok(Some(mac))
}

#[cfg(test)]
mod tests;
