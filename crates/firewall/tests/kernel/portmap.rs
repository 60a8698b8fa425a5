use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use cni_firewall::portmap::{
    self, Condition, Mapping, MarkBit, Masquerade, Protocol, Publication, Removed,
};
use cni_firewall::{Cause, FirewallError, Lack, Nft};
use cni_types::Attachment;

use crate::support::{attachment, cidrs, in_private_netns, lacks, load, ruleset, run};

/// `192.0.2.1:8080:80/tcp`; without an address, for all.
pub(crate) fn mapping(text: &str) -> Mapping {
    let (rest, protocol) = text.split_once('/').unwrap();
    let (rest, container_port) = rest.rsplit_once(':').unwrap();
    let (host_ip, host_port) = match rest.rsplit_once(':') {
        Some((address, port)) => (Some(address.parse().unwrap()), port),
        None => (None, rest),
    };
    let port = |text: &str| text.parse::<NonZeroU16>().unwrap();
    Mapping {
        host_ip,
        host_port: port(host_port),
        container_port: port(container_port),
        protocol: protocol.parse().unwrap(),
    }
}

pub(crate) fn publication(addresses: &[&str], mappings: &[&str]) -> Publication {
    let mappings = mappings.iter().map(|text| mapping(text)).collect();
    Publication::new(cidrs(addresses), mappings)
}

fn one() -> Attachment {
    attachment("net", "c1", "eth0")
}

const BOTH: [&str; 2] = ["10.1.0.5/16", "fd00:1::5/64"];

const ONE: &str = r#"table inet tenon_portmap {
	map at_v4 {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 192.0.2.1 . udp . 53 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" : 10.1.0.5 . 5353 }
	}

	map any_v4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
		elements = { tcp . 8080 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" : 10.1.0.5 . 80 }
	}

	map at_v6 {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
		elements = { 2001:db8::1 . sctp . 9 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" : fd00:1::5 . 9 }
	}

	map any_v6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
		elements = { tcp . 8080 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" : fd00:1::5 . 80 }
	}

	set hairpin_10.1.0.0/16 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	set loopback {
		type ifname . ipv4_addr
		elements = { "cni0" . 10.1.0.5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	set hairpin_fd00-1--/64 {
		type ipv6_addr
		elements = { fd00:1::5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports
	}

	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return
		fib daddr type local jump hostports
	}

	chain hostports {
		jump from_own_subnets
		jump with_conditions
		dnat ip to ip daddr . meta l4proto . th dport map @at_v4
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @at_v6
		dnat ip to meta l4proto . th dport map @any_v4
		dnat ip6 to meta l4proto . th dport map @any_v6
		jump not_mapped
	}

	chain from_own_subnets {
		ip saddr 10.1.0.0/16 meta mark set meta mark | 0x00002000 comment "hairpin_10.1.0.0/16"
		ip6 saddr fd00:1::/64 meta mark set meta mark | 0x00002000 comment "hairpin_fd00-1--/64"
	}

	chain with_conditions {
	}

	chain not_mapped {
		ip saddr 10.1.0.0/16 meta mark set meta mark & 0xffffdfff comment "hairpin_10.1.0.0/16"
		ip6 saddr fd00:1::/64 meta mark set meta mark & 0xffffdfff comment "hairpin_fd00-1--/64"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00002000 == 0x00002000 ip saddr 10.1.0.0/16 ip daddr @hairpin_10.1.0.0/16 masquerade
		ip saddr 127.0.0.0/8 oifname . ip daddr @loopback masquerade
		meta mark & 0x00002000 == 0x00002000 ip6 saddr fd00:1::/64 ip6 daddr @hairpin_fd00-1--/64 masquerade
	}

	chain guard {
		type filter hook prerouting priority raw; policy accept;
		iif != "lo" ip daddr 127.0.0.0/8 drop comment "loopback"
	}
}
"#;

fn documented() -> Publication {
    let mappings = [
        "8080:80/tcp",
        "192.0.2.1:53:5353/udp",
        "2001:db8::1:9:9/sctp",
    ];
    Publication {
        loopback: Some("cni0".parse().unwrap()),
        ..publication(&BOTH, &mappings)
    }
}

#[test]
fn add_makes_the_documented_ruleset_and_del_leaves_nothing() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let publication = documented();
        for _again in 0..2 {
            portmap::add(&mut nft, &one(), &publication).unwrap();
            assert_eq!(ruleset(), ONE);
            portmap::add(&mut nft, &one(), &publication).unwrap();
            assert_eq!(ruleset(), ONE);
            assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
            let removed = Removed {
                elements: 7,
                idle: vec!["cni0".parse().unwrap()],
            };
            assert_eq!(portmap::remove(&mut nft, &one()).unwrap(), removed);
            assert_eq!(ruleset(), "");
            let nothing = Removed::default();
            assert_eq!(portmap::remove(&mut nft, &one()).unwrap(), nothing);
        }
    });
}

