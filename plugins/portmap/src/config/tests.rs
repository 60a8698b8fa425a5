use super::*;
use cni_types::Json;

fn load(text: &str) -> Result<PortmapConfig, ConfigError> {
    let doc = Json::parse(text.as_bytes()).unwrap();
    PortmapConfig::validate(doc.decode().map_err(ConfigError::Decode)?)
}

fn mappings(text: &str) -> Result<Vec<String>, ConfigError> {
    let config = load(&format!(
        r#"{{"runtimeConfig": {{"portMappings": [{text}]}}}}"#
    ))?;
    let tell = |mapping: &Mapping| {
        let Mapping {
            host_ip,
            host_port,
            container_port,
            protocol,
        } = mapping;
        let host = host_ip.map_or_else(String::new, |host| format!("{host} "));
        format!("{host}{host_port} {container_port} {protocol}")
    };
    Ok(config.mappings.iter().map(tell).collect())
}

const NFTABLES: Backend = Backend::Nftables {
    condition_v4: None,
    condition_v6: None,
};

#[test]
fn an_empty_config_masquerades_where_needed_by_nftables() {
    for text in [
        "{}",
        r#"{"backend": null, "snat": null, "conditionsV4": null}"#,
    ] {
        let config = load(text).unwrap();
        assert_eq!(config.backend, NFTABLES);
        assert_eq!(config.mappings, []);
        assert_eq!(config.masquerade, Masquerade::Needed);
        assert_eq!(config.mark.number(), 13);
    }
}

#[test]
fn keys_are_read_in_any_case() {
    let text = r#"{"Backend": "iptables", "SNAT": true, "masqall": true, "MarkMasqBit": 5,
        "ConditionsV4": ["-s", "10.0.0.0/8"], "conditionsv6": [],
        "RuntimeConfig": {"portmappings": [
            {"HostPort": 80, "containerport": 8080, "Protocol": "TCP", "HostIP": "192.0.2.1"}]}}"#;
    let config = load(text).unwrap();
    assert_eq!(config.masquerade, Masquerade::Always);
    assert_eq!(config.mark.value(), 0x20);
    assert_eq!(config.mappings.len(), 1);
    let Backend::Iptables { condition_v4, .. } = config.backend else {
        panic!("{:?}", config.backend);
    };
    assert_eq!(condition_v4, ["-s", "10.0.0.0/8"]);
}

