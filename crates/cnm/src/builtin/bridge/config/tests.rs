use super::*;

const ICC: &str = "com.docker.network.bridge.enable_icc";

fn data(pool: &str, gateway: &str) -> IpamData {
    IpamData {
        address_space: "LocalDefault".into(),
        pool: pool.into(),
        gateway: gateway.into(),
        ..IpamData::default()
    }
}

fn request(options: &[(&str, &str)], v4: &[IpamData], v6: &[IpamData]) -> CreateNetworkRequest {
    let text = |value: &&str| Json::String((*value).to_owned());
    let generic = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), text(value)));
    CreateNetworkRequest {
        network_id: "0123456789abcdef".into(),
        options: [
            (label::GENERIC.to_owned(), Json::Object(generic.collect())),
            (label::ENABLE_IPV6.to_owned(), Json::Bool(!v6.is_empty())),
        ]
        .into(),
        ipv4_data: v4.to_vec(),
        ipv6_data: v6.to_vec(),
    }
}

fn parse(options: &[(&str, &str)]) -> Result<NetworkConfig, String> {
    let request = request(
        options,
        &[data("10.1.0.0/16", "10.1.0.1/16")],
        &[data("fd00::/64", "fd00::1/64")],
    );
    NetworkConfig::parse(&request).map_err(|error| error.to_string())
}

fn cidrs(texts: &[&str]) -> Vec<IpCidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn without_options_it_is_libnetworks_bridge() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.bridge.as_str(), "br-0123456789ab");
    assert!(config.icc && config.masquerade && !config.internal && config.ipv6);
    assert_eq!((config.prefix.as_str(), config.mtu), ("eth", None));
    let on_bridge: Vec<IpCidr> = config.bridge_addresses().collect();
    assert_eq!(on_bridge, cidrs(&["10.1.0.1/16", "fd00::1/64"]));
    assert_eq!(config.gateway(false), Some("10.1.0.1".parse().unwrap()));
    assert_eq!(config.gateway(true), Some("fd00::1".parse().unwrap()));
    assert!(config.forwards(false) && config.forwards(true));
    let addresses = cidrs(&["10.1.0.2/16", "fd00::2/64"]);
    assert_eq!(config.masqueraded(&addresses), addresses);
}

