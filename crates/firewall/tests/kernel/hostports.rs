//! Port mappings by iptables, and what the reference plugin leaves of its own.

use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;

use cni_firewall::iptables::hostports::{self, HostPorts};
use cni_firewall::portmap::{MarkBit, Masquerade, Publication};
use cni_firewall::{Cause, Nft, portmap, reference};
use cni_types::Attachment;

use crate::iptables::saved;
use crate::portmap::publication;
use crate::support::{
    Namespace, attachment, attempt, feed, in_private_netns, load, private_run, ruleset, run,
};

const BOTH: [&str; 2] = ["10.1.0.5/16", "fd00:1::5/64"];

fn one() -> Attachment {
    attachment("net", "c1", "eth0")
}

fn ports(mappings: &[&str]) -> HostPorts {
    HostPorts::new(publication(&BOTH, mappings))
}

fn addresses() -> [IpAddr; 2] {
    ["10.1.0.5", "fd00:1::5"].map(|address| address.parse().unwrap())
}

/// Both families as `iptables-save` prints them, and the table of the guard.
fn everything() -> [String; 3] {
    let raw = run("iptables-save", &["-t", "raw"]);
    let raw = raw.lines().filter(|line| !line.starts_with('#'));
    [
        saved("iptables-save"),
        saved("ip6tables-save"),
        raw.fold(String::new(), |text, line| text + line + "\n"),
    ]
}

/// The reference's own `portmap`.
fn reference_portmap(command: &str, one: &Attachment, keys: &str, mappings: &str) {
    let config = format!(
        r#"{{
            "cniVersion": "1.0.0", "name": "{}", "type": "portmap" {keys},
            "runtimeConfig": {{"portMappings": [{mappings}]}},
            "prevResult": {{
                "cniVersion": "1.0.0",
                "interfaces": [{{"name": "eth0", "sandbox": "/x"}}],
                "ips": [{{"interface": 0, "address": "10.1.0.5/16"}},
                        {{"interface": 0, "address": "fd00:1::5/64"}}]
            }}
        }}"#,
        one.network
    );
    let pod = Namespace::new();
    let netns = pod.path();
    let env = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", one.container_id.as_str()),
        ("CNI_IFNAME", one.ifname.as_str()),
        ("CNI_NETNS", &netns),
        ("CNI_PATH", "/usr/lib/cni"),
    ];
    let output = attempt("/usr/lib/cni/portmap", &[], &env, &config);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command}: {said}");
}

const MAPPINGS: &str = r#"
    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
    {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "192.0.2.1"},
    {"hostPort": 54, "containerPort": 5353, "protocol": "udp", "hostIP": "2001:db8::1"},
    {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "0.0.0.0"}"#;

fn of_reference() -> HostPorts {
    ports(&[
        "8080:80/tcp",
        "192.0.2.1:53:5353/udp",
        "2001:db8::1:54:5353/udp",
        "0.0.0.0:9:9/sctp",
    ])
}

/// What is at both ends of an upgrade: the same rules by the same names, but for the ports of the
/// other family among those that lead to a chain.
#[test]
fn the_rules_are_the_references() {
    private_run_in_netns(|| {
        for (keys, change) in [("", None), (r#", "snat": false"#, Some(Masquerade::Never))] {
            let theirs = in_private_netns(|| {
                reference_portmap("ADD", &one(), keys, MAPPINGS);
                [saved("iptables-save"), saved("ip6tables-save")]
            });
            let mut ports = of_reference();
            ports.publication.masquerade = change.unwrap_or(Masquerade::Needed);
            let ours = in_private_netns(|| {
                let mut nft = Nft::open().unwrap();
                hostports::add(&mut nft, &one(), &ports).unwrap();
                [saved("iptables-save"), saved("ip6tables-save")]
            });
            let without_entries = |text: &String| -> Vec<String> {
                let lines = text.lines().filter(|line| !line.contains("--dports"));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(
                ours.each_ref().map(without_entries),
                theirs.each_ref().map(without_entries)
            );
            let entry = r#"-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 53 -j CNI-DN-623e1c388032b20529218"#;
            assert!(ours[0].contains(entry), "{}", ours[0]);
        }
    });
}

/// The reference waits for a lock below `/run`.
fn private_run_in_netns(body: impl FnOnce() + Send) {
    in_private_netns(|| {
        private_run();
        body();
    });
}

#[test]
fn add_again_changes_nothing_and_del_leaves_what_all_share() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let ports = HostPorts {
            publication: Publication {
                loopback: Some("cni0".parse().unwrap()),
                ..of_reference().publication
            },
            ..of_reference()
        };
        hostports::add(&mut nft, &one(), &ports).unwrap();
        let made = everything();
        hostports::add(&mut nft, &one(), &ports).unwrap();
        assert_eq!(everything(), made);
        assert_eq!(hostports::check(&mut nft, &one(), &ports).unwrap(), []);
        hostports::remove(&mut nft, &one(), &addresses()).unwrap();
        let left = everything();
        assert!(!left.concat().contains("CNI-DN-"), "{left:#?}");
        hostports::remove(&mut nft, &one(), &[]).unwrap();
        hostports::add(&mut nft, &one(), &ports).unwrap();
        hostports::remove(&mut nft, &one(), &[]).unwrap();
        assert_eq!(everything(), left);
        // The reference leaves them too, and finds them as it does its own.
        let shared = [
            "CNI-HOSTPORT-DNAT",
            "CNI-HOSTPORT-MASQ",
            "CNI-HOSTPORT-SETMARK",
        ];
        assert!(
            shared.iter().all(|chain| left[0].contains(chain)),
            "{left:#?}"
        );
        assert!(left[2].contains("! -i lo"), "{left:#?}");
    });
}

