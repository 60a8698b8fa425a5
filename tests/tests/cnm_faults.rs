//! `cnm-shim` over a driver that fails: whatever goes wrong with whichever call of an ADD, there is one
//! error that names driver and call, in time, and everything is as before.

use std::time::Duration;

use cni_testkit::Outcome;
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Fault, Gateway, Method, SrcName, Style};
use tenon_tests::cnm::shim::{Shim, records};

/// How long a command may take, in seconds.
const TIMEOUT: u64 = 1;

/// The time that the command has, and the undo, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(2 * TIMEOUT + 3);

/// A call of the first ADD of a network: which, and the how many-th.
type Call = (Method, usize);

const CALLS: &[Call] = &[
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
];

/// What has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The ADD succeeds.
    Works,
    /// It fails with this code, and tells of this call.
    Fails(u32),
    /// It fails with this code, later.
    FailsLater(u32),
}

use Verdict::{Fails, FailsLater, Works};

/// The driver's own words.
const WORDS: &str = "it is not my day";

/// One fault at every call of an ADD, one after the other, on one machine.
fn at_every_call(fault: impl Fn() -> Fault, verdict: impl Fn(Call) -> Verdict) {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({"timeout": TIMEOUT}));
    let before = shim.state(&c1);
    for &(method, nth) in CALLS {
        let what = format!("{method} {nth}");
        shim.driver.clear_requests();
        shim.driver.fault_nth(method, nth, fault());
        let outcome = network.try_add("c1", &c1);
        shim.driver.clear_faults();
        shim.driver.revive();
        assert!(outcome.elapsed < DEADLINE, "{what}: {outcome}");
        match verdict((method, nth)) {
            Works => drop(outcome.expect_ok()),
            Fails(code) => assert_tells(&outcome, code, method.name()),
            FailsLater(code) => assert_tells(&outcome, code, " failed in "),
        }
        // A driver that could not be asked is asked by the runtime's next DEL.
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
        shim.driver.forget_lost_pools();
        before.assert_same(&shim.state(&c1), &what);
        shim.assert_nothing_left();
    }
}

#[track_caller]
fn assert_tells(outcome: &Outcome, code: u32, call: &str) {
    let error = outcome.expect_error(code);
    let msg = error["msg"].as_str().unwrap_or_default();
    assert!(msg.contains("driver tenon"), "{outcome}");
    assert!(msg.contains(call), "no {call:?} in\n{outcome}");
    assert_ne!(error["details"], Value::Null, "{outcome}");
}

/// Answers that are errors. Whether an IPAM driver has wishes may fail in any way.
fn refused(call: Call) -> Verdict {
    match call.0 {
        Method::IpamGetCapabilities => Works,
        _ => Fails(140),
    }
}

#[test]
fn it_says_err() {
    at_every_call(|| Fault::err(WORDS), refused);
}
