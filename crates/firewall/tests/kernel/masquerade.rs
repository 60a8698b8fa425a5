use cni_firewall::nft::{Change, Transaction};
use cni_firewall::{Lack, Nft, masquerade, owner};

use crate::support::{attachment, cidrs, in_private_netns, lacks, load, ruleset, run};

const ONE: &str = r#"table inet tenon_masquerade {
	set from_10.1.0.0/16 {
		type ipv4_addr
		elements = { 10.1.0.5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	set from_fd00-1--/64 {
		type ipv6_addr
		elements = { fd00:1::5 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		ip saddr @from_10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade
		ip6 saddr @from_fd00-1--/64 ip6 daddr != fd00:1::/64 masquerade
	}
}
"#;

#[test]
fn add_makes_the_documented_ruleset_and_del_leaves_nothing() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        assert_eq!(ruleset(), ONE);
        assert_eq!(masquerade::check(&mut nft, &one, &addresses).unwrap(), []);
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(ruleset(), "");
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        masquerade::remove(&mut nft, &one, None).unwrap();
    });
}

#[test]
fn what_nft_prints_it_reads_back() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        masquerade::add(&mut nft, &one, &cidrs(&["10.1.0.5/16", "fd00:1::5/64"])).unwrap();
        let saved = ruleset();
        run("nft", &["flush", "ruleset"]);
        load(&saved);
        assert_eq!(ruleset(), saved);
        // And so do we: rules that were restored from a file are ours as before.
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        assert_eq!(masquerade::check(&mut nft, &one, &addresses).unwrap(), []);
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn prefixes_of_any_length_are_understood_by_nft_and_by_check() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&[
            "10.1.0.5/32",
            "10.2.0.5/30",
            "10.3.0.5/24",
            "10.4.0.5/12",
            "fd00:1::5/128",
            "fd00:2::5/127",
            "fd00:3::5/61",
        ]);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        let chain = run(
            "nft",
            &["list", "chain", "inet", "tenon_masquerade", "postrouting"],
        );
        assert_eq!(
            chain,
            "table inet tenon_masquerade {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		ip saddr @from_10.1.0.5/32 ip daddr != 10.1.0.5 masquerade
		ip saddr @from_10.2.0.4/30 ip daddr != 10.2.0.4/30 masquerade
		ip saddr @from_10.3.0.0/24 ip daddr != 10.3.0.0/24 masquerade
		ip saddr @from_10.0.0.0/12 ip daddr != 10.0.0.0/12 masquerade
		ip6 saddr @from_fd00-1--5/128 ip6 daddr != fd00:1::5 masquerade
		ip6 saddr @from_fd00-2--4/127 ip6 daddr != fd00:2::4/127 masquerade
		ip6 saddr @from_fd00-3--/61 ip6 daddr != fd00:3::/61 masquerade
	}
}
"
        );
        assert_eq!(masquerade::check(&mut nft, &one, &addresses).unwrap(), []);
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn adding_again_changes_nothing() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64", "10.1.0.5/16"]);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        assert_eq!(ruleset(), ONE);
    });
}

#[test]
fn the_last_address_of_a_subnet_takes_its_set_and_rule() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("b", "c2", "eth0"),
        );
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        let others = cidrs(&["10.2.0.5/24"]);
        masquerade::add(&mut nft, &two, &others).unwrap();
        let alone = ruleset();
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        masquerade::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(ruleset(), alone);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        masquerade::remove(&mut nft, &one, None).unwrap();
        assert_eq!(ruleset(), alone);
        masquerade::remove(&mut nft, &two, Some(&others)).unwrap();
        assert_eq!(ruleset(), "");
    });
}

/// Of two subnets of one container, others still need the first.
#[test]
fn a_subnet_goes_although_another_one_stays() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let shared = cidrs(&["10.1.0.6/16", "fd00:1::6/64"]);
        masquerade::add(&mut nft, &two, &shared).unwrap();
        let alone = ruleset();
        let addresses = cidrs(&["10.1.0.5/16", "10.2.0.5/16", "fd00:1::5/64", "fd00:2::5/64"]);
        for known in [Some(addresses.as_slice()), None] {
            masquerade::add(&mut nft, &one, &addresses).unwrap();
            masquerade::remove(&mut nft, &one, known).unwrap();
            assert_eq!(ruleset(), alone);
        }
    });
}

