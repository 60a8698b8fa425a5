//! `cnm-shim` is killed at every call that it makes of a driver, before the driver has done it and
//! after: what comes next, a DEL or a GC, leaves nothing behind.
#![expect(clippy::indexing_slicing, reason = "test functions fail by panicking")]

use cni_testkit::{Conf, Netns};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Fault, MadeAt, Method, RemovedAt};
use tenon_tests::cnm::shim::{Shim, dual_stack};
use tenon_tests::network::Network;

/// A call of a command: which, and the how many-th of its kind.
type Call = (Method, usize);

/// Those of the first ADD of a network of one family.
const ADD: &[Call] = &[
    (Method::Activate, 1),
    (Method::GetCapabilities, 1),
    (Method::IpamGetCapabilities, 1),
    (Method::GetDefaultAddressSpaces, 1),
    (Method::RequestPool, 1),
    // The gateway's.
    (Method::RequestAddress, 1),
    (Method::CreateNetwork, 1),
    (Method::RequestAddress, 2),
    (Method::CreateEndpoint, 1),
    (Method::Join, 1),
    (Method::ProgramExternalConnectivity, 1),
    (Method::EndpointOperInfo, 1),
    (Method::EndpointOperInfo, 2),
];

/// What the other family adds to them.
const ADD_SIX: &[Call] = &[
    (Method::RequestPool, 2),
    (Method::RequestAddress, 3),
    (Method::RequestAddress, 4),
];

/// Those of the DEL of the last endpoint of a network, which goes with it.
const DEL: &[Call] = &[
    (Method::Activate, 1),
    (Method::RevokeExternalConnectivity, 1),
    (Method::Leave, 1),
    (Method::DeleteEndpoint, 1),
    (Method::ReleaseAddress, 1),
    (Method::ReleaseAddress, 2),
    (Method::ReleasePool, 1),
    (Method::DeleteNetwork, 1),
];

/// What is called after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Del,
    Gc,
    /// Another ADD of the same attachment in a new namespace, and its DEL: the machine has restarted.
    Add,
}

/// One machine for many crashes.
struct Crashing {
    shim: Shim,
    keys: Value,
}

impl Crashing {
    fn new(shim: Shim, keys: Value) -> Self {
        Self { shim, keys }
    }

    fn network(&self) -> Network<'_> {
        // Kuryr's key style has one thing more to be left behind.
        let own = json!({"cniVersion": "1.1.0", "sandboxKeyStyle": "docker"});
        self.shim.network(Conf(own).with(self.keys.clone()).0)
    }

    /// Kills a command at a call. `done` tells whether the driver has done its work by then.
    fn kill(&self, command: &str, c1: &Netns, (method, nth): Call, done: bool) {
        let hang = Fault::hang();
        let hang = if done { hang.with_work() } else { hang };
        self.shim.driver.fault_nth(method, nth, hang);
        let running = self.network().call_for(command, "c1", c1).start();
        self.shim.driver.wait_for_a_hanging_call();
        running.kill();
        self.shim.driver.clear_faults();
    }

    fn finish(&self, next: Next, c1: Netns) {
        let network = self.network();
        match next {
            Next::Del => drop(network.call_for("DEL", "c1", &c1).run().expect_silent_ok()),
            Next::Gc => {
                let collecting = network.edited(|conf| conf.valid_attachments(&[]));
                collecting.call("GC").run().expect_silent_ok();
                // Once more finishes what a driver may have refused to do twice.
                collecting.call("GC").run().expect_silent_ok();
            }
            Next::Add => {
                drop(c1);
                let c1 = self.shim.world.container("c1");
                let attached = network.add("c1", &c1);
                for ip in attached.result["ips"].as_array().into_iter().flatten() {
                    assert!(c1.ping(ip["gateway"].as_str().unwrap_or_default()));
                }
                attached.check_ok();
                attached.del_ok();
            }
        }
    }

    fn add_is_killed(&self, call: Call, done: bool, next: Next) {
        let what = format!("{call:?}, done: {done}, then {next:?}");
        let c1 = self.shim.world.container("c1");
        self.kill("ADD", &c1, call, done);
        self.finish(next, c1);
        self.forget_lost(call, done);
        self.assert_nothing_left(&what);
    }

    fn del_is_killed(&self, call: Call, done: bool, next: Next) {
        let what = format!("{call:?}, done: {done}, then {next:?}");
        let c1 = self.shim.world.container("c1");
        self.network().add("c1", &c1);
        self.kill("DEL", &c1, call, done);
        self.finish(next, c1);
        self.assert_nothing_left(&what);
    }

    /// The driver has made a pool, and nobody has heard what it is called.
    fn forget_lost(&self, (method, _): Call, done: bool) {
        if method == Method::RequestPool && done {
            assert_eq!(self.shim.driver.pools().len(), 1);
            self.shim.driver.restart_without_memory();
        }
    }

    #[track_caller]
    fn assert_nothing_left(&self, what: &str) {
        eprintln!("{what}");
        self.shim.assert_nothing_left();
    }
}

