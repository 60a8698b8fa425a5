//! `cnm-shim` over a driver that fails: what becomes of a DEL, and of an undo.

use std::time::{Duration, Instant};

use cni_testkit::{Conf, Netns, Outcome};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Fault, Method, RemovedAt, Repeats};
use tenon_tests::cnm::shim::{Shim, records};
use tenon_tests::network::{Attached, Network};

/// How long a command may take, in seconds.
const TIMEOUT: u64 = 2;

const WORDS: &str = "it is not my day";

/// The calls of a DEL, in order, of the endpoint alone.
const ENDPOINT: [Method; 4] = [
    Method::RevokeExternalConnectivity,
    Method::Leave,
    Method::DeleteEndpoint,
    Method::ReleaseAddress,
];

/// Answers that are errors, or none.
fn answers() -> [Fault; 9] {
    [
        Fault::err(WORDS),
        Fault::error(WORDS),
        Fault::err_500(WORDS),
        Fault::text_500(WORDS),
        Fault::err_twice(WORDS),
        Fault::html_400(),
        Fault::redirect("http://192.0.2.1/"),
        Fault::empty().without_work(),
        Fault::invalid_json().without_work(),
    ]
}

/// Ways not to answer.
fn silences() -> [Fault; 4] {
    [
        Fault::hang(),
        Fault::closes(),
        Fault::closes_in_the_middle(),
        Fault::dies(),
    ]
}

/// A machine with a container that is to go.
struct Leaving {
    c1: Netns,
    shim: Shim,
}

impl Leaving {
    fn new() -> Self {
        let shim = Shim::new();
        let c1 = shim.world.container("c1");
        Self { c1, shim }
    }

    fn network(&self, keys: Value) -> Network<'_> {
        let own = json!({"timeout": TIMEOUT, "cniVersion": "1.1.0"});
        self.shim.network(Conf(own).with(keys).0)
    }

    /// Nothing of the container is left in the kernel, and its next life is not hindered.
    #[track_caller]
    fn assert_gone_for_the_runtime(&self, attached: &Attached<'_>, what: &str) {
        assert_eq!(self.c1.link_names(), ["lo"], "{what}");
        attached.del_ok();
        let error = attached.check().expect_error(103);
        assert!(
            error.to_string().contains("has no endpoint"),
            "{what}: {error}"
        );
    }
}

fn gc(network: &Network<'_>) -> Outcome {
    let collecting = network.edited(|conf| conf.valid_attachments(&[]));
    collecting.call("GC").run()
}

/// It is logged, the rest is done all the same, and GC tries again.
#[test]
fn an_answered_error_is_left_to_gc() {
    for method in ENDPOINT {
        for fault in answers() {
            let what = format!("{method} {fault:?}");
            let leaving = Leaving::new();
            let (shim, network) = (&leaving.shim, leaving.network(json!({})));
            let attached = network.add("c1", &leaving.c1);
            shim.driver.clear_requests();
            shim.driver.fault_nth(method, 1, fault);
            let outcome = attached.del().expect_silent_ok();
            assert!(outcome.stderr.contains(method.name()), "{what}: {outcome}");
            for call in ENDPOINT {
                assert!(shim.driver.count(call) > 0, "{what}: {call} is missing");
            }
            leaving.assert_gone_for_the_runtime(&attached, &what);
            gc(&network).expect_silent_ok();
            shim.assert_nothing_left();
        }
    }
}

/// A driver that does not know the call has nothing to revoke.
#[test]
fn revoking_may_be_unknown() {
    for answer in [Fault::not_found(), Fault::null(), Fault::two_documents()] {
        let leaving = Leaving::new();
        let shim = &leaving.shim;
        let attached = leaving.network(json!({})).add("c1", &leaving.c1);
        shim.driver
            .fault(Method::RevokeExternalConnectivity, answer);
        let outcome = attached.del().expect_silent_ok();
        assert_eq!(outcome.stderr, "");
        shim.assert_nothing_left();
    }
}

/// The runtime is to call again.
#[test]
fn a_driver_that_does_not_answer_is_asked_again() {
    for method in &ENDPOINT[..3] {
        for fault in silences() {
            let what = format!("{method} {fault:?}");
            let leaving = Leaving::new();
            let shim = &leaving.shim;
            let attached = leaving.network(json!({})).add("c1", &leaving.c1);
            shim.driver.fault_nth(*method, 1, fault);
            let start = Instant::now();
            let error = attached.del().expect_error(11);
            assert!(start.elapsed() < Duration::from_secs(TIMEOUT + 2), "{what}");
            let msg = format!("network driver tenon failed in {method}");
            assert_eq!(error["msg"], msg, "{what}");
            assert_eq!(records().len(), 2, "{what}");
            shim.driver.clear_faults();
            shim.driver.revive();
            attached.del_ok();
            assert_eq!(leaving.c1.link_names(), ["lo"], "{what}");
            // Some of it was done the first time, which the driver may have refused to do again.
            gc(&leaving.network(json!({}))).expect_silent_ok();
            shim.assert_nothing_left();
        }
    }
}

