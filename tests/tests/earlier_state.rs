//! What an earlier build has left on a machine with running containers, before there was an index of leases:
//! this build finds it as it should be, and takes it away.

use std::path::{Path, PathBuf};

use cni_testkit::{Conf, Suite, World};
use serde_json::{Value, json};
use tenon_tests::earlier::{Pod, ROUTE_LOCALNET, SOMAXCONN, record, restore};
use tenon_tests::fleet::machine;

#[test]
fn what_an_earlier_build_added_is_checked() {
    let (world, ours) = (World::new(), Suite::ours());
    for pod in restore(&world) {
        pod.attachment(&ours).check(&pod.result);
    }
}

/// Otherwise CHECK is content because it does not look.
#[test]
fn what_is_missing_of_it_is_found() {
    for missing in [
        "nft delete table inet tenon_masquerade",
        "nft delete table bridge tenon_spoofcheck",
        "nft delete table inet tenon_portmap",
        "nft delete table inet tenon_forward",
        "rm /run/tenon-test/networks/before/10.75.0.2",
        "ip netns exec pod0 sysctl -qw net.core.somaxconn=7",
    ] {
        let (world, ours) = (World::new(), Suite::ours());
        let pods = restore(&world);
        world.host().command("sh", &["-ec", missing]);
        let first = pods.first().unwrap();
        let attachment = first.attachment(&ours);
        let plugins = attachment.plugins().iter();
        let mut checks = plugins.map(|plugin| attachment.call("CHECK", plugin, &first.result));
        assert!(checks.any(|check| check.code != 0), "not missed: {missing}");
    }
}

#[test]
fn what_an_earlier_build_added_is_deleted() {
    for (with_result, with_netns) in [(true, true), (false, true), (false, false)] {
        let (world, ours) = (World::new(), Suite::ours());
        let pods = restore(&world);
        for pod in &pods {
            let attachment = pod.attachment(&ours);
            let result = if with_result {
                &pod.result
            } else {
                &Value::Null
            };
            if with_netns {
                attachment.del(result);
                assert!(pod.netns.link("eth0").is_none(), "{}", pod.id);
                assert_eq!(pod.netns.sysctl("net/core/somaxconn"), SOMAXCONN[1]);
            } else {
                attachment.without_netns().del(result);
            }
        }
        assert_nothing_left(&world, &pods);
    }
}

#[test]
fn what_an_earlier_build_added_is_collected() {
    let (world, ours) = (World::new(), Suite::ours());
    let pods = restore(&world);
    for pod in &pods {
        for plugin in pod.attachment(&ours).plugins() {
            let named = json!({"cniVersion": "1.1.0", "name": pod.list["name"]});
            let conf = Conf(plugin.clone()).with(named).without("capabilities");
            let call = ours.plugin(plugin["type"].as_str().unwrap()).command("GC");
            let collected = call.conf(&conf.valid_attachments(&[])).run();
            collected.expect_silent_ok();
        }
    }
    assert_nothing_left(&world, &pods);
}

/// New ones come beside it, and get addresses of their own.
#[test]
fn its_addresses_are_taken() {
    let (world, ours) = (World::new(), Suite::ours());
    let pods = restore(&world);
    for list in pods.iter().map(|pod| &pod.list) {
        let taken: Vec<_> = pods
            .iter()
            .flat_map(|pod| tenon_tests::network::cidrs(&pod.result))
            .collect();
        let new = world.container("pod7");
        let pod = Pod {
            id: "pod7".into(),
            list: list.clone(),
            result: Value::Null,
            netns: new,
        };
        let result = pod.attachment(&ours).add();
        for address in tenon_tests::network::cidrs(&result) {
            assert!(!taken.contains(&address), "{address} is given twice");
        }
        pod.attachment(&ours).check(&result);
        pod.attachment(&ours).del(&result);
    }
}

#[track_caller]
fn assert_nothing_left(world: &World, pods: &[Pod]) {
    let left = machine(world);
    let mut words: Vec<String> = pods.iter().map(|pod| pod.id.clone()).collect();
    for pod in pods {
        let addresses = tenon_tests::network::cidrs(&pod.result);
        words.extend(
            addresses
                .iter()
                .map(|cidr| tenon_tests::network::bare(cidr)),
        );
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert_eq!(left.naming(&words), Vec::<&str>::new());
    let tables: Vec<_> = left
        .lines()
        .iter()
        .filter(|line| line.starts_with("nft table"))
        .collect();
    assert_eq!(tables, Vec::<&String>::new());
    assert_eq!(world.host().sysctl(ROUTE_LOCALNET), "0");
    assert!(!Path::new("/run/tenon").exists());
}

#[test]
#[ignore = "writes the fixtures: scripts/previous"]
fn record_the_state_of_an_earlier_build() {
    let dir = std::env::var_os("TENON_PREVIOUS_DIR").map(PathBuf::from);
    record(&Suite::of("previous", &dir.unwrap()));
}
