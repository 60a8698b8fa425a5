use super::*;

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

fn has() -> LinkValues {
    LinkValues {
        mac: Some(mac(1)),
        promisc: Some(false),
        mtu: Some(1500),
        all_multicast: Some(true),
        tx_queue_len: Some(1000),
    }
}

fn sysctl(source: Source, key: &str, path: &str, value: &str) -> Sysctl {
    Sysctl {
        conf: SysctlConf {
            source,
            key: key.to_owned(),
            value: value.to_owned(),
        },
        name: SysctlName::from_path(path).unwrap(),
        there: None,
    }
}

#[test]
fn only_what_differs_is_changed() {
    let wanted = LinkValues {
        mac: Some(mac(7)),
        promisc: Some(true),
        mtu: Some(1500),
        all_multicast: None,
        tx_queue_len: Some(0),
    };
    let set = wanted.differing_from(&has());
    let changes = set.changes(&LinkId::new(2, "eth0"));
    let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "set MAC address of eth0",
            "set promiscuous mode of eth0",
            "set transmit queue length of eth0",
        ]
    );
    let was = has().where_set_in(&set);
    let expected = LinkValues {
        mac: Some(mac(1)),
        promisc: Some(false),
        tx_queue_len: Some(1000),
        ..LinkValues::default()
    };
    assert_eq!(was, expected);
    assert!(has().differing_from(&has()).is_empty());
    assert!(has().where_set_in(&LinkValues::default()).is_empty());
    assert_eq!(was.or(&has()), has());
}

#[test]
fn the_more_general_sysctl_comes_first() {
    let of = |path: &str| sysctl(Source::Config, path, path, "1");
    let found = [
        "net/ipv4/conf/eth0/forwarding",
        "net/ipv4/conf/default/forwarding",
        "net/ipv4/conf/all/forwarding",
        "net/ipv4/ip_forward",
        "net/core/somaxconn",
    ];
    let arranged = arrange(found.map(of).to_vec()).unwrap();
    let paths: Vec<String> = arranged.iter().map(|sysctl| sysctl.name.path()).collect();
    assert_eq!(
        paths,
        [
            "net/ipv4/ip_forward",
            "net/core/somaxconn",
            "net/ipv4/conf/all/forwarding",
            "net/ipv4/conf/default/forwarding",
            "net/ipv4/conf/eth0/forwarding",
        ]
    );
}

#[test]
fn two_keys_of_one_setting_must_agree_unless_one_is_an_argument() {
    let (path, dots, slashes) = (
        "net/ipv4/ip_forward",
        "net.ipv4.ip_forward",
        "net/ipv4/ip_forward",
    );
    let of = |source, key: &str, value: &str| sysctl(source, key, path, value);
    let kept = |found: Vec<Sysctl>| {
        let arranged = arrange(found).unwrap();
        assert_eq!(arranged.len(), 1);
        arranged[0].conf.value.clone()
    };
    let config = of(Source::Config, dots, "0");
    assert_eq!(
        kept(vec![config.clone(), of(Source::Config, slashes, "0x0")]),
        "0x0"
    );
    assert_eq!(
        kept(vec![config.clone(), of(Source::Args, slashes, "1")]),
        "1"
    );
    for source in [Source::Config, Source::Args] {
        let found = vec![of(source, dots, "0"), of(source, slashes, "1")];
        assert_eq!(
            arrange(found).unwrap_err().to_string(),
            "duplicated sysctl keys are not allowed: \"net.ipv4.ip_forward\" and \
             \"net/ipv4/ip_forward\" are both net/ipv4/ip_forward, with different values"
        );
    }
}