/// Not for a driver that only releases addresses: the container's network is gone.
#[test]
fn addresses_that_cannot_be_released_are_left_to_gc() {
    for fault in silences() {
        let leaving = Leaving::new();
        let (shim, network) = (&leaving.shim, leaving.network(json!({})));
        let attached = network.add("c1", &leaving.c1);
        shim.driver.fault_nth(Method::ReleaseAddress, 1, fault);
        let outcome = attached.del().expect_silent_ok();
        assert!(
            outcome.stderr.contains("IpamDriver.ReleaseAddress"),
            "{outcome}"
        );
        shim.driver.clear_faults();
        shim.driver.revive();
        leaving.assert_gone_for_the_runtime(&attached, "ReleaseAddress");
        gc(&network).expect_silent_ok();
        shim.assert_nothing_left();
    }
}

/// The calls that a network goes with, after those of its last endpoint.
const NETWORK: [(Method, usize); 3] = [
    (Method::ReleaseAddress, 2),
    (Method::ReleasePool, 1),
    (Method::DeleteNetwork, 1),
];

#[test]
fn a_network_that_cannot_be_removed_is_left_to_gc_or_to_its_successor() {
    for (method, nth) in NETWORK {
        for fault in [
            Fault::err_500(WORDS),
            Fault::error(WORDS),
            Fault::closes(),
            Fault::dies(),
        ] {
            for by_gc in [true, false] {
                let what = format!("{method} {fault:?}, by GC: {by_gc}");
                let leaving = Leaving::new();
                let (shim, network) = (&leaving.shim, leaving.network(json!({})));
                let attached = network.add("c1", &leaving.c1);
                shim.driver.fault_nth(method, nth, fault.clone());
                let outcome = attached.del().expect_silent_ok();
                assert!(outcome.stderr.contains(method.name()), "{what}: {outcome}");
                shim.driver.clear_faults();
                shim.driver.revive();
                assert_eq!(records().len(), 1, "{what}");
                if by_gc {
                    gc(&network).expect_silent_ok();
                } else {
                    network.add("c1", &leaving.c1).del_ok();
                }
                shim.assert_nothing_left();
            }
        }
    }
}

/// A network that its driver does not delete is in the way, and the error says why; addresses that an
/// IPAM driver does not take back are not.
#[test]
fn a_network_that_stays_is_in_the_way_and_lost_addresses_are_not() {
    let leaving = Leaving::new();
    let (shim, network) = (&leaving.shim, leaving.network(json!({})));
    network.add("c1", &leaving.c1).of(&network);
    for method in [
        Method::ReleaseAddress,
        Method::ReleasePool,
        Method::DeleteNetwork,
    ] {
        shim.driver.fault(method, Fault::err_500(WORDS));
    }
    let del = network.call_for("DEL", "c1", &leaving.c1);
    del.run().expect_silent_ok();
    let before = shim.state(&leaving.c1);
    let error = network.try_add("c1", &leaving.c1).expect_error(11);
    for word in ["half done", "NetworkDriver.DeleteNetwork", WORDS] {
        assert!(
            error["msg"].as_str().is_some_and(|msg| msg.contains(word)),
            "{error}"
        );
    }
    before.assert_same(
        &shim.state(&leaving.c1),
        "an ADD to a network that is in the way",
    );

    shim.driver.clear_faults();
    shim.driver
        .fault_nth(Method::ReleaseAddress, 1, Fault::err_500(WORDS));
    shim.driver
        .fault_nth(Method::ReleaseAddress, 2, Fault::err_500(WORDS));
    let attached = network.add("c1", &leaving.c1);
    assert!(leaving.c1.ping("10.77.0.1"));
    attached.del_ok();
    shim.assert_nothing_left();
}