#[test]
fn what_nft_prints_it_reads_back() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let publication = documented();
        portmap::add(&mut nft, &one(), &publication).unwrap();
        run("nft", &["flush", "ruleset"]);
        load(ONE);
        assert_eq!(ruleset(), ONE);
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
        portmap::remove(&mut nft, &one()).unwrap();
        assert_eq!(ruleset(), "");
    });
}

fn chain(name: &str) -> String {
    run("nft", &["list", "chain", "inet", "tenon_portmap", name])
}

const CONDITIONS: &str = r#"table inet tenon_portmap {
	chain with_conditions {
		ip saddr != 192.0.2.0/24 ip daddr 10.0.0.1-10.0.0.9 iifname "eth*" tcp sport 1024-65535 meta mark 0x00000007 dnat ip to ip daddr . meta l4proto . tcp dport map @at_v4_if_843f08b7
		ip saddr != 192.0.2.0/24 ip daddr 10.0.0.1-10.0.0.9 iifname "eth*" tcp sport 1024-65535 meta mark 0x00000007 dnat ip to meta l4proto . tcp dport map @any_v4_if_843f08b7
		ip6 saddr 2001:db8::/61 iifname != "eth0" th dport != 22 dnat ip6 to ip6 daddr . meta l4proto . th dport map @at_v6_if_2cd8ebab
		ip6 saddr 2001:db8::/61 iifname != "eth0" th dport != 22 dnat ip6 to meta l4proto . th dport map @any_v6_if_2cd8ebab
	}
}
"#;

#[test]
fn conditions_are_printed_by_nft_as_they_were_meant() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let condition = |text: &str, v6| Condition::parse(&[text], v6).unwrap();
        let mappings = ["8080:80/tcp", "10.0.0.1:53:53/udp", "2001:db8::1:53:53/udp"];
        let publication = Publication {
            condition_v4: condition(
                "ip saddr != 192.0.2.0/24 ip daddr 10.0.0.1-10.0.0.9 iifname \"eth*\" \
                 tcp sport 1024-65535 mark 0x7",
                false,
            ),
            condition_v6: condition(
                "ip6 saddr 2001:db8::/61 iifname != eth0 th dport != 22",
                true,
            ),
            ..publication(&BOTH, &mappings)
        };
        portmap::add(&mut nft, &one(), &publication).unwrap();
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
        assert_eq!(chain("with_conditions"), CONDITIONS);
        portmap::remove(&mut nft, &one()).unwrap();
        assert_eq!(ruleset(), "");
    });
}

const OTHER_BIT: &str = r#"table inet tenon_portmap {
	chain from_own_subnets {
		ip saddr 10.0.0.0/12 meta mark set meta mark | 0x80000000 comment "hairpin_10.0.0.0/12_bit_31"
		ip6 saddr fd00:1::5 meta mark set meta mark | 0x80000000 comment "hairpin_fd00-1--5/128_bit_31"
	}
}
"#;
const ALWAYS: &str = "table inet tenon_portmap {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ct status dnat ip daddr @always_v4 masquerade
		ct status dnat ip6 daddr @always_v6 masquerade
	}
}
";