#[test]
fn either_suite_removes_what_the_other_made() {
    private_run_in_netns(|| {
        let mut nft = Nft::open().unwrap();
        let other = attachment("b", "c1", "eth1");
        reference_portmap("ADD", &one(), "", MAPPINGS);
        reference_portmap("DEL", &one(), "", MAPPINGS);
        reference_portmap(
            "ADD",
            &other,
            "",
            r#"{"hostPort": 7, "containerPort": 7, "protocol": "udp"}"#,
        );
        let before = everything();
        hostports::add(&mut nft, &one(), &of_reference()).unwrap();
        reference_portmap("DEL", &one(), "", MAPPINGS);
        assert_eq!(everything(), before);
        reference_portmap("ADD", &one(), "", MAPPINGS);
        assert_eq!(
            hostports::check(&mut nft, &one(), &of_reference()).unwrap(),
            []
        );
        assert!(reference::publishes(&mut nft, &one(), &of_reference().publication).unwrap());
        hostports::remove(&mut nft, &one(), &addresses()).unwrap();
        assert_eq!(everything(), before);
        assert!(!reference::publishes(&mut nft, &one(), &of_reference().publication).unwrap());
    });
}

#[test]
fn check_names_each_lost_rule_and_add_puts_it_back() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let mut ports = of_reference();
        ports.publication.loopback = Some("cni0".parse().unwrap());
        hostports::add(&mut nft, &one(), &ports).unwrap();
        let whole = everything();
        for (program, table, chain) in [
            ("iptables", "nat", "PREROUTING"),
            ("iptables", "nat", "CNI-HOSTPORT-DNAT"),
            ("iptables", "nat", "CNI-DN-623e1c388032b20529218"),
            ("ip6tables", "nat", "POSTROUTING"),
            ("iptables", "raw", "CNI-HOSTPORT-GUARD"),
            ("iptables", "raw", "PREROUTING"),
        ] {
            run(program, &["-t", table, "-D", chain, "1"]);
            let missing = hostports::check(&mut nft, &one(), &ports).unwrap();
            assert_eq!(missing.len(), 1, "{chain}: {missing:?}");
            assert!(
                missing[0].rule.starts_with(&format!("-A {chain} ")),
                "{missing:?}"
            );
            hostports::add(&mut nft, &one(), &ports).unwrap();
            assert_eq!(hostports::check(&mut nft, &one(), &ports).unwrap(), []);
            let lines = |all: &[String; 3]| {
                let mut lines: Vec<String> = all.concat().lines().map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(lines(&everything()), lines(&whole));
        }
    });
}