#[test]
fn without_snat_nobody_is_masqueraded() {
    let masquerade = |text| load(text).unwrap().masquerade;
    assert_eq!(masquerade(r#"{"snat": false}"#), Masquerade::Never);
    let both = r#"{"snat": false, "masqAll": true}"#;
    assert_eq!(masquerade(both), Masquerade::Never);
}

#[test]
fn mappings_have_an_address_of_the_host_or_none() {
    let text = r#"
        {"hostPort": 1, "containerPort": 65535, "protocol": "tcp"},
        {"hostPort": 2, "containerPort": 2, "protocol": "udp", "hostIP": ""},
        {"hostPort": 3, "containerPort": 3, "protocol": "sctp", "hostIP": "::"},
        {"hostPort": 4, "containerPort": 4, "protocol": "tcp", "hostIP": "::ffff:192.0.2.1"},
        {"hostPort": 5, "containerPort": 5, "protocol": "tcp", "hostIP": "127.0.0.1", "more": 1}"#;
    assert_eq!(
        mappings(text).unwrap(),
        [
            "1 65535 tcp",
            "2 2 udp",
            ":: 3 3 sctp",
            "192.0.2.1 4 4 tcp",
            "127.0.0.1 5 5 tcp",
        ]
    );
}

/// A mapping, the code, and what is said of it.
const REFUSED: &str = r#"
    {"containerPort": 80, "protocol": "tcp"} | 7 | [1].hostPort: Invalid host port number: 0
    {"hostPort": -1, "containerPort": 80, "protocol": "tcp"} | 7 | [1].hostPort: Invalid host port number: -1
    {"hostPort": 65536, "containerPort": 80, "protocol": "tcp"} | 7 | [1].hostPort: Invalid host port number: 65536
    {"hostPort": 80, "protocol": "tcp"} | 7 | [1].containerPort: Invalid container port number: 0
    {"hostPort": 80, "containerPort": 70000, "protocol": "tcp"} | 7 | [1].containerPort: Invalid container port number: 70000
    {"hostPort": 80, "containerPort": 80} | 7 | [1].protocol: unknown protocol ""
    {"hostPort": 80, "containerPort": 80, "protocol": "icmp"} | 7 | [1].protocol: unknown protocol "icmp"
    {"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "here"} | 7 | [1].hostIP: "here" is not an IP address
    {"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "10.1.0.0/16"} | 7 | [1].hostIP: "10.1.0.0/16" is not an IP address
    {"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "::1"} | 2 | [1].hostIP: ::1 cannot be mapped
    {"hostPort": 9, "containerPort": 8, "protocol": "tcp", "hostIP": "0.0.0.0"} | 7 | [1]: maps the port of runtimeConfig.portMappings[0] to another one
"#;

#[test]
fn a_bad_mapping_is_named_with_its_place() {
    let first = r#"{"hostPort": 9, "containerPort": 9, "protocol": "tcp"}"#;
    for row in REFUSED.trim().lines() {
        let [text, code, message] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        let error = mappings(&format!("{first}, {text}")).expect_err(row);
        assert_eq!(error.code().0.to_string(), code, "{row}");
        let message = format!("runtimeConfig.portMappings{message}");
        assert_eq!(error.to_string(), message, "{row}");
    }
    let wrong_type = mappings(r#"{"hostPort": "80"}"#).expect_err("a string");
    assert_eq!(wrong_type.code(), ErrorCode::DECODE);
    let text = wrong_type.to_string();
    assert!(
        text.contains("runtimeConfig.portMappings[0].hostPort"),
        "{text}"
    );
}

#[test]
fn the_same_port_to_the_same_place_is_no_mistake() {
    let text = r#"
        {"hostPort": 9, "containerPort": 9, "protocol": "tcp"},
        {"hostPort": 9, "containerPort": 9, "protocol": "tcp"},
        {"hostPort": 9, "containerPort": 9, "protocol": "tcp", "hostIP": "::"},
        {"hostPort": 9, "containerPort": 8, "protocol": "tcp", "hostIP": "192.0.2.1"},
        {"hostPort": 9, "containerPort": 7, "protocol": "udp"}"#;
    assert_eq!(mappings(text).unwrap().len(), 5);
}

#[test]
fn the_mark_is_a_bit_or_somebody_elses_chain() {
    for bit in ["-1", "32", "256", "4294967296"] {
        let error = load(&format!(r#"{{"markMasqBit": {bit}}}"#)).expect_err(bit);
        let text = format!("markMasqBit: {bit}: MasqMarkBit must be between 0 and 31");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(load(r#"{"markMasqBit": 0}"#).unwrap().mark.value(), 1);
    assert_eq!(
        load(r#"{"markMasqBit": 31}"#).unwrap().mark.value(),
        1 << 31
    );
    let both = load(r#"{"markMasqBit": 5, "externalSetMarkChain": "X"}"#).expect_err("both");
    assert_eq!(
        both.to_string(),
        "Cannot specify externalSetMarkChain and markMasqBit"
    );
    for chain in ["", "-j", "a b", "a\nb", "twenty-nine-bytes-are-too-long"] {
        let text = serde_text(chain);
        let error = load(&format!(r#"{{"externalSetMarkChain": {text}}}"#)).expect_err(chain);
        assert!(
            error.to_string().starts_with("externalSetMarkChain: "),
            "{error}"
        );
    }
}

/// A JSON string.
fn serde_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\n', "\\n"))
}

#[test]
fn keys_of_one_backend_choose_it() {
    let backend = |text: &str| load(text).unwrap().backend;
    let is_iptables = |text: &str| matches!(backend(text), Backend::Iptables { .. });
    assert!(is_iptables(r#"{"externalSetMarkChain": "KUBE-MARK-MASQ"}"#));
    assert!(is_iptables(r#"{"conditionsV4": ["-s", "10.0.0.0/8"]}"#));
    assert!(is_iptables(r#"{"conditionsV6": ["!", "-s", "fd00::/8"]}"#));
    assert!(is_iptables(r#"{"backend": "iptables"}"#));
    assert!(!is_iptables(
        r#"{"conditionsV4": ["ip", "saddr", "10.0.0.0/8"]}"#
    ));
    assert!(!is_iptables(r#"{"backend": "", "conditionsV4": []}"#));
    assert_eq!(backend(r#"{"conditionsV6": [""]}"#), NFTABLES);
}

#[test]
fn keys_of_the_other_backend_are_refused_by_name() {
    for (text, message) in [
        (
            r#"{"backend": "nftables", "externalSetMarkChain": "X", "conditionsV6": ["-s", "::"]}"#,
            "backend: nftables was asked for, but conditionsV6 and externalSetMarkChain can only be \
             had with iptables",
        ),
        (
            r#"{"backend": "iptables", "conditionsV4": ["ip", "saddr", "10.0.0.1"]}"#,
            "backend: iptables was asked for, but conditionsV4 can only be had with nftables",
        ),
        (
            r#"{"conditionsV4": ["-s", "10.0.0.1"], "conditionsV6": ["ip6 saddr fd00::1"]}"#,
            "conditionsV6 can only be had with nftables, and conditionsV4 with iptables",
        ),
        (
            r#"{"backend": "ebpf"}"#,
            "backend: unknown backend \"ebpf\"",
        ),
        (
            r#"{"conditionsV4": ["-m", "comment\n-F"]}"#,
            "conditionsV4: \"comment\\n-F\" is not a word that iptables could read",
        ),
        (
            r#"{"conditionsV4": ["ip", "saddr", "fd00::1"]}"#,
            "conditionsV4: \"fd00::1\" is not an address of this family",
        ),
    ] {
        let error = load(text).expect_err(text);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), ErrorCode::INVALID_CONFIG);
    }
    let unknown = load(r#"{"conditionsV6": ["ct", "state", "new"]}"#).expect_err("ct");
    assert_eq!(unknown.code(), ErrorCode::UNSUPPORTED_FIELD);
    assert_eq!(
        unknown.to_string(),
        "conditionsV6: \"ct\" is no match that can be read here"
    );
}
