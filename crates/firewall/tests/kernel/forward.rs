//! What is let through and kept apart: rulesets, owners, and what is left of others'.

use std::net::IpAddr;

use cni_firewall::Nft;
use cni_firewall::forward::{self, Forwarding, Ingress, Keeper, Opened, Policy};
use cni_types::{Attachment, FastPaths};

use crate::support::{attachment, attempt, feed, in_private_netns, load, ruleset, run};

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn forwarding(keeper: Keeper, policy: Option<Policy>, own: &[&str]) -> Forwarding {
    Forwarding {
        addresses: addresses(own),
        ingress: policy.map(|policy| Ingress {
            policy,
            bridge: "cni0".parse().unwrap(),
        }),
        keeper,
        fast_paths: FastPaths::WherePaying,
    }
}

fn nftables() -> Keeper {
    Keeper::Nftables("CNI-ADMIN".parse().unwrap())
}

fn iptables() -> Keeper {
    Keeper::Iptables("CNI-ADMIN".parse().unwrap())
}

fn add(nft: &mut Nft, owner: &Attachment, forwarding: &Forwarding) -> Vec<Opened> {
    let mut opened = Vec::new();
    forward::add(nft, owner, forwarding, |one| opened.push(one)).unwrap();
    opened
}

/// As DEL does, with what it knows.
fn remove(nft: &mut Nft, owner: &Attachment, known: &[&str]) {
    let held = forward::held(nft, owner, &addresses(known)).unwrap();
    forward::remove(nft, owner, &held).unwrap();
}

fn lost(nft: &mut Nft, owner: &Attachment, forwarding: &Forwarding) -> Vec<String> {
    let lost = forward::check(nft, owner, forwarding).unwrap();
    lost.iter().map(ToString::to_string).collect()
}

fn filter(program: &str) -> String {
    let saved = run(program, &["-t", "filter"]);
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

const OWN: [&str; 2] = ["10.1.0.5", "fd00:1::5"];
const COMMENT: &str = "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1";

/// What an isolated attachment makes where nothing is dropped.
const ISOLATED: &str = r#"table bridge tenon_forward {
	set isolated_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	set isolated_v6 {
		type ipv6_addr
		elements = { fd00:1::5 comment "OWNER" }
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr @isolated_v4 drop
		ip daddr @isolated_v4 drop
		ip6 saddr @isolated_v6 drop
		ip6 daddr @isolated_v6 drop
	}
}
table inet tenon_forward {
	set open_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	set same-bridge_cni0_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	set isolated_cni0_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	set open_v6 {
		type ipv6_addr
		elements = { fd00:1::5 comment "OWNER" }
	}

	set same-bridge_cni0_v6 {
		type ipv6_addr
		elements = { fd00:1::5 comment "OWNER" }
	}

	set isolated_cni0_v6 {
		type ipv6_addr
		elements = { fd00:1::5 comment "OWNER" }
	}

	chain between {
		oifname "cni0" meta nfproto ipv4 drop comment "same-bridge_cni0_v4"
		oifname "cni0" meta nfproto ipv6 drop comment "same-bridge_cni0_v6"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "cni0" oifname != "cni0" meta nfproto ipv4 jump between comment "same-bridge_cni0_v4"
		iifname "cni0" oifname "cni0" meta nfproto ipv4 drop comment "isolated_cni0_v4"
		iifname "cni0" oifname != "cni0" meta nfproto ipv6 jump between comment "same-bridge_cni0_v6"
		iifname "cni0" oifname "cni0" meta nfproto ipv6 drop comment "isolated_cni0_v6"
	}
}
"#;

/// An administrator's ruleset that drops what it does not know.
const DROPPING: &str = r#"table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "eth7" accept
	}

	chain other {
		type filter hook forward priority filter + 5; policy accept;
	}
}
table ip mine {
	chain early {
		type filter hook forward priority filter - 1; policy drop;
		counter packets 0 bytes 0
	}
}
"#;