#[test]
fn of_many_addresses_each_goes_alone_and_the_last_one_takes_the_table() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let many: Vec<_> = (0..150)
            .map(|at| {
                let v4 = format!("10.1.0.{at}/16");
                let v6 = format!("fd00:1::{at:x}/64");
                let one = attachment("net", &format!("c{at}"), "eth0");
                (one, cidrs(&[&v4, &v6]))
            })
            .collect();
        for (one, addresses) in &many {
            masquerade::add(&mut nft, one, addresses).unwrap();
        }
        for (at, (one, addresses)) in many.iter().enumerate() {
            // A plugin lives for one operation.
            let mut nft = Nft::open().unwrap();
            let missing = masquerade::check(&mut nft, one, addresses).unwrap();
            assert_eq!(missing, [], "{at}");
            let known = (at % 10 != 0).then_some(addresses.as_slice());
            masquerade::remove(&mut nft, one, known).unwrap();
            let left = ruleset().matches("comment").count();
            assert_eq!(left, 2 * (many.len() - at - 1));
        }
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn an_address_that_was_given_to_another_is_not_taken_from_it() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (old, new) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let address = cidrs(&["10.1.0.5/16"]);
        masquerade::add(&mut nft, &old, &address).unwrap();
        // The DEL of the old one is late: its address has been given to the new one.
        masquerade::add(&mut nft, &new, &address).unwrap();
        assert_eq!(masquerade::check(&mut nft, &new, &address).unwrap(), []);
        let comment = owner::comment(&new);
        assert_eq!(
            lacks(masquerade::check(&mut nft, &old, &address)),
            [Lack::ElementOfOther {
                name: "10.1.0.5".to_owned(),
                comment
            }]
        );
        for known in [Some(address.as_slice()), None] {
            masquerade::remove(&mut nft, &old, known).unwrap();
            assert_eq!(masquerade::check(&mut nft, &new, &address).unwrap(), []);
        }
        masquerade::remove(&mut nft, &new, Some(&address)).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn check_names_whatever_is_missing() {
    let addresses = cidrs(&["10.1.0.5/16"]);
    let chain = "inet tenon_masquerade postrouting";
    let own_rules = Lack::Rules("postrouting");
    let subnet_rule = Lack::SetRules("from_10.1.0.0/16".to_owned());
    let address = Lack::Element("10.1.0.5".to_owned());
    let cases = [
        (
            "flush ruleset".to_owned(),
            vec![
                Lack::Chain("postrouting"),
                own_rules.clone(),
                subnet_rule.clone(),
                address.clone(),
            ],
        ),
        (
            format!("flush chain {chain}"),
            vec![own_rules.clone(), subnet_rule.clone()],
        ),
        (
            "flush set inet tenon_masquerade from_10.1.0.0/16".to_owned(),
            vec![address],
        ),
        (
            format!(
                "flush chain {chain}; delete chain {chain}; \
                 add chain {chain} {{ type nat hook postrouting priority 99; }}"
            ),
            vec![Lack::Chain("postrouting"), own_rules, subnet_rule],
        ),
    ];
    for (damage, expected) in cases {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            let one = attachment("net", "c1", "eth0");
            masquerade::add(&mut nft, &one, &addresses).unwrap();
            load(&damage);
            let found = lacks(masquerade::check(&mut nft, &one, &addresses));
            assert_eq!(found, expected, "{damage}");
        });
    }
}

#[test]
fn a_flushed_ruleset_is_made_again_by_the_next_add() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        load("flush chain inet tenon_masquerade postrouting");
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        assert_eq!(ruleset(), ONE);
    });
}

#[test]
fn gc_removes_what_has_no_valid_attachment_in_its_network_and_nothing_else() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let kept = attachment("net", "c1", "eth0");
        let other = attachment("net2", "c1", "eth0");
        let gone: Vec<_> = (2..9)
            .map(|at| attachment("net", &format!("c{at}"), "eth0"))
            .collect();
        masquerade::add(&mut nft, &kept, &cidrs(&["10.1.0.1/16"])).unwrap();
        masquerade::add(&mut nft, &other, &cidrs(&["10.2.0.1/16"])).unwrap();
        let expected = ruleset();
        for (at, one) in gone.iter().enumerate() {
            let (v4, v6) = (format!("10.1.1.{at}/16"), format!("fd00:1::{at}/64"));
            masquerade::add(&mut nft, one, &cidrs(&[&v4, &v6])).unwrap();
        }
        let network = "net".parse().unwrap();
        let valid = [kept.clone()];
        assert_eq!(masquerade::gc(&mut nft, &network, &valid).unwrap(), 14);
        assert_eq!(ruleset(), expected);
        assert_eq!(masquerade::gc(&mut nft, &network, &valid).unwrap(), 0);
        assert_eq!(masquerade::gc(&mut nft, &network, &[]).unwrap(), 1);
        let last = "net2".parse().unwrap();
        assert_eq!(masquerade::gc(&mut nft, &last, &[]).unwrap(), 1);
        assert_eq!(ruleset(), "");
        assert_eq!(masquerade::gc(&mut nft, &last, &[]).unwrap(), 0);
    });
}

#[test]
fn a_transaction_larger_than_a_socket_buffer_is_one_transaction() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses: Vec<_> = (0..6000)
            .map(|at| {
                format!("10.1.{}.{}/16", at / 250, at % 250)
                    .parse()
                    .unwrap()
            })
            .collect();
        masquerade::add(&mut nft, &one, &addresses).unwrap();
        assert_eq!(ruleset().matches("comment").count(), addresses.len());
        masquerade::remove(&mut nft, &one, None).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_refused_change_is_named_and_nothing_of_its_transaction_happens() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let refused = Transaction {
            generation: None,
            changes: vec![
                Change::AddTable(masquerade::TABLE),
                Change::DeleteSet {
                    table: masquerade::TABLE,
                    set: "none".to_owned(),
                },
                Change::AddTable(masquerade::TABLE),
            ],
        };
        let error = nft.commit(&refused).expect_err("there is no such set");
        assert_eq!(
            error.to_string(),
            "kernel refused to delete set inet tenon_masquerade none: No such file or directory"
        );
        assert_eq!(ruleset(), "");
        let stale = Transaction {
            generation: Some(0x7fff_0000),
            changes: vec![Change::AddTable(masquerade::TABLE)],
        };
        let error = nft.commit(&stale).expect_err("no ruleset is that old");
        assert_eq!(error.errno(), Some(nix::errno::Errno::ERESTART));
        // The socket serves on after either kind of refusal.
        nft.commit(&Transaction {
            generation: None,
            changes: vec![Change::AddTable(masquerade::TABLE)],
        })
        .unwrap();
        assert_eq!(ruleset(), "table inet tenon_masquerade {\n}\n");
    });
}
