//! `cnm-shim` over drivers that others have written: Debian's for OVN, and one on a library from `PyPI`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::path::Path;
use std::process::Command;

use cni_testkit::{Netns, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::cnm::ovn::{NAME, Ovn};
use tenon_tests::cnm::python::PythonDriver;
use tenon_tests::cnm::shim::{RECORDS, records};
use tenon_tests::network::{Network, routes};

/// A network of a driver that goes with its last container.
fn network<'a>(suite: &'a Suite, driver: &str, keys: Value) -> Network<'a> {
    let own = json!({
        "driver": driver, "subnet": "10.74.0.0/24", "gateway": "10.74.0.1",
        "removeNetworkWhenUnused": true,
    });
    let conf = conf::plugin("1.1.0", "cnm-shim").with(own).with(keys);
    Network::new(suite, conf)
}

/// Two containers meet through the driver, and go; then the same again.
fn containers_meet(world: &World, network: &Network<'_>) {
    let before = world.snapshot();
    for _life in 0..2 {
        let containers: [Netns; 2] = ["c1", "c2"].map(|name| world.container(name));
        let attached: Vec<_> = ["c1", "c2"]
            .iter()
            .zip(&containers)
            .map(|(id, netns)| network.add(id, netns))
            .collect();
        assert!(containers[0].ping(&attached[1].address()));
        for one in &attached {
            one.check_ok();
        }
        for (one, netns) in attached.iter().zip(&containers) {
            one.del_ok();
            one.del_ok();
            assert_eq!(netns.link_names(), ["lo"]);
        }
        assert_eq!(records(), Vec::<String>::new());
    }
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn containers_meet_through_ovn() {
    let world = World::new();
    let ovn = Ovn::start(&world);
    let suite = Suite::ours();
    containers_meet(&world, &network(&suite, NAME, json!({})));
    ovn.assert_empty();
    // Addresses of a CNI plugin, as conf/72-cnm-host-local.conflist has it.
    let ipam = json!({"type": "host-local", "dataDir": "/run/leases",
        "ranges": [[{"subnet": "10.74.0.0/24", "gateway": "10.74.0.1"}]]});
    let delegating = network(&suite, NAME, json!({"ipam": ipam}))
        .edited(|conf| conf.without("subnet").without("gateway"));
    containers_meet(&world, &delegating);
    ovn.assert_empty();
    let c1 = world.container("c1");
    let attached = network(
        &suite,
        NAME,
        json!({"runtimeConfig": {"mac": "02:00:00:00:74:09", "ips": ["10.74.0.9"]}}),
    )
    .add("c1", &c1);
    assert_eq!(attached.cidrs(), ["10.74.0.9/24"]);
    assert_eq!(c1.link("eth0").unwrap()["address"], "02:00:00:00:74:09");
    // OVN names no gateway: its logical switch has none.
    assert_eq!(routes(&c1, "default"), Vec::<Value>::new());
    drop(c1);
    attached.del_ok();
    ovn.assert_forgotten();
}

/// OVN's driver refuses what it has done already, in words of its own. Here it has done it all, and the
/// shim has lost the news: its records are those of before.
#[test]
fn ovn_is_believed_that_it_is_done() {
    let world = World::new();
    let ovn = Ovn::start(&world);
    let suite = Suite::ours();
    let network = network(&suite, NAME, json!({}));
    let c1 = world.container("c1");
    let attached = network.add("c1", &c1);
    let saved = world.dir().join("saved");
    copy(Path::new(RECORDS), &saved);
    attached.del_ok();
    ovn.assert_empty();
    std::fs::remove_dir_all(RECORDS).unwrap();
    copy(&saved, Path::new(RECORDS));
    let outcome = attached.del().expect_silent_ok();
    assert!(outcome.stderr.contains("NetworkDriver.Leave"), "{outcome}");
    let collecting = network.edited(|conf| conf.valid_attachments(&[]));
    // GC asks a few times more, for the port and then for the switch, and each time says why not.
    let mut asked = 0;
    while collecting.call("GC").run().code != 0 {
        asked += 1;
        assert!(asked < 25, "{:?}", records());
    }
    assert!(asked >= 10, "{asked}");
    assert_eq!(records(), Vec::<String>::new());
    // And the next container is welcome.
    let attached = network.add("c1", &c1);
    attached.check_ok();
    attached.del_ok();
    ovn.assert_empty();
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// What it refuses comes in its words.
#[test]
fn ovn_tells_why_it_refuses() {
    let world = World::new();
    let ovn = Ovn::start(&world);
    let suite = Suite::ours();
    let c1 = world.container("c1");
    let before = world.snapshot();
    // The logical switch is there already, by the hand of somebody else on this node.
    let first = network(&suite, NAME, json!({})).add("c1", &c1);
    std::fs::remove_dir_all(RECORDS).unwrap();
    let c2 = world.container("c2");
    let picky = network(&suite, NAME, json!({"existingNetwork": "fail"}));
    let error = picky.try_add("c2", &c2).expect_error(140);
    assert!(
        error.to_string().contains("NetworkDriver.CreateNetwork"),
        "{error}"
    );
    // By default a global network is shared, and stays.
    let shared = network(
        &suite,
        NAME,
        json!({"runtimeConfig": {"ips": ["10.74.0.20"]}}),
    );
    let second = shared.add("c2", &c2);
    assert!(c2.ping("10.74.0.2"));
    second.del_ok();
    assert_eq!(ovn.switches().len(), 1);
    let forcing = network(&suite, NAME, json!({"forceDelete": true}));
    first.of(&forcing).del_ok();
    assert_eq!(ovn.ports(), Vec::<String>::new());
    assert_eq!(c1.link_names(), ["lo"]);
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn containers_meet_through_a_driver_in_python() {
    let world = World::new();
    let Some(driver) = PythonDriver::start(&world, "pyveth") else {
        return;
    };
    let suite = Suite::ours();
    let network = network(&suite, "pyveth", json!({"ipamDriver": "default"}));
    containers_meet(&world, &network);
    driver.assert_empty();
    let both = network.edited(|conf| conf.with(json!({"subnetV6": "fd74::/64"})));
    containers_meet(&world, &both);
    driver.assert_empty();
    let c1 = world.container("c1");
    let attached = both.add("c1", &c1);
    assert!(c1.ping("10.74.0.1"));
    // The driver wants no gateway of IPv6.
    assert_eq!(attached.result["ips"][1]["gateway"], Value::Null);
    attached.del_ok();
    driver.assert_empty();
}
