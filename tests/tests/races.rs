//! Two hundred containers on one machine, sixteen threads that do with them what runtimes do, in no order,
//! and a model that knows what has to come of it.
//!
//! Environment:
//!   `TENON_RACES_SECONDS`    how long it goes on; nextest ends a test after four minutes, cargo's own runner does not
//!   `TENON_RACES_SEED`       what is done; who comes first is still for the kernel to say
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use cni_testkit::{Netns, Suite, World};
use serde_json::Value;
use tenon_tests::conflist::IFNAME;
use tenon_tests::fleet::{Chain, Member, Tally, chains, collect, machine};
use tenon_tests::network::cidrs;
use tenon_tests::random::{self, Random};
use tenon_tests::reaper;

/// In CI.
const SECONDS: u64 = 30;

const THREADS: u64 = 16;

/// How many containers each of the networks has.
const CONTAINERS: [usize; 4] = [80, 40, 40, 40];

#[test]
fn two_hundred_containers_come_and_go_in_no_order() {
    let seed = random::seed("TENON_RACES_SEED");
    let seconds = random::number("TENON_RACES_SECONDS", SECONDS);
    reaper::adopt_orphans();
    let (world, suite, tally) = (World::new(), Suite::ours(), Tally::default());
    let chains = chains(&world);
    let names: Vec<_> = (0..CONTAINERS.iter().sum())
        .map(|n| format!("pod{n}"))
        .collect();
    let namespaces: Vec<_> = names.iter().map(|name| world.container(name)).collect();
    let others = ["first", "other"].map(|name| (name, world.container(name)));
    let mut random = Random::new(seed);
    for chain in &chains {
        let first = Member::new(&suite, chain, (others[0].0, &others[0].1), 9000, &tally);
        let result = first.add(&mut random);
        first.del(&mut random, &result);
    }
    let before = machine(&world);
    let networks = chains.each_ref().map(Network::new);
    let places = place(&names, &namespaces, &networks, &suite, &tally);
    let game = Game {
        suite: &suite,
        networks: &networks,
        places: &places,
        tally: &tally,
        is_over: AtomicBool::new(false),
    };
    game.play(seed, Duration::from_secs(seconds));
    eprint!("{tally}");
    game.end(&mut random);
    reaper::wait_for_the_ended();
    // An index of leases that a killed call has left stays after calls that are to know of none, until the
    // next one that may.
    for chain in &chains {
        let last = Member::new(&suite, chain, (others[1].0, &others[1].1), 9001, &tally);
        let last = last.in_the_fast_way();
        let result = last.add(&mut random);
        last.del(&mut random, &result);
    }
    reaper::wait_for_the_ended();
    before.assert_unchanged(&machine(&world));
    for what in [
        "ADD",
        "CHECK",
        "DEL",
        "GC",
        "second ADD",
        "CHECK of nothing",
        "ping",
    ] {
        assert!(tally.of(what) > 0, "never: {what}");
    }
}

/// The containers, each on its network.
fn place<'a>(
    names: &'a [String],
    namespaces: &'a [Netns],
    networks: &'a [Network<'a>; 4],
    suite: &'a Suite,
    tally: &'a Tally,
) -> Vec<Place<'a>> {
    let of_each = networks.iter().zip(CONTAINERS);
    let homes = of_each.flat_map(|(network, count)| std::iter::repeat_n(network, count));
    let containers = names.iter().zip(namespaces).enumerate();
    let places = homes
        .zip(containers)
        .map(|(network, (index, (id, netns)))| Place {
            member: Member::new(suite, network.chain, (id, netns), 10_000 + index, tally),
            network,
            attached: Mutex::new(None),
        });
    places.collect()
}

/// A network, as the model sees it.
struct Network<'a> {
    chain: &'a Chain,
    /// Who has which address.
    owners: Mutex<BTreeMap<String, String>>,
    /// GC has a network for itself: section "Lifecycle & Ordering" of the specification.
    collected: RwLock<()>,
}

/// A container, as the model sees it: with a result while it is attached. Who has the lock does something
/// with the container; there is one at a time, as the specification has it.
struct Place<'a> {
    member: Member<'a>,
    network: &'a Network<'a>,
    attached: Mutex<Option<Value>>,
}

struct Game<'a> {
    suite: &'a Suite,
    networks: &'a [Network<'a>; 4],
    places: &'a [Place<'a>],
    tally: &'a Tally,
    is_over: AtomicBool,
}

impl<'a> Network<'a> {
    fn new(chain: &'a Chain) -> Self {
        Self {
            chain,
            owners: Mutex::default(),
            collected: RwLock::default(),
        }
    }

