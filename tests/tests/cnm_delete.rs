//! `cnm-shim`: attachments that come twice, go twice, or go when everything else is gone; and many at
//! once.
use std::collections::BTreeSet;
use std::time::Duration;

use cni_testkit::{Netns, Outcome, wait_for};
use serde_json::{Value, json};
use tenon_tests::at_once::run_at_once;
use tenon_tests::cnm::driver::{Driver, Method, RemovedAt};
use tenon_tests::cnm::shim::{Shim, dual_stack, records};
use tenon_tests::network::Attached;

/// How often the driver was asked to take something away.
fn removals(driver: &Driver) -> [usize; 3] {
    [
        Method::Leave,
        Method::DeleteEndpoint,
        Method::ReleaseAddress,
    ]
    .map(|method| driver.count(method))
}

/// Drivers that remove an endpoint's links at different times, for what becomes of a lost namespace.
const REMOVED_AT: [RemovedAt; 3] = [
    RemovedAt::DeleteEndpoint,
    RemovedAt::Leave,
    RemovedAt::Never,
];

#[test]
fn a_second_add_changes_nothing() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({}));
    let attached = network.add("c1", &c1);
    let before = shim.state(&c1);
    shim.driver.clear_requests();
    let error = network.try_add("c1", &c1).expect_error(101);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("is attached already"),
        "{error}"
    );
    assert_eq!(shim.driver.calls(), Vec::<String>::new());
    before.assert_same(&shim.state(&c1), "a second ADD");
    // Another container's ADD into the same namespace does not find its name free.
    let error = network.try_add("c2", &c1).expect_error(101);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("(eth0) already exists"),
        "{error}"
    );
    before.assert_same(&shim.state(&c1), "an ADD of a name that is taken");
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn a_second_del_asks_for_nothing() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let attached = shim.network(json!({})).add("c1", &c1);
    for _again in 0..3 {
        attached.del_ok();
        shim.assert_nothing_left();
    }
    assert_eq!(removals(&shim.driver), [1, 1, 2]);
    // Nor does one for a container that never came.
    shim.driver.clear_requests();
    attached
        .network()
        .call("DEL")
        .container_id("c9")
        .ifname("eth0")
        .run()
        .expect_silent_ok();
    assert_eq!(shim.driver.calls(), Vec::<String>::new());
    shim.assert_nothing_left();
}

/// What runtimes pass along to a DEL, or do not.
#[test]
fn a_del_needs_nothing_but_the_names() {
    let cases: &[fn(&Attached<'_>) -> Outcome] = &[
        |attached| attached.with_result(Value::Null).del(),
        |attached| attached.with_result(json!({"cniVersion": "1.0.0"})).del(),
        |attached| attached.with_netns("").del(),
        |attached| attached.with_netns("/run/netns/nowhere").del(),
        |attached| attached.call("DEL").env_remove("CNI_NETNS").run(),
    ];
    for case in cases {
        for removed_at in REMOVED_AT {
            let shim = Shim::with(|driver| driver.style(|style| style.removed_at = removed_at));
            let c1 = shim.world.container("c1");
            let attached = shim.network(dual_stack()).add("c1", &c1);
            case(&attached).expect_silent_ok();
            assert_eq!(removals(&shim.driver), [1, 1, 4]);
            assert_eq!(c1.link_names(), ["lo"], "its namespace is known");
            shim.assert_nothing_left();
        }
    }
}

#[test]
fn a_namespace_may_go_before_the_del() {
    for removed_at in REMOVED_AT {
        let shim = Shim::with(|driver| driver.style(|style| style.removed_at = removed_at));
        let c1 = shim.world.container("c1");
        let attached = shim.network(json!({})).add("c1", &c1);
        drop(c1);
        attached.del_ok();
        assert_eq!(removals(&shim.driver), [1, 1, 2]);
        // The kernel takes its time to end a namespace, and with it the pair.
        wait_for("the kernel", Duration::from_secs(10), || {
            shim.world.host().link_names() == ["lo"]
        });
        shim.assert_nothing_left();
    }
}

/// A path that leads nowhere any more, as after a reboot, is no error either.
#[test]
fn a_path_that_is_no_namespace_any_more_is_fine() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let attached = shim.network(json!({})).add("c1", &c1);
    drop(c1);
    std::fs::write("/run/netns/c1", "").unwrap();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// The namespace went, and another container's has its path: that one's interface is not ours.
#[test]
fn another_containers_interface_at_the_same_path_stays() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let attached = shim.network(json!({})).add("c1", &c1);
    drop(c1);
    let other = shim.world.container("c1");
    other.ip("link add eth0 type veth peer name peer0");
    attached.del_ok();
    assert!(other.link("eth0").is_some());
    shim.assert_nothing_left();
}