const OPENED: &str = r#"table inet filter {
	set tenon_forward_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	set tenon_forward_v6 {
		type ipv6_addr
		elements = { fd00:1::5 comment "OWNER" }
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "eth7" accept
		ip saddr @tenon_forward_v4 accept
		ip daddr @tenon_forward_v4 ct state established,related accept
		ip6 saddr @tenon_forward_v6 accept
		ip6 daddr @tenon_forward_v6 ct state established,related accept
	}

	chain other {
		type filter hook forward priority filter + 5; policy accept;
	}
}
table ip mine {
	set tenon_forward_v4 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "OWNER" }
	}

	chain early {
		type filter hook forward priority filter - 1; policy drop;
		counter packets 0 bytes 0
		ip saddr @tenon_forward_v4 accept
		ip daddr @tenon_forward_v4 ct state established,related accept
	}
}
"#;

#[test]
fn the_documented_ruleset_is_made_and_nothing_is_left() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let isolated = forwarding(nftables(), Some(Policy::Isolated), &OWN);
        for known in [&OWN[..], &[]] {
            for _twice in 0..2 {
                assert_eq!(add(&mut nft, &owner, &isolated), []);
                assert_eq!(ruleset(), ISOLATED.replace("OWNER", COMMENT));
            }
            assert_eq!(lost(&mut nft, &owner, &isolated), Vec::<String>::new());
            remove(&mut nft, &attachment("net", "c2", "eth0"), &[]);
            assert_eq!(ruleset(), ISOLATED.replace("OWNER", COMMENT));
            for _twice in 0..2 {
                remove(&mut nft, &owner, known);
                assert_eq!(ruleset(), "");
            }
        }
    });
}

#[test]
fn chains_that_drop_are_opened_at_their_ends_and_are_the_same_afterwards() {
    in_private_netns(|| {
        load(DROPPING);
        let before = run("nft", &["-a", "list", "ruleset"]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let open = forwarding(nftables(), None, &OWN);
        for known in [&OWN[..], &[]] {
            for _twice in 0..2 {
                add(&mut nft, &owner, &open);
                let own = ruleset();
                let (others, ours) = own.split_once("table inet tenon_forward").unwrap();
                assert_eq!(others, OPENED.replace("OWNER", COMMENT));
                assert!(!ours.contains("chain"), "{ours}");
            }
            assert_eq!(lost(&mut nft, &owner, &open), Vec::<String>::new());
            remove(&mut nft, &owner, known);
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
        }
    });
}

#[test]
fn doors_stay_open_for_the_others() {
    in_private_netns(|| {
        load(DROPPING);
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        add(&mut nft, &one, &forwarding(nftables(), None, &OWN));
        let second = forwarding(nftables(), None, &["10.1.0.6"]);
        add(&mut nft, &two, &second);
        let with_both = ruleset();
        assert_eq!(with_both.matches("ip saddr @tenon_forward_v4").count(), 2);
        remove(&mut nft, &one, &OWN);
        assert_eq!(lost(&mut nft, &two, &second), Vec::<String>::new());
        let left = ruleset();
        assert!(
            left.contains("10.1.0.6") && !left.contains("10.1.0.5"),
            "{left}"
        );
        assert!(!left.contains("v6"), "{left}");
    });
}

const IPTABLES: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
:CNI-ISOLATION-STAGE-1 - [0:0]
:CNI-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-1
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A FORWARD -j DOCKER-USER
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.1.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT
-A CNI-ISOLATION-STAGE-1 -i cni0 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)" -j DROP
-A CNI-ISOLATION-STAGE-1 -i cni0 ! -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
-A CNI-ISOLATION-STAGE-2 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"#;

/// Docker's table, in a few lines.
fn dockers() {
    for program in ["iptables-restore", "ip6tables-restore"] {
        feed(
            program,
            &["--noflush"],
            "*filter\n:FORWARD DROP\n:DOCKER-USER -\n-A FORWARD -j DOCKER-USER\n\
             -A DOCKER-USER -j RETURN\nCOMMIT\n",
        );
    }
}

