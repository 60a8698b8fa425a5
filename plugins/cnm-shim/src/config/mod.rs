//! The config's keys, and the only place where they are validated.

mod addresses;
mod engine;
mod error;
mod raw;
mod settings;

use std::collections::BTreeMap;
use std::net::IpAddr;

use cni_cnm::controller::spec::{EndpointIds, Existing, FamilySpec, IpamSpec, NetworkSpec};
use cni_cnm::sandbox::plan::DefaultRoute;
use cni_cnm::store::record::DriverRef;
use cni_cnm::wire::network::PortBinding;
use cni_plugin::Request;
use cni_types::config::{MacConf, requested_mac};
use cni_types::{Dns, Json, MacAddr, NetworkName, SpecVersion};

use self::addresses::FamilyKeys;
pub(crate) use self::engine::{EngineConfig, EngineNetwork};
pub(crate) use self::error::ConfigError;
use self::raw::{Conf, RemovalConf, Scalar};
use self::settings::timeout;
pub(crate) use self::settings::{DATA_DIR, Settings};

/// The type under which kubernetes/contrib's `to_docker` was called.
const C2D: &str = "c2d";

/// The backend that is Docker Engine.
const ENGINE: &str = "engine";

/// Who makes the attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A CNM driver, with the shim as its controller.
    Driver(DriverConfig),
    /// Docker Engine.
    Engine(EngineConfig),
}

/// How the path that drivers are told is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyStyle {
    /// `CNI_NETNS` as it is.
    Cni,
    /// Below `/var/run/docker/netns`, as Docker's.
    Docker,
}

/// What both backends are asked to give an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) ports: Vec<PortBinding>,
    /// `docker network connect --driver-opt`.
    pub(crate) endpoint_options: BTreeMap<String, String>,
    pub(crate) default_route: DefaultRoute,
    /// What replaces the IPAM's name resolution.
    pub(crate) dns: Option<Dns>,
}

/// A valid config of the `driver` backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriverConfig {
    pub(crate) network: NetworkSpec,
    /// A CNI plugin that gives the addresses.
    pub(crate) delegate: Option<String>,
    pub(crate) ids: EndpointIds,
    pub(crate) key_style: KeyStyle,
    pub(crate) check_driver: bool,
    pub(crate) wishes: Wishes,
}

impl Backend {
    /// Reads and validates a config.
    pub(crate) fn load(request: &Request) -> Result<Self, ConfigError> {
        let conf: Conf = request.config.decode().map_err(ConfigError::Decode)?;
        if let Some(written) = request.config.get("timeout").filter(|it| !it.is_null())
            && timeout(written).is_none()
        {
            let wanted = "a number of seconds, or a duration as \"750ms\" or \"20s\"";
            return Err(ConfigError::malformed(
                "timeout",
                &written.to_string(),
                wanted,
            ));
        }
        let removal = RemovalConf::read(&request.config);
        one_of(
            "onDriverDown",
            &removal.on_driver_down,
            &["", "keep", "leak"],
        )?;
        if removal.force_delete && means_engine(&request.config) {
            return Err(ConfigError::Together {
                one: "forceDelete",
                other: "backend: engine",
            });
        }
        Self::validate(conf, &request.network, &request.env.args)
    }

    fn validate(conf: Conf, name: &NetworkName, cni_args: &str) -> Result<Self, ConfigError> {
        let backend = backend(&conf.r#type, &conf.backend);
        one_of("backend", backend, &["driver", ENGINE])?;
        let is_engine = backend == ENGINE;
        let wishes = wishes(&conf, cni_args)?;
        if is_engine {
            return engine::read(conf, name, wishes).map(Self::Engine);
        }
        driver(conf, name, wishes).map(Self::Driver)
    }
}

/// The backend that a config means.
fn backend<'a>(plugin_type: &str, written: &'a str) -> &'a str {
    match written {
        "" if plugin_type == C2D => ENGINE,
        "" => "driver",
        given => given,
    }
}

/// Whether a config is one of the `engine` backend, whatever else is wrong with it.
pub(crate) fn means_engine(config: &Json) -> bool {
    let text = |key| config.get(key).and_then(Json::as_str).unwrap_or_default();
    backend(text("type"), text("backend")) == ENGINE
}

/// The configs of `to_docker` say `0.1`, which was a version before versions had three numbers.
pub(crate) fn modernise(config: &mut Json) {
    let says = |key, text| config.get(key).and_then(Json::as_str) == Some(text);
    if says("type", C2D) && says("cniVersion", "0.1") {
        let version = SpecVersion::V0_1_0.as_str().to_owned();
        config.set("cniVersion", Json::String(version));
    }
}

/// Whether a value is one of those that are known.
fn one_of(
    key: &'static str,
    value: &str,
    known: &'static [&'static str],
) -> Result<(), ConfigError> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Unknown {
        key,
        value: value.to_owned(),
        known: match key {
            "backend" => "\"driver\", \"engine\"",
            "onDriverDown" => "\"keep\", \"leak\"",
            "sandboxKeyStyle" => "\"cni\", \"docker\"",
            "existingNetwork" => "\"tolerate\", \"fail\"",
            _ => "\"derived\", \"random\"",
        },
    })
}

fn driver_ref(name: &str, url: &str) -> DriverRef {
    DriverRef {
        name: name.to_owned(),
        url: (!url.is_empty()).then(|| url.to_owned()),
    }
}

