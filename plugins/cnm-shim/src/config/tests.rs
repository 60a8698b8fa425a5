use std::path::PathBuf;
use std::time::Duration;

use cni_types::Json;

use cni_types::ToCniError as _;

use super::*;

fn load(text: &str) -> Result<Backend, ConfigError> {
    let doc = Json::parse(text.as_bytes()).unwrap();
    let conf = doc.decode().map_err(ConfigError::Decode)?;
    Backend::validate(conf, &"pods".parse().unwrap(), "")
}

fn driver_of(text: &str) -> DriverConfig {
    match load(text).unwrap() {
        Backend::Driver(config) => config,
        Backend::Engine(config) => panic!("{config:?}"),
    }
}

fn engine_of(text: &str) -> EngineConfig {
    match load(text).unwrap() {
        Backend::Engine(config) => config,
        Backend::Driver(config) => panic!("{config:?}"),
    }
}

fn refused(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn an_empty_config_is_dockers_own_bridge() {
    let config = driver_of("{}");
    assert_eq!(config.network.name, "pods");
    assert_eq!(config.network.driver, driver_ref("bridge", ""));
    let ipam = config.network.ipam.unwrap();
    assert_eq!(ipam.driver, driver_ref("default", ""));
    assert!(!config.network.enable_ipv6 && !config.network.internal);
    assert_eq!(config.wishes.default_route, DefaultRoute::IfNone);
    assert_eq!(config.key_style, KeyStyle::Cni);
    assert!(config.check_driver);
}

#[test]
fn all_keys_of_a_remote_driver() {
    let config = driver_of(
        r#"{"network": "red", "driver": "weave", "driverURL": "unix:///w.sock",
            "ipamDriver": "weavemesh", "ipamDriverURL": "tcp://127.0.0.1:1",
            "options": {"mtu": 1400, "works": true, "name": "x"}, "ipamOptions": {"a": "b"},
            "subnet": "10.1.0.0/16", "ipRange": "10.1.2.0/24", "gateway": "10.1.0.1",
            "auxAddresses": {"router": "10.1.2.9", "six": "fd00::9"}, "subnetV6": "fd00::/64",
            "gatewayV6": "fd00::1", "internal": true, "endpointOptions": {"x": 1},
            "sandboxKeyStyle": "docker", "existingNetwork": "fail", "endpointID": "random",
            "checkDriver": false, "someday": [1]}"#,
    );
    let network = &config.network;
    assert_eq!(network.name, "red");
    assert_eq!(network.driver, driver_ref("weave", "unix:///w.sock"));
    let ipam = network.ipam.as_ref().unwrap();
    assert_eq!(ipam.driver, driver_ref("weavemesh", "tcp://127.0.0.1:1"));
    assert_eq!(ipam.options["a"], "b");
    let values: Vec<_> = network.options.values().map(String::as_str).collect();
    assert_eq!(values, ["1400", "x", "true"], "the wire knows only text");
    assert_eq!(network.v4.range, Some("10.1.2.0/24".parse().unwrap()));
    assert_eq!(
        network.v4.aux["router"],
        "10.1.2.9".parse::<IpAddr>().unwrap()
    );
    assert_eq!(network.v6.aux["six"], "fd00::9".parse::<IpAddr>().unwrap());
    assert!(network.enable_ipv6, "an IPv6 subnet says so");
    assert_eq!(network.existing, Existing::Fail);
    assert_eq!(config.ids, EndpointIds::Random);
    assert_eq!(config.key_style, KeyStyle::Docker);
    assert_eq!(config.wishes.default_route, DefaultRoute::Never);
    assert!(!config.check_driver);
}