#[test]
fn a_port_that_another_publishes_by_either_backend_is_refused() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let two = attachment("pods", "c2", "eth0");
        let theirs = publication(&["10.1.0.6/16"], &["8080:80/tcp"]);
        let taken = |nft: &mut Nft, owner: &str| {
            let before = ruleset();
            let error = hostports::add(nft, &one(), &ports(&["81:81/tcp", "8080:80/tcp"]))
                .expect_err("it is taken");
            let text = format!("port 8080/tcp of any IPv4 address is taken by {owner}");
            assert_eq!(error.cause.to_string(), text);
            assert_eq!(ruleset(), before);
        };
        hostports::add(&mut nft, &two, &HostPorts::new(theirs.clone())).unwrap();
        taken(&mut nft, "net: pods, id: c2");
        hostports::remove(&mut nft, &two, &[]).unwrap();
        portmap::add(&mut nft, &two, &theirs).unwrap();
        taken(&mut nft, "net: pods, if: eth0, id: c2");
        portmap::remove(&mut nft, &two).unwrap();
        hostports::add(&mut nft, &one(), &ports(&["8080:80/tcp"])).unwrap();
    });
}

#[test]
fn gc_removes_containers_that_are_not_valid_and_no_others() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let network = "net".parse().unwrap();
        assert_eq!(hostports::gc(&mut nft, &network, &[]).unwrap(), 0);
        let other = attachment("net2", "c2", "eth0");
        let of_other = HostPorts::new(publication(&["10.1.0.9/16"], &["9:9/udp"]));
        hostports::add(&mut nft, &other, &of_other).unwrap();
        hostports::add(&mut nft, &one(), &ports(&["8080:80/tcp"])).unwrap();
        let kept = everything();
        for at in 6..9 {
            let stale = attachment("net", &format!("c{at}"), "eth0");
            let publication =
                publication(&[&format!("10.1.0.{at}/16")], &[&format!("80{at}:80/tcp")]);
            hostports::add(&mut nft, &stale, &HostPorts::new(publication)).unwrap();
        }
        assert_eq!(hostports::gc(&mut nft, &network, &[one()]).unwrap(), 3);
        assert_eq!(everything(), kept);
        assert_eq!(hostports::gc(&mut nft, &network, &[]).unwrap(), 1);
        assert_eq!(hostports::check(&mut nft, &other, &of_other).unwrap(), []);
    });
}

/// As runtimes start them: none loses a rule, and shared rules are there once.
#[test]
fn first_adds_at_once_make_shared_chains_once() {
    const PLUGINS: u8 = 8;
    in_private_netns(|| {
        let plugin = |at: u8| {
            let owner = attachment("net", &format!("c{at}"), "eth0");
            let address = format!("10.1.0.{}/16", at + 1);
            let publication = publication(&[&address], &[&format!("80{at}:80/tcp")]);
            (owner, HostPorts::new(publication))
        };
        let barrier = Barrier::new(usize::from(PLUGINS));
        thread::scope(|scope| {
            for at in 0..PLUGINS {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut nft = Nft::open().unwrap();
                    let (owner, ports) = plugin(at);
                    barrier.wait();
                    hostports::add(&mut nft, &owner, &ports).unwrap();
                });
            }
        });
        let mut nft = Nft::open().unwrap();
        for at in 0..PLUGINS {
            let (owner, ports) = plugin(at);
            assert_eq!(hostports::check(&mut nft, &owner, &ports).unwrap(), []);
        }
        let text = saved("iptables-save");
        assert_eq!(text.matches(" -j CNI-HOSTPORT-DNAT\n").count(), 2, "{text}");
        assert_eq!(text.matches(" -j CNI-HOSTPORT-MASQ\n").count(), 1, "{text}");
        assert_eq!(text.matches(" -j MASQUERADE\n").count(), 1, "{text}");
    });
}

/// The kernel's old tables, which `nf_tables` knows nothing about.
#[test]
fn rules_in_the_legacy_tables_are_removed() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        hostports::add(&mut nft, &one(), &ports(&["8080:80/tcp"])).unwrap();
        let rules = saved("iptables-save");
        let of_container = |line: &&str| !line.contains("CNI-DN-");
        let before: String = rules
            .lines()
            .filter(of_container)
            .flat_map(|line| [line, "\n"])
            .collect();
        hostports::remove(&mut nft, &one(), &[]).unwrap();
        feed("iptables-legacy-restore", &[], &rules);
        assert!(saved("iptables-legacy-save").contains("CNI-DN-"));
        hostports::remove(&mut nft, &one(), &[]).unwrap();
        assert_eq!(saved("iptables-legacy-save"), before);
        hostports::remove(&mut nft, &one(), &[]).unwrap();
    });
}

