//! Several plugins at once, as runtimes start them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cni_firewall::spoofcheck::{self, Binding};
use cni_firewall::{Cause, Nft, masquerade, portmap};
use cni_types::{Attachment, IpCidr};

use crate::portmap::publication;
use crate::support::{attachment, cidrs, in_private_netns, ruleset};

const PLUGINS: usize = 16;

/// Runs `each` on as many threads as there are plugins, all at the same moment, each with a socket
/// of its own.
fn at_once(each: impl Fn(usize, &mut Nft) + Sync) {
    let barrier = Barrier::new(PLUGINS);
    thread::scope(|scope| {
        for at in 0..PLUGINS {
            let (each, barrier) = (&each, &barrier);
            scope.spawn(move || {
                let mut nft = Nft::open().unwrap();
                barrier.wait();
                each(at, &mut nft);
            });
        }
    });
}

fn plugin(at: usize) -> (Attachment, Vec<IpCidr>) {
    let v4 = format!("10.{}.0.{}/16", at % 3, at + 1);
    let v6 = format!("fd00:1::{}/64", at + 1);
    (
        attachment("net", &format!("c{at}"), "eth0"),
        cidrs(&[&v4, &v6]),
    )
}

#[test]
fn the_first_adds_of_many_make_each_rule_once_and_their_dels_leave_nothing() {
    in_private_netns(|| {
        for _round in 0..20 {
            at_once(|at, nft| {
                let (one, addresses) = plugin(at);
                masquerade::add(nft, &one, &addresses).unwrap();
            });
            let text = ruleset();
            assert_eq!(text.matches(" return\n").count(), 2, "{text}");
            assert_eq!(text.matches(" masquerade\n").count(), 4, "{text}");
            assert_eq!(text.matches("comment").count(), 2 * PLUGINS, "{text}");
            at_once(|at, nft| {
                let (one, addresses) = plugin(at);
                assert_eq!(masquerade::check(nft, &one, &addresses).unwrap(), []);
                let known = (at % 4 != 0).then_some(addresses.as_slice());
                masquerade::remove(nft, &one, known).unwrap();
            });
            assert_eq!(ruleset(), "");
        }
    });
}

#[test]
fn the_same_for_spoof_checks() {
    in_private_netns(|| {
        let plugin = |at: usize| {
            let binding = Binding {
                host_ifname: format!("veth{at}").parse().unwrap(),
                mac: format!("02:00:00:00:00:{at:02x}").parse().unwrap(),
            };
            (attachment("net", &format!("c{at}"), "eth0"), binding)
        };
        for _round in 0..20 {
            at_once(|at, nft| {
                let (one, binding) = plugin(at);
                spoofcheck::add(nft, &one, &binding).unwrap();
            });
            let text = ruleset();
            assert_eq!(text.matches(" drop\n").count(), 1, "{text}");
            assert_eq!(text.matches("comment").count(), 2 * PLUGINS, "{text}");
            at_once(|at, nft| {
                let (one, binding) = plugin(at);
                let known = (at % 4 != 0).then_some(&binding);
                spoofcheck::remove(nft, &one, known).unwrap();
            });
            assert_eq!(ruleset(), "");
        }
    });
}

/// All want the same port, at all addresses or at single ones: one gets it, and its DEL frees it.
#[test]
fn of_many_who_want_one_port_one_gets_it() {
    in_private_netns(|| {
        for round in 0..20 {
            let winners = AtomicUsize::new(0);
            let plugin = |at: usize| {
                let host = match at % 3 {
                    0 => String::new(),
                    1 => "192.0.2.1:".to_owned(),
                    _ => "0.0.0.0:".to_owned(),
                };
                let address = format!("10.1.0.{}/16", at + 1);
                let ports = publication(&[&address], &[&format!("{host}8080:80/tcp")]);
                (attachment("net", &format!("c{at}"), "eth0"), ports)
            };
            at_once(|at, nft| {
                let (one, ports) = plugin(at);
                match portmap::add(nft, &one, &ports) {
                    Ok(()) => {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        let taken = matches!(&*error.cause, Cause::PortTaken { .. });
                        assert!(taken, "{error:?}");
                    }
                }
            });
            assert_eq!(
                winners.load(Ordering::Relaxed),
                1,
                "round {round}: {}",
                ruleset()
            );
            at_once(|at, nft| {
                portmap::remove(nft, &plugin(at).0).unwrap();
            });
            assert_eq!(ruleset(), "");
        }
    });
}

#[test]
fn the_same_for_port_mappings() {
    in_private_netns(|| {
        let plugin = |at: usize| {
            let address = format!("10.{}.0.{}/16", at % 3, at + 1);
            let ports = format!("{}:80/tcp", 8000 + at);
            let publication = publication(&[&address], &[&ports]);
            (attachment("net", &format!("c{at}"), "eth0"), publication)
        };
        for _round in 0..20 {
            at_once(|at, nft| {
                let (one, ports) = plugin(at);
                portmap::add(nft, &one, &ports).unwrap();
            });
            let text = ruleset();
            assert_eq!(text.matches(" jump hostports\n").count(), 2, "{text}");
            assert_eq!(text.matches(" masquerade\n").count(), 3, "{text}");
            assert_eq!(text.matches("id: c").count(), 2 * PLUGINS, "{text}");
            at_once(|at, nft| {
                let (one, ports) = plugin(at);
                assert_eq!(portmap::check(nft, &one, &ports).unwrap(), []);
                portmap::remove(nft, &one).unwrap();
            });
            assert_eq!(ruleset(), "");
        }
    });
}

/// Adds and removals cross all the time, so that the table comes and goes under everybody's feet.
#[test]
fn adds_and_dels_that_cross_lose_nothing() {
    in_private_netns(|| {
        at_once(|at, nft| {
            let (one, addresses) = plugin(at);
            for _round in 0..20 {
                masquerade::add(nft, &one, &addresses).unwrap();
                assert_eq!(masquerade::check(nft, &one, &addresses).unwrap(), []);
                masquerade::remove(nft, &one, Some(&addresses)).unwrap();
            }
        });
        assert_eq!(ruleset(), "");
    });
}

/// ADD-A, then ADD-B of the same address together with the late DEL-A, over and over: whichever
/// comes first, B's element is there in the end.
#[test]
fn a_late_del_never_takes_the_new_owners_element() {
    in_private_netns(|| {
        let (old, new) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let address = cidrs(&["10.1.0.5/16"]);
        let mut nft = Nft::open().unwrap();
        for round in 0..300 {
            masquerade::add(&mut nft, &old, &address).unwrap();
            let barrier = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut nft = Nft::open().unwrap();
                    barrier.wait();
                    masquerade::add(&mut nft, &new, &address).unwrap();
                });
                scope.spawn(|| {
                    let mut nft = Nft::open().unwrap();
                    barrier.wait();
                    let known = (round % 2 == 0).then_some(address.as_slice());
                    masquerade::remove(&mut nft, &old, known).unwrap();
                });
            });
            let missing = masquerade::check(&mut nft, &new, &address).unwrap();
            assert_eq!(missing, [], "round {round}");
            masquerade::remove(&mut nft, &new, Some(&address)).unwrap();
        }
        assert_eq!(ruleset(), "");
    });
}
