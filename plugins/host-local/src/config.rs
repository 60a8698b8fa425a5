//! The config: what JSON says, and what it means once validated.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cni_ipam::{LeaseStore, RangeSet, RangeSetError, RangeSpec};
use cni_plugin::{Deadline, Request};
use cni_types::{
    ArgsError, CniArgs, CniError, ErrorCode, IpCidr, Json, NetworkName, Route, SpecVersion,
    ToCniError,
};
use serde::Deserialize;

/// Where the reference keeps leases.
const DATA_DIR: &str = "/var/lib/cni/networks";

/// How long to wait for the lock when the config does not say. A plugin above gives this one 50 s
/// and kubelet gives both two minutes; the reason for a failure has to get through to them.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The config as JSON has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NetConf {
    ipam: Option<IpamConf>,
    runtime_config: RuntimeConf,
    args: ArgsConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamConf {
    ranges: Vec<Vec<RangeConf>>,
    subnet: Option<String>,
    range_start: String,
    range_end: String,
    gateway: String,
    routes: Vec<Route>,
    resolv_conf: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RangeConf {
    subnet: String,
    range_start: String,
    range_end: String,
    gateway: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConf {
    ip_ranges: Vec<Vec<RangeConf>>,
    ips: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArgsConf {
    cni: CniArgsConf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgsConf {
    ips: Vec<String>,
}

/// A place in the config and what stands there, as the cause of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: String,
    value: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value:?}", self.path),
            None => write!(f, "see {}", self.path),
        }
    }
}

impl std::error::Error for Place {}

/// Why a config is refused. The texts are the reference's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("IPAM config missing 'ipam' key")]
    MissingIpam,
    #[error("no IP ranges specified")]
    NoRanges,
    #[error("invalid CIDR address: {text}")]
    Cidr {
        text: String,
        #[source]
        place: Place,
    },
    #[error("invalid IP address: {text}")]
    Ip {
        text: String,
        #[source]
        place: Place,
    },
    #[error("invalid range set {index}: {error}")]
    Set {
        index: usize,
        error: RangeSetError,
        #[source]
        place: Place,
    },
    #[error("CNI version {0} does not support more than 1 address per family")]
    TooManySets(SpecVersion),
    #[error("range set {first} overlaps with {second}")]
    Overlap {
        first: usize,
        second: usize,
        #[source]
        place: Place,
    },
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error("CNI_ARGS: IP: invalid IP address {0}")]
    ArgsIp(String),
    #[error("ipam.{key}: {expected} is expected")]
    WrongType {
        key: &'static str,
        expected: &'static str,
    },
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Args(_) | Self::ArgsIp(_) => ErrorCode::INVALID_ENVIRONMENT,
            Self::WrongType { .. } => ErrorCode::DECODE,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }
}

/// Where the leases are and how long to wait for them: all that DEL and GC need to know, so that
/// whatever else somebody breaks in a config does not keep addresses reserved.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    /// The network's leases.
    pub(crate) store: LeaseStore,
    lock_timeout: Duration,
}

impl Leases {
    /// Looks at `ipam.dataDir` and `ipam.lockTimeout` only.
    pub(crate) fn locate(config: &Json, network: &NetworkName) -> Result<Self, ConfigError> {
        let key = |key| config.get("ipam").and_then(|ipam| ipam.get(key));
        let data_dir = match key("dataDir") {
            None | Some(Json::Null) => "",
            Some(Json::String(dir)) => dir,
            Some(_) => {
                let (key, expected) = ("dataDir", "a path");
                return Err(ConfigError::WrongType { key, expected });
            }
        };
        let data_dir = if data_dir.is_empty() {
            DATA_DIR
        } else {
            data_dir
        };
        let lock_timeout = match key("lockTimeout") {
            None | Some(Json::Null) => None,
            Some(Json::Number(number)) => number.as_u64(),
            Some(_) => {
                let (key, expected) = ("lockTimeout", "a number of seconds");
                return Err(ConfigError::WrongType { key, expected });
            }
        };
        Ok(Self {
            store: LeaseStore::new(data_dir.as_ref(), network),
            // A day is as good as for ever, and cannot overflow a deadline.
            lock_timeout: lock_timeout.map_or(LOCK_TIMEOUT, |seconds| {
                Duration::from_secs(seconds.min(86_400))
            }),
        })
    }

