use super::*;
use cni_firewall::portmap::{Mapping, MarkBit, Protocol};
use cni_types::{Interface, IpConfig};

fn interface(name: &str, sandbox: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

fn ip(address: &str, interface: Option<usize>) -> IpConfig {
    IpConfig {
        interface,
        address: address.parse().unwrap(),
        gateway: None,
    }
}

fn own(ips: Vec<IpConfig>) -> Vec<String> {
    let result = CniResult {
        interfaces: vec![
            interface("cni0", ""),
            interface("veth1", ""),
            interface("eth0", "/run/netns/c1"),
            interface("eth1", "/run/netns/c1"),
            interface("eth0", ""),
        ],
        ips,
        ..CniResult::default()
    };
    let found = addresses(&result, &"eth0".parse().unwrap());
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn of_each_family_the_first_address_of_the_containers_interface_counts() {
    let ips = vec![
        ip("10.0.0.1/16", Some(0)),
        ip("10.9.0.1/16", Some(3)),
        ip("10.9.0.2/16", Some(4)),
        ip("10.1.0.5/16", Some(2)),
        ip("10.1.0.6/16", Some(2)),
        ip("fd00:1::5/64", Some(2)),
        ip("fd00:1::6/64", None),
    ];
    assert_eq!(own(ips), ["10.1.0.5/16", "fd00:1::5/64"]);
}

#[test]
fn an_address_of_no_known_interface_counts() {
    assert_eq!(own(vec![ip("10.1.0.5/16", None)]), ["10.1.0.5/16"]);
    assert_eq!(own(vec![ip("10.1.0.5/16", Some(77))]), ["10.1.0.5/16"]);
    assert_eq!(own(vec![]), Vec::<String>::new());
}

fn config(host_ip: &[Option<&str>], masquerade: Masquerade) -> PortmapConfig {
    let mapping = |host_ip: Option<&str>| Mapping {
        host_ip: host_ip.map(|address| address.parse().unwrap()),
        host_port: 80.try_into().unwrap(),
        container_port: 80.try_into().unwrap(),
        protocol: Protocol::Tcp,
    };
    PortmapConfig {
        backend: Backend::Iptables {
            set_mark_chain: Some("X".to_owned()),
            condition_v4: vec!["-4".to_owned()],
            condition_v6: vec!["-6".to_owned()],
        },
        mappings: host_ip.iter().copied().map(mapping).collect(),
        masquerade,
        mark: MarkBit::new(7).unwrap(),
    }
}

#[test]
fn loopback_is_for_mappings_that_can_be_reached_there() {
    let both = ["10.1.0.5/16", "fd00:1::5/64"].map(|text| text.parse().unwrap());
    let needs = |host_ip: &[Option<&str>], masquerade, addresses: &[IpCidr]| {
        address_behind_loopback(&config(host_ip, masquerade), addresses).is_some()
    };
    let needed = Masquerade::Needed;
    for host in [None, Some("0.0.0.0"), Some("127.0.0.1"), Some("127.9.9.9")] {
        assert!(needs(&[host], needed, &both), "{host:?}");
        assert!(needs(&[Some("192.0.2.1"), host], Masquerade::Always, &both));
        assert!(!needs(&[host], Masquerade::Never, &both), "{host:?}");
        assert!(!needs(&[host], needed, &both[1..]), "{host:?}");
    }
    for host in [Some("192.0.2.1"), Some("::"), Some("2001:db8::1")] {
        assert!(!needs(&[host], needed, &both), "{host:?}");
    }
    assert!(!needs(&[], needed, &both));
}

#[test]
fn each_backend_gets_what_is_for_it() {
    let addresses = vec!["10.1.0.5/16".parse().unwrap()];
    let config = config(&[None], Masquerade::Always);
    let loopback = "cni0".parse().ok();
    let plan = Plan::new(config.clone(), addresses.clone(), loopback.clone());
    let Plan::Iptables(ports) = &plan else {
        panic!("{plan:?}");
    };
    assert_eq!(ports.set_mark_chain.as_deref(), Some("X"));
    assert_eq!(ports.condition_v4, ["-4"]);
    assert_eq!(ports.condition_v6, ["-6"]);
    assert_eq!(plan.publication().loopback, loopback);
    assert_eq!(plan.publication().mark.number(), 7);
    let conditional = PortmapConfig {
        backend: Backend::Nftables {
            condition_v4: None,
            condition_v6: cni_firewall::portmap::Condition::parse(&["th dport 80"], true).unwrap(),
        },
        ..config
    };
    let plan = Plan::new(conditional, addresses, None);
    assert!(matches!(plan, Plan::Nftables(_)));
    assert_eq!(plan.publication().condition_v4, None);
    assert!(plan.publication().condition_v6.is_some());
    assert_eq!(plan.publication().masquerade, Masquerade::Always);
}
