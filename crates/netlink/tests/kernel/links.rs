//! Links and what is set on them.

use cni_netlink::{
    CreateBridge, CreateLink, CreateVeth, Ipv4Conf, LinkKind, Op, delete_link, random_mac,
    set_alias, set_all_multicast, set_down, set_ipv4_conf, set_mac, set_master, set_mtu, set_port,
    set_promiscuous, set_tx_queue_len, set_up, set_up_with, sysctl,
};
use cni_types::MacAddr;

use crate::{Pair, bridge, end, get, ifname, ip_tool, new_netns, soon, words};

#[test]
fn a_pair_has_as_many_queues_as_asked_for() {
    let pair = Pair::new();
    let mut wanted = pair.wanted();
    wanted.queues = Some(3);
    pair.host.create_veth(&wanted).unwrap();
    for (ns, name) in [(&pair.host_ns, "veth0"), (&pair.container_ns, "eth0")] {
        let shown = ip_tool(ns, &format!("-d link show dev {name}"));
        assert!(shown.contains("numtxqueues 3 numrxqueues 3"), "{shown}");
    }
}

#[test]
fn one_request_makes_a_pair_across_namespaces() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let (host_mac, container_mac) = (random_mac(), random_mac());
    let mut wanted = pair.wanted();
    wanted.host.mac = Some(host_mac);
    wanted.container.mac = Some(container_mac);
    wanted.mtu = Some(1400);
    wanted.master = Some(br0.index);

    let made = pair.host.create_veth(&wanted).unwrap();

    let host = get(&pair.host, &made.host);
    assert_eq!(host.name, "veth0");
    assert_eq!((host.mac, host.mtu), (Some(host_mac), 1400));
    assert!(host.is_up() && host.is_kind("veth"));
    assert_eq!(host.master, Some(br0.index));
    assert_eq!(host.peer, Some(made.container.index));
    assert!(host.peer_netns.is_some());

    let container = get(&pair.container, &made.container);
    assert_eq!(container.name, "eth0");
    assert_eq!((container.mac, container.mtu), (Some(container_mac), 1400));
    assert!(!container.is_up());
    assert_eq!(container.peer, Some(made.host.index));
    let ports = pair.host.bridge_ports(&br0).unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].index, made.host.index);

    pair.container.request(&set_up(&made.container)).unwrap();
    let up = pair.host.wait_operstate_up(&made.host, soon()).unwrap();
    assert_eq!(up.port.unwrap().state, 3, "forwarding");
}

#[test]
fn a_taken_name_on_either_side_makes_neither_end() {
    let pair = Pair::new();
    let made = pair.veth();
    for (host, container) in [("veth0", "eth1"), ("veth1", "eth0")] {
        let wanted = CreateVeth {
            host: end(host),
            container: end(container),
            ..pair.wanted()
        };
        let error = pair.host.create_veth(&wanted).unwrap_err();
        assert!(error.is_exists(), "{error:?}");
        assert_eq!(error.op, Op::CreateVeth);
        assert!(error.hint().is_some());
    }
    assert_eq!(pair.host.find_link(&ifname("veth1")).unwrap(), None);
    assert_eq!(pair.container.find_link(&ifname("eth1")).unwrap(), None);

    pair.host.request(&delete_link(&made.host)).unwrap();
    assert_eq!(pair.container.find_link(&ifname("eth0")).unwrap(), None);
    let error = pair.host.request(&delete_link(&made.host)).unwrap_err();
    assert!(error.is_gone());
    assert_eq!(error.to_string(), "failed to delete link veth0");
    assert_eq!(words(&error), "No such device");
}

/// Linux 6.2 and later echo a new link; before, it is looked up by its name.
#[test]
fn the_kernel_echoes_what_it_made() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let pair = Pair::new();
    let reply = pair.host.request(&pair.wanted().change()).unwrap();
    assert_eq!(reply.echo.is_some(), version >= (6, 2), "{release}");
}

#[test]
fn a_pair_in_one_namespace() {
    let pair = Pair::new();
    let wanted = CreateVeth {
        netns: None,
        ..pair.wanted()
    };
    let made = pair.host.create_veth(&wanted).unwrap();
    assert_eq!(get(&pair.host, &made.container).name, "eth0");
    assert_eq!(get(&pair.host, &made.host).peer_netns, None);
}