#[test]
fn iptables_gets_the_references_rules_once_and_is_the_same_afterwards() {
    in_private_netns(|| {
        dockers();
        let before = run("nft", &["-a", "list", "ruleset"]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let isolated = forwarding(iptables(), Some(Policy::Isolated), &OWN);
        for known in [&OWN[..], &[]] {
            for _twice in 0..2 {
                add(&mut nft, &owner, &isolated);
                assert_eq!(filter("iptables-save"), IPTABLES);
                let v6 = IPTABLES.replace("10.1.0.5/32", "fd00:1::5/128");
                assert_eq!(filter("ip6tables-save"), v6);
            }
            assert_eq!(lost(&mut nft, &owner, &isolated), Vec::<String>::new());
            remove(&mut nft, &owner, known);
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
        }
    });
}

/// The second container's rules are copied from the first one's, or made by iptables like those: a
/// listing does not tell which, down to what the kernel executes, and iptables deletes either.
#[test]
fn rules_that_are_copied_are_the_rules_that_iptables_makes() {
    let left_by = |fast_paths| {
        in_private_netns(|| {
            dockers();
            let mut nft = Nft::open().unwrap();
            for (id, last) in [("c1", "5"), ("c2", "6")] {
                let own = [format!("10.1.0.{last}"), format!("fd00:1::{last}")];
                let isolated = Forwarding {
                    fast_paths,
                    ..forwarding(
                        iptables(),
                        Some(Policy::Isolated),
                        &own.each_ref().map(String::as_str),
                    )
                };
                assert_eq!(
                    add(&mut nft, &attachment("net", id, "eth0"), &isolated).len(),
                    2
                );
            }
            let tables = ["ip", "ip6"].map(|family| {
                run(
                    "nft",
                    &["--debug=netlink", "list", "table", family, "filter"],
                )
            });
            let saved = ["iptables-save", "ip6tables-save"].map(filter);
            run(
                "iptables",
                &["-D", "CNI-FORWARD", "-s", "10.1.0.6", "-j", "ACCEPT"],
            );
            run(
                "iptables",
                &[
                    "-D",
                    "CNI-FORWARD",
                    "-d",
                    "10.1.0.6",
                    "-m",
                    "conntrack",
                    "--ctstate",
                    "RELATED,ESTABLISHED",
                    "-j",
                    "ACCEPT",
                ],
            );
            (tables, saved)
        })
    };
    let made = left_by(FastPaths::Never);
    assert!(
        made.1[1].contains("-A CNI-FORWARD -s fd00:1::6/128 -j ACCEPT"),
        "{made:?}"
    );
    assert_eq!(left_by(FastPaths::WherePaying), made);
}

/// The kernel's old tables, which `nf_tables` knows nothing about: those in use need processes.
#[test]
fn rules_in_the_legacy_tables_are_removed() {
    in_private_netns(|| {
        feed(
            "iptables-legacy-restore",
            &["--noflush"],
            "*filter\n:FORWARD DROP\n-A FORWARD -i eth7 -j ACCEPT\nCOMMIT\n",
        );
        let before = filter("iptables-legacy-save");
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        feed(
            "iptables-legacy-restore",
            &["--noflush"],
            &IPTABLES
                .replace(":DOCKER-USER - [0:0]\n", "")
                .replace("-A FORWARD -j DOCKER-USER\n", "")
                .replace("-A DOCKER-USER -j RETURN\n", ""),
        );
        remove(&mut nft, &owner, &["10.1.0.5"]);
        let left = filter("iptables-legacy-save");
        assert!(
            !left.contains("CNI-FORWARD") && !left.contains("CNI-ADMIN"),
            "{left}"
        );
        // Policies whose makers nobody knows stay, as the reference leaves them.
        assert!(left.contains("CNI-ISOLATION-STAGE-1 -i cni0"), "{left}");
        assert!(left.contains(before.lines().last().unwrap()), "{left}");
    });
}

#[test]
fn nftables_leaves_to_iptables_what_iptables_drops() {
    in_private_netns(|| {
        dockers();
        let before = run("nft", &["-a", "list", "ruleset"]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let same = forwarding(nftables(), Some(Policy::SameBridge), &OWN);
        assert_eq!(add(&mut nft, &owner, &same).len(), 2);
        let saved = filter("iptables-save");
        assert!(
            saved.contains("-A CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT"),
            "{saved}"
        );
        assert!(!saved.contains("ISOLATION"), "{saved}");
        assert!(ruleset().contains("jump between"));
        assert_eq!(lost(&mut nft, &owner, &same), Vec::<String>::new());
        run("iptables", &["-F", "CNI-FORWARD"]);
        assert_eq!(lost(&mut nft, &owner, &same).len(), 3);
        add(&mut nft, &owner, &same);
        assert_eq!(filter("iptables-save"), saved);
        remove(&mut nft, &owner, &[]);
        assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
    });
}

#[test]
fn the_administrators_chain_stays_while_it_is_used() {
    in_private_netns(|| {
        dockers();
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let open = forwarding(iptables(), None, &["10.1.0.5"]);
        add(&mut nft, &owner, &open);
        run(
            "iptables",
            &["-A", "CNI-ADMIN", "-s", "192.0.2.7", "-j", "DROP"],
        );
        remove(&mut nft, &owner, &["10.1.0.5"]);
        let left = filter("iptables-save");
        for line in [
            "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD",
            "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN",
            "-A CNI-ADMIN -s 192.0.2.7/32 -j DROP",
        ] {
            assert!(left.lines().any(|has| has == line), "{line} in {left}");
        }
        assert!(!left.contains("10.1.0.5"), "{left}");
    });
}

/// A DEL that comes late, when somebody else has the address.
#[test]
fn an_address_of_somebody_else_stays_open() {
    for keeper in [nftables(), iptables()] {
        in_private_netns(|| {
            load(DROPPING);
            dockers();
            let mut nft = Nft::open().unwrap();
            let (late, next) = (
                attachment("net", "c1", "eth0"),
                attachment("net", "c2", "eth0"),
            );
            let same = forwarding(keeper, Some(Policy::SameBridge), &OWN);
            add(&mut nft, &late, &same);
            add(&mut nft, &next, &same);
            let before = ruleset();
            remove(&mut nft, &late, &OWN);
            assert_eq!(ruleset(), before);
            assert_eq!(lost(&mut nft, &next, &same), Vec::<String>::new());
        });
    }
}

#[test]
fn collection_keeps_the_valid_and_other_networks() {
    for keeper in [nftables(), iptables()] {
        in_private_netns(|| {
            load(DROPPING);
            dockers();
            let bare = run("nft", &["-a", "list", "ruleset"]);
            let mut nft = Nft::open().unwrap();
            let attachments = [
                ("net", "c1", "10.1.0.5"),
                ("net", "c2", "10.1.0.6"),
                ("net2", "c1", "10.1.0.7"),
            ];
            let all = attachments.map(|(network, id, address)| {
                let owner = attachment(network, id, "eth0");
                let forwarding = forwarding(keeper.clone(), Some(Policy::SameBridge), &[address]);
                add(&mut nft, &owner, &forwarding);
                (owner, forwarding)
            });
            let mut collect = |network: &str, valid: &[Attachment]| {
                let network = network.parse().unwrap();
                let held = forward::stale(&mut nft, &network, valid).unwrap();
                forward::collect(&mut nft, &network, valid, &held).unwrap();
            };
            collect("net", &[all[1].0.clone()]);
            let left = ruleset();
            assert!(!left.contains("10.1.0.5"), "{left}");
            for (owner, forwarding) in &all[1..] {
                let mut nft = Nft::open().unwrap();
                assert_eq!(lost(&mut nft, owner, forwarding), Vec::<String>::new());
            }
            collect("net", &[]);
            collect("net2", &[]);
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), bare);
        });
    }
}