fn every_add(next: Next, shim: impl Fn() -> Shim, keys: &Value, calls: &[Call]) {
    let crashing = Crashing::new(shim(), keys.clone());
    for call in calls {
        for done in [false, true] {
            crashing.add_is_killed(*call, done, next);
        }
    }
}

fn every_del(next: Next, shim: impl Fn() -> Shim) {
    let crashing = Crashing::new(shim(), json!({}));
    for call in DEL {
        for done in [false, true] {
            crashing.del_is_killed(*call, done, next);
        }
    }
}

/// The links of Calico and OVN, which come late and go early.
fn late_links() -> Shim {
    Shim::with(|driver| {
        driver.style(|style| {
            style.made_at = MadeAt::Join;
            style.removed_at = RemovedAt::Leave;
        })
    })
}

/// A driver that leaves its links to the controller.
fn lazy() -> Shim {
    Shim::with(|driver| driver.style(|style| style.removed_at = RemovedAt::Never))
}

#[test]
fn an_add_that_is_killed_is_finished_by_a_del() {
    every_add(Next::Del, Shim::new, &json!({}), ADD);
}

#[test]
fn an_add_that_is_killed_is_finished_by_a_gc() {
    every_add(Next::Gc, Shim::new, &json!({}), ADD);
}

#[test]
fn an_add_that_is_killed_is_finished_by_another_add() {
    every_add(Next::Add, Shim::new, &json!({}), ADD);
}

#[test]
fn an_add_over_a_driver_of_late_links() {
    for next in [Next::Del, Next::Gc] {
        every_add(next, late_links, &json!({}), &ADD[8..]);
    }
}

/// Of what is called the driver tells in its reply to Join: before, only it can know.
#[test]
fn an_add_over_a_driver_that_leaves_its_links() {
    for next in [Next::Del, Next::Gc] {
        every_add(next, lazy, &json!({}), &ADD[10..]);
    }
}

#[test]
fn an_add_of_both_families() {
    for next in [Next::Del, Next::Gc] {
        every_add(next, Shim::new, &dual_stack(), ADD_SIX);
    }
}

#[test]
fn a_del_that_is_killed_is_finished_by_the_next() {
    every_del(Next::Del, Shim::new);
}

#[test]
fn a_del_that_is_killed_is_finished_by_a_gc() {
    every_del(Next::Gc, Shim::new);
}

#[test]
fn a_del_that_is_killed_is_finished_by_an_add() {
    every_del(Next::Add, Shim::new);
}

#[test]
fn a_del_over_a_driver_of_late_links() {
    every_del(Next::Del, late_links);
    every_del(Next::Gc, late_links);
}

#[test]
fn a_del_over_a_driver_that_leaves_its_links() {
    every_del(Next::Del, lazy);
    every_del(Next::Gc, lazy);
}

/// On a network that stays: the others on it keep theirs, and so does the network.
#[test]
fn a_crash_leaves_the_others_alone() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let network = shim.network(json!({"cniVersion": "1.1.0"}));
    let other = network.add("c2", &c2);
    let before = shim.state(&c1);
    let killed = |command: &str, method: Method| {
        shim.driver.fault_nth(method, 1, Fault::hang().with_work());
        let running = network.call_for(command, "c1", &c1).start();
        shim.driver.wait_for_a_hanging_call();
        running.kill();
        shim.driver.clear_faults();
    };
    for method in [
        Method::CreateEndpoint,
        Method::Join,
        Method::ProgramExternalConnectivity,
    ] {
        killed("ADD", method);
        other.check_ok();
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
        before.assert_same(&shim.state(&c1), method.name());
    }
    for method in [Method::Leave, Method::DeleteEndpoint] {
        network.add("c1", &c1);
        killed("DEL", method);
        other.check_ok();
        let valid = network.edited(|conf| conf.valid_attachments(&[("c2", "eth0")]));
        for _again in 0..2 {
            valid.call("GC").run().expect_silent_ok();
        }
        before.assert_same(&shim.state(&c1), method.name());
    }
    assert!(c2.ping("10.77.0.1"));
    other.check_ok();
    other.del_ok();
    shim.assert_nothing_left();
}