#[test]
fn what_is_set_on_a_link_is_there() {
    let pair = Pair::new();
    let br0 = bridge(&pair.host, "br0");
    let veth = pair.veth().host;
    let mac: MacAddr = "02:00:5e:00:53:01".parse().unwrap();
    pair.host
        .send_all(&[
            set_down(&veth),
            set_mac(&veth, mac),
            set_mtu(&veth, 1300),
            set_tx_queue_len(&veth, 77),
            set_alias(&veth, "tenon: net/c1/eth0"),
            set_promiscuous(&veth, true),
            set_all_multicast(&veth, true),
            set_master(&veth, Some(br0.index)),
            set_port(&veth, Some(true), Some(true)),
        ])
        .unwrap();
    let link = get(&pair.host, &veth);
    assert!(!link.is_up() && link.is_promiscuous() && link.is_all_multicast());
    assert_eq!((link.mac, link.mtu), (Some(mac), 1300));
    assert_eq!(link.tx_queue_len, 77);
    assert_eq!(link.alias.as_deref(), Some("tenon: net/c1/eth0"));
    let shown = ip_tool(&pair.host_ns, "-j link show veth0");
    for fact in [
        r#""ifalias":"tenon: net/c1/eth0""#,
        r#""txqlen":77"#,
        r#""ALLMULTI""#,
    ] {
        assert!(shown.contains(fact), "no {fact} in {shown}");
    }
    let flags = link.port.unwrap().flags;
    assert!(flags.hairpin && flags.isolated);

    pair.host
        .send_all(&[
            set_up(&veth),
            set_port(&veth, Some(false), None),
            set_promiscuous(&veth, false),
            set_all_multicast(&veth, false),
            set_tx_queue_len(&veth, 0),
            set_alias(&veth, ""),
        ])
        .unwrap();
    let link = get(&pair.host, &veth);
    assert!(link.is_up() && !link.is_promiscuous() && !link.is_all_multicast());
    assert_eq!((link.alias, link.tx_queue_len), (None, 0));
    let flags = link.port.unwrap().flags;
    assert!(!flags.hairpin, "was taken away");
    assert!(flags.isolated, "was left as it is");

    pair.host.request(&set_master(&veth, None)).unwrap();
    let link = get(&pair.host, &veth);
    assert_eq!((link.master, link.port), (None, None));
}

#[test]
fn bridges_have_what_they_were_made_with() {
    let pair = Pair::new();
    let mac = random_mac();
    let wanted = CreateBridge {
        name: ifname("br.0"),
        mac: Some(mac),
        mtu: Some(1450),
        vlan_filtering: false,
        up: true,
    };
    let made = pair.host.create_bridge(&wanted).unwrap();
    let link = get(&pair.host, &made);
    assert!(link.is_up() && link.is_kind("bridge"));
    assert_eq!((link.mac, link.mtu), (Some(mac), 1450));
    assert!(!link.bridge.unwrap().vlan_filtering);
    assert!(pair.host.create_bridge(&wanted).unwrap_err().is_exists());
    let names: Vec<String> = pair
        .host
        .links()
        .unwrap()
        .into_iter()
        .map(|l| l.name)
        .collect();
    assert_eq!(names, ["lo", "br.0"]);
}

#[test]
fn what_the_kernel_lacks_is_said_in_its_own_words() {
    let socket = new_netns().socket().unwrap();
    let dummy = CreateLink {
        name: ifname("dummy0"),
        kind: LinkKind::Dummy,
        mac: None,
        mtu: None,
        up: false,
    };
    match socket.create_link(&dummy) {
        Ok(made) => assert!(get(&socket, &made).is_kind("dummy")),
        Err(error) => {
            assert_eq!(
                error.to_string(),
                "failed to create link dummy0 of kind dummy"
            );
            assert_eq!(
                words(&error),
                "Operation not supported: Unknown device type"
            );
            assert!(error.hint().unwrap().contains("no support"));
            assert_eq!(socket.find_link(&dummy.name).unwrap(), None);
        }
    }
    let filtering = CreateBridge {
        name: ifname("br0"),
        mac: None,
        mtu: None,
        vlan_filtering: true,
        up: false,
    };
    match socket.create_bridge(&filtering) {
        Ok(made) => assert!(get(&socket, &made).bridge.unwrap().vlan_filtering),
        Err(error) => {
            assert_eq!(error.errno(), Some(nix::errno::Errno::EOPNOTSUPP));
            assert!(
                error
                    .hint()
                    .unwrap()
                    .contains("CONFIG_BRIDGE_VLAN_FILTERING")
            );
            assert_eq!(socket.find_link(&filtering.name).unwrap(), None);
        }
    }
}

#[test]
fn a_link_comes_up_with_a_setting_in_one_request() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    pair.container.request(&set_down(&eth0)).unwrap();
    let up = set_up_with(&eth0, &[(Ipv4Conf::ArpNotify, 1)]);
    pair.container.request(&up).unwrap();
    assert!(get(&pair.container, &eth0).is_up());
    let read = || sysctl::read(&["net", "ipv4", "conf", "eth0", "arp_notify"]);
    assert_eq!(pair.container_ns.run(read).unwrap().unwrap(), "1");
}

#[test]
fn ipv4_settings_of_a_link_are_set_by_number() {
    let pair = Pair::new();
    let eth0 = pair.veth().container;
    for (conf, file) in [
        (Ipv4Conf::Forwarding, "forwarding"),
        (Ipv4Conf::ProxyArp, "proxy_arp"),
        (Ipv4Conf::RpFilter, "rp_filter"),
        (Ipv4Conf::ArpIgnore, "arp_ignore"),
        (Ipv4Conf::ArpNotify, "arp_notify"),
        (Ipv4Conf::RouteLocalnet, "route_localnet"),
    ] {
        for value in [1, 0] {
            pair.container
                .request(&set_ipv4_conf(&eth0, &[(conf, value)]))
                .unwrap();
            let read = || sysctl::read(&["net", "ipv4", "conf", "eth0", file]);
            let seen = pair.container_ns.run(read).unwrap().unwrap();
            assert_eq!(seen, value.to_string(), "{file}");
        }
    }
}