#[test]
fn check_makes_nothing_and_names_what_is_missing() {
    in_private_netns(|| {
        dockers();
        let before = run("nft", &["-a", "list", "ruleset"]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        let same = forwarding(iptables(), Some(Policy::SameBridge), &["10.1.0.5"]);
        let missing = lost(&mut nft, &owner, &same);
        assert_eq!(
            missing[0],
            "iptables-save -t filter does not print: -A FORWARD -m comment --comment \
             \"CNI firewall plugin rules\" -j CNI-FORWARD"
        );
        assert_eq!(missing.len(), 9, "{missing:#?}");
        assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
    });
    for (damage, words) in [
        (
            "flush ruleset",
            "no element for 10.1.0.5 in same-bridge_cni0_v4",
        ),
        (
            "flush chain inet tenon_forward between",
            "has not all rules for same-bridge_cni0_v4",
        ),
        (
            "flush chain inet filter forward",
            "table inet filter has not all rules for tenon_forward_v4",
        ),
        (
            "delete element inet filter tenon_forward_v4 { 10.1.0.5 }",
            "in table inet filter",
        ),
    ] {
        in_private_netns(|| {
            load(DROPPING);
            let mut nft = Nft::open().unwrap();
            let owner = attachment("net", "c1", "eth0");
            let same = forwarding(nftables(), Some(Policy::SameBridge), &["10.1.0.5"]);
            add(&mut nft, &owner, &same);
            load(damage);
            let missing = lost(&mut nft, &owner, &same);
            assert!(
                missing.iter().any(|lost| lost.contains(words)),
                "{damage}: {missing:?}"
            );
            add(&mut nft, &owner, &same);
            assert_eq!(lost(&mut nft, &owner, &same), Vec::<String>::new());
        });
    }
}

#[test]
fn first_adds_at_once_make_everything_once() {
    for keeper in [nftables(), iptables()] {
        in_private_netns(|| {
            load(DROPPING);
            dockers();
            let before = run("nft", &["-a", "list", "ruleset"]);
            let all: Vec<_> = (1..=8)
                .map(|at| {
                    let owner = attachment("net", &format!("c{at}"), "eth0");
                    let address = format!("10.1.0.{at}");
                    (
                        owner,
                        forwarding(keeper.clone(), Some(Policy::Isolated), &[&address]),
                    )
                })
                .collect();
            let at_once = |job: &(dyn Fn(&Attachment, &Forwarding) + Sync)| {
                std::thread::scope(|scope| {
                    for (owner, forwarding) in &all {
                        scope.spawn(move || job(owner, forwarding));
                    }
                });
            };
            at_once(&|owner, forwarding| {
                add(&mut Nft::open().unwrap(), owner, forwarding);
            });
            let mut nft = Nft::open().unwrap();
            for (owner, forwarding) in &all {
                assert_eq!(lost(&mut nft, owner, forwarding), Vec::<String>::new());
            }
            let saved = filter("iptables-save");
            assert_eq!(saved.matches("-j CNI-FORWARD").count(), 1, "{saved}");
            at_once(&|owner, _| remove(&mut Nft::open().unwrap(), owner, &[]));
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
        });
    }
}

#[test]
fn what_an_add_opened_can_be_shut_alone() {
    in_private_netns(|| {
        dockers();
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        add(&mut nft, &one, &forwarding(iptables(), None, &["10.1.0.5"]));
        let before = filter("iptables-save");
        let second = forwarding(
            iptables(),
            Some(Policy::SameBridge),
            &["10.1.0.5", "10.1.0.6"],
        );
        for opened in add(&mut nft, &two, &second) {
            forward::shut(&mut nft, &two, &opened).unwrap();
        }
        assert_eq!(filter("iptables-save"), before);
    });
}

/// Somebody has used `nft` on iptables' table. `iptables-save` leaves half of the rule out; we do not
/// need it.
#[test]
fn a_table_that_iptables_cannot_print_is_served_all_the_same() {
    in_private_netns(|| {
        load(
            "table ip filter {\n chain FORWARD {\n  type filter hook forward priority 0; policy drop;\n\
             ip saddr { 10.0.0.1, 10.0.0.2 } accept\n }\n}",
        );
        let printed = attempt("iptables-save", &["-t", "filter"], &[], "");
        assert!(!String::from_utf8_lossy(&printed.stdout).contains("10.0.0.1"));
        let before = run("nft", &["-a", "list", "ruleset"]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        for keeper in [iptables(), nftables()] {
            let open = forwarding(keeper, None, &["10.1.0.5"]);
            add(&mut nft, &owner, &open);
            assert!(ruleset().contains("ip saddr 10.1.0.5"));
            assert_eq!(lost(&mut nft, &owner, &open), Vec::<String>::new());
            remove(&mut nft, &owner, &[]);
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), before);
        }
    });
}
