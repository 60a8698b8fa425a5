//! Rules of others are the same afterwards, byte for byte.

use cni_firewall::spoofcheck::{self, Binding};
use cni_firewall::{Nft, iptables, masquerade, portmap, reference};

use crate::portmap::publication;
use crate::support::{attachment, cidrs, feed, in_private_netns, load, run};

/// What Docker, kube-proxy, firewalld and people have, and names as close to ours as can be.
const FOREIGN: &str = r#"
table inet tenon {
    set from_10.1.0.0/16 { type ipv4_addr; elements = { 10.1.0.5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245" } }
    chain postrouting { type nat hook postrouting priority srcnat; ip saddr @from_10.1.0.0/16 counter masquerade; }
}
table ip tenon_masquerade {
    chain postrouting { type nat hook postrouting priority srcnat; ip saddr 10.1.0.5 masquerade comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"; }
}
table inet cni_plugins_masquerade {
    chain masq_checks {
        ip saddr 10.1.0.9 ip daddr != 10.1.0.0/16 masquerade comment "a4861f4ae9f7d238-0000000000000000, net: net, if: eth0, id: c9"
    }
    chain postrouting { type nat hook postrouting priority srcnat; goto masq_checks; }
}
table inet tenon_portmaps {
    map any_v4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 8080 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" : 10.1.0.5 . 80 } }
    chain prerouting { type nat hook prerouting priority dstnat; dnat ip to meta l4proto . th dport map @any_v4; }
}
table ip cni_hostport {
    chain hostports { tcp dport 8081 dnat to 10.1.0.9:80 comment "c9"; }
    chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump hostports; }
}
table ip kube-proxy {
    map service-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 30080 : accept } }
    chain nat-prerouting { type nat hook prerouting priority dstnat; fib daddr type local meta l4proto . th dport vmap @service-nodeports; }
    chain masquerading { mark set mark xor 0x4000; masquerade fully-random; }
    chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
table inet firewalld {
    chain filter_INPUT { type filter hook input priority filter + 10; ct state { established, related } accept; iifname "lo" accept; }
    chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; oifname != "lo" masquerade; }
}
table bridge nat {
    chain PREROUTING {
        type filter hook prerouting priority dstnat; policy accept;
        iifname "vethffffffff" jump cni-br-iface-c9-eth0 comment "macspoofchk-c9-eth0"
        ether saddr 02:00:00:00:00:77 drop comment "by hand"
    }
    chain cni-br-iface-c9-eth0 { ether saddr 02:00:00:00:00:09 return; drop; }
    chain cni-br-iface-c1-eth01 { drop; }
}
table bridge tenon {
    chain prerouting { type filter hook prerouting priority -300; ether type arp accept; }
}
"#;

const FOREIGN_IPTABLES: &str = r#"*nat
:DOCKER - [0:0]
:CNI-0000000000000000000000ff - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.1.0.5/32 -m comment --comment "name: \"net\" id: \"c9\"" -j CNI-0000000000000000000000ff
-A CNI-0000000000000000000000ff ! -d 224.0.0.0/4 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"#;

/// Everything, with handles: what is deleted and made again has another one.
fn everything() -> String {
    run("nft", &["-a", "list", "ruleset"]) + &saved("iptables-save") + &saved("ip6tables-save")
}

fn saved(program: &str) -> String {
    run(program, &[])
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn foreign_rules_survive_every_operation() {
    in_private_netns(|| {
        load(FOREIGN);
        feed("iptables-restore", &["--noflush"], FOREIGN_IPTABLES);
        feed(
            "ip6tables-restore",
            &["--noflush"],
            "*nat\n-A POSTROUTING -s fd00:9::/64 -j MASQUERADE\nCOMMIT\n",
        );
        let before = everything();
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        let binding = Binding {
            host_ifname: "vethffffffff".parse().unwrap(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
        };
        let ports = portmap::Publication {
            loopback: Some("cni0".parse().unwrap()),
            ..publication(
                &["10.1.0.5/16", "fd00:1::5/64"],
                &["8080:80/tcp", "192.0.2.1:53:53/udp"],
            )
        };
        for known in [true, false] {
            masquerade::add(&mut nft, &one, &addresses).unwrap();
            spoofcheck::add(&mut nft, &one, &binding).unwrap();
            iptables::add(&mut nft, &one, &addresses).unwrap();
            portmap::add(&mut nft, &one, &ports).unwrap();
            assert_ne!(everything(), before);
            let addresses = known.then_some(addresses.as_slice());
            masquerade::remove(&mut nft, &one, addresses).unwrap();
            spoofcheck::remove(&mut nft, &one, known.then_some(&binding)).unwrap();
            iptables::remove(&mut nft, &one, addresses).unwrap();
            portmap::remove(&mut nft, &one).unwrap();
            reference::remove(&mut nft, &one, addresses).unwrap();
            assert_eq!(everything(), before);
        }
        let network = "net".parse().unwrap();
        assert_eq!(masquerade::gc(&mut nft, &network, &[]).unwrap(), 0);
        assert_eq!(spoofcheck::gc(&mut nft, &network, &[]).unwrap(), 0);
        assert_eq!(portmap::gc(&mut nft, &network, &[]).unwrap().elements, 0);
        assert_eq!(everything(), before);
    });
}

/// A port that somebody else has put into our own map.
#[test]
fn a_foreign_mapping_in_our_map_is_not_replaced() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let first = publication(&["10.1.0.5/16"], &["8080:80/tcp"]);
        portmap::add(&mut nft, &one, &first).unwrap();
        load("add element inet tenon_portmap any_v4 { udp . 53 : 10.1.0.9 . 53 }");
        let before = run("nft", &["list", "ruleset"]);
        let second = publication(&["10.1.0.6/16"], &["53:53/udp"]);
        let error = portmap::add(&mut nft, &two, &second).expect_err("it is taken");
        assert_eq!(
            error.cause.to_string(),
            "port 53/udp of any IPv4 address is taken by somebody who left no name"
        );
        assert_eq!(run("nft", &["list", "ruleset"]), before);
        portmap::remove(&mut nft, &one).unwrap();
        let network = "net".parse().unwrap();
        portmap::gc(&mut nft, &network, &[]).unwrap();
        let left = run("nft", &["list", "map", "inet", "tenon_portmap", "any_v4"]);
        assert!(
            left.contains("elements = { udp . 53 : 10.1.0.9 . 53 }"),
            "{left}"
        );
    });
}

/// Somebody adds to our own table: it is theirs to take out again.
#[test]
fn a_foreign_element_in_our_set_stays_with_all_that_serves_it() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16"]);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        load("add element inet tenon_masquerade from_10.1.0.0/16 { 10.1.0.6 comment \"mine\" }");
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        let network = "net".parse().unwrap();
        assert_eq!(masquerade::gc(&mut nft, &network, &[]).unwrap(), 0);
        assert_eq!(
            run("nft", &["list", "ruleset"]),
            r#"table inet tenon_masquerade {
	set from_10.1.0.0/16 {
		type ipv4_addr
		elements = { 10.1.0.6 comment "mine" }
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		ip saddr @from_10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade
	}
}
"#
        );
    });
}