#[test]
fn each_way_to_masquerade_is_printed_by_nft_as_it_was_meant() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let cases = [
            (Masquerade::Needed, "from_own_subnets", OTHER_BIT),
            (Masquerade::Always, "postrouting", ALWAYS),
        ];
        for (masquerade, name, expected) in cases {
            let publication = Publication {
                masquerade,
                mark: MarkBit::new(31).unwrap(),
                ..publication(&["10.1.0.5/12", "fd00:1::5/128"], &["8080:80/tcp"])
            };
            portmap::add(&mut nft, &one(), &publication).unwrap();
            assert_eq!(chain(name), expected);
            assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
            portmap::remove(&mut nft, &one()).unwrap();
            assert_eq!(ruleset(), "");
        }
        let never = Publication {
            masquerade: Masquerade::Never,
            ..publication(&BOTH, &["8080:80/tcp"])
        };
        portmap::add(&mut nft, &one(), &never).unwrap();
        assert!(!ruleset().contains("masquerade"), "{}", ruleset());
        portmap::remove(&mut nft, &one()).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_mapping_is_for_the_families_that_both_ends_have() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let cases: [(&[&str], &str, [usize; 2]); 8] = [
            (&BOTH, "8080:80/tcp", [1, 1]),
            (&BOTH, "0.0.0.0:8080:80/tcp", [1, 0]),
            (&BOTH, ":::8080:80/tcp", [0, 1]),
            (&BOTH, "192.0.2.1:8080:80/tcp", [1, 0]),
            (&["10.1.0.5/16"], "8080:80/tcp", [1, 0]),
            (&["fd00:1::5/64"], "8080:80/tcp", [0, 1]),
            (&["10.1.0.5/16"], ":::8080:80/tcp", [0, 0]),
            (&["10.1.0.5/16", "10.1.0.6/16"], "8080:80/tcp", [1, 0]),
        ];
        for (addresses, text, expected) in cases {
            let publication = publication(addresses, &[text]);
            portmap::add(&mut nft, &one(), &publication).unwrap();
            let rules = ruleset();
            let found =
                [": 10.1.0.5 . 80", ": fd00:1::5 . 80"].map(|target| rules.matches(target).count());
            assert_eq!(found, expected, "{addresses:?} {text}");
            assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
            portmap::remove(&mut nft, &one()).unwrap();
            assert_eq!(ruleset(), "");
        }
    });
}

#[track_caller]
fn assert_taken(outcome: Result<(), FirewallError>, port: &str, owner: &str) {
    let error = outcome.expect_err(port);
    match &*error.cause {
        Cause::PortTaken {
            port: found_port,
            owner: found_owner,
        } => assert_eq!((found_port.as_str(), found_owner.as_str()), (port, owner)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_that_another_publishes_is_refused_with_its_owners_name() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let two = attachment("pods", "c2", "net1");
        let theirs = publication(
            &["10.1.0.6/16", "fd00:1::6/64"],
            &["8080:80/tcp", "192.0.2.1:53:53/udp"],
        );
        portmap::add(&mut nft, &two, &theirs).unwrap();
        let before = ruleset();
        let owner = "net: pods, if: net1, id: c2";
        for (text, port) in [
            ("8080:80/tcp", "8080/tcp of any IPv4 address"),
            (":::8080:81/tcp", "8080/tcp of any IPv6 address"),
            ("192.0.2.7:8080:80/tcp", "8080/tcp of 192.0.2.7"),
            ("2001:db8::7:8080:80/tcp", "8080/tcp of 2001:db8::7"),
            ("53:53/udp", "53/udp of any IPv4 address"),
            ("192.0.2.1:53:1/udp", "53/udp of 192.0.2.1"),
        ] {
            // One of several is enough, and then none is made.
            let mine = publication(&BOTH, &["81:81/tcp", text]);
            assert_taken(portmap::add(&mut nft, &one(), &mine), port, owner);
            assert_eq!(ruleset(), before);
        }
        for text in [
            "8080:80/udp",
            "8081:80/tcp",
            "192.0.2.2:53:53/udp",
            ":::53:53/udp",
        ] {
            portmap::add(&mut nft, &one(), &publication(&BOTH, &[text])).unwrap();
            portmap::remove(&mut nft, &one()).unwrap();
            assert_eq!(ruleset(), before);
        }
        portmap::remove(&mut nft, &two).unwrap();
        portmap::add(&mut nft, &one(), &publication(&BOTH, &["8080:80/tcp"])).unwrap();
    });
}

