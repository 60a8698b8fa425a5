use super::*;
use crate::config::{Source, SysctlConf};

fn attachment(network: &str, ifname: &str) -> Attachment {
    Attachment {
        network: network.parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    }
}

fn values(mac: u8, mtu: u32) -> LinkValues {
    LinkValues {
        mac: Some(cni_types::MacAddr::new([2, 0, 0, 0, 0, mac])),
        mtu: Some(mtu),
        promisc: Some(false),
        all_multicast: Some(true),
        tx_queue_len: Some(0),
    }
}

fn saved(path: &str, was: &str, is: &str) -> SavedSysctl {
    SavedSysctl {
        name: SysctlName::from_path(path).unwrap(),
        was: Some(was.to_owned()),
        is: Some(is.to_owned()),
    }
}

fn state() -> State {
    let unreadable = SavedSysctl {
        was: None,
        ..saved("net/ipv4/route/flush", "", "1")
    };
    State {
        owner: Some(attachment("n", "eth0")),
        was: values(1, 1500),
        set: values(7, 1400),
        sysctls: vec![saved("net/ipv4/ip_forward", "0", "1"), unreadable],
    }
}

fn sysctl(path: &str, value: &str, there: Option<&str>) -> Sysctl {
    Sysctl {
        conf: SysctlConf {
            source: Source::Config,
            key: path.to_owned(),
            value: value.to_owned(),
        },
        name: SysctlName::from_path(path).unwrap(),
        there: there.map(str::to_owned),
    }
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let empty = State::default();
    let only_links = State {
        sysctls: Vec::new(),
        ..state()
    };
    for state in [state(), only_links, empty] {
        let text = state.to_text().unwrap();
        assert_eq!(State::parse(text.as_bytes()).unwrap(), state, "{text}");
    }
}

/// The reference reads what is at the top, with these names and types.
#[test]
fn the_reference_finds_its_keys() {
    let text = state().to_text().unwrap();
    let expected = r#"{
    "mac": "02:00:00:00:00:01",
    "promisc": false,
    "mtu": 1500,
    "allmulti": true,
    "txQLen": 0,
    "tenon": {
        "network": "n",
        "containerID": "c1",
        "ifname": "eth0",
        "set": {
            "mac": "02:00:00:00:00:07",
            "promisc": false,
            "mtu": 1400,
            "allmulti": true,
            "txQLen": 0
        },
        "sysctl": [
            {
                "name": "net/ipv4/ip_forward",
                "was": "0",
                "is": "1"
            },
            {
                "name": "net/ipv4/route/flush",
                "is": "1"
            }
        ]
    }
}"#;
    assert_eq!(text, expected);
}

#[test]
fn the_references_file_is_read() {
    let text = "{\n \"mac\": \"02:00:00:00:00:01\",\n \"promisc\": false,\n \"mtu\": 1500\n}";
    let state = State::parse(text.as_bytes()).unwrap();
    let was = LinkValues {
        all_multicast: None,
        tx_queue_len: None,
        ..values(1, 1500)
    };
    assert_eq!((state.owner, state.was), (None, was));
    assert!(state.set.is_empty() && state.sysctls.is_empty());
}

#[test]
fn what_makes_no_sense_is_not_believed() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "\"x\"",
        r#"{"mtu": "1500"}"#,
        r#"{"tenon": 7}"#,
        "\0\0",
    ] {
        assert!(State::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let text = r#"{"mac": "zz", "mtu": 0, "tenon": {"network": "../x", "containerID": "c1",
        "ifname": "eth0", "sysctl": [{"name": "kernel/hostname", "was": "x", "is": "y"},
        {"name": "net/../kernel/hostname", "was": "x", "is": "y"}, {"name": "net/ipv4/x"}]}}"#;
    let state = State::parse(text.as_bytes()).unwrap();
    assert_eq!(state.owner, None);
    assert!(state.was.is_empty());
    let paths: Vec<String> = state
        .sysctls
        .iter()
        .map(|saved| saved.name.path())
        .collect();
    assert_eq!(paths, ["net/ipv4/x"]);
}