/// What is left of an endpoint keeps its driver from deleting the network. A new network of that name
/// does not have to wait for GC: older runtimes never call it.
#[test]
fn garbage_is_not_in_the_way_of_the_next_container() {
    let leaving = Leaving::new();
    let (shim, network) = (&leaving.shim, leaving.network(json!({})));
    let attached = network.add("c1", &leaving.c1);
    shim.driver
        .fault_nth(Method::DeleteEndpoint, 1, Fault::err(WORDS));
    attached.del_ok();
    assert_eq!(shim.driver.endpoints().len(), 1);
    let next = network.add("c1", &leaving.c1);
    assert!(leaving.c1.ping("10.77.0.1"));
    assert_eq!(shim.driver.endpoints().len(), 1);
    next.check_ok();
    next.del_ok();
    shim.assert_nothing_left();
}

/// While an endpoint's id is still taken, its successor has another one.
#[test]
fn a_successor_does_not_have_the_id_of_garbage() {
    let leaving = Leaving::new();
    let shim = &leaving.shim;
    let network = leaving
        .network(json!({}))
        .edited(|conf| conf.without("removeNetworkWhenUnused"));
    let attached = network.add("c1", &leaving.c1);
    shim.driver.fault(Method::DeleteEndpoint, Fault::err(WORDS));
    let mut ids = Vec::new();
    for _life in 0..3 {
        attached.del_ok();
        network.add("c1", &leaving.c1);
        ids = shim
            .driver
            .endpoints()
            .into_iter()
            .map(|one| one.id)
            .collect();
    }
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:#?}");
    attached.del_ok();
    shim.driver.clear_faults();
    let going = network.edited(|conf| conf.with(json!({"removeNetworkWhenUnused": true})));
    gc(&going).expect_silent_ok();
    shim.assert_nothing_left();
}

#[test]
fn strict_delete_tells_the_runtime() {
    let leaving = Leaving::new();
    let (shim, network) = (
        &leaving.shim,
        leaving.network(json!({"strictDelete": true})),
    );
    let attached = network.add("c1", &leaving.c1);
    shim.driver.fault_nth(Method::Leave, 1, Fault::err(WORDS));
    let error = attached.del().expect_error(140);
    let text = error.to_string();
    assert!(
        text.contains("NetworkDriver.Leave") && text.contains(WORDS),
        "{error}"
    );
    // It is done for all that: the runtime's next DEL finds nothing.
    leaving.assert_gone_for_the_runtime(&attached, "strictDelete");
    gc(&network).expect_silent_ok();
    shim.assert_nothing_left();
}

/// A node that is being emptied, a driver that was uninstalled.
#[test]
fn an_endpoint_may_be_leaked_when_the_driver_is_down() {
    for fault in silences() {
        let leaving = Leaving::new();
        let (shim, network) = (
            &leaving.shim,
            leaving.network(json!({"onDriverDown": "leak"})),
        );
        let attached = network.add("c1", &leaving.c1);
        shim.driver.fault(Method::Leave, fault);
        let outcome = attached.del().expect_silent_ok();
        assert!(outcome.stderr.contains("NetworkDriver.Leave"), "{outcome}");
        assert_eq!(shim.driver.endpoints().len(), 1);
        attached.del_ok();
        assert_eq!(shim.driver.endpoints().len(), 1, "it is forgotten");
        shim.driver.clear_faults();
        shim.driver.revive();
        gc(&network).expect_silent_ok();
        assert_eq!(leaving.c1.link_names(), ["lo"]);
        shim.assert_nothing_left();
    }
}

/// Records are lost: an endpoint's id follows from its names.
#[test]
fn a_forgotten_endpoint_can_be_removed_by_force() {
    for repeats in [Repeats::Fail, Repeats::Succeed] {
        let leaving = Leaving::new();
        let shim = &leaving.shim;
        shim.driver
            .style(|style| (style.repeats, style.removed_at) = (repeats, RemovedAt::Leave));
        let network = leaving.network(json!({}));
        let attached = network.add("c1", &leaving.c1);
        std::fs::remove_dir_all(tenon_tests::cnm::shim::RECORDS).unwrap();
        shim.driver.clear_requests();
        attached.del_ok();
        assert_eq!(shim.driver.calls(), Vec::<String>::new());
        let forcing = network.edited(|conf| conf.with(json!({"forceDelete": true})));
        attached.of(&forcing).del_ok();
        assert_eq!(shim.driver.endpoints(), []);
        assert_eq!(leaving.c1.link_names(), ["lo"]);
        // There is none any more, which is fine.
        attached.of(&forcing).del_ok();
        shim.driver.die();
        attached.of(&forcing).del().expect_error(11);
        let resigned = forcing.edited(|conf| conf.with(json!({"onDriverDown": "leak"})));
        attached.of(&resigned).del_ok();
    }
}

