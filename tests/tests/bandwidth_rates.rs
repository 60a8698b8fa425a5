//! The bandwidth plugin by what it is for: how fast a container sends and receives.

use cni_testkit::{Netns, Suite, World};
use serde_json::{Value, json};
use tenon_tests::limits::{Pair, Wired};
use tenon_tests::throughput::{assert_rate, measure};

const VERSION: &str = "1.0.0";

/// Bits. A twentieth of a second or more at all rates here, which is how long a busy machine may
/// keep sender and receiver waiting.
const BURST: u32 = 1_000_000;

/// Bytes: the burst, what waits besides, and what TCP needs to find its pace.
const SKIP: usize = 500_000;

cni_testkit::suites! {
    what_is_received_keeps_to_its_rate => |suite| ingress(suite);
    what_is_sent_keeps_to_its_rate => |suite| egress(suite);
    both_keep_to_rates_of_their_own => |suite| both(suite);
}

fn received(host: &Netns, container: &Netns, pair: &Pair) -> f64 {
    measure(host, container, &pair.container_address, SKIP)
}

fn sent(host: &Netns, container: &Netns, pair: &Pair) -> f64 {
    measure(container, host, &pair.host_address, SKIP)
}

fn add(suite: &Suite, wired: &Wired, keys: &Value) {
    wired
        .pair
        .limited(suite, VERSION, keys)
        .add("c1", &wired.c1);
}

/// A veth pair without a limit takes hundreds of times as much.
#[track_caller]
fn assert_unlimited(rate: f64) {
    assert!(rate > 200e6, "{rate:.0} bits/s");
}

fn ingress(suite: &Suite) {
    let wired = Wired::new();
    let (host, c1, pair) = (wired.world.host(), &wired.c1, &wired.pair);
    add(
        suite,
        &wired,
        &json!({"ingressRate": 16_000_000, "ingressBurst": BURST}),
    );
    assert_rate(16_000_000, || received(host, c1, pair));
    assert_unlimited(sent(host, c1, pair));
}

fn egress(suite: &Suite) {
    let wired = Wired::new();
    let (host, c1, pair) = (wired.world.host(), &wired.c1, &wired.pair);
    add(
        suite,
        &wired,
        &json!({"egressRate": 12_000_000, "egressBurst": BURST}),
    );
    assert_rate(12_000_000, || sent(host, c1, pair));
    assert_unlimited(received(host, c1, pair));
}

fn both(suite: &Suite) {
    let wired = Wired::new();
    let (host, c1, pair) = (wired.world.host(), &wired.c1, &wired.pair);
    let keys = json!({"ingressRate": 8_000_000, "ingressBurst": BURST,
                      "egressRate": 20_000_000, "egressBurst": BURST});
    add(suite, &wired, &keys);
    assert_rate(8_000_000, || received(host, c1, pair));
    assert_rate(20_000_000, || sent(host, c1, pair));
}

/// Two interfaces of one container, and one of another: none takes from the others, also at the same
/// time.
#[test]
fn each_interface_has_its_own_rate() {
    let suite = Suite::ours();
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let pairs = [
        (Pair::new(&world, &c1, "eth0", 1), &c1, "c1", 8_000_000),
        (Pair::new(&world, &c1, "eth1", 2), &c1, "c1", 16_000_000),
        (Pair::new(&world, &c2, "eth0", 3), &c2, "c2", 12_000_000),
    ];
    for (pair, container, id, rate) in &pairs {
        let keys = json!({"egressRate": rate, "egressBurst": BURST});
        let network = pair.limited(&suite, VERSION, &keys);
        network.add_at(id, container, &pair.ifname);
    }
    std::thread::scope(|scope| {
        for (pair, container, _, rate) in &pairs {
            let host = world.host();
            scope.spawn(move || assert_rate(*rate, || sent(host, container, pair)));
        }
    });
}

/// After DEL the host's end is as free as before.
#[test]
fn a_limit_that_is_removed_limits_nothing() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let (host, c1, pair) = (wired.world.host(), &wired.c1, &wired.pair);
    let keys = json!({"ingressRate": 8_000_000, "ingressBurst": BURST,
                      "egressRate": 8_000_000, "egressBurst": BURST});
    let added = pair.limited(&suite, VERSION, &keys).add("c1", c1);
    added.del_ok();
    assert_unlimited(received(host, c1, pair));
    assert_unlimited(sent(host, c1, pair));
}