#[test]
fn a_driver_may_be_known_by_its_address_alone() {
    let config = driver_of(r#"{"driverURL": "unix:///a.sock", "ipamDriverURL": "unix:///b.sock"}"#);
    assert_eq!(
        config.network.driver,
        driver_ref("driver", "unix:///a.sock")
    );
    let ipam = config.network.ipam.unwrap();
    assert_eq!(ipam.driver, driver_ref("ipam", "unix:///b.sock"));
}

#[test]
fn addresses_may_come_from_a_cni_plugin() {
    let config = driver_of(r#"{"driver": "weave", "ipam": {"type": "host-local"}}"#);
    assert_eq!(config.delegate.as_deref(), Some("host-local"));
    assert_eq!(config.network.ipam, None);
    let both = r#"{"ipam": {"type": "host-local"}, "ipamDriver": "x"}"#;
    assert_eq!(refused(both), "ipam and ipamDriver cannot be used together");
}

#[test]
fn what_runtimes_ask_for() {
    let config = driver_of(
        r#"{"subnet": "10.9.0.0/16", "gateway": "10.9.0.1",
            "runtimeConfig": {"mac": "02:00:00:00:00:05", "ips": ["10.1.0.5/24", "fd00::5"],
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                    {"hostPort": 53, "containerPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
                    {"hostPort": 0, "containerPort": 9}],
                "ipRanges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.64",
                    "rangeEnd": "10.1.0.127", "gateway": "10.1.0.1"}], [{"subnet": "fd00::/64"}]]}}"#,
    );
    let (network, wishes) = (config.network, config.wishes);
    assert_eq!(network.v4.subnet, Some("10.1.0.0/24".parse().unwrap()));
    assert_eq!(network.v4.range, Some("10.1.0.64/26".parse().unwrap()));
    assert_eq!(network.v4.gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(network.v6.subnet, Some("fd00::/64".parse().unwrap()));
    assert!(network.enable_ipv6);
    assert_eq!(wishes.mac, Some("02:00:00:00:00:05".parse().unwrap()));
    assert_eq!(wishes.ips.len(), 2);
    let ports: Vec<_> = wishes
        .ports
        .iter()
        .map(|one| (one.proto, one.host_port))
        .collect();
    assert_eq!(ports, [(6, 8080), (17, 53)]);
}

