//! One thing at a time, by hand.

use super::*;
use crate::store::record::Due;

fn one_endpoint(bench: &Bench) -> EndpointRecord {
    bench.connect(&endpoint()).unwrap().record
}

#[test]
fn an_endpoint_is_removed_and_its_network_stays() {
    let bench = Bench::new();
    let record = one_endpoint(&bench);
    bench.world.calls();
    let controller = bench.controller();
    let departure = controller.remove_endpoint(&record, limits()).unwrap();
    let departure = departure.expect("it was there");
    assert!(departure.down.is_none() && departure.notes.is_empty());
    assert_eq!(bench.world.calls(), DETACH);
    assert_eq!(bench.records(), [""; 0]);
    assert_eq!(controller.store().networks().unwrap().len(), 1);
    let again = controller.remove_endpoint(&record, limits()).unwrap();
    assert!(again.is_none());
}

#[test]
fn an_endpoint_that_is_not_the_one_looked_at_stays() {
    let bench = Bench::new();
    let mut seen = one_endpoint(&bench);
    seen.sandbox.inode += 1;
    bench.world.calls();
    let controller = bench.controller();
    let removed = controller.remove_endpoint(&seen, limits()).unwrap();
    assert!(removed.is_none());
    assert!(!controller.forget_endpoint(&seen, limits()).unwrap());
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.records().len(), 1);
}

/// A link that a driver has left behind goes even if the sandbox lost it.
#[test]
fn a_link_that_is_back_in_the_hosts_namespace_goes_too() {
    let bench = Bench::new();
    let record = one_endpoint(&bench);
    {
        let mut state = bench.world.0.borrow_mut();
        state.sandbox_links.clear();
        state.host_links.insert("tmp0".into());
    }
    let controller = bench.controller();
    controller.remove_endpoint(&record, limits()).unwrap();
    assert!(bench.world.0.borrow().host_links.is_empty());
}

#[test]
fn what_is_forgotten_is_left_with_its_driver() {
    let bench = Bench::new();
    let record = one_endpoint(&bench);
    let left = bench.world.left();
    bench.world.calls();
    let controller = bench.controller();
    let in_use = controller.forget_network(&record.network, limits());
    assert_eq!(in_use.unwrap_err().code(), ErrorCode::IN_USE);
    assert!(controller.forget_endpoint(&record, limits()).unwrap());
    let network = controller.forget_network(&record.network, limits());
    let network = network.unwrap().expect("it was there");
    assert!(network.owed.has(&Due::Network));
    assert_eq!(bench.world.calls(), [""; 0], "nobody was asked");
    assert_eq!(bench.world.left(), left);
    assert_eq!(bench.records(), [""; 0]);
    let again = controller.forget_network(&record.network, limits());
    assert!(again.unwrap().is_none());
}

#[test]
fn a_piece_of_garbage_is_finished_or_says_why_not() {
    let bench = Bench::new();
    let record = one_endpoint(&bench);
    bench.world.fault(Method::DeleteEndpoint, Fault::Refused);
    bench.disconnect(Policy::default());
    let controller = bench.controller();
    let garbage = || {
        let mut all = controller.store().garbage(&record.network).unwrap();
        all.pop().map(Result::unwrap)
    };
    bench.world.fault(Method::DeleteEndpoint, Fault::Refused);
    let failures = controller.finish_garbage(garbage().unwrap(), limits());
    assert_eq!(failures.len(), 1);
    assert_eq!(garbage().unwrap().tries, 2);
    let failures = controller.finish_garbage(garbage().unwrap(), limits());
    assert_eq!(failures, [""; 0]);
    assert!(garbage().is_none());
}