/// A driver that was started anew has no memory of its endpoints and networks, and says so.
#[test]
fn a_driver_without_memory_is_believed() {
    let leaving = Leaving::new();
    let (shim, network) = (&leaving.shim, leaving.network(json!({})));
    let attached = network.add("c1", &leaving.c1);
    shim.driver.restart_without_memory();
    attached.del_ok();
    assert_eq!(leaving.c1.link_names(), ["lo"]);
    gc(&network).expect_silent_ok();
    shim.driver.assert_empty();
    assert_eq!(records(), Vec::<String>::new());
}

/// It loses its memory in the middle of an ADD.
#[test]
fn a_driver_that_forgets_during_an_add() {
    for (method, nth) in [
        (Method::RequestAddress, 1),
        (Method::RequestAddress, 2),
        (Method::CreateEndpoint, 1),
        (Method::Join, 1),
        (Method::ProgramExternalConnectivity, 1),
    ] {
        let leaving = Leaving::new();
        let (shim, network) = (&leaving.shim, leaving.network(json!({})));
        shim.driver.fault_nth(method, nth, Fault::forgets());
        let error = network.try_add("c1", &leaving.c1).expect_error(140);
        assert!(
            error["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains(method.name())),
            "{error}"
        );
        network
            .call_for("DEL", "c1", &leaving.c1)
            .run()
            .expect_silent_ok();
        gc(&network).expect_silent_ok();
        shim.driver.assert_empty();
        assert_eq!(records(), Vec::<String>::new(), "{method} {nth}");
        assert_eq!(leaving.c1.link_names(), ["lo"]);
        // It has also forgotten a link, which is in the way of the same endpoint only.
        let c2 = shim.world.container("c2");
        network.add("c2", &c2);
        assert!(c2.ping("10.77.0.1"));
    }
}

/// The undo of a failed ADD fails as well: both are told, and GC finishes it.
#[test]
fn an_undo_that_fails_is_told_and_left_to_gc() {
    for method in [
        Method::Leave,
        Method::DeleteEndpoint,
        Method::ReleaseAddress,
    ] {
        let leaving = Leaving::new();
        let shim = &leaving.shim;
        let network = shim.lasting_network(json!({"cniVersion": "1.1.0"}));
        let before = shim.state(&leaving.c1);
        shim.driver.fault(
            Method::ProgramExternalConnectivity,
            Fault::err("no way out"),
        );
        shim.driver.fault(method, Fault::err(WORDS));
        let error = network.try_add("c1", &leaving.c1).expect_error(140);
        let text = error.to_string();
        for word in ["no way out", "left behind", method.name(), WORDS] {
            assert!(text.contains(word), "{method}: no {word:?} in {text}");
        }
        shim.driver.clear_faults();
        gc(&network).expect_silent_ok();
        before.assert_same(&shim.state(&leaving.c1), method.name());
    }
}

/// It cannot be reached when the ADD fails: the runtime's DEL finishes the undo.
#[test]
fn an_undo_without_a_driver_is_finished_by_the_next_del() {
    for method in [
        Method::CreateEndpoint,
        Method::Join,
        Method::ProgramExternalConnectivity,
    ] {
        for fault in [Fault::dies(), Fault::dies().with_work()] {
            let leaving = Leaving::new();
            let (shim, network) = (&leaving.shim, leaving.network(json!({})));
            shim.driver.fault_nth(method, 1, fault);
            let error = network.try_add("c1", &leaving.c1).expect_error(11);
            assert!(error.to_string().contains("left behind"), "{error}");
            let del = network.call_for("DEL", "c1", &leaving.c1);
            del.run().expect_error(11);
            shim.driver.revive();
            del.run().expect_silent_ok();
            assert_eq!(leaving.c1.link_names(), ["lo"]);
            shim.assert_nothing_left();
        }
    }
}

/// The next ADD of the same attachment does it as well, without a DEL between.
#[test]
fn an_undo_without_a_driver_is_finished_by_the_next_add() {
    let leaving = Leaving::new();
    let (shim, network) = (&leaving.shim, leaving.network(json!({})));
    shim.driver
        .fault_nth(Method::ProgramExternalConnectivity, 1, Fault::dies());
    network.try_add("c1", &leaving.c1).expect_error(11);
    let error = network.try_add("c1", &leaving.c1).expect_error(11);
    assert!(
        error["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("is not removed yet")),
        "{error}"
    );
    shim.driver.revive();
    let attached = network.add("c1", &leaving.c1);
    assert!(leaving.c1.ping("10.77.0.1"));
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
}
