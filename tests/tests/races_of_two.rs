//! Two who meet at one attachment: an ADD and a DEL, an ADD and a GC, a DEL and the end of the namespace.
//! Specification and runtimes do not want the first two, and there is no saying who wins; but there is
//! no half attachment that CHECK passes, and after DEL there is none at all.
//!
//! Environment:
//!   `TENON_RACES_ROUNDS`    how often each pair meets, on each network
//!   `TENON_RACES_SEED`      at which moments

use std::time::Duration;

use cni_testkit::{Outcome, Runner, Snapshot, Suite, World, wait_for};
use serde_json::Value;
use tenon_tests::at_once::run_at_once;
use tenon_tests::conflist::IFNAME;
use tenon_tests::fleet::{Chain, Member, Tally, chains, collect, pause};
use tenon_tests::network::cidrs;
use tenon_tests::random::{self, Random};

/// In CI.
const ROUNDS: u64 = 6;

/// The other one comes so much later at most: longer than most ADDs take.
const LATER: Duration = Duration::from_millis(60);

/// Without host-local's index, which comes and goes beside leases as it pays.
fn machine(world: &World) -> Snapshot {
    tenon_tests::fleet::machine(world).without("/run/tenon")
}

fn rounds() -> u64 {
    random::number("TENON_RACES_ROUNDS", ROUNDS)
}

/// A network that has been used and has another attachment standing, so that what is shared is there.
fn each_network(test: impl Fn(&World, &Suite, &Chain, &mut Random)) {
    let mut random = Random::new(random::seed("TENON_RACES_SEED"));
    let (world, suite, tally) = (World::new(), Suite::ours(), Tally::default());
    let standing = world.container("standing");
    for chain in &chains(&world) {
        let member = Member::new(&suite, chain, ("standing", &standing), 9000, &tally);
        let result = member.add(&mut random);
        test(&world, &suite, chain, &mut random);
        member.check_ok(&mut random, &result);
        member.assert_complete(&result);
        member.del(&mut random, &result);
    }
}

/// What has come of an ADD that somebody came across, and then nothing of it.
#[track_caller]
fn whole_or_not(
    random: &mut Random,
    member: &Member<'_>,
    added: Result<Value, Outcome>,
) -> &'static str {
    let Ok(result) = added else {
        member.del(random, &Value::Null);
        return "ADD failed";
    };
    let found = member.check(random, &result);
    if found.is_none() {
        member.assert_complete(&result);
    }
    member.del(random, &result);
    found.map_or("CHECK passed", |_failed| "CHECK failed")
}

#[test]
fn an_add_and_a_del_of_the_same_attachment() {
    let seen = Tally::default();
    each_network(|world, suite, chain, random| {
        let (c1, tally) = (world.container("c1"), Tally::default());
        let member = Member::new(suite, chain, ("c1", &c1), 9001, &tally);
        let before = machine(world);
        for _round in 0..rounds() {
            let dels = member.dels(random, &Value::Null);
            let (moment, mut adding) = (random.shorter_than(LATER), random.clone());
            let added = std::thread::scope(|scope| {
                let add = scope.spawn(|| member.try_add(&mut adding));
                pause(moment);
                for deleted in dels.iter().map(Runner::run) {
                    // The kernel refuses to delete what is being added to: "try again later".
                    if deleted.code != 0 {
                        deleted.expect_error(11);
                    }
                }
                add.join().unwrap()
            });
            seen.count(whole_or_not(random, &member, added), Duration::ZERO);
            let _next = random.number();
            before.assert_unchanged(&machine(world));
        }
    });
    eprint!("{seen}");
}