    fn give(&self, owner: &str, result: &Value) {
        let mut owners = self.owners.lock().unwrap();
        for address in cidrs(result) {
            let other = owners.insert(address.clone(), owner.to_owned());
            assert_eq!(other, None, "{address} is given to {owner} as well");
        }
    }

    fn take(&self, result: &Value) {
        let mut owners = self.owners.lock().unwrap();
        for address in cidrs(result) {
            assert!(owners.remove(&address).is_some(), "{address}");
        }
    }
}

/// Ends the others' game too when one is lost.
struct Player<'a>(&'a AtomicBool);

impl Drop for Player<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Game<'_> {
    fn play(&self, seed: u64, time: Duration) {
        let end = Instant::now() + time;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut random = Random::stream(seed, thread);
                scope.spawn(move || {
                    let player = Player(&self.is_over);
                    while Instant::now() < end && !player.0.load(Ordering::Relaxed) {
                        self.turn(&mut random);
                    }
                });
            }
        });
    }

    fn turn(&self, random: &mut Random) {
        if random.percent(1) {
            return self.collect(&self.networks[random.below(4)]);
        }
        let place = &self.places[random.below(self.places.len())];
        let _not_collected = place.network.collected.read().unwrap();
        let Ok(mut attached) = place.attached.try_lock() else {
            return;
        };
        match attached.take() {
            Some(result) => *attached = self.with_attached(random, place, result),
            None => *attached = self.with_detached(random, place),
        }
    }

    fn with_attached(
        &self,
        random: &mut Random,
        place: &Place<'_>,
        result: Value,
    ) -> Option<Value> {
        let member = &place.member;
        match random.below(100) {
            0..40 => member.check_ok(random, &result),
            40..50 => {
                self.count("second ADD");
                let second = member.try_add(random);
                assert!(second.is_err(), "{} has its interface already", member.id);
                member.check_ok(random, &result);
            }
            chance => {
                place.network.take(&result);
                if chance < 60 {
                    member.interrupt(random, "DEL", &result);
                }
                member.del(random, &result);
                return None;
            }
        }
        Some(result)
    }

    fn with_detached(&self, random: &mut Random, place: &Place<'_>) -> Option<Value> {
        let member = &place.member;
        match random.below(100) {
            0..10 => member.del(random, &Value::Null),
            10..25 => {
                member.interrupt(random, "ADD", &Value::Null);
                member.del(random, &Value::Null);
            }
            _ => return Some(self.attach(random, place)),
        }
        None
    }

    fn attach(&self, random: &mut Random, place: &Place<'_>) -> Value {
        let member = &place.member;
        let result = member.add(random);
        place.network.give(member.id, &result);
        if random.percent(10) {
            self.count("ping");
            for gateway in &member.chain.gateways {
                assert!(
                    member.netns.ping_within(gateway, 10),
                    "{} has no {gateway}",
                    member.id
                );
            }
        }
        if random.percent(10) {
            self.count("CHECK of nothing");
            place.network.take(&result);
            member.del(random, &result);
            let found = member.check(random, &result);
            assert!(found.is_some(), "{}: CHECK passes after DEL", member.id);
            let again = member.add(random);
            place.network.give(member.id, &again);
            return again;
        }
        result
    }

    fn collect(&self, network: &Network<'_>) {
        let _alone = network.collected.write().unwrap();
        let here = self
            .places
            .iter()
            .filter(|place| std::ptr::eq(place.network, network));
        let valid: Vec<_> = here
            .filter(|place| held(place).is_some())
            .map(|place| (place.member.id, IFNAME))
            .collect();
        collect(self.suite, network.chain, &valid, self.tally);
    }

    /// Those who are attached are as they should be, and go, at once.
    fn end(&self, random: &mut Random) {
        let seeds: Vec<_> = (0..THREADS).map(|_thread| random.number()).collect();
        std::thread::scope(|scope| {
            for (thread, seed) in seeds.into_iter().enumerate() {
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let places = self
                        .places
                        .iter()
                        .skip(thread)
                        .step_by(usize::try_from(THREADS).unwrap());
                    for place in places {
                        if let Some(result) = held(place).take() {
                            place.member.check_ok(&mut random, &result);
                            place.member.del(&mut random, &result);
                        }
                    }
                });
            }
        });
    }

    fn count(&self, what: &str) {
        self.tally.count(what, Duration::ZERO);
    }
}

fn held<'p>(place: &'p Place<'_>) -> MutexGuard<'p, Option<Value>> {
    place.attached.lock().unwrap()
}