fn texts(options: BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    let options = options.into_iter();
    options.map(|(key, Scalar(value))| (key, value)).collect()
}

fn wishes(conf: &Conf, cni_args: &str) -> Result<Wishes, ConfigError> {
    let mac = |mac: &String| MacConf { mac: mac.clone() };
    let (runtime, args) = (mac(&conf.runtime_config.mac), mac(&conf.args.cni.mac));
    let ips = if conf.runtime_config.ips.is_empty() {
        addresses::wanted("args.cni.ips", &conf.args.cni.ips)?
    } else {
        addresses::wanted("runtimeConfig.ips", &conf.runtime_config.ips)?
    };
    Ok(Wishes {
        mac: requested_mac(&runtime, &args, cni_args)?,
        ips,
        ports: addresses::ports(&conf.runtime_config.port_mappings)?,
        endpoint_options: texts(conf.endpoint_options.clone()),
        default_route: match (conf.internal, conf.is_default_gateway) {
            (true, true) => {
                return Err(ConfigError::Together {
                    one: "internal",
                    other: "isDefaultGateway",
                });
            }
            (true, false) => DefaultRoute::Never,
            (false, true) => DefaultRoute::Always,
            (false, false) => DefaultRoute::IfNone,
        },
        dns: conf.dns.replacement(),
    })
}

/// Both families, and whether there is IPv6.
fn families(conf: &Conf) -> Result<(FamilySpec, FamilySpec, bool), ConfigError> {
    let mut v4 = FamilyKeys {
        subnet: ("subnet", &conf.subnet),
        range: ("ipRange", &conf.ip_range),
        gateway: ("gateway", &conf.gateway),
        ipv6: false,
    }
    .read()?;
    let mut v6 = FamilyKeys {
        subnet: ("subnetV6", &conf.subnet_v6),
        range: ("ipRangeV6", &conf.ip_range_v6),
        gateway: ("gatewayV6", &conf.gateway_v6),
        ipv6: true,
    }
    .read()?;
    addresses::apply_ranges(&conf.runtime_config.ip_ranges, &mut v4, &mut v6)?;
    addresses::add_aux(&conf.aux_addresses, [&mut v4, &mut v6])?;
    let enabled = conf.enable_ipv6.unwrap_or(v6.subnet.is_some());
    if v6.subnet.is_some() && !enabled {
        return Err(ConfigError::Together {
            one: "enableIPv6: false",
            other: "an IPv6 subnet",
        });
    }
    Ok((v4, v6, enabled))
}

fn network_name(conf: &Conf, name: &NetworkName) -> String {
    if conf.network.is_empty() {
        name.as_str().to_owned()
    } else {
        conf.network.clone()
    }
}

fn driver(conf: Conf, name: &NetworkName, wishes: Wishes) -> Result<DriverConfig, ConfigError> {
    one_of(
        "sandboxKeyStyle",
        &conf.sandbox_key_style,
        &["", "cni", "docker"],
    )?;
    one_of(
        "existingNetwork",
        &conf.existing_network,
        &["", "tolerate", "fail"],
    )?;
    one_of("endpointID", &conf.endpoint_id, &["", "derived", "random"])?;
    let (v4, v6, enable_ipv6) = families(&conf)?;
    let delegate = Some(conf.ipam.r#type.clone()).filter(|plugin| !plugin.is_empty());
    let ipam = match &delegate {
        Some(_plugin) if names_ipam_driver(&conf) => {
            return Err(ConfigError::Together {
                one: "ipam",
                other: "ipamDriver",
            });
        }
        Some(_plugin) => None,
        None => Some(ipam(&conf)),
    };
    let named = conf.driver.clone().filter(|name| !name.is_empty());
    let by_url = if conf.driver_url.is_empty() {
        "bridge"
    } else {
        "driver"
    };
    Ok(DriverConfig {
        network: NetworkSpec {
            name: network_name(&conf, name),
            driver: driver_ref(named.as_deref().unwrap_or(by_url), &conf.driver_url),
            ipam,
            options: texts(conf.options),
            enable_ipv6,
            internal: conf.internal,
            v4,
            v6,
            existing: match conf.existing_network.as_str() {
                "tolerate" => Existing::Tolerate,
                "fail" => Existing::Fail,
                _ => Existing::IfGlobal,
            },
        },
        delegate,
        ids: match conf.endpoint_id.as_str() {
            "random" => EndpointIds::Random,
            _ => EndpointIds::Derived,
        },
        key_style: match conf.sandbox_key_style.as_str() {
            "docker" => KeyStyle::Docker,
            _ => KeyStyle::Cni,
        },
        check_driver: conf.check_driver.unwrap_or(true),
        wishes,
    })
}

fn names_ipam_driver(conf: &Conf) -> bool {
    !conf.ipam_driver.is_empty() || !conf.ipam_driver_url.is_empty()
}

fn ipam(conf: &Conf) -> IpamSpec {
    let name = match conf.ipam_driver.as_str() {
        // A driver that is known by its address needs a name for errors only.
        "" if names_ipam_driver(conf) => "ipam",
        "" => "default",
        named => named,
    };
    IpamSpec {
        driver: driver_ref(name, &conf.ipam_driver_url),
        options: texts(conf.ipam_options.clone()),
    }
}

#[cfg(test)]
mod tests;