/// An ADD where an earlier one of the same names was lost together with its namespace: nobody has
/// called DEL, as after a crash of the runtime.
#[test]
fn a_lost_attachment_makes_way_for_its_successor() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({}));
    network.add("c1", &c1);
    drop(c1);
    let c1 = shim.world.container("c1");
    let attached = network.add("c1", &c1);
    assert_eq!(removals(&shim.driver), [1, 1, 1]);
    assert_eq!(shim.driver.endpoints().len(), 1);
    assert!(c1.ping("10.77.0.1"));
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// The same namespace for one container after another.
#[test]
fn a_namespace_is_used_again() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(dual_stack());
    for id in ["one", "two", "one"] {
        let attached = network.add(id, &c1);
        assert!(c1.ping("10.77.0.1"));
        attached.check_ok();
        attached.del_ok();
        shim.assert_nothing_left();
    }
}

/// What was changed in the config since does not matter: records tell.
#[test]
fn a_del_with_an_edited_config() {
    for edit in [
        json!({"driver": "other", "ipamDriver": "other"}),
        json!({"network": "other"}),
        json!({"subnet": "10.99.0.0/24"}),
        json!({"subnet": "nonsense", "driverURL": "nonsense", "timeout": [], "options": []}),
        json!({"backend": "engine"}),
        json!({"backend": "nonsense"}),
        json!({"enableIPv6": true}),
    ] {
        let shim = Shim::new();
        let c1 = shim.world.container("c1");
        let attached = shim.network(json!({})).add("c1", &c1);
        let edited = attached.network().edited(|conf| conf.with(edit.clone()));
        attached.of(&edited).del_ok();
        assert_eq!(removals(&shim.driver), [1, 1, 2], "{edit}");
        shim.assert_nothing_left();
    }
}

/// What is in use cannot be changed; when the last container is gone it is made anew.
#[test]
fn a_network_that_is_in_use_does_not_change() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let network = shim.lasting_network(json!({}));
    let attached = network.add("c1", &c1);
    let changed = network.edited(|conf| conf.with(json!({"subnet": "10.99.0.0/24"})));
    let before = shim.state(&c2);
    let error = changed.try_add("c2", &c2).expect_error(101);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("another configuration"),
        "{error}"
    );
    before.assert_same(&shim.state(&c2), "an ADD to a changed network");
    attached.del_ok();
    let moved = changed.add("c2", &c2);
    assert_eq!(moved.cidrs(), ["10.99.0.2/24"]);
    assert_eq!(shim.driver.pools(), ["10.99.0.0/24"]);
    let going = changed.edited(|conf| conf.with(json!({"removeNetworkWhenUnused": true})));
    moved.of(&going).del_ok();
    shim.assert_nothing_left();
}

/// Whoever gives the link a new name does not hide it.
#[test]
fn an_interface_with_another_name_is_found() {
    for removed_at in REMOVED_AT {
        let shim = Shim::with(|driver| driver.style(|style| style.removed_at = removed_at));
        let c1 = shim.world.container("c1");
        let attached = shim.network(json!({})).add("c1", &c1);
        c1.ip("link set eth0 down");
        c1.ip("link set eth0 name renamed0");
        attached.del_ok();
        assert_eq!(c1.link_names(), ["lo"], "{removed_at:?}");
        shim.assert_nothing_left();
    }
}

