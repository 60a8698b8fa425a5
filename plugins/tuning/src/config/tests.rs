use super::*;

fn load(keys: &str, cni_args: &str) -> Result<TuningConfig, ConfigError> {
    let text = format!(r#"{{"cniVersion": "1.0.0", "name": "n", {keys} "type": "tuning"}}"#);
    TuningConfig::load(&Json::parse(text.as_bytes()).unwrap(), cni_args)
}

fn link(keys: &str) -> LinkValues {
    load(keys, "").unwrap().link
}

fn mac(keys: &str, cni_args: &str) -> Option<String> {
    let config = load(keys, cni_args).unwrap();
    config.link.mac.map(|mac| mac.to_string())
}

fn refusal(keys: &str, cni_args: &str) -> CniError {
    load(keys, cni_args).unwrap_err().into()
}

#[test]
fn nothing_is_asked_for_by_default() {
    for keys in [
        "",
        r#""mac": "", "promisc": false, "mtu": 0, "sysctl": {},"#,
        r#""mac": null, "promisc": null, "mtu": null, "allmulti": null, "txQLen": null, "sysctl": null,"#,
        r#""args": {"cni": {"mac": null, "sysctl": null}}, "runtimeConfig": null,"#,
        r#""args": {"cni": null},"#,
        r#""args": null,"#,
    ] {
        assert!(load(keys, "").unwrap().is_empty(), "{keys}");
    }
}

#[test]
fn all_keys_are_read_in_any_case() {
    let keys = r#""MAC": "02-00-00-00-00-77", "Promisc": true, "MTU": 1400, "AllMulti": false,
        "txqlen": 0, "SysCtl": {"net.core.somaxconn": "7"},"#;
    let config = load(keys, "").unwrap();
    let expected = LinkValues {
        mac: Some("02:00:00:00:00:77".parse().unwrap()),
        promisc: Some(true),
        mtu: Some(1400),
        all_multicast: Some(false),
        tx_queue_len: Some(0),
    };
    assert_eq!(config.link, expected);
    let sysctl = SysctlConf {
        source: Source::Config,
        key: "net.core.somaxconn".to_owned(),
        value: "7".to_owned(),
    };
    assert_eq!(config.sysctls, [sysctl]);
    // The reference's `promisc` cannot be switched off.
    assert_eq!(link(r#""promisc": false,"#).promisc, None);
}

#[test]
fn arguments_beat_the_config_also_with_nothing() {
    let base = r#""mac": "02:00:00:00:00:77", "promisc": true, "mtu": 1400, "allmulti": true, "txQLen": 7,"#;
    let over = |arguments: &str| link(&format!(r#"{base} "args": {{"cni": {{{arguments}}}}},"#));
    assert_eq!(over(""), link(base));
    assert_eq!(over(r#""mac": """#).mac, None);
    assert_eq!(over(r#""promisc": false"#).promisc, None);
    assert_eq!(over(r#""mtu": 0"#).mtu, None);
    assert_eq!(over(r#""mtu": 1300"#).mtu, Some(1300));
    assert_eq!(over(r#""allmulti": false"#).all_multicast, Some(false));
    assert_eq!(over(r#""txQLen": 0"#).tx_queue_len, Some(0));
}

#[test]
fn the_mac_address_has_four_sources() {
    let (conf, env) = (r#""mac": "02:00:00:00:00:01","#, "MAC=02:00:00:00:00:02");
    let runtime = r#""runtimeConfig": {"mac": "02:00:00:00:00:03"},"#;
    let args = r#""args": {"cni": {"mac": "02:00:00:00:00:04"}},"#;
    for (keys, cni_args, last) in [
        (conf.to_owned(), "", "1"),
        (conf.to_owned(), env, "2"),
        (format!("{conf}{runtime}"), env, "3"),
        (format!("{conf}{runtime}{args}"), env, "4"),
    ] {
        assert_eq!(
            mac(&keys, cni_args),
            Some(format!("02:00:00:00:00:0{last}"))
        );
    }
    let kubernetes = "IgnoreUnknown=1;K8S_POD_NAME=web-0";
    assert_eq!(mac(conf, kubernetes), Some("02:00:00:00:00:01".to_owned()));
}

#[track_caller]
fn assert_refused(rows: &[(&str, &str, u32, &str)]) {
    for (keys, cni_args, code, words) in rows {
        let error = refusal(keys, cni_args);
        assert_eq!(error.code.0, *code, "{error}");
        assert!(error.msg.contains(words), "no {words:?} in {error}");
    }
}

#[test]
fn what_makes_no_sense_for_a_link_is_refused_by_key_and_value() {
    let args_mtu = r#""args": {"cni": {"mtu": 2147483648}},"#;
    assert_refused(&[
        (
            r#""mac": "zz","#,
            "",
            7,
            "mac: invalid args zz for MAC addr",
        ),
        (
            r#""mac": "01:00:5e:00:00:01","#,
            "",
            7,
            "mac: 01:00:5e:00:00:01 is not",
        ),
        (
            r#""runtimeConfig": {"mac": "x"},"#,
            "",
            7,
            "runtimeConfig.mac",
        ),
        ("", "MAC=x", 7, "MAC of CNI_ARGS"),
        ("", "FOO=x", 4, "FOO"),
        (r#""mtu": -1,"#, "", 7, "mtu: invalid MTU -1"),
        (args_mtu, "", 7, "args.cni.mtu: invalid MTU 2147483648"),
        (
            r#""txQLen": -1,"#,
            "",
            7,
            "txQLen: invalid transmit queue length -1",
        ),
        (r#""txQLen": 4294967296,"#, "", 7, "txQLen"),
        (r#""mtu": "1400","#, "", 6, "failed to load netconf: mtu"),
        (r#""allmulti": "on","#, "", 6, "allmulti"),
    ]);
}

#[test]
fn sysctls_that_make_no_sense_are_refused() {
    let duplicate = "duplicated sysctl keys are not allowed: ";
    assert_refused(&[
        (
            r#""sysctl": {"net.ipv4.x": 1},"#,
            "",
            6,
            "sysctl.net.ipv4.x",
        ),
        (r#""sysctl": ["net.ipv4.x"],"#, "", 6, "sysctl"),
        (
            r#""sysctl": {"kernel.hostname": "x"},"#,
            "",
            7,
            "invalid net sysctl key: \"kernel.hostname\"",
        ),
        (
            r#""sysctl": {"net.a": "1", "net.a": "1"},"#,
            "",
            7,
            &format!("{duplicate}sysctl has \"net.a\" twice"),
        ),
        (
            r#""Args": {"CNI": {"sysctl": {"net.a": "1", "net.a": "1"}}},"#,
            "",
            7,
            &format!("{duplicate}args.cni.sysctl has \"net.a\" twice"),
        ),
    ]);
}

#[test]
fn only_a_path_is_a_data_dir() {
    for (text, dir) in [
        ("{}", DATA_DIR),
        (r#"{"dataDir": ""}"#, DATA_DIR),
        (r#"{"dataDir": 7, "mtu": "rubbish"}"#, DATA_DIR),
        (r#"{"DATADIR": "/run/x"}"#, "/run/x"),
    ] {
        let config = Json::parse(text.as_bytes()).unwrap();
        assert_eq!(data_dir(&config), PathBuf::from(dir), "{text}");
    }
}
