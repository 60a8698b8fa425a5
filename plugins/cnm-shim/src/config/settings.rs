//! What is needed to take things down, too: it is read out of any config.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_cnm::controller::spec::Limits;
use cni_cnm::controller::{OnDriverDown, Policy};
use cni_cnm::store::record::DriverRef;
use cni_types::{Json, NetworkName};

use super::raw::RemovalConf;
use super::{driver_ref, means_engine};

/// Where records are kept.
pub(crate) const DATA_DIR: &str = "/var/lib/cni/cnm-shim";

/// How long a command may take when the config does not say: shorter than the two minutes after
/// which kubelet gives up a sandbox.
const TIMEOUT: Duration = Duration::from_secs(50);

/// How long STATUS may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// What every command needs to know, whatever else is wrong with the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The CNM network's name.
    pub(crate) network: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) timeout: Duration,
    /// Where Docker Engine listens, if the config says so.
    pub(crate) engine_socket: Option<String>,
    pub(crate) leak_when_down: bool,
    /// Fail a DEL whose driver has answered with an error.
    pub(crate) strict_delete: bool,
    /// Ask the driver to remove what nothing is remembered of.
    pub(crate) force_delete: bool,
    pub(crate) remove_network: bool,
    /// The driver, for that.
    pub(crate) driver: DriverRef,
}

impl Settings {
    /// Those of a person, who has no config.
    pub(crate) fn by_hand(data_dir: &Path, timeout: Duration) -> Self {
        Self {
            network: String::new(),
            data_dir: data_dir.to_owned(),
            timeout,
            engine_socket: None,
            leak_when_down: false,
            strict_delete: false,
            force_delete: false,
            remove_network: false,
            driver: DriverRef::named(""),
        }
    }

    /// Reads them; what is wrong counts as not written.
    pub(crate) fn read(config: &Json, name: &NetworkName) -> Self {
        let conf = RemovalConf::read(config);
        let or = |text: String, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                text
            }
        };
        Self {
            network: or(conf.network, name.as_str()),
            data_dir: or(conf.data_dir, DATA_DIR).into(),
            timeout: timeout(&conf.timeout).unwrap_or(TIMEOUT),
            engine_socket: Some(conf.engine_socket).filter(|socket| !socket.is_empty()),
            leak_when_down: conf.on_driver_down == "leak",
            strict_delete: conf.strict_delete,
            // Docker is never asked for more than what is remembered.
            force_delete: conf.force_delete && !means_engine(config),
            remove_network: conf.remove_network_when_unused,
            driver: driver_ref(&or(conf.driver, "bridge"), &conf.driver_url),
        }
    }

    /// The limits of a command that begins now.
    pub(crate) fn limits(&self) -> Limits {
        Limits::within(self.timeout)
    }

    /// The limits of a STATUS that begins now: runtimes ask often, and wait for it.
    pub(crate) fn status_limits(&self) -> Limits {
        Limits::within(self.timeout.min(STATUS_TIMEOUT))
    }

    /// How removals are to be done.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            on_driver_down: if self.leak_when_down {
                OnDriverDown::Leak
            } else {
                OnDriverDown::Keep
            },
            remove_network: self.remove_network,
            takes_back: false,
        }
    }
}

/// A number is of seconds; a text is a number with its unit.
pub(super) fn timeout(written: &Json) -> Option<Duration> {
    let seconds = match written {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => {
            let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, unit) = text.split_at(digits);
            let number: f64 = number.parse().ok()?;
            match unit {
                "ms" => number / 1000.0,
                "s" => number,
                "m" => number * 60.0,
                _ => return None,
            }
        }
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    (!duration.is_zero() && duration <= Duration::from_secs(3600)).then_some(duration)
}