fn containers(shim: &Shim, count: usize) -> Vec<(String, Netns)> {
    let ids = (0..count).map(|index| format!("pod{index}"));
    ids.map(|id| (id.clone(), shim.world.container(&id)))
        .collect()
}

/// The first thirty containers of a network come at once, and go at once.
#[test]
fn thirty_containers_come_and_go_at_once() {
    let shim = Shim::new();
    let containers = containers(&shim, 30);
    let network = shim.network(dual_stack());
    let calls = |command: &str| {
        let calls = containers.iter().map(|(id, netns)| {
            let call = network.call_for(command, id, netns);
            call.timeout(Duration::from_secs(90))
        });
        calls.collect::<Vec<_>>()
    };
    let added: Vec<_> = run_at_once(&calls("ADD"))
        .into_iter()
        .map(Outcome::expect_ok)
        .collect();
    let addresses: BTreeSet<_> = added
        .iter()
        .flat_map(|added| tenon_tests::network::cidrs(&added.json()))
        .collect();
    assert_eq!(addresses.len(), 60, "an address was given twice");
    assert_eq!(shim.driver.count(Method::CreateNetwork), 1);
    assert_eq!(shim.driver.endpoints().len(), 30);
    for (id, netns) in &containers {
        assert!(netns.ping("10.77.0.1"), "{id}");
    }
    for outcome in run_at_once(&calls("DEL")) {
        outcome.expect_silent_ok();
    }
    shim.assert_nothing_left();
}

/// Containers that come while others go, and a network that goes with each last one.
#[test]
fn a_network_comes_while_it_goes() {
    let shim = Shim::new();
    let containers = containers(&shim, 8);
    let network = shim.network(json!({}));
    let add = |(id, netns): &(String, Netns)| network.call_for("ADD", id, netns);
    let del = |(id, netns): &(String, Netns)| network.call_for("DEL", id, netns);
    let (even, odd): (Vec<_>, Vec<_>) = containers
        .iter()
        .enumerate()
        .partition(|(index, _)| index % 2 == 0);
    for outcome in run_at_once(&even.iter().map(|(_, one)| add(one)).collect::<Vec<_>>()) {
        outcome.expect_ok();
    }
    for _round in 0..3 {
        for (leaving, coming) in [(&even, &odd), (&odd, &even)] {
            let leave = leaving.iter().map(|(_, one)| del(one));
            let come = coming.iter().map(|(_, one)| add(one));
            for outcome in run_at_once(&leave.chain(come).collect::<Vec<_>>()) {
                outcome.expect_ok();
            }
            assert_eq!(shim.driver.endpoints().len(), 4);
        }
    }
    for outcome in run_at_once(&containers.iter().map(del).collect::<Vec<_>>()) {
        outcome.expect_silent_ok();
    }
    shim.assert_nothing_left();
}

/// The same attachment from several sides at once: exactly one ADD wins.
#[test]
fn an_attachment_is_made_once() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({}));
    let calls: Vec<_> = (0..4).map(|_| network.call_for("ADD", "c1", &c1)).collect();
    let outcomes = run_at_once(&calls);
    let won = outcomes.iter().filter(|outcome| outcome.code == 0).count();
    assert_eq!(
        won,
        1,
        "{}",
        outcomes.iter().map(ToString::to_string).collect::<String>()
    );
    for outcome in outcomes.iter().filter(|outcome| outcome.code != 0) {
        outcome.expect_error(101);
    }
    assert!(c1.ping("10.77.0.1"));
    let calls: Vec<_> = (0..4).map(|_| network.call_for("DEL", "c1", &c1)).collect();
    for outcome in run_at_once(&calls) {
        outcome.expect_silent_ok();
    }
    assert_eq!(removals(&shim.driver), [1, 1, 2]);
    assert_eq!(records(), Vec::<String>::new());
    shim.assert_nothing_left();
}