/// The attachment is not in the list yet, since its ADD is under way.
#[test]
fn an_add_and_a_gc_that_does_not_know_of_it() {
    let seen = Tally::default();
    each_network(|world, suite, chain, random| {
        let (c1, c2, tally) = (
            world.container("c1"),
            world.container("c2"),
            Tally::default(),
        );
        let member = Member::new(suite, chain, ("c1", &c1), 9001, &tally);
        let next = Member::new(suite, chain, ("c2", &c2), 9002, &tally);
        let before = machine(world);
        for _round in 0..rounds() {
            let (moment, mut adding) = (random.shorter_than(LATER), random.clone());
            let added = std::thread::scope(|scope| {
                let add = scope.spawn(|| member.try_add(&mut adding));
                pause(moment);
                collect(suite, chain, &[("standing", IFNAME)], &tally);
                add.join().unwrap()
            });
            let _next = random.number();
            if let Ok(result) = &added {
                // An address that GC has taken may be somebody else's by now, and CHECK says so.
                let other = next.add(random);
                let shared = cidrs(&other)
                    .iter()
                    .any(|cidr| cidrs(result).contains(cidr));
                assert!(
                    !shared || member.check(random, result).is_some(),
                    "{result}"
                );
                next.check_ok(random, &other);
                next.del(random, &other);
            }
            seen.count(whole_or_not(random, &member, added), Duration::ZERO);
            before.assert_unchanged(&machine(world));
        }
    });
    eprint!("{seen}");
}

/// `ip netns del` before, while and after DEL runs.
#[test]
fn a_del_and_the_end_of_the_namespace() {
    each_network(|world, suite, chain, random| {
        let tally = Tally::default();
        let before = machine(world);
        for round in 0..rounds() {
            let name = format!("c{round}");
            let netns = world.container(&name);
            let dels = {
                let member = Member::new(suite, chain, (&name, &netns), 9001, &tally);
                let result = member.add(random);
                let known = if random.percent(50) {
                    result
                } else {
                    Value::Null
                };
                member.dels(random, &known)
            };
            let moment = random.shorter_than(LATER);
            std::thread::scope(|scope| {
                let ends = scope.spawn(move || {
                    // In the first round it is gone before, in the second one it stays till after.
                    match round {
                        0 => drop(netns),
                        1 => return Some(netns),
                        _ => {
                            pause(moment);
                            drop(netns);
                        }
                    }
                    None
                });
                let kept = if round < 2 {
                    ends.join().unwrap()
                } else {
                    None
                };
                for deleted in dels.iter().map(Runner::run) {
                    deleted.expect_silent_ok();
                }
                drop(kept);
            });
            // The kernel takes the links of a dead namespace away when it finds the time.
            wait_for("the end of the namespace", Duration::from_secs(10), || {
                before.diff(&machine(world)).is_empty()
            });
        }
    });
}

/// Whoever comes first makes the bridge, and several may.
#[test]
fn first_adds_at_once_make_the_bridge_that_one_makes() {
    let suite = Suite::ours();
    let bridge_of = |index: usize, count: usize| {
        let (world, tally) = (World::new(), Tally::default());
        let chain = &chains(&world)[index];
        let names: Vec<_> = (0..count).map(|number| format!("c{number}")).collect();
        let namespaces: Vec<_> = names.iter().map(|name| world.container(name)).collect();
        let mut random = Random::new(0);
        let members: Vec<_> = names
            .iter()
            .zip(&namespaces)
            .map(|(name, netns)| Member::new(&suite, chain, (name, netns), 9000, &tally))
            .collect();
        let first = chain.list["plugins"].get(0).unwrap();
        let mut call = |command: &str, result: &Value| {
            let calls = members
                .iter()
                .map(|member| member.call(&mut random, command, first, result));
            run_at_once(&calls.collect::<Vec<_>>())
        };
        for added in call("ADD", &Value::Null) {
            added.expect_ok();
        }
        for deleted in call("DEL", &Value::Null) {
            deleted.expect_silent_ok();
        }
        // It is drawn.
        machine(&world)
            .without("link race0 address =")
            .without("link race1 address =")
    };
    for index in 0..2 {
        let alone = bridge_of(index, 1);
        for count in [2, 16] {
            alone.assert_unchanged(&bridge_of(index, count));
        }
    }
}
