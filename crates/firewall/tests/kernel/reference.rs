//! What the reference plugins left is removed, whether by Debian's package or by a later release.

use cni_firewall::{Nft, reference};

use crate::iptables::saved;
use crate::support::{
    Namespace, attachment, attempt, cidrs, in_private_netns, load, private_run, ruleset, run,
};

/// ADD by the reference's own `bridge`.
fn reference_add(container_id: &str, ifname: &str, namespace: &Namespace) {
    let config = r#"{
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0",
        "isGateway": true, "ipMasq": true, "macspoofchk": true,
        "ipam": {"type": "host-local", "dataDir": "/run/ipam",
                 "ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00:1::/64"}]]}
    }"#;
    let netns = namespace.path();
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", container_id),
        ("CNI_IFNAME", ifname),
        ("CNI_NETNS", &netns),
        ("CNI_PATH", "/usr/lib/cni"),
    ];
    let output = attempt("/usr/lib/cni/bridge", &[], &env, config);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn what_the_real_plugin_made_is_removed_and_what_it_made_for_others_stays() {
    in_private_netns(|| {
        private_run();
        let (pod, other_pod) = (Namespace::new(), Namespace::new());
        reference_add("other", "eth0", &other_pod);
        let before = [
            saved("iptables-save"),
            saved("ip6tables-save"),
            run("nft", &["-a", "list", "table", "bridge", "nat"]),
        ];
        let mut nft = Nft::open().unwrap();
        for known in [false, true] {
            let one = attachment("net", if known { "c1" } else { "c2" }, "eth0");
            let ifname = if known { "eth0" } else { "eth1" };
            let one = cni_types::Attachment {
                ifname: ifname.parse().unwrap(),
                ..one
            };
            reference_add(one.container_id.as_str(), ifname, &pod);
            assert!(saved("iptables-save").contains(&format!("id: \\\"{}\\\"", one.container_id)));
            // host-local gives out 2 to the first, then 3 and 4.
            let addresses = if known {
                cidrs(&["10.1.0.4/16", "fd00:1::4/64"])
            } else {
                cidrs(&["10.1.0.3/16", "fd00:1::3/64"])
            };
            let made = |nft: &mut Nft| {
                let masquerades = reference::masquerades(nft, &one, &addresses).unwrap();
                (masquerades, reference::guards(nft, &one).unwrap())
            };
            assert_eq!(made(&mut nft), (true, true));
            let hint = known.then_some(addresses.as_slice());
            reference::remove(&mut nft, &one, hint).unwrap();
            assert_eq!(made(&mut nft), (false, false));
            let after = [
                saved("iptables-save"),
                saved("ip6tables-save"),
                run("nft", &["-a", "list", "table", "bridge", "nat"]),
            ];
            assert_eq!(after, before);
            reference::remove(&mut nft, &one, hint).unwrap();
        }
    });
}

/// What later releases leave; the words in capitals stand for what is the attachment's.
const LEFT: &str = r#"
table inet cni_plugins_masquerade {
	comment "Masquerading for plugins from github.com/containernetworking/plugins"
	chain masq_checks {
		comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
		ip saddr 10.1.0.4 ip daddr != 10.1.0.0/16 masquerade comment "a4861f4ae9f7d238-0000000000000000, net: net, if: eth0, id: c9"
		LEFT4
		LEFT6
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr & 240.0.0.0 == 224.0.0.0 return
		ip6 daddr & ff00:: == ff00:: return
		goto masq_checks
	}
}
table bridge nat {
	chain PREROUTING {
		type filter hook prerouting priority dstnat; policy accept;
		SPOOF
		iifname "veth9" accept comment "macspoofchk-c1-eth01"
		SPOOF
	}

	chain cni-br-iface-c1-eth0 {
		LEFT_CHAIN
	}

	chain cni-br-iface-c1-eth0-mac {
		ether saddr 02:00:00:00:00:01 return comment "macspoofchk-c1-eth0"
		drop comment "macspoofchk-c1-eth0"
	}
}
"#;

/// What is not the attachment's.
const STAYS: &str = r#"table inet cni_plugins_masquerade {
	comment "Masquerading for plugins from github.com/containernetworking/plugins"
	chain masq_checks {
		comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
		ip saddr 10.1.0.4 ip daddr != 10.1.0.0/16 masquerade comment "a4861f4ae9f7d238-0000000000000000, net: net, if: eth0, id: c9"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		goto masq_checks
	}
}
table bridge nat {
	chain PREROUTING {
		type filter hook prerouting priority dstnat; policy accept;
		iifname "veth9" accept comment "macspoofchk-c1-eth01"
	}
}
"#;

/// The reference from 1.6.0 on, with `ipMasqBackend: nftables`, and a spoof check of a retried ADD,
/// whose rule is there twice.
#[test]
fn later_releases_leftovers_are_removed_too() {
    in_private_netns(|| {
        let tag = r#"comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1""#;
        let left = LEFT
            .replace(
                "LEFT4",
                &format!("ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade {tag}"),
            )
            .replace(
                "LEFT6",
                &format!("ip6 saddr fd00:1::5 ip6 daddr != fd00:1::/64 masquerade {tag}"),
            )
            .replace(
                "SPOOF",
                r#"iifname "veth1" jump cni-br-iface-c1-eth0 comment "macspoofchk-c1-eth0""#,
            )
            .replace(
                "LEFT_CHAIN",
                r#"jump cni-br-iface-c1-eth0-mac comment "macspoofchk-c1-eth0""#,
            );
        load(&left);
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        assert!(reference::masquerades(&mut nft, &one, &addresses).unwrap());
        let more = cidrs(&["10.1.0.5/16", "fd00:1::5/64", "10.2.0.5/16"]);
        assert!(!reference::masquerades(&mut nft, &one, &more).unwrap());
        assert!(reference::guards(&mut nft, &one).unwrap());
        reference::remove(&mut nft, &one, None).unwrap();
        assert_eq!(ruleset(), STAYS);
        reference::remove(&mut nft, &one, None).unwrap();
        assert_eq!(ruleset(), STAYS);
    });
}

/// An ADD of the reference that ended half way.
#[test]
fn half_a_spoof_check_is_removed_too() {
    in_private_netns(|| {
        load("add table bridge nat; add chain bridge nat cni-br-iface-c1-eth0-mac");
        let mut nft = Nft::open().unwrap();
        reference::remove(&mut nft, &attachment("net", "c1", "eth0"), None).unwrap();
        assert_eq!(ruleset(), "table bridge nat {\n}\n");
    });
}
