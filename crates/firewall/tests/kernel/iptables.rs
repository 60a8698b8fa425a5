use std::time::Duration;

use cni_firewall::iptables::{self, Family};
use cni_firewall::{Cause, Nft};

use crate::support::{attachment, cidrs, feed, in_private_netns, run};

/// `iptables-save` without its dates and counters.
pub(crate) fn saved(program: &str) -> String {
    run(program, &["-t", "nat"])
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
}

const EMPTY: &str = "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
";
const V4: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-623e1c388032b20529218ecc - [0:0]
-A POSTROUTING -s 10.1.0.5/32 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
-A CNI-623e1c388032b20529218ecc -d 10.1.0.0/16 -m comment --comment "name: \"net\" id: \"c1\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"c1\"" -j MASQUERADE
COMMIT
"#;
const V6: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-623e1c388032b20529218ecc - [0:0]
-A POSTROUTING -s fd00:1::5/128 -m comment --comment "name: \"net\" id: \"c1\"" -j CNI-623e1c388032b20529218ecc
-A CNI-623e1c388032b20529218ecc -d fd00:1::/64 -m comment --comment "name: \"net\" id: \"c1\"" -j ACCEPT
-A CNI-623e1c388032b20529218ecc ! -d ff00::/8 -m comment --comment "name: \"net\" id: \"c1\"" -j MASQUERADE
COMMIT
"#;

#[test]
fn add_makes_the_references_rules_once_and_del_removes_them() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        for known in [Some(addresses.as_slice()), None] {
            iptables::add(&mut nft, &one, &addresses).unwrap();
            assert_eq!(saved("iptables-save"), V4);
            assert_eq!(saved("ip6tables-save"), V6);
            iptables::add(&mut nft, &one, &addresses).unwrap();
            assert_eq!(saved("iptables-save"), V4);
            assert_eq!(saved("ip6tables-save"), V6);
            assert_eq!(iptables::check(&nft, &one, &addresses).unwrap(), []);
            iptables::remove(&mut nft, &one, known).unwrap();
            assert_eq!(saved("iptables-save"), EMPTY);
            assert_eq!(saved("ip6tables-save"), EMPTY);
            iptables::remove(&mut nft, &one, known).unwrap();
        }
    });
}

#[test]
fn v4_alone_does_not_touch_v6() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        iptables::add(&mut nft, &one, &cidrs(&["10.1.0.5/16"])).unwrap();
        assert_eq!(saved("iptables-save"), V4);
        assert!(!run("nft", &["list", "tables"]).contains("ip6"));
    });
}

#[test]
fn check_names_the_missing_rule() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16"]);
        iptables::add(&mut nft, &one, &addresses).unwrap();
        run("iptables", &["-t", "nat", "-D", "POSTROUTING", "1"]);
        let missing = iptables::check(&nft, &one, &addresses).unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].family, Family::V4);
        assert!(
            missing[0]
                .rule
                .starts_with("-A POSTROUTING -s 10.1.0.5/32 ")
        );
        // The next ADD puts it back, without a second copy of the rest.
        iptables::add(&mut nft, &one, &addresses).unwrap();
        assert_eq!(saved("iptables-save"), V4);
    });
}

#[test]
fn two_interfaces_of_one_container_on_one_network_do_not_break_each_other() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let (one, two) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c1", "eth1"),
        );
        let (first, second) = (cidrs(&["10.1.0.5/16"]), cidrs(&["10.1.0.6/16"]));
        iptables::add(&mut nft, &one, &first).unwrap();
        iptables::add(&mut nft, &two, &second).unwrap();
        assert_eq!(iptables::check(&nft, &one, &first).unwrap(), []);
        assert_eq!(iptables::check(&nft, &two, &second).unwrap(), []);
        iptables::remove(&mut nft, &two, Some(&second)).unwrap();
        assert_eq!(saved("iptables-save"), V4);
        iptables::remove(&mut nft, &one, Some(&first)).unwrap();
        assert_eq!(saved("iptables-save"), EMPTY);
    });
}

/// The kernel's old tables, which `nf_tables` knows nothing about.
#[test]
fn rules_in_the_legacy_tables_are_removed() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16"]);
        let foreign = "*nat\n-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE\nCOMMIT\n";
        feed("iptables-legacy-restore", &["--noflush"], foreign);
        let before = saved("iptables-legacy-save");
        for known in [Some(addresses.as_slice()), None] {
            let input = iptables::restore_for_add(&one, &addresses, Family::V4, "").unwrap();
            feed("iptables-legacy-restore", &["--noflush"], &input);
            assert_ne!(saved("iptables-legacy-save"), before);
            iptables::remove(&mut nft, &one, known).unwrap();
            assert_eq!(saved("iptables-legacy-save"), before);
        }
        iptables::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(saved("iptables-legacy-save"), before);
    });
}

/// Somebody holds the lock of the legacy tables for ever.
#[test]
fn a_held_lock_ends_in_an_error_that_names_it() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let one = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16"]);
        let input = iptables::restore_for_add(&one, &addresses, Family::V4, "").unwrap();
        feed("iptables-legacy-restore", &["--noflush"], &input);
        // A /run of our own, so that the machine's lock is not the one that is held.
        crate::support::private_run();
        let lock = std::fs::File::create("/run/xtables.lock").unwrap();
        lock.lock().unwrap();
        nft.set_patience(Duration::from_secs(2));
        let error =
            iptables::remove(&mut nft, &one, Some(&addresses)).expect_err("the lock is held");
        assert!(
            matches!(&*error.cause, Cause::Program { stderr, .. } if stderr.contains("xtables lock")),
            "{error:?}"
        );
        assert!(error.hint().unwrap().contains("xtables"), "{error:?}");
        drop(lock);
        iptables::remove(&mut nft, &one, Some(&addresses)).unwrap();
        assert_eq!(saved("iptables-legacy-save"), EMPTY);
    });
}
