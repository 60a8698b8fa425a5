use cni_types::ErrorCode;

use super::*;

fn validate(config: &str, version: SpecVersion, args: &str) -> Result<IpamConfig, CniError> {
    let config = Json::parse(config.as_bytes()).unwrap();
    let conf: NetConf = config
        .decode()
        .map_err(|error| CniError::new(ErrorCode::DECODE, error.to_string()))?;
    let leases = Leases::locate(&config, &"net".parse().unwrap())?;
    Ok(IpamConfig::validate(conf, leases, version, args)?)
}

fn valid(config: &str) -> IpamConfig {
    validate(config, SpecVersion::V1_1_0, "").unwrap()
}

fn refusal(config: &str) -> (u32, String, String) {
    let error = validate(config, SpecVersion::V1_1_0, "").unwrap_err();
    (error.code.0, error.msg, error.details)
}

fn sets(config: &IpamConfig) -> Vec<String> {
    config.sets.iter().map(ToString::to_string).collect()
}

#[test]
fn all_three_sources_of_ranges_in_the_references_order() {
    let config = valid(
        r#"{
            "ipam": {
                "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.20", "gateway": "10.1.2.30",
                "ranges": [
                    [{"subnet": "10.1.4.0/30"}, {"subnet": "10.1.5.0/30", "gateway": ""}],
                    [{"SUBNET": "2001:db8::/126", "RangeStart": "2001:db8::2"}]
                ]
            },
            "RuntimeConfig": {"ipRanges": [[{"subnet": "10.1.1.0/30"}]]}
        }"#,
    );
    assert_eq!(
        sets(&config),
        [
            "10.1.1.1-10.1.1.2",
            "10.1.2.9-10.1.2.20",
            "10.1.4.1-10.1.4.2,10.1.5.1-10.1.5.2",
            "2001:db8::2-2001:db8::3",
        ]
    );
    assert_eq!(
        config.sets[1].ranges()[0].gateway().to_string(),
        "10.1.2.30"
    );
}

#[test]
fn a_legacy_block_without_subnet_is_ignored() {
    let config = valid(
        r#"{"ipam": {"rangeStart": "10.1.2.9", "gateway": "rubbish", "subnet": null,
            "ranges": [[{"subnet": "10.0.0.0/24"}]]}}"#,
    );
    assert_eq!(sets(&config), ["10.0.0.1-10.0.0.254"]);
}

#[test]
fn requested_addresses_from_three_sources_with_and_without_prefix() {
    let config = r#"{
        "ipam": {"subnet": "10.0.0.0/24"},
        "args": {"cni": {"ips": ["10.0.0.11/24", "fd00::5"]}},
        "runtimeConfig": {"ips": ["10.0.0.12", "::ffff:10.0.0.13"]}
    }"#;
    let args = "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.0.0.10/24";
    let config = validate(config, SpecVersion::V1_0_0, args).unwrap();
    let requested: Vec<String> = config.requested.iter().map(ToString::to_string).collect();
    assert_eq!(
        requested,
        [
            "10.0.0.10",
            "10.0.0.11",
            "fd00::5",
            "10.0.0.12",
            "10.0.0.13"
        ]
    );
}