#[test]
fn docker_engine_and_the_config_of_to_docker() {
    let config = engine_of(r#"{"backend": "engine", "network": "frontend"}"#);
    assert_eq!((config.network.as_str(), config.create), ("frontend", None));
    let config = engine_of(r#"{"type": "c2d", "debug": true}"#);
    assert_eq!(config.network, "pods", "the config's name is Docker's");
    let config = engine_of(
        r#"{"backend": "engine", "driver": "bridge", "subnet": "10.2.0.0/24",
            "args": {"docker": {"containerID": "c9"}}}"#,
    );
    let create = config.create.unwrap();
    assert_eq!(create.driver, "bridge");
    assert_eq!(create.v4.subnet, Some("10.2.0.0/24".parse().unwrap()));
    assert_eq!(config.container.as_deref(), Some("c9"));
}

#[test]
fn docker_is_asked_for_no_more_than_it_can_do() {
    let config = engine_of(r#"{"backend": "engine", "checkDriver": false}"#);
    assert!(!config.check_driver);
    let ports = r#"{"backend": "engine", "runtimeConfig":
        {"portMappings": [{"hostPort": 80, "containerPort": 80}]}}"#;
    let error = load(ports).unwrap_err();
    assert_eq!(error.code().0, 2);
    assert!(error.hint().unwrap().contains("portmap"));
    for (text, said) in [
        (
            r#"{"backend": "engine", "network": "none"}"#,
            r#"network: "none" is not a Docker network that containers can be joined to"#,
        ),
        (
            r#"{"backend": "engine", "driverURL": "unix:///w.sock"}"#,
            "driverURL and backend: engine cannot be used together",
        ),
        (
            r#"{"backend": "engine", "endpointID": "random"}"#,
            "endpointID and backend: engine cannot be used together",
        ),
        (
            r#"{"type": "c2d", "sandboxKeyStyle": "docker"}"#,
            "sandboxKeyStyle and backend: engine cannot be used together",
        ),
        (
            r#"{"backend": "engine", "runtimeConfig": {"ips": ["10.0.0.5", "10.0.0.6"]}}"#,
            "runtimeConfig.ips: Docker gives an endpoint one address of each family",
        ),
    ] {
        assert_eq!(refused(text), said);
    }
    for key in [
        r#""subnet": "10.0.0.0/24""#,
        r#""subnetV6": "fd00::/64""#,
        r#""enableIPv6": true"#,
        r#""internal": true"#,
        r#""options": {"a": "b"}"#,
        r#""ipamDriver": "x""#,
        r#""ipamOptions": {"a": "b"}"#,
    ] {
        let text = format!(r#"{{"backend": "engine", {key}}}"#);
        let name = key.split('"').nth(1).unwrap();
        let said = format!("{name} needs driver: only then a network is made");
        assert_eq!(refused(&text), said);
        engine_of(&format!(
            r#"{{"backend": "engine", "driver": "bridge", {key}}}"#
        ));
    }
}

#[test]
fn the_version_of_to_docker_is_understood_from_it_alone() {
    for (text, expected) in [
        (r#"{"type": "c2d", "cniVersion": "0.1"}"#, "0.1.0"),
        (r#"{"type": "c2d", "cniVersion": "0.2.0"}"#, "0.2.0"),
        (r#"{"type": "cnm-shim", "cniVersion": "0.1"}"#, "0.1"),
    ] {
        let mut config = Json::parse(text.as_bytes()).unwrap();
        modernise(&mut config);
        let version = config.get("cniVersion").and_then(Json::as_str);
        assert_eq!(version, Some(expected));
    }
}

#[test]
fn docker_is_never_asked_to_remove_what_is_not_remembered() {
    let forced = |text: &str| {
        let doc = Json::parse(text.as_bytes()).unwrap();
        Settings::read(&doc, &"pods".parse().unwrap()).force_delete
    };
    assert!(forced(r#"{"forceDelete": true}"#));
    assert!(!forced(r#"{"forceDelete": true, "backend": "engine"}"#));
    assert!(!forced(r#"{"forceDelete": true, "type": "c2d"}"#));
}

#[test]
fn what_makes_no_sense_is_named_with_its_key_and_value() {
    for (text, said) in NONSENSE {
        assert_eq!(refused(text), *said, "{text}");
    }
}

/// Configs, and what is said of them.
const NONSENSE: &[(&str, &str)] = &[
    (
        r#"{"backend": "x"}"#,
        r#"backend: "x" is not one of "driver", "engine""#,
    ),
    (
        r#"{"subnet": "fd00::/64"}"#,
        r#"subnet: "fd00::/64" is not an IPv4 subnet with its prefix length"#,
    ),
    (
        r#"{"subnet": "10.0.0.0"}"#,
        r#"subnet: "10.0.0.0" is not an IPv4 subnet with its prefix length"#,
    ),
    (r#"{"gateway": "10.0.0.1"}"#, "gateway needs subnet"),
    (r#"{"ipRangeV6": "fd00::/80"}"#, "ipRangeV6 needs subnetV6"),
    (
        r#"{"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}"#,
        "gateway: 10.0.1.1 is not an address of 10.0.0.0/24",
    ),
    (
        r#"{"subnet": "10.0.0.0/24", "ipRange": "10.0.0.0/16"}"#,
        "ipRange: 10.0.0.0/16 is not an address of 10.0.0.0/24",
    ),
    (
        r#"{"auxAddresses": {"a": "10.0.0.9"}}"#,
        "auxAddresses.a: 10.0.0.9 is not an address of any subnet of the network",
    ),
    (
        r#"{"enableIPv6": false, "subnetV6": "fd00::/64"}"#,
        "enableIPv6: false and an IPv6 subnet cannot be used together",
    ),
    (
        r#"{"internal": true, "isDefaultGateway": true}"#,
        "internal and isDefaultGateway cannot be used together",
    ),
    (
        r#"{"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 1}]}}"#,
        r#"runtimeConfig.portMappings[0].hostPort: "70000" is not a port from 1 to 65535"#,
    ),
    (
        r#"{"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "x"}]}}"#,
        r#"runtimeConfig.portMappings[0].protocol: "x" is not tcp, udp or sctp"#,
    ),
    (
        r#"{"runtimeConfig": {"ips": ["x"]}}"#,
        r#"runtimeConfig.ips[0]: "x" is not an IP address"#,
    ),
    (
        r#"{"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.5",
                "rangeEnd": "10.0.0.9"}]]}}"#,
        "runtimeConfig.ipRanges: 10.0.0.5 to 10.0.0.9 is no subnet, and CNM pools are nothing else",
    ),
    (
        r#"{"options": {"a": [1]}}"#,
        "failed to load netconf: options.a: a string, a number or a boolean is expected, not [1]",
    ),
    (
        r#"{"backend": "engine", "ipam": {"type": "host-local"}}"#,
        "ipam and backend: engine cannot be used together",
    ),
];

#[test]
fn settings_are_read_whatever_else_is_wrong() {
    let doc = Json::parse(
        br#"{"network": 5, "dataDir": "/d", "timeout": "1.5s", "subnet": [], "onDriverDown": "leak",
            "removeNetworkWhenUnused": true, "strictDelete": "yes"}"#,
    )
    .unwrap();
    let settings = Settings::read(&doc, &"pods".parse().unwrap());
    assert_eq!(settings.network, "pods");
    assert_eq!(settings.data_dir, PathBuf::from("/d"));
    assert_eq!(settings.timeout, Duration::from_millis(1500));
    assert!(settings.leak_when_down && settings.remove_network);
    assert!(!settings.strict_delete);
}

#[test]
fn times_are_seconds_unless_they_have_a_unit() {
    let read = |text: &str| timeout(&Json::parse(text.as_bytes()).unwrap());
    assert_eq!(read("5"), Some(Duration::from_secs(5)));
    assert_eq!(read("0.25"), Some(Duration::from_millis(250)));
    assert_eq!(read(r#""750ms""#), Some(Duration::from_millis(750)));
    assert_eq!(read(r#""2m""#), Some(Duration::from_secs(120)));
    for text in [
        "0", "-1", r#""""#, r#""5""#, r#""5h""#, r#""s""#, "[]", "1e9",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}