#[test]
fn an_add_keeps_what_it_changes_and_all_sysctls() {
    let has = values(1, 1500);
    let set = LinkValues {
        mtu: Some(1400),
        ..LinkValues::default()
    };
    let sysctls = [
        sysctl("net/ipv4/a", "1", Some("0")),
        sysctl("net/ipv4/b", "4 5", Some("4\t5")),
        sysctl("net/ipv4/c", "1", None),
        sysctl("net/ipv4/d", "1,2", Some("")),
    ];
    let owner = attachment("n", "eth0");
    let mut state = State::of(&owner, &has, set.clone(), &sysctls);
    assert_eq!(state.owner, Some(owner.clone()));
    assert_eq!(state.was.mtu, Some(1500));
    assert_eq!(state.was.mac, None);
    let expected = [
        saved("net/ipv4/a", "0", "1"),
        saved("net/ipv4/b", "4\t5", "4\t5"),
        SavedSysctl {
            was: None,
            ..saved("net/ipv4/c", "", "1")
        },
        SavedSysctl {
            is: None,
            ..saved("net/ipv4/d", "", "")
        },
    ];
    assert_eq!(state.sysctls, expected);
    let has_become = ["1", "4\t5", "1", "1-2"].map(str::to_owned).to_vec();
    assert!(state.learn(&sysctls, has_become.clone()));
    assert_eq!(state.sysctls[3], saved("net/ipv4/d", "", "1-2"));
    assert!(!state.learn(&sysctls, has_become), "no news");
    assert!(State::of(&owner, &has, LinkValues::default(), &[]).is_empty());
}

/// Before the first and behind the second.
#[test]
fn two_in_one_chain_are_undone_together() {
    let first = State {
        was: values(1, 1500),
        set: values(7, 1400),
        sysctls: vec![
            saved("net/ipv4/a", "0", "1"),
            saved("net/ipv4/conf/eth0/b", "0", "1"),
        ],
        ..state()
    };
    let second = State {
        was: LinkValues {
            mtu: Some(1400),
            ..LinkValues::default()
        },
        set: LinkValues {
            mtu: Some(1300),
            ..LinkValues::default()
        },
        sysctls: vec![saved("net/ipv4/a", "1", "2"), saved("net/ipv4/c", "5", "6")],
        ..state()
    };
    let both = first.followed_by(&second);
    assert_eq!((both.was, both.set), (values(1, 1500), values(7, 1300)));
    let expected = [
        saved("net/ipv4/a", "0", "2"),
        saved("net/ipv4/c", "5", "6"),
        saved("net/ipv4/conf/eth0/b", "0", "1"),
    ];
    assert_eq!(both.sysctls, expected);
    assert_eq!(State::default().followed_by(&second), second);
}

#[test]
fn who_goes_last_restores_what_several_rely_on() {
    let of = |sysctls: &[SavedSysctl]| State {
        sysctls: sysctls.to_vec(),
        ..state()
    };
    let stays = |value: &str| saved("net/ipv4/a", value, value);
    // The first has set it, the other two found it right.
    let mut first = of(&[saved("net/ipv4/a", "0", "1"), saved("net/ipv4/b", "0", "1")]);
    let mut second = of(&[stays("1")]);
    let mut third = second.clone();
    assert!(first.hand_over(&mut second));
    assert_eq!(first.sysctls, [stays("1"), saved("net/ipv4/b", "0", "1")]);
    assert_eq!(second.sysctls, [saved("net/ipv4/a", "0", "1")]);
    assert!(!first.hand_over(&mut third), "it has nothing more to give");
    assert!(second.hand_over(&mut third));
    assert_eq!(third.sysctls, [saved("net/ipv4/a", "0", "1")]);

    // The second has set it to something else: the first one's value is no longer there.
    let mut first = of(&[saved("net/ipv4/a", "0", "1")]);
    let mut second = of(&[saved("net/ipv4/a", "1", "2")]);
    assert!(first.hand_over(&mut second));
    assert_eq!(first.sysctls, [stays("2")]);
    assert_eq!(second.sysctls, [saved("net/ipv4/a", "0", "2")]);
    // The second goes first: it gives nothing, and the first has lost nothing.
    let mut first = of(&[saved("net/ipv4/a", "0", "1")]);
    let mut second = of(&[saved("net/ipv4/a", "5", "2")]);
    assert!(!second.hand_over(&mut first));
    assert_eq!(second.sysctls, [saved("net/ipv4/a", "1", "2")]);
    assert_eq!(first.sysctls, [saved("net/ipv4/a", "0", "1")]);
}