    /// By when the lock has to be free, if the wait begins now.
    pub(crate) fn lock_deadline(&self) -> std::time::Instant {
        Deadline::after(self.lock_timeout).instant()
    }
}

/// A validated config. Making one is the only validation.
#[derive(Debug)]
pub(crate) struct IpamConfig {
    /// One address of each is given, in this order.
    pub(crate) sets: Vec<RangeSet>,
    /// Addresses asked for, in the order of their sources.
    pub(crate) requested: Vec<IpAddr>,
    /// For the result.
    pub(crate) routes: Vec<Route>,
    /// The file with the result's name resolution.
    pub(crate) resolv_conf: Option<PathBuf>,
    /// Where the leases are.
    pub(crate) leases: Leases,
}

impl IpamConfig {
    /// Decodes and validates a request's config.
    pub(crate) fn of(request: &Request) -> Result<Self, CniError> {
        let conf: NetConf = request.decode()?;
        let leases = Leases::locate(&request.config, &request.network)?;
        Ok(Self::validate(
            conf,
            leases,
            request.version,
            &request.env.args,
        )?)
    }

    fn validate(
        conf: NetConf,
        leases: Leases,
        version: SpecVersion,
        args: &str,
    ) -> Result<Self, ConfigError> {
        let ipam = conf.ipam.ok_or(ConfigError::MissingIpam)?;
        let requested = requested_addresses(args, &conf.args.cni.ips, &conf.runtime_config.ips)?;
        let routes = ipam.routes.clone();
        let resolv_conf = Some(ipam.resolv_conf.clone()).filter(|p| !p.as_os_str().is_empty());
        let sources = range_sets(ipam, conf.runtime_config.ip_ranges);
        let sets = validate_sets(&sources, version)?;
        Ok(Self {
            sets,
            requested,
            routes,
            resolv_conf,
            leases,
        })
    }
}

/// A range set as written, and where.
struct SetSource {
    path: String,
    /// The legacy block's keys stand in `ipam` itself.
    is_legacy: bool,
    ranges: Vec<RangeConf>,
}

impl SetSource {
    fn range_path(&self, index: usize) -> String {
        if self.is_legacy {
            self.path.clone()
        } else {
            format!("{}[{index}]", self.path)
        }
    }
}

/// In the reference's order: what the runtime gives, the legacy block if it has a subnet, `ranges`.
fn range_sets(ipam: IpamConf, runtime: Vec<Vec<RangeConf>>) -> Vec<SetSource> {
    let listed = |list: &'static str| {
        move |(index, ranges)| SetSource {
            path: format!("{list}[{index}]"),
            is_legacy: false,
            ranges,
        }
    };
    let legacy = ipam.subnet.map(|subnet| SetSource {
        path: "ipam".to_owned(),
        is_legacy: true,
        ranges: vec![RangeConf {
            subnet,
            range_start: ipam.range_start,
            range_end: ipam.range_end,
            gateway: ipam.gateway,
        }],
    });
    let runtime = runtime
        .into_iter()
        .enumerate()
        .map(listed("runtimeConfig.ipRanges"));
    let ranges = ipam
        .ranges
        .into_iter()
        .enumerate()
        .map(listed("ipam.ranges"));
    runtime.chain(legacy).chain(ranges).collect()
}

