//! The keys of the `engine` backend.

use std::collections::BTreeMap;

use cni_cnm::controller::spec::FamilySpec;
use cni_types::NetworkName;

use super::raw::Conf;
use super::{ConfigError, Wishes, families, network_name, texts};

/// A valid config of the `engine` backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineConfig {
    /// Docker's network, by name or id.
    pub(crate) network: String,
    /// How to make it if there is none; only where the config names a driver.
    pub(crate) create: Option<EngineNetwork>,
    /// Docker's container, where it is not `CNI_CONTAINERID`.
    pub(crate) container: Option<String>,
    /// Whether CHECK asks Docker.
    pub(crate) check_driver: bool,
    pub(crate) wishes: Wishes,
}

/// A Docker network to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineNetwork {
    pub(crate) driver: String,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) ipam_driver: String,
    pub(crate) ipam_options: BTreeMap<String, String>,
    pub(crate) v4: FamilySpec,
    pub(crate) v6: FamilySpec,
    pub(crate) enable_ipv6: bool,
    pub(crate) internal: bool,
}

/// Docker's own networks that no running container can be joined to.
const MODES: [&str; 2] = ["host", "none"];

/// Validates what Docker is to be asked for.
pub(super) fn read(
    conf: Conf,
    name: &NetworkName,
    wishes: Wishes,
) -> Result<EngineConfig, ConfigError> {
    refuse_keys_of_the_other(&conf)?;
    refuse_wishes(&wishes)?;
    let network = network_name(&conf, name);
    if MODES.contains(&network.as_str()) {
        let wanted = "a Docker network that containers can be joined to";
        return Err(ConfigError::malformed("network", &network, wanted));
    }
    let container = Some(conf.args.docker.container_id.clone()).filter(|id| !id.is_empty());
    let check_driver = conf.check_driver.unwrap_or(true);
    Ok(EngineConfig {
        network,
        create: to_be_made(conf)?,
        container,
        check_driver,
        wishes,
    })
}

/// What only a controller of drivers could heed.
fn refuse_keys_of_the_other(conf: &Conf) -> Result<(), ConfigError> {
    let written = [
        ("ipam", !conf.ipam.r#type.is_empty()),
        ("driverURL", !conf.driver_url.is_empty()),
        ("ipamDriverURL", !conf.ipam_driver_url.is_empty()),
        ("sandboxKeyStyle", !conf.sandbox_key_style.is_empty()),
        ("existingNetwork", !conf.existing_network.is_empty()),
        ("endpointID", !conf.endpoint_id.is_empty()),
    ];
    match first(&written) {
        Some(one) => Err(ConfigError::Together {
            one,
            other: "backend: engine",
        }),
        None => Ok(()),
    }
}

fn first(written: &[(&'static str, bool)]) -> Option<&'static str> {
    let mut written = written.iter().filter(|(_, is_written)| *is_written);
    written.next().map(|(key, _)| *key)
}

/// What Docker does not do for a container that runs already.
fn refuse_wishes(wishes: &Wishes) -> Result<(), ConfigError> {
    if !wishes.ports.is_empty() {
        return Err(ConfigError::Impossible {
            key: "runtimeConfig.portMappings",
            reason: "Docker publishes no ports of a container that runs already",
            hint: "take the capability from this plugin and put `portmap` behind it in the chain",
        });
    }
    let of_family = |ipv6| {
        let ips = wishes.ips.iter();
        ips.filter(|ip| ip.is_ipv6() == ipv6).count()
    };
    if of_family(false) > 1 || of_family(true) > 1 {
        return Err(ConfigError::Impossible {
            key: "runtimeConfig.ips",
            reason: "Docker gives an endpoint one address of each family",
            hint: "ask for one IPv4 and one IPv6 address at most",
        });
    }
    Ok(())
}

/// The network to be made, if a driver is named; without one, nothing may be said of it.
fn to_be_made(conf: Conf) -> Result<Option<EngineNetwork>, ConfigError> {
    let (v4, v6, enable_ipv6) = families(&conf)?;
    let Some(driver) = conf.driver.filter(|driver| !driver.is_empty()) else {
        let written = [
            ("subnet", v4.subnet.is_some()),
            ("subnetV6", v6.subnet.is_some()),
            ("enableIPv6", conf.enable_ipv6.is_some()),
            ("internal", conf.internal),
            ("options", !conf.options.is_empty()),
            ("ipamDriver", !conf.ipam_driver.is_empty()),
            ("ipamOptions", !conf.ipam_options.is_empty()),
        ];
        return match first(&written) {
            Some(key) => Err(ConfigError::Alone {
                key,
                needs: "driver: only then a network is made",
            }),
            None => Ok(None),
        };
    };
    Ok(Some(EngineNetwork {
        driver,
        options: texts(conf.options),
        ipam_driver: conf.ipam_driver,
        ipam_options: texts(conf.ipam_options),
        v4,
        v6,
        enable_ipv6,
        internal: conf.internal,
    }))
}
