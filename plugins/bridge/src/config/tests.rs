use super::*;
use cni_types::Json;

fn load(text: &str, args: &str) -> Result<BridgeConfig, ConfigError> {
    let doc = Json::parse(text.as_bytes()).unwrap();
    BridgeConfig::validate(doc.decode().map_err(ConfigError::Decode)?, args)
}

#[test]
fn an_empty_config_is_a_plain_bridge() {
    let config = load("{}", "").unwrap();
    assert_eq!(config.bridge.as_str(), "cni0");
    assert_eq!((config.mtu, config.gateway), (None, Gateway::No));
    assert_eq!(config.masquerade, Masquerade::Off);
    assert_eq!(config.addressing, Addressing::LayerTwo);
    assert_eq!(config.mac, None);
    assert!(!config.port.vlans.are_wanted() && !config.detect_duplicates);
}

#[test]
fn keys_are_read_in_any_case() {
    let config = load(
        r#"{"Bridge": "br1", "ISGATEWAY": true, "ipmasq": true, "MTU": 1400, "IPAM": {"Type": "host-local"},
            "dns": {"search": []}, "portIsolation": true, "vlan": 5}"#,
        "",
    )
    .unwrap();
    assert_eq!(config.bridge.as_str(), "br1");
    assert_eq!((config.mtu, config.gateway), (Some(1400), Gateway::Yes));
    assert_eq!(config.masquerade, Masquerade::Nftables);
    assert_eq!(config.ipam(), Some("host-local"));
    assert_eq!(config.dns, Some(Dns::default()));
    assert!(config.port.isolated);
    assert_eq!(config.port.vlans.access, Some(5));
}

#[test]
fn a_default_gateway_is_a_gateway() {
    assert_eq!(
        load(r#"{"isDefaultGateway": true}"#, "").unwrap().gateway,
        Gateway::Default
    );
    assert!(Gateway::Default > Gateway::Yes && Gateway::Yes > Gateway::No);
}

#[test]
fn the_backend_counts_only_with_masquerade() {
    let masquerade = |text| load(text, "").unwrap().masquerade;
    assert_eq!(
        masquerade(r#"{"ipMasq": true, "ipMasqBackend": "iptables"}"#),
        Masquerade::Iptables
    );
    assert_eq!(
        masquerade(r#"{"ipMasq": true, "ipMasqBackend": "nftables"}"#),
        Masquerade::Nftables
    );
    assert_eq!(
        masquerade(r#"{"ipMasq": true, "ipMasqBackend": null}"#),
        Masquerade::Nftables
    );
    assert_eq!(
        masquerade(r#"{"ipMasqBackend": "iptables"}"#),
        Masquerade::Off
    );
}

#[test]
fn the_runtimes_mac_beats_the_operators_beats_the_environments() {
    let (run, arg, env) = (
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
        "MAC=02:00:00:00:00:03",
    );
    let both = format!(
        r#"{{"runtimeConfig": {{"mac": "{run}"}}, "args": {{"cni": {{"mac": "{arg}"}}}}}}"#
    );
    let mac = |text: &str, args| load(text, args).unwrap().mac.unwrap().to_string();
    assert_eq!(mac(&both, env), run);
    assert_eq!(
        mac(
            &format!(r#"{{"args": {{"cni": {{"mac": "{arg}"}}}}}}"#),
            env
        ),
        arg
    );
    assert_eq!(mac("{}", env), "02:00:00:00:00:03");
}

#[test]
fn refusals_name_key_and_value() {
    for (text, args, code, words) in [
        (r#"{"bridge": "a/b"}"#, "", 7, "bridge: \"a/b\" contains /"),
        (r#"{"bridge": "0123456789abcdef"}"#, "", 7, "is too long"),
        (r#"{"mtu": -1}"#, "", 7, "invalid MTU -1"),
        (r#"{"mtu": 4294967296}"#, "", 7, "invalid MTU"),
        (r#"{"mtu": "1500"}"#, "", 6, "failed to load netconf: mtu"),
        (
            r#"{"ipMasqBackend": "ebtables"}"#,
            "",
            7,
            "unknown ipmasq backend \"ebtables\"",
        ),
        (
            r#"{"hairpinMode": true, "promiscMode": true}"#,
            "",
            7,
            "at the same time",
        ),
        (
            r#"{"ipam": {"type": "x"}, "disableContainerInterface": true}"#,
            "",
            7,
            "cannot use IPAM when",
        ),
        (r#"{"vlan": 4095}"#, "", 7, "invalid VLAN ID 4095"),
        (
            r#"{"runtimeConfig": {"mac": "x"}}"#,
            "",
            7,
            "runtimeConfig.mac: invalid MAC address \"x\"",
        ),
        (
            r#"{"args": {"cni": {"mac": "01:00:00:00:00:00"}}}"#,
            "",
            7,
            "args.cni.mac: 01:00:00:00:00:00",
        ),
        ("{}", "MAC=1", 7, "MAC of CNI_ARGS"),
        ("{}", "FOO=1", 4, "unknown args"),
    ] {
        let error = load(text, args).expect_err(text);
        assert_eq!(error.code().0, code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
