//! `cnm-shim` over a driver that fails: whatever goes wrong with whichever call of an ADD, there is one
//! error that names driver and call, in time, and everything is as before.
#![expect(clippy::indexing_slicing, reason = "test functions fail by panicking")]

use std::time::Duration;

use cni_testkit::Outcome;
use serde_json::json;
use tenon_tests::cnm::driver::{Fault, Method};
use tenon_tests::cnm::shim::{SUBNET, Shim};

/// How long a command may take, in seconds.
const TIMEOUT: u64 = 2;

/// What an ADD and its undo may take, and a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(2 * TIMEOUT + 2);

/// A call of the first ADD of a network: which, and the how many-th of its kind.
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
    /// It fails with this code, and tells of the next call.
    FailsNext(u32),
}

use Verdict::{Fails, FailsNext, Works};

/// A driver's error, whatever its words.
const REFUSED: u32 = 140;

/// Nobody answers: try again later.
const DOWN: u32 = 11;

/// The driver's own words.
const WORDS: &str = "it is not my day";

/// One fault at every call of an ADD, one after the other, on one machine. `words` are in the error's
/// details.
fn at_every_call(fault: impl Fn() -> Fault, words: &str, verdict: impl Fn(Call) -> Verdict) {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({"timeout": TIMEOUT}));
    let before = shim.state(&c1);
    for (at, &(method, nth)) in CALLS.iter().enumerate() {
        let what = format!("{method} {nth}");
        shim.driver.fault_nth(method, nth, fault());
        let outcome = network.try_add("c1", &c1);
        shim.driver.clear_faults();
        assert!(outcome.elapsed < DEADLINE, "{what}: {outcome}");
        let down = shim.driver.is_down();
        shim.driver.revive();
        match verdict((method, nth)) {
            Works => drop(outcome.clone().expect_ok()),
            Fails(code) => assert_tells(&outcome, code, method, words),
            FailsNext(code) => {
                assert_tells(&outcome, code, CALLS[at + 1].0, "is the driver running?");
            }
        }
        if outcome.code != 0 && !down {
            forget_lost_pool(&shim, method);
            before.assert_same(&shim.state(&c1), &what);
        }
        // A driver that could not be asked is asked by the runtime's next DEL.
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
        forget_lost_pool(&shim, method);
        before.assert_same(&shim.state(&c1), &what);
        shim.assert_nothing_left();
    }
}

#[track_caller]
fn assert_tells(outcome: &Outcome, code: u32, call: Method, words: &str) {
    let error = outcome.expect_error(code);
    let msg = error["msg"].as_str().unwrap_or_default();
    let details = error["details"].as_str().unwrap_or_default();
    let driver = if call.is_ipam() {
        "IPAM driver"
    } else {
        "network driver"
    };
    assert_eq!(msg, format!("{driver} tenon failed in {call}"), "{outcome}");
    assert!(details.contains(words), "no {words:?} in\n{outcome}");
}

/// A pool whose answer was lost has no name to give it back by. Docker loses it as well.
#[track_caller]
fn forget_lost_pool(shim: &Shim, method: Method) {
    if method == Method::RequestPool {
        let lost = shim.driver.pools();
        assert!(lost.is_empty() || lost == [SUBNET], "{lost:?}");
        shim.driver.restart_without_memory();
    }
}

/// Answers that are errors. An IPAM driver may fail to tell its wishes in any way.
fn refused(call: Call) -> Verdict {
    match call.0 {
        Method::IpamGetCapabilities => Works,
        _ => Fails(REFUSED),
    }
}

/// No answer.
fn unanswered(_call: Call) -> Verdict {
    Fails(DOWN)
}

#[test]
fn err() {
    at_every_call(|| Fault::err(WORDS), WORDS, refused);
}

/// The IPAM driver's way, which is taken from both.
#[test]
fn error() {
    at_every_call(|| Fault::error(WORDS), WORDS, refused);
}

#[test]
fn err_with_status_500() {
    at_every_call(|| Fault::err_500(WORDS), WORDS, refused);
}

#[test]
fn text_with_status_500() {
    at_every_call(|| Fault::text_500(WORDS), WORDS, refused);
}

#[test]
fn err_twice() {
    at_every_call(|| Fault::err_twice(WORDS), WORDS, refused);
}

#[test]
fn a_page_for_people() {
    let words = "The browser (or proxy) sent a request that this server could not understand.";
    at_every_call(Fault::html_400, words, refused);
}

#[test]
fn a_redirect() {
    at_every_call(|| Fault::redirect("http://192.0.2.1/"), "302", refused);
}

#[test]
fn status_404() {
    at_every_call(
        Fault::not_found,
        "does not implement this call",
        |call| match call.0 {
            Method::ProgramExternalConnectivity => Works,
            _ => refused(call),
        },
    );
}

/// Nothing said is nothing to say, where nothing need be said.
#[test]
fn null() {
    at_every_call(Fault::null, "", |call| match call {
        // A gateway may be none, an endpoint's address not.
        (Method::Activate | Method::GetCapabilities | Method::RequestPool, _)
        | (Method::RequestAddress, 2) => Fails(REFUSED),
        _ => Works,
    });
}

#[test]
fn an_empty_body() {
    at_every_call(Fault::empty, "it is empty", refused);
}

#[test]
fn a_body_that_breaks_off() {
    at_every_call(Fault::invalid_json, "EOF while parsing", refused);
}

#[test]
fn a_body_without_end() {
    at_every_call(
        || Fault::huge(2 << 20),
        "it is longer than 1048576 bytes",
        refused,
    );
}

/// The first one counts.
#[test]
fn two_documents() {
    at_every_call(Fault::two_documents, "", |_| Works);
}

#[test]
fn a_slow_answer_is_waited_for() {
    at_every_call(|| Fault::slow(Duration::from_millis(150)), "", |_| Works);
}

#[test]
fn an_answer_that_comes_too_late() {
    let late = Duration::from_secs(TIMEOUT + 1);
    at_every_call(|| Fault::slow(late), "did not answer", unanswered);
}

#[test]
fn no_answer() {
    at_every_call(Fault::hang, "did not answer", unanswered);
}

#[test]
fn a_connection_that_is_closed() {
    at_every_call(Fault::closes, "is the driver running?", unanswered);
}

#[test]
fn a_connection_that_is_closed_within_the_answer() {
    at_every_call(
        Fault::closes_in_the_middle,
        "is the driver running?",
        unanswered,
    );
}

#[test]
fn a_driver_that_dies() {
    at_every_call(Fault::dies, "is the driver running?", unanswered);
}

#[test]
fn a_driver_that_is_gone_for_the_next_call() {
    at_every_call(Fault::answers_and_dies, "", |call| match call.0 {
        // What comes next is only asked for.
        Method::ProgramExternalConnectivity => Works,
        _ => FailsNext(DOWN),
    });
}