#[test]
fn values_are_compared_as_the_kernel_reads_them() {
    for (one, other) in [
        ("1", "1"),
        ("", ""),
        (" 1 ", "1\n"),
        ("4096 87380 6291456", "4096\t87380\t6291456"),
        ("0x10", "16"),
        ("010", "8"),
        ("00", "0"),
        ("-1", "-1"),
        ("bbr", "bbr"),
    ] {
        assert!(is_same_value(one, other), "{one:?} {other:?}");
        assert!(is_same_value(other, one), "{one:?} {other:?}");
    }
    for (one, other) in [
        ("1", "0"),
        ("1", ""),
        ("1 2", "1"),
        ("1 2", "2 1"),
        ("bbr", "cubic"),
        ("-1", "1"),
        ("10", "8"),
        ("1-3", "1,2,3"),
        ("09", "9"),
        ("0x", "0"),
        ("+1", "-1"),
        ("-+1", "-1"),
        ("18446744073709551615", "-1"),
    ] {
        assert!(!is_same_value(one, other), "{one:?} {other:?}");
    }
    assert!(is_numeric("4096 87380\t6291456") && is_numeric("-1"));
    assert!(is_taken("1001", "1004") && is_taken("1,2", "1-2") && is_taken("x", "1"));
    assert!(!is_taken("1 1", "1") && !is_taken("1", "1 1"));
    assert!(!is_numeric("1,2") && !is_numeric("bbr") && !is_numeric("::1"));
}

fn interface(name: &str, sandbox: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        mac: mac(1).to_string(),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

/// The indexes of the interfaces that are told to have changed.
fn reported(interfaces: &[(&str, &str)], version: SpecVersion) -> Vec<usize> {
    let before = CniResult {
        interfaces: interfaces
            .iter()
            .map(|(name, sandbox)| interface(name, sandbox))
            .collect(),
        ..CniResult::default()
    };
    let given = LinkValues {
        mac: Some(mac(7)),
        mtu: Some(1400),
        ..LinkValues::default()
    };
    let (ifname, netns) = ("eth0".parse().unwrap(), Path::new("/run/netns/c1"));
    let after = report(before.clone(), (&ifname, netns), &given, version);
    let pairs = before.interfaces.iter().zip(&after.interfaces).enumerate();
    let changed = pairs.filter(|(_, (before, after))| before != after);
    changed
        .map(|(index, (_, after))| {
            let mtu = if version >= SpecVersion::V1_1_0 {
                1400
            } else {
                0
            };
            assert_eq!((after.mac.as_str(), after.mtu), ("02:00:00:00:00:07", mtu));
            index
        })
        .collect()
}

#[test]
fn the_result_tells_of_the_containers_interface_only() {
    let netns = "/run/netns/c1";
    for version in [
        SpecVersion::V0_3_0,
        SpecVersion::V1_0_0,
        SpecVersion::V1_1_0,
    ] {
        let of = |interfaces: &[(&str, &str)]| reported(interfaces, version);
        assert_eq!(
            of(&[("br0", ""), ("eth0", ""), ("eth0", netns), ("eth1", netns)]),
            [2]
        );
        assert_eq!(of(&[("eth0", "/proc/7/ns/net"), ("eth0", netns)]), [1]);
        assert_eq!(of(&[("eth0", ""), ("eth0", "/proc/7/ns/net")]), [1]);
        assert_eq!(of(&[("eth0", "")]), [0]);
        assert_eq!(of(&[("eth1", netns)]), [0_usize; 0]);
        assert_eq!(of(&[]), [0_usize; 0]);
    }
}

#[test]
fn a_result_is_otherwise_as_it_was() {
    let before = CniResult {
        interfaces: vec![interface("eth0", "/run/netns/c1")],
        ..CniResult::default()
    };
    let given = LinkValues {
        promisc: Some(true),
        all_multicast: Some(true),
        tx_queue_len: Some(7),
        ..LinkValues::default()
    };
    let (ifname, netns) = ("eth0".parse().unwrap(), Path::new("/run/netns/c1"));
    let after = report(
        before.clone(),
        (&ifname, netns),
        &given,
        SpecVersion::V1_1_0,
    );
    assert_eq!(after, before);
}