#[test]
fn each_option_is_heard() {
    let config = parse(&[
        ("com.docker.network.bridge.name", "br0"),
        (ICC, "False"),
        ("com.docker.network.bridge.enable_ip_masquerade", "0"),
        ("com.docker.network.bridge.host_binding_ipv4", "192.0.2.1"),
        ("com.docker.network.driver.mtu", "1400"),
        ("com.docker.network.container_iface_prefix", "net"),
        ("com.docker.network.bridge.inhibit_ipv4", "true"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
    ])
    .unwrap();
    assert_eq!(config.bridge.as_str(), "br0");
    assert!(!config.icc && !config.masquerade);
    assert_eq!(config.host_binding_ipv4, Some(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!((config.prefix.as_str(), config.mtu), ("net", Some(1400)));
    // Somebody else is the gateway, and has its address.
    let on_bridge: Vec<IpCidr> = config.bridge_addresses().collect();
    assert_eq!(on_bridge, cidrs(&["fd00::1/64"]));
    assert_eq!(config.gateway(false), Some("10.1.0.1".parse().unwrap()));
    assert!(!config.forwards(false) && config.forwards(true));
    assert!(config.translates(false) && !config.translates(true));
}

#[test]
fn what_is_routed_is_not_masqueraded() {
    let config = parse(&[("com.docker.network.bridge.gateway_mode_ipv6", "routed")]).unwrap();
    let addresses = cidrs(&["10.1.0.2/16", "fd00::2/64"]);
    assert_eq!(config.masqueraded(&addresses), cidrs(&["10.1.0.2/16"]));
}

#[test]
fn an_internal_network_leads_nowhere() {
    let mut request = request(&[], &[data("10.1.0.0/16", "10.1.0.1/16")], &[]);
    request
        .options
        .insert(label::INTERNAL.into(), Json::Bool(true));
    let config = NetworkConfig::parse(&request).unwrap();
    assert_eq!(config.gateway(false), None);
    assert!(!config.forwards(false));
    assert_eq!(config.bridge_addresses().count(), 1);
    assert!(config.masqueraded(&cidrs(&["10.1.0.2/16"])).is_empty());
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (key, value) in [
        ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
        (
            "com.docker.network.bridge.gateway_mode_ipv6",
            "nat-unprotected",
        ),
        ("com.docker.network.host_ipv4", "192.0.2.7"),
        ("com.docker.network.host_ipv6", "2001:db8::7"),
        (
            "com.docker.network.bridge.trusted_host_interfaces",
            "vxlan.1:eth3",
        ),
        ("com.docker.network.bridge.default_bridge", "true"),
    ] {
        let error = parse(&[(key, value)]).unwrap_err();
        assert_eq!(error, format!("option {key}={value} is not supported"));
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_value() {
    for (key, value, why) in [
        (
            "com.docker.network.bridge.name",
            "a/b",
            "it is not the name of an interface",
        ),
        (ICC, "yes", "it is not true or false"),
        (
            "com.docker.network.bridge.host_binding_ipv4",
            "::1",
            "it is not an IPv4 address",
        ),
        ("com.docker.network.driver.mtu", "-1", "it is not a number"),
        (
            "com.docker.network.container_iface_prefix",
            "fourteen-bytes-",
            "with a number it is not the name of an interface",
        ),
        (
            "com.docker.network.bridge.gateway_mode_ipv4",
            "Nat",
            "there is nat and routed",
        ),
    ] {
        let error = parse(&[(key, value)]).unwrap_err();
        assert_eq!(
            error,
            format!("invalid value {value:?} of option {key}: {why}")
        );
    }
    let mut broken = request(&[], &[], &[]);
    broken
        .options
        .insert(label::GENERIC.into(), Json::String("x".into()));
    let error = NetworkConfig::parse(&broken).unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid com.docker.network.generic: \"x\" is not a map"
    );
}

#[test]
fn what_nobody_knows_is_named_and_ignored() {
    let request = request(
        &[("com.example.x", "1"), (ICC, "true"), ("b", "")],
        &[],
        &[],
    );
    assert!(NetworkConfig::parse(&request).is_ok());
    assert_eq!(ignored_options(&request).unwrap(), ["b", "com.example.x"]);
    assert!(
        ignored_options(&CreateNetworkRequest::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_network_can_have_no_subnet_of_its_own() {
    for v4 in [vec![], vec![data("0.0.0.0/0", "")]] {
        let config = NetworkConfig::parse(&request(&[], &v4, &[])).unwrap();
        assert!(config.subnets.is_empty() && !config.ipv6);
        assert_eq!(config.gateway(false), None);
        assert!(config.masqueraded(&cidrs(&["10.1.0.2/16"])).is_empty());
    }
    // No gateway, or one that means none.
    for gateway in ["", "0.0.0.0/0"] {
        let v4 = [data("10.1.0.0/16", gateway)];
        let config = NetworkConfig::parse(&request(&[], &v4, &[])).unwrap();
        assert_eq!(
            (config.gateway(false), config.bridge_addresses().count()),
            (None, 0)
        );
        assert_eq!(config.subnets.len(), 1);
    }
}

#[test]
fn subnets_must_fit() {
    let refused = |v4: &[IpamData]| {
        let error = NetworkConfig::parse(&request(&[], v4, &[])).unwrap_err();
        error.to_string()
    };
    let one = data("10.1.0.0/16", "10.1.0.1/16");
    assert_eq!(
        refused(&[one.clone(), data("10.2.0.0/16", "")]),
        "bridge driver doesn't support multiple subnets"
    );
    assert_eq!(
        refused(&[data("10.1.0.0/16", "10.2.0.1/16")]),
        "gateway 10.2.0.1/16 is not in the network's subnet 10.1.0.0/16"
    );
    assert_eq!(refused(&[data("10.1.0.0", "")]), "invalid pool");
    // IPv6 is not asked for.
    let mut without = request(&[], &[one], &[data("fd00::/64", "")]);
    without
        .options
        .insert(label::ENABLE_IPV6.into(), Json::Bool(false));
    assert_eq!(NetworkConfig::parse(&without).unwrap().subnets.len(), 1);
}

#[test]
fn another_router_can_be_the_gateway() {
    let mut v4 = data("10.1.0.0/16", "10.1.0.1/24");
    v4.aux_addresses = [("DefaultGatewayIPv4".to_owned(), "10.1.0.254/16".to_owned())].into();
    let config = NetworkConfig::parse(&request(&[], &[v4], &[])).unwrap();
    assert_eq!(config.gateway(false), Some("10.1.0.254".parse().unwrap()));
    let on_bridge: Vec<IpCidr> = config.bridge_addresses().collect();
    assert_eq!(on_bridge, cidrs(&["10.1.0.1/16"]));
}

#[test]
fn two_networks_need_different_bridges_and_subnets() {
    let config = |name: &str, v4: &str, v6: &str| {
        let options = [("com.docker.network.bridge.name", name)];
        let request = request(&options, &[data(v4, "")], &[data(v6, "")]);
        NetworkConfig::parse(&request).unwrap()
    };
    let one = config("br0", "10.1.0.0/16", "fd00::/64");
    for (other, what) in [
        (
            config("br0", "10.2.0.0/16", "fd01::/64"),
            Some("networks have same bridge name"),
        ),
        (
            config("br1", "10.1.5.0/24", "fd01::/64"),
            Some("networks have overlapping IPv4: 10.1.0.0/16 and 10.1.5.0/24"),
        ),
        (
            config("br1", "10.2.0.0/16", "fd00::/48"),
            Some("networks have overlapping IPv6: fd00::/64 and fd00::/48"),
        ),
        (config("br1", "10.2.0.0/16", "fd01::/64"), None),
    ] {
        assert_eq!(one.conflict(&other).as_deref(), what);
    }
}