#[test]
fn a_chain_for_marks_that_does_not_exist_is_told_in_iptables_words() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let ports = HostPorts {
            set_mark_chain: Some("KUBE-MARK-MASQ".to_owned()),
            ..ports(&["8080:80/tcp"])
        };
        let error = hostports::add(&mut nft, &one(), &ports).expect_err("there is none");
        assert!(matches!(&*error.cause, Cause::Program { .. }), "{error:?}");
        assert!(!saved("iptables-save").contains("CNI-"));
        for program in ["iptables", "ip6tables"] {
            run(program, &["-t", "nat", "-N", "KUBE-MARK-MASQ"]);
        }
        hostports::add(&mut nft, &one(), &ports).unwrap();
        assert_eq!(hostports::check(&mut nft, &one(), &ports).unwrap(), []);
    });
}

#[test]
fn every_key_is_understood_by_iptables_and_by_check() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let long: Vec<String> = (0..300)
        .map(|at| format!("{}:{}/tcp", 8000 + at, 9000 + at))
        .collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let mut cases = vec![of_reference(), ports(&long)];
    let mut always = of_reference();
    always.publication.masquerade = Masquerade::Always;
    let mut bit = of_reference();
    bit.publication.mark = MarkBit::new(31).unwrap();
    cases.extend([always, bit]);
    cases.push(HostPorts {
        condition_v4: words(&["!", "-s", "192.0.2.0/24", "-i", "eth0"]),
        condition_v6: words(&["-s", "2001:db8::/32", "-m", "mark", "--mark", "7"]),
        ..of_reference()
    });
    for ports in cases {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            hostports::add(&mut nft, &one(), &ports).unwrap();
            assert_eq!(hostports::check(&mut nft, &one(), &ports).unwrap(), []);
            let made = everything();
            hostports::add(&mut nft, &one(), &ports).unwrap();
            assert_eq!(everything(), made);
            hostports::remove(&mut nft, &one(), &[]).unwrap();
        });
    }
}

/// What releases since 1.6.0 make with `backend: nftables`, of three containers; the first one is on
/// two networks.
const BY_NFTABLES: &str = r#"
table ip cni_hostport {
	comment "CNI portmap plugin"
	chain hostports {
		tcp dport 8080 dnat to 10.1.0.5:80 comment "c1"
		udp dport 54 dnat to 10.1.0.5:5353 comment "c1"
		tcp dport 8081 dnat to 10.2.0.5:80 comment "c1"
		tcp dport 8082 dnat to 10.1.0.5:80 comment "c11"
	}

	chain hostip_hostports {
		ip daddr 192.0.2.1 udp dport 53 dnat to 10.1.0.5:5353 comment "c1"
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump hostip_hostports
		jump hostports
	}

	chain masquerading {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.1.0.5 ip daddr 10.1.0.5 masquerade comment "c1"
		ip saddr 127.0.0.1 ip daddr 10.1.0.5 masquerade comment "c1"
		ip saddr 10.2.0.5 ip daddr 10.2.0.5 masquerade comment "c1"
	}
}
table ip6 cni_hostport {
	comment "CNI portmap plugin"
	chain hostports {
		tcp dport 8080 dnat to [fd00:1::5]:80 comment "c1"
		udp dport 54 dnat to [fd00:1::5]:5353 comment "c1"
	}
}
"#;

#[test]
fn what_later_releases_left_is_recognised_and_removed() {
    for known in [true, false] {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            load(BY_NFTABLES);
            let mappings = ["8080:80/tcp", "54:5353/udp", "192.0.2.1:53:5353/udp"];
            let published = publication(&BOTH, &mappings);
            assert!(reference::publishes(&mut nft, &one(), &published).unwrap());
            for other in ["8080:81/tcp", "80:80/tcp", "192.0.2.9:53:5353/udp"] {
                let other = publication(&BOTH, &[other]);
                assert!(!reference::publishes(&mut nft, &one(), &other).unwrap());
            }
            let own = addresses();
            let own = if known { own.as_slice() } else { &[] };
            reference::remove_ports(&mut nft, &one(), own).unwrap();
            let left = ruleset();
            assert!(
                !left.contains("fd00:1::5") && !left.contains("daddr 10.1.0.5"),
                "{left}"
            );
            assert_eq!(left.contains("10.2.0.5"), known, "{left}");
            assert!(left.contains("\"c11\""), "{left}");
            assert!(!reference::publishes(&mut nft, &one(), &published).unwrap());
            reference::remove_ports(&mut nft, &one(), own).unwrap();
            assert_eq!(ruleset(), left);
        });
    }
}
