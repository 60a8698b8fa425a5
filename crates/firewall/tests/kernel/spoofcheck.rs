use cni_firewall::spoofcheck::{self, Binding};
use cni_firewall::{Lack, Nft, owner};

use crate::support::{attachment, in_private_netns, lacks, load, ruleset};

const ONE: &str = r#"table bridge tenon_spoofcheck {
	set guarded {
		type ifname
		elements = { "veth1a2b3c4d" comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	set bindings {
		type ifname . ether_addr
		elements = { "veth1a2b3c4d" . 02:00:00:00:00:01 comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1" }
	}

	chain prerouting {
		type filter hook prerouting priority dstnat; policy accept;
		iifname @guarded iifname . ether saddr != @bindings drop
	}
}
"#;

fn binding(host_ifname: &str, mac: &str) -> Binding {
    Binding {
        host_ifname: host_ifname.parse().unwrap(),
        mac: mac.parse().unwrap(),
    }
}

#[test]
fn add_makes_the_documented_ruleset_and_del_leaves_nothing() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let binding = binding("veth1a2b3c4d", "02:00:00:00:00:01");
        for known in [Some(&binding), None] {
            spoofcheck::add(&mut nft, &one, &binding).unwrap();
            assert_eq!(ruleset(), ONE);
            spoofcheck::add(&mut nft, &one, &binding).unwrap();
            assert_eq!(ruleset(), ONE);
            assert_eq!(spoofcheck::check(&mut nft, &one, &binding).unwrap(), []);
            spoofcheck::remove(&mut nft, &one, known).unwrap();
            assert_eq!(ruleset(), "");
            spoofcheck::remove(&mut nft, &one, known).unwrap();
        }
    });
}

#[test]
fn of_many_ports_each_goes_alone() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let many: Vec<_> = (0..100)
            .map(|at| {
                let one = attachment("net", &format!("c{at}"), "eth0");
                let binding = binding(&format!("veth{at}"), &format!("02:00:00:00:00:{at:02x}"));
                (one, binding)
            })
            .collect();
        for (one, binding) in &many {
            spoofcheck::add(&mut nft, one, binding).unwrap();
        }
        for (at, (one, binding)) in many.iter().enumerate() {
            let mut nft = Nft::open().unwrap();
            assert_eq!(spoofcheck::check(&mut nft, one, binding).unwrap(), []);
            let known = (at % 10 != 0).then_some(binding);
            spoofcheck::remove(&mut nft, one, known).unwrap();
            let left = ruleset().matches("comment").count();
            assert_eq!(left, 2 * (many.len() - at - 1));
        }
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_port_that_was_left_behind_is_claimed_with_its_address() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (old, new) = (
            attachment("net", "c0", "eth0"),
            attachment("net", "c1", "eth0"),
        );
        let left = binding("veth1a2b3c4d", "02:00:00:00:00:99");
        let claimed = binding("veth1a2b3c4d", "02:00:00:00:00:01");
        spoofcheck::add(&mut nft, &old, &left).unwrap();
        spoofcheck::add(&mut nft, &new, &claimed).unwrap();
        // The old address is not allowed behind the new container's port.
        assert_eq!(ruleset(), ONE);
        let of_other = Lack::ElementOfOther {
            name: "veth1a2b3c4d".to_owned(),
            comment: owner::comment(&new),
        };
        let address = Lack::Element("02:00:00:00:00:99 behind veth1a2b3c4d".to_owned());
        let found = lacks(spoofcheck::check(&mut nft, &old, &left));
        assert_eq!(found, [of_other, address]);
        for known in [Some(&left), Some(&claimed), None] {
            spoofcheck::remove(&mut nft, &old, known).unwrap();
            assert_eq!(ruleset(), ONE);
        }
    });
}

#[test]
fn check_names_whatever_is_missing() {
    let binding = binding("veth1a2b3c4d", "02:00:00:00:00:01");
    let port = Lack::Element("veth1a2b3c4d".to_owned());
    let mac = Lack::Element("02:00:00:00:00:01 behind veth1a2b3c4d".to_owned());
    let (chain, rule) = (Lack::Chain("prerouting"), Lack::Rules("prerouting"));
    let cases = [
        (
            "flush ruleset",
            vec![chain, rule.clone(), port.clone(), mac.clone()],
        ),
        ("flush chain bridge tenon_spoofcheck prerouting", vec![rule]),
        ("flush set bridge tenon_spoofcheck guarded", vec![port]),
        ("flush set bridge tenon_spoofcheck bindings", vec![mac]),
    ];
    for (damage, expected) in cases {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            let one = attachment("net", "c1", "eth0");
            spoofcheck::add(&mut nft, &one, &binding).unwrap();
            load(damage);
            let found = lacks(spoofcheck::check(&mut nft, &one, &binding));
            assert_eq!(found, expected, "{damage}");
        });
    }
}

#[test]
fn gc_removes_what_has_no_valid_attachment_in_its_network_and_nothing_else() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let kept = attachment("net", "c1", "eth0");
        let binding_of_kept = binding("veth1a2b3c4d", "02:00:00:00:00:01");
        spoofcheck::add(&mut nft, &kept, &binding_of_kept).unwrap();
        for at in 2..6 {
            let one = attachment("net", &format!("c{at}"), "eth0");
            let binding = binding(&format!("veth{at}"), "02:00:00:00:00:02");
            spoofcheck::add(&mut nft, &one, &binding).unwrap();
        }
        let network = "net".parse().unwrap();
        let foreign = "net2".parse().unwrap();
        let valid = [kept];
        assert_eq!(spoofcheck::gc(&mut nft, &foreign, &[]).unwrap(), 0);
        assert_eq!(spoofcheck::gc(&mut nft, &network, &valid).unwrap(), 8);
        assert_eq!(ruleset(), ONE);
        assert_eq!(spoofcheck::gc(&mut nft, &network, &[]).unwrap(), 2);
        assert_eq!(ruleset(), "");
    });
}