#[test]
fn mappings_under_other_conditions_are_kept_apart_by_these() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let under = |text: &str, address: &str| Publication {
            condition_v4: Condition::parse(&[text], false).unwrap(),
            ..publication(&[address], &["8080:80/tcp"])
        };
        let two = attachment("net", "c2", "eth0");
        let inner = under("ip saddr 10.0.0.0/8", "10.1.0.5/16");
        portmap::add(&mut nft, &one(), &inner).unwrap();
        let alone = ruleset();
        let same = under("ip saddr 10.0.0.0/8", "10.1.0.6/16");
        let owner = "net: net, if: eth0, id: c1";
        let port = "8080/tcp of any IPv4 address";
        assert_taken(portmap::add(&mut nft, &two, &same), port, owner);
        for other in ["ip saddr 192.0.2.0/24", ""] {
            let outer = under(other, "10.1.0.6/16");
            portmap::add(&mut nft, &two, &outer).unwrap();
            assert_eq!(lacks(portmap::check(&mut nft, &one(), &inner)), []);
            assert_eq!(lacks(portmap::check(&mut nft, &two, &outer)), []);
            portmap::remove(&mut nft, &two).unwrap();
            assert_eq!(ruleset(), alone);
        }
    });
}

/// The old container's DEL never came, and its address was given to the new one.
#[test]
fn what_leads_to_ones_own_address_was_left_behind_and_is_taken_over() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let old = attachment("net", "c0", "eth0");
        let left = publication(&BOTH, &["8080:81/tcp", "192.0.2.1:9:9/udp"]);
        portmap::add(&mut nft, &old, &left).unwrap();
        let new = publication(&BOTH, &["8080:80/tcp", "9:9/udp"]);
        portmap::add(&mut nft, &one(), &new).unwrap();
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &new)), []);
        // The late DEL takes away what is still the old one's, and nothing else.
        portmap::remove(&mut nft, &old).unwrap();
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &new)), []);
        assert!(!ruleset().contains("192.0.2.1"), "{}", ruleset());
        portmap::remove(&mut nft, &one()).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_port_that_would_lead_to_two_places_is_refused() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let twice = publication(&BOTH, &["8080:80/tcp", "0.0.0.0:8080:81/tcp"]);
        let error = portmap::add(&mut nft, &one(), &twice).expect_err("two places");
        assert!(matches!(&*error.cause, Cause::PortTwice(port)
            if port == "8080/tcp of any IPv4 address"));
        assert_eq!(ruleset(), "");
        let same = publication(
            &BOTH,
            &["8080:80/tcp", "8080:80/tcp", "0.0.0.0:8080:80/tcp"],
        );
        portmap::add(&mut nft, &one(), &same).unwrap();
        assert_eq!(ruleset().matches(". 8080").count(), 2);
    });
}

#[test]
fn a_changed_mapping_of_ones_own_leads_to_the_new_port() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let first = publication(&BOTH, &["8080:80/tcp"]);
        let second = publication(&BOTH, &["8080:81/tcp"]);
        portmap::add(&mut nft, &one(), &first).unwrap();
        let port = |family: &str| Lack::ElementDiffers(format!("8080/tcp of any {family} address"));
        let differs = [port("IPv4"), port("IPv6")];
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &second)), differs);
        portmap::add(&mut nft, &one(), &second).unwrap();
        assert_eq!(lacks(portmap::check(&mut nft, &one(), &second)), []);
    });
}

#[test]
fn two_networks_of_one_container_do_not_disturb_each_other() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let other = attachment("b", "c1", "eth1");
        let first = documented();
        let second = publication(&["10.2.0.5/16"], &["8081:80/tcp"]);
        portmap::add(&mut nft, &one(), &first).unwrap();
        portmap::add(&mut nft, &other, &second).unwrap();
        portmap::remove(&mut nft, &other).unwrap();
        assert_eq!(ruleset(), ONE);
        portmap::add(&mut nft, &other, &second).unwrap();
        portmap::remove(&mut nft, &one()).unwrap();
        assert_eq!(lacks(portmap::check(&mut nft, &other, &second)), []);
        assert!(!ruleset().contains("10.1.0"), "{}", ruleset());
        portmap::remove(&mut nft, &other).unwrap();
        assert_eq!(ruleset(), "");
    });
}