fn validate_sets(
    sources: &[SetSource],
    version: SpecVersion,
) -> Result<Vec<RangeSet>, ConfigError> {
    if sources.is_empty() {
        return Err(ConfigError::NoRanges);
    }
    let specs = sources
        .iter()
        .map(parse_set)
        .collect::<Result<Vec<_>, _>>()?;
    let sets = sources
        .iter()
        .zip(&specs)
        .enumerate()
        .map(|(index, (source, specs))| {
            RangeSet::new(specs).map_err(|error| ConfigError::Set {
                index,
                place: place_of(source, &error),
                error,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let v6 = sets.iter().filter(|set| set.is_ipv6()).count();
    if !version.lists_interfaces() && (v6 > 1 || sets.len() - v6 > 1) {
        return Err(ConfigError::TooManySets(version));
    }
    check_disjoint(&sets, sources)?;
    Ok(sets)
}

fn check_disjoint(sets: &[RangeSet], sources: &[SetSource]) -> Result<(), ConfigError> {
    for (first, set) in sets.iter().enumerate() {
        let mut later = sets.iter().zip(sources).enumerate().skip(first + 1);
        if let Some((second, (_, source))) = later.find(|(_, (other, _))| set.overlaps(other)) {
            let (path, value) = (source.path.clone(), None);
            let place = Place { path, value };
            return Err(ConfigError::Overlap {
                first,
                second,
                place,
            });
        }
    }
    Ok(())
}

fn parse_set(source: &SetSource) -> Result<Vec<RangeSpec>, ConfigError> {
    let ranges = source.ranges.iter().enumerate();
    ranges
        .map(|(index, range)| parse_range(range, &source.range_path(index)))
        .collect()
}

fn parse_range(range: &RangeConf, path: &str) -> Result<RangeSpec, ConfigError> {
    let place = |key: &str, text: &str| Place {
        path: format!("{path}.{key}"),
        value: Some(text.to_owned()),
    };
    let ip = |key: &str, text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_not_an_address| ConfigError::Ip {
                text: text.to_owned(),
                place: place(key, text),
            })
    };
    let subnet: Result<IpCidr, _> = range.subnet.parse();
    Ok(RangeSpec {
        subnet: subnet.map_err(|_not_a_cidr| ConfigError::Cidr {
            text: range.subnet.clone(),
            place: place("subnet", &range.subnet),
        })?,
        start: ip("rangeStart", &range.range_start)?,
        end: ip("rangeEnd", &range.range_end)?,
        gateway: ip("gateway", &range.gateway)?,
    })
}

/// The key that a set's error is about, with its value.
fn place_of(source: &SetSource, error: &RangeSetError) -> Place {
    let range = error.place().and_then(|(index, key)| {
        let range = source.ranges.get(index)?;
        let value = match key {
            cni_ipam::RangeField::Subnet => &range.subnet,
            cni_ipam::RangeField::Start => &range.range_start,
            cni_ipam::RangeField::End => &range.range_end,
        };
        let path = format!("{}.{}", source.range_path(index), key.as_str());
        let value = Some(value.clone());
        Some(Place { path, value })
    });
    range.unwrap_or_else(|| Place {
        path: source.path.clone(),
        value: None,
    })
}

/// `IP` of `CNI_ARGS`, then `args.cni.ips`, then `runtimeConfig.ips`.
fn requested_addresses(
    args: &str,
    args_ips: &[String],
    runtime_ips: &[String],
) -> Result<Vec<IpAddr>, ConfigError> {
    let args = CniArgs::parse(args, &["IP"])?;
    let from_env = args
        .get("IP")
        .map(|text| parse_requested(text).ok_or_else(|| ConfigError::ArgsIp(text.to_owned())));
    let listed = |list: &'static str, texts: &[String]| {
        let parse = |(index, text): (usize, &String)| {
            parse_requested(text).ok_or_else(|| ConfigError::Ip {
                text: text.clone(),
                place: Place {
                    path: format!("{list}[{index}]"),
                    value: Some(text.clone()),
                },
            })
        };
        texts.iter().enumerate().map(parse).collect::<Vec<_>>()
    };
    from_env
        .into_iter()
        .chain(listed("args.cni.ips", args_ips))
        .chain(listed("runtimeConfig.ips", runtime_ips))
        .collect()
}

/// An address, alone or with a prefix length that does not matter.
fn parse_requested(text: &str) -> Option<IpAddr> {
    let addr = match text.parse::<IpAddr>() {
        Ok(addr) => addr,
        Err(_with_prefix) => text.parse::<IpCidr>().ok()?.addr(),
    };
    Some(addr.to_canonical())
}

#[cfg(test)]
mod tests;
