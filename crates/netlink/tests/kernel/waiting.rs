//! Waiting for events.

use std::thread;
use std::time::{Duration, Instant};

use cni_netlink::{Address, Cause, Dad, OperState, add_address, delete_link, set_down, set_up};

use crate::{Pair, cidr, soon};

#[test]
fn waiting_ends_when_the_link_can_carry_packets() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let link = pair.host.wait_operstate_up(&veth, soon()).unwrap();
    assert_eq!(link.operstate, OperState::Up);
    let other = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let other = other;
            for _ in 0..10 {
                other.request(&set_down(&veth)).unwrap();
                other.request(&set_up(&veth)).unwrap();
            }
        });
        for _ in 0..10 {
            pair.host.wait_operstate_up(&veth, soon()).unwrap();
        }
        changes.join().unwrap();
    });
    pair.host.wait_operstate_up(&veth, soon()).unwrap();
}

#[test]
fn waiting_is_woken_by_the_event_it_waits_for() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    pair.host.request(&set_down(&veth)).unwrap();
    let other = pair.host_ns.socket().unwrap();
    thread::scope(|scope| {
        let started = Instant::now();
        let looks = std::cell::Cell::new(0);
        let other = std::cell::Cell::new(Some(other));
        pair.host
            .wait_link(&veth, soon(), |link| {
                looks.set(looks.get() + 1);
                // The second look comes after the subscription: only an event wakes it from here.
                if looks.get() == 2
                    && let Some(other) = other.take()
                {
                    let veth = &veth;
                    scope.spawn(move || other.request(&set_up(veth)).unwrap());
                }
                link.is_up()
            })
            .unwrap();
        assert!(looks.get() >= 3);
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn waiting_ends_at_the_deadline_or_with_the_link() {
    let pair = Pair::new();
    let made = pair.veth();
    pair.container.request(&set_down(&made.container)).unwrap();
    pair.host
        .wait_link(&made.host, soon(), |now| now.operstate != OperState::Up)
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = pair
        .host
        .wait_operstate_up(&made.host, deadline)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout), "{error:?}");
    assert!(Instant::now() >= deadline && error.is_busy());
    assert_eq!(error.to_string(), "failed to wait for link veth0");

    let error = pair.host.wait_gone(&made.host, Instant::now()).unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout));
    pair.host.request(&delete_link(&made.host)).unwrap();
    pair.host.wait_gone(&made.host, soon()).unwrap();
    assert!(
        pair.host
            .wait_operstate_up(&made.host, soon())
            .unwrap_err()
            .is_gone()
    );
}

#[test]
fn duplicate_address_detection_is_waited_for_and_believed() {
    let pair = Pair::new();
    let made = pair.veth();
    let (free, taken) = (cidr("fd00::2/64"), cidr("fd00::1/64"));
    pair.host
        .request(&add_address(&made.host, taken, Dad::Skip))
        .unwrap();
    pair.container
        .request(&add_address(&made.container, free, Dad::Perform))
        .unwrap();
    let before = pair.container.addresses(Some(&made.container)).unwrap();
    assert!(before.iter().any(Address::is_tentative));
    let after = pair
        .container
        .wait_dad_done(&made.container, soon())
        .unwrap();
    assert!(after.iter().any(|one| one.cidr == free));

    pair.container
        .request(&add_address(&made.container, taken, Dad::Perform))
        .unwrap();
    let error = pair
        .container
        .wait_dad_done(&made.container, soon())
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Duplicate), "{error:?}");
    assert_eq!(
        error.to_string(),
        "failed to wait for address fd00::1/64 dev eth0"
    );
}
