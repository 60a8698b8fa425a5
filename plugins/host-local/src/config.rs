//! The config: what JSON says, and what it means once validated.

mod error;
mod ranges;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cni_ipam::{LeaseStore, RangeSet};
use cni_plugin::{Deadline, Request};
use cni_types::{CniArgs, CniError, IpCidr, Json, NetworkName, Route, SpecVersion};
use serde::Deserialize;

use error::{ConfigError, Place};
use ranges::{range_sets, validate_sets};

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

/// Where the leases are and how long to wait for them: all that DEL and GC need to know, so that
/// whatever else somebody breaks in a config does not keep addresses reserved.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    /// The network's leases.
    pub(crate) store: LeaseStore,
    lock_timeout: Duration,
    /// By when the reply is wanted.
    deadline: Option<Deadline>,
}

impl Leases {
    /// Those of a request's network.
    pub(crate) fn of(request: &Request) -> Result<Self, ConfigError> {
        let deadline = request.deadline;
        let leases = Self::locate(&request.config, &request.network)?;
        let store = leases.store.with_fast_paths(request.env.fast_paths);
        Ok(Self {
            store,
            deadline,
            ..leases
        })
    }

    /// Looks at `ipam.dataDir` and `ipam.lockTimeout` only.
    fn locate(config: &Json, network: &NetworkName) -> Result<Self, ConfigError> {
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
            deadline: None,
        })
    }

    /// By when the lock has to be free, if the wait begins now.
    pub(crate) fn lock_deadline(&self) -> std::time::Instant {
        let own = Deadline::after(self.lock_timeout);
        self.deadline.map_or(own, |asked| asked.min(own)).instant()
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
        let leases = Leases::of(request)?;
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