/// What is damaged of a published port, and what is missing then.
fn damages() -> Vec<(&'static str, Vec<Lack>)> {
    let element = |name: &str| vec![Lack::Element(name.to_owned())];
    let rules_of = |set: &str| Lack::SetRules(set.to_owned());
    let hairpin = || rules_of("hairpin_10.1.0.0/16");
    vec![
        (
            "flush chain inet tenon_portmap prerouting",
            vec![Lack::Rules("prerouting")],
        ),
        (
            "flush chain inet tenon_portmap output",
            vec![Lack::Rules("output")],
        ),
        (
            "flush chain inet tenon_portmap hostports",
            vec![Lack::Rules("hostports")],
        ),
        (
            "flush chain inet tenon_portmap from_own_subnets",
            vec![hairpin()],
        ),
        ("flush chain inet tenon_portmap not_mapped", vec![hairpin()]),
        (
            "flush chain inet tenon_portmap postrouting",
            vec![hairpin(), rules_of("loopback")],
        ),
        (
            "flush chain inet tenon_portmap guard",
            vec![rules_of("loopback")],
        ),
        (
            "flush map inet tenon_portmap any_v4",
            element("8080/tcp of any IPv4 address"),
        ),
        (
            "flush set inet tenon_portmap loopback",
            element("10.1.0.5 over loopback and cni0"),
        ),
        (
            "flush set inet tenon_portmap hairpin_10.1.0.0/16",
            element("10.1.0.5 in hairpin_10.1.0.0/16"),
        ),
    ]
}

#[test]
fn check_names_whatever_is_missing() {
    for (damage, expected) in damages() {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            let publication = Publication {
                loopback: Some("cni0".parse().unwrap()),
                ..publication(&["10.1.0.5/16"], &["8080:80/tcp"])
            };
            portmap::add(&mut nft, &one(), &publication).unwrap();
            let whole = ruleset();
            load(damage);
            let found = lacks(portmap::check(&mut nft, &one(), &publication));
            assert_eq!(found, expected, "{damage}");
            // The same ADD again puts it right.
            portmap::add(&mut nft, &one(), &publication).unwrap();
            assert_eq!(lacks(portmap::check(&mut nft, &one(), &publication)), []);
            assert_eq!(ruleset().len(), whole.len(), "{damage}: {}", ruleset());
        });
    }
}

#[test]
fn check_finds_a_chain_that_nothing_calls() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let publication = publication(&["10.1.0.5/16"], &["8080:80/tcp"]);
        portmap::add(&mut nft, &one(), &publication).unwrap();
        load(
            "delete chain inet tenon_portmap prerouting; \
             add chain inet tenon_portmap prerouting",
        );
        assert_eq!(
            lacks(portmap::check(&mut nft, &one(), &publication)),
            [Lack::Chain("prerouting"), Lack::Rules("prerouting")]
        );
    });
}

#[test]
fn gc_removes_what_has_no_valid_attachment_in_its_network_and_nothing_else() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        portmap::add(&mut nft, &one(), &documented()).unwrap();
        for at in 6..10 {
            let stale = attachment("net", &format!("c{at}"), "eth0");
            let address = format!("10.1.0.{at}/16");
            let ports = format!("80{at}:80/tcp");
            let publication = Publication {
                loopback: Some(format!("veth{at}").parse().unwrap()),
                ..publication(&[&address], &[&ports])
            };
            portmap::add(&mut nft, &stale, &publication).unwrap();
        }
        let gc = |nft: &mut Nft, network: &str, valid: &[Attachment]| {
            portmap::gc(nft, &network.parse().unwrap(), valid).unwrap()
        };
        assert_eq!(gc(&mut nft, "net2", &[]), Removed::default());
        let removed = gc(&mut nft, "net", &[one()]);
        assert_eq!(removed.elements, 4 * 3);
        let idle: Vec<String> = removed.idle.iter().map(ToString::to_string).collect();
        assert_eq!(idle, ["veth6", "veth7", "veth8", "veth9"]);
        assert_eq!(ruleset(), ONE);
        assert_eq!(gc(&mut nft, "net", &[]).elements, 7);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn an_interface_is_idle_when_the_last_one_behind_it_has_gone() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let by_way_of = |at: u8, interface: &str| Publication {
            loopback: Some(interface.parse().unwrap()),
            ..publication(&[&format!("10.1.0.{at}/16")], &[&format!("80{at}:80/tcp")])
        };
        let owner = |at: u8| attachment("net", &format!("c{at}"), "eth0");
        for (at, interface) in [(1, "cni0"), (2, "cni0"), (3, "cni01")] {
            portmap::add(&mut nft, &owner(at), &by_way_of(at, interface)).unwrap();
        }
        let cni0 = "cni0".parse().unwrap();
        assert!(portmap::uses_loopback(&mut nft, &cni0).unwrap());
        assert_eq!(portmap::remove(&mut nft, &owner(1)).unwrap().idle, []);
        let idle = portmap::remove(&mut nft, &owner(2)).unwrap().idle;
        assert_eq!(idle, std::slice::from_ref(&cni0));
        assert!(!portmap::uses_loopback(&mut nft, &cni0).unwrap());
        assert!(ruleset().contains("iif != \"lo\""), "{}", ruleset());
        portmap::remove(&mut nft, &owner(3)).unwrap();
        assert_eq!(ruleset(), "");
    });
}

