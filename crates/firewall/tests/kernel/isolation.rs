use cni_firewall::{Nft, isolation};

use crate::support::{attachment, in_private_netns, load, ruleset};

const ONE: &str = r#"table inet tenon_isolation {
	set internal {
		type ifname
		elements = { "br-1a2b3c4d5e6f" comment "76d0fc0e9dc330ef-65500ec9dc4572b9, net: 1a2b3c4d5e6f, if: eth0, id: n1" }
	}

	set inside {
		type ifname . ifname
		elements = { "br-1a2b3c4d5e6f" . "br-1a2b3c4d5e6f" comment "76d0fc0e9dc330ef-65500ec9dc4572b9, net: 1a2b3c4d5e6f, if: eth0, id: n1" }
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname @internal iifname . oifname != @inside drop
		oifname @internal iifname . oifname != @inside drop
	}
}
"#;

#[test]
fn add_makes_the_documented_ruleset_and_remove_leaves_nothing() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let owner = attachment("1a2b3c4d5e6f", "n1", "eth0");
        let bridge = "br-1a2b3c4d5e6f".parse().unwrap();
        for _twice in 0..2 {
            isolation::add(&mut nft, &owner, &bridge).unwrap();
            assert_eq!(ruleset(), ONE);
        }
        assert_eq!(isolation::check(&mut nft, &owner, &bridge).unwrap(), []);
        let other = attachment("1a2b3c4d5e6f", "n2", "eth0");
        isolation::remove(&mut nft, &other, &bridge).unwrap();
        assert_eq!(ruleset(), ONE);
        for _twice in 0..2 {
            isolation::remove(&mut nft, &owner, &bridge).unwrap();
            assert_eq!(ruleset(), "");
        }
    });
}

#[test]
fn bridges_go_one_by_one() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let networks = ["n1", "n2"].map(|id| {
            let bridge = format!("br-{id}").parse().unwrap();
            (attachment("net", id, "eth0"), bridge)
        });
        for (owner, bridge) in &networks {
            isolation::add(&mut nft, owner, bridge).unwrap();
        }
        let [(one, first), (two, second)] = &networks;
        isolation::remove(&mut nft, one, first).unwrap();
        let left = ruleset();
        assert!(left.contains("br-n2") && !left.contains("br-n1"), "{left}");
        assert_eq!(isolation::check(&mut nft, two, second).unwrap(), []);
        isolation::remove(&mut nft, two, second).unwrap();
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn check_names_what_is_missing() {
    for (damage, words) in [
        (
            "flush ruleset",
            "chain inet tenon_isolation forward is missing or not at its hook",
        ),
        (
            "flush chain inet tenon_isolation forward",
            "chain inet tenon_isolation forward does not begin with its rules",
        ),
        (
            "flush set inet tenon_isolation inside",
            "no element for what stays in br-n1 in table inet tenon_isolation",
        ),
    ] {
        in_private_netns(|| {
            let mut nft = Nft::open().unwrap();
            let (owner, bridge) = (attachment("net", "n1", "eth0"), "br-n1".parse().unwrap());
            isolation::add(&mut nft, &owner, &bridge).unwrap();
            load(damage);
            let missing = isolation::check(&mut nft, &owner, &bridge).unwrap();
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            assert!(missing.contains(&words.to_owned()), "{damage}: {missing:?}");
            isolation::add(&mut nft, &owner, &bridge).unwrap();
            assert_eq!(isolation::check(&mut nft, &owner, &bridge).unwrap(), []);
        });
    }
}