#[test]
fn bad_requests_are_refused_where_they_stand() {
    let subnet = r#""ipam": {"subnet": "10.0.0.0/24"}"#;
    for args in ["IP=banana", "IP=10.0.0.300", "IP", "FOO=1"] {
        let config = format!("{{{subnet}}}");
        let error = validate(&config, SpecVersion::V1_0_0, args).unwrap_err();
        assert_eq!(
            error.code,
            ErrorCode::INVALID_ENVIRONMENT,
            "{args}: {error}"
        );
        assert!(error.msg.starts_with("CNI_ARGS: "), "{args}: {error}");
    }
    for (key, path) in [
        (
            r#""args": {"cni": {"ips": ["10.0.0.2", "x"]}}"#,
            "args.cni.ips[1]",
        ),
        (r#""runtimeConfig": {"ips": ["x"]}"#, "runtimeConfig.ips[0]"),
    ] {
        assert_eq!(
            refusal(&format!("{{{subnet}, {key}}}")),
            (
                7,
                "invalid IP address: x".into(),
                format!("{path} is \"x\"")
            )
        );
    }
}

/// Config, message, and the place that the details name.
fn assert_refused(table: &[(&str, &str, &str)]) {
    for (config, msg, place) in table {
        let want = (7, (*msg).to_owned(), (*place).to_owned());
        assert_eq!(refusal(config), want, "{config}");
    }
}

#[test]
fn ranges_are_refused_in_the_references_words_and_where() {
    assert_refused(&[
        ("{}", "IPAM config missing 'ipam' key", ""),
        (r#"{"ipam": {}}"#, "no IP ranges specified", ""),
        (r#"{"ipam": {"ranges": []}}"#, "no IP ranges specified", ""),
        (
            r#"{"ipam": {"ranges": [[]]}}"#,
            "invalid range set 0: empty range set",
            "see ipam.ranges[0]",
        ),
        (
            r#"{"ipam": {"ranges": [null]}}"#,
            "invalid range set 0: empty range set",
            "see ipam.ranges[0]",
        ),
        (
            r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.1.1/24"}]]}}"#,
            "invalid range set 0: Network has host bits set. For a subnet mask of length 24 the network address is 10.0.1.0",
            r#"ipam.ranges[0][1].subnet is "10.0.1.1/24""#,
        ),
        (
            r#"{"ipam": {"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1", "ranges": [[{"subnet": "10.2.0.0/24"}]]}}"#,
            "invalid range set 0: RangeStart 10.0.1.1 not in network 10.0.0.0/24",
            r#"ipam.rangeStart is "10.0.1.1""#,
        ),
        (
            r#"{"ipam": {"subnet": "10.0.0.0/24"}, "runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/32"}]]}}"#,
            "invalid range set 0: Network 10.0.0.0/32 too small to allocate from",
            r#"runtimeConfig.ipRanges[0][0].subnet is "10.0.0.0/32""#,
        ),
    ]);
}

#[test]
fn sets_and_values_are_refused_in_the_references_words_and_where() {
    assert_refused(&[
        (
            r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}}"#,
            "invalid range set 0: mixed address families",
            r#"ipam.ranges[0][1].subnet is "fd00::/64""#,
        ),
        (
            r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]]}}"#,
            "invalid range set 0: subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.126 overlap",
            r#"ipam.ranges[0][1].subnet is "10.0.0.0/25""#,
        ),
        (
            r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}], [{"subnet": "10.0.0.128/25"}]]}}"#,
            "range set 0 overlaps with 2",
            "see ipam.ranges[2]",
        ),
        (
            r#"{"ipam": {"subnet": "abc"}}"#,
            "invalid CIDR address: abc",
            r#"ipam.subnet is "abc""#,
        ),
        (
            r#"{"ipam": {"ranges": [[{}]]}}"#,
            "invalid CIDR address: ",
            r#"ipam.ranges[0][0].subnet is """#,
        ),
        (
            r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24", "gateway": "10.0.0.01"}]]}}"#,
            "invalid IP address: 10.0.0.01",
            r#"ipam.ranges[0][0].gateway is "10.0.0.01""#,
        ),
    ]);
}

#[test]
fn values_of_the_wrong_type_are_decode_errors_with_their_path() {
    for (config, text) in [
        (
            r#"{"ipam": {"ranges": [[{"subnet": 5}]]}}"#,
            "ipam.ranges[0][0].subnet: ",
        ),
        (r#"{"ipam": {"ranges": {}}}"#, "ipam.ranges: "),
        (
            r#"{"ipam": {"routes": [{"dst": "x"}]}}"#,
            "ipam.routes[0].dst: ",
        ),
        (
            r#"{"ipam": {"dataDir": 5}}"#,
            "ipam.dataDir: a path is expected",
        ),
        (
            r#"{"ipam": {"lockTimeout": "5"}}"#,
            "ipam.lockTimeout: a number of seconds is expected",
        ),
    ] {
        let (code, msg, _) = refusal(config);
        assert_eq!(code, 6, "{config}");
        assert!(msg.contains(text), "{config}: {msg}");
    }
}

#[test]
fn before_0_3_0_there_is_one_address_per_family() {
    let two = r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.1.0/24"}]]}}"#;
    let one_each =
        r#"{"ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]}}"#;
    for version in SpecVersion::ALL {
        assert!(validate(one_each, *version, "").is_ok());
        let result = validate(two, *version, "");
        if *version >= SpecVersion::V0_3_0 {
            assert!(result.is_ok());
        } else {
            assert_eq!(
                result.unwrap_err().msg,
                format!("CNI version {version} does not support more than 1 address per family")
            );
        }
    }
}

#[test]
fn del_needs_nothing_but_the_data_dir() {
    let locate = |config: &str| {
        let config = Json::parse(config.as_bytes()).unwrap();
        Leases::locate(&config, &"net".parse().unwrap())
    };
    for (config, path) in [
        ("{}", "/var/lib/cni/networks/net"),
        (r#"{"ipam": 5}"#, "/var/lib/cni/networks/net"),
        (r#"{"ipam": {"dataDir": ""}}"#, "/var/lib/cni/networks/net"),
        (
            r#"{"ipam": {"DATADIR": "/x", "ranges": 5, "routes": "y"}}"#,
            "/x/net",
        ),
    ] {
        assert_eq!(
            locate(config).unwrap().store.path().to_str(),
            Some(path),
            "{config}"
        );
    }
    assert!(locate(r#"{"ipam": {"dataDir": {}}}"#).is_err());
}

#[test]
fn the_wait_for_the_lock_can_be_set() {
    for (config, seconds) in [
        (r#"{"ipam": {"subnet": "10.0.0.0/24"}}"#, 30),
        (
            r#"{"ipam": {"subnet": "10.0.0.0/24", "lockTimeout": 0}}"#,
            0,
        ),
        (
            r#"{"ipam": {"subnet": "10.0.0.0/24", "lockTimeout": 7}}"#,
            7,
        ),
        (
            r#"{"ipam": {"subnet": "10.0.0.0/24", "lockTimeout": 18446744073709551615}}"#,
            86_400,
        ),
    ] {
        assert_eq!(
            valid(config).leases.lock_timeout,
            Duration::from_secs(seconds)
        );
    }
}