/// One attachment of thousands of mappings, one attachment after thousands of others, and all of
/// them away again.
#[test]
fn the_five_thousandth_mapping_costs_like_the_first() {
    const MANY: u16 = 5000;
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let add_one = |nft: &mut Nft, at: u16| {
            let [third, fourth] = at.to_be_bytes();
            let address = format!("10.1.{third}.{fourth}/16");
            let ports = format!("{}:80/tcp", 1000 + at);
            let publication = publication(&[&address], &[&ports]);
            let owner = attachment("net", &format!("c{at}"), "eth0");
            let begin = Instant::now();
            portmap::add(nft, &owner, &publication).unwrap();
            begin.elapsed()
        };
        let mut times = Vec::new();
        for at in 1..=MANY {
            times.push(add_one(&mut nft, at));
        }
        let median = |times: &[std::time::Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        let (first, last) = (median(&times[1..101]), median(&times[times.len() - 100..]));
        println!("first hundred {first:?}, last hundred {last:?}");
        assert!(last < first * 3, "{first:?} at first, {last:?} in the end");
        let big = attachment("net", "big", "eth0");
        let mappings: Vec<Mapping> = (10_000..15_000)
            .map(|port| mapping(&format!("{port}:{port}/udp")))
            .collect();
        let range = Publication::new(cidrs(&["10.2.0.1/16"]), mappings);
        let begin = Instant::now();
        portmap::add(&mut nft, &big, &range).unwrap();
        println!("a range of 5000: {:?}", begin.elapsed());
        assert_eq!(lacks(portmap::check(&mut nft, &big, &range)), []);
        let begin = Instant::now();
        let removed = portmap::remove(&mut nft, &big).unwrap();
        println!("removed in {:?}", begin.elapsed());
        assert_eq!(removed.elements, 5001);
        let begin = Instant::now();
        let one = attachment("net", "c77", "eth0");
        assert_eq!(portmap::remove(&mut nft, &one).unwrap().elements, 2);
        println!("one of five thousand removed in {:?}", begin.elapsed());
        let begin = Instant::now();
        let removed = portmap::gc(&mut nft, &"net".parse().unwrap(), &[]).unwrap();
        println!("all removed in {:?}", begin.elapsed());
        assert_eq!(removed.elements, 2 * usize::from(MANY - 1));
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn addresses_are_compared_with_those_in_elements_whole() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let theirs = publication(&["10.1.0.5/16"], &["8080:80/tcp"]);
        let two = attachment("net", "c2", "eth0");
        portmap::add(&mut nft, &two, &theirs).unwrap();
        // Its IPv6 address begins with the bytes of the other's IPv4 address.
        let mine = publication(&["10.1.0.6/16", "a01:5::1/64"], &["8080:80/tcp"]);
        let address: IpAddr = "a01:5::1".parse().unwrap();
        assert!(mine.addresses.iter().any(|own| own.addr() == address));
        assert_taken(
            portmap::add(&mut nft, &one(), &mine),
            "8080/tcp of any IPv4 address",
            "net: net, if: eth0, id: c2",
        );
    });
}

#[test]
fn protocols_are_read_in_any_case() {
    assert_eq!("TCP".parse(), Ok(Protocol::Tcp));
    assert_eq!("Sctp".parse(), Ok(Protocol::Sctp));
    assert!("icmp".parse::<Protocol>().is_err());
    assert!("".parse::<Protocol>().is_err());
}
