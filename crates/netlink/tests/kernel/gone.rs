//! Links that go, and how one hears of it.

use std::io::Write;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use cni_netlink::{Cause, Departures, LinkId, delete_group, delete_link, set_group, set_up};

use crate::{Pair, soon};

#[test]
fn a_link_is_there_or_not() {
    let pair = Pair::new();
    let veth = pair.veth();
    assert!(pair.host.has_link(veth.host.index).unwrap());
    assert!(pair.container.has_link(veth.container.index).unwrap());
    assert!(!pair.host.has_link(veth.host.index + 100).unwrap());
    pair.host.request(&delete_link(&veth.host)).unwrap();
    assert!(!pair.host.has_link(veth.host.index).unwrap());
    assert!(!pair.container.has_link(veth.container.index).unwrap());
}

/// Both ends are gone at the announcement, which comes before the acknowledgement.
#[test]
fn the_announcement_comes_when_both_ends_are_gone() {
    let pair = Pair::new();
    let veth = pair.veth();
    let departures = pair.host_ns.run(Departures::open).unwrap().unwrap();
    let (worker, _at_work) = std::io::pipe().unwrap();
    let other = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        let request = delete_link(&veth.host);
        scope.spawn(move || other.request(&request).unwrap());
        let gone = departures.wait_gone(&pair.host, &veth.host, worker.as_fd(), soon());
        assert!(gone.unwrap());
        assert!(!pair.container.has_link(veth.container.index).unwrap());
    });
}

#[test]
fn waiting_ends_with_the_worker() {
    let pair = Pair::new();
    let veth = pair.veth();
    let departures = pair.host_ns.run(Departures::open).unwrap().unwrap();
    let (worker, mut at_work) = std::io::pipe().unwrap();
    // Announcements of anything else are no reason to stop.
    pair.host.request(&set_up(&LinkId::new(1, "lo"))).unwrap();
    let start = Instant::now();
    let brief = start + Duration::from_millis(50);
    let error = departures
        .wait_gone(&pair.host, &veth.host, worker.as_fd(), brief)
        .expect_err("nobody deletes it");
    assert!(matches!(error.cause, Cause::Timeout), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(49));
    at_work.write_all(&[0]).unwrap();
    let gone = departures.wait_gone(&pair.host, &veth.host, worker.as_fd(), soon());
    assert!(!gone.unwrap(), "it is still there");
    pair.host.request(&delete_link(&veth.host)).unwrap();
    drop(at_work);
    let gone = departures.wait_gone(&pair.host, &veth.host, worker.as_fd(), soon());
    assert!(gone.unwrap());
}

/// More is announced than the socket holds.
#[test]
fn what_is_lost_is_looked_for() {
    let pair = Pair::new();
    let veth = pair.veth();
    let departures = pair.host_ns.run(Departures::open).unwrap().unwrap();
    let (worker, _at_work) = std::io::pipe().unwrap();
    for group in 1..2_000 {
        pair.host.request(&set_group(&veth.host, group)).unwrap();
    }
    pair.host.request(&delete_link(&veth.host)).unwrap();
    let gone = departures.wait_gone(&pair.host, &veth.host, worker.as_fd(), soon());
    assert!(gone.unwrap());
}

#[test]
fn a_group_goes_at_once_and_nothing_else() {
    let pair = Pair::new();
    let lo = LinkId::new(1, "lo");
    let error = pair.host.request(&delete_group(4711)).expect_err("empty");
    assert!(error.is_gone(), "{error}");
    let veth = pair.veth();
    assert!(pair.host.request(&delete_group(0)).is_err());
    pair.host.request(&set_group(&veth.host, 4711)).unwrap();
    pair.host.request(&delete_group(4712)).expect_err("empty");
    assert!(pair.host.has_link(veth.host.index).unwrap());
    // What cannot be deleted keeps the others.
    pair.host.request(&set_group(&lo, 4711)).unwrap();
    let error = pair.host.request(&delete_group(4711)).expect_err("with lo");
    assert!(!error.is_gone(), "{error}");
    assert!(pair.host.has_link(veth.host.index).unwrap());
    pair.host.request(&set_group(&lo, 0)).unwrap();
    pair.host.request(&delete_group(4711)).unwrap();
    assert!(!pair.host.has_link(veth.host.index).unwrap());
    assert!(!pair.container.has_link(veth.container.index).unwrap());
    assert!(pair.host.has_link(lo.index).unwrap());
}
