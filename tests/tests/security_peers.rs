//! A CNM driver, and a Docker Engine, that mean no good: whatever they answer, in bounded time and memory,
//! and nothing that is not theirs is touched. `cnm_faults.rs` and `cnm_engine_refused.rs` have those that
//! fail honestly.
#![expect(clippy::indexing_slicing, reason = "test functions fail by panicking")]

use std::path::Path;
use std::time::Duration;

use cni_testkit::{Netns, Outcome, Snapshot, Suite, World, conf, require};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Fault, Method};
use tenon_tests::cnm::hostile::{Hostile, Malice};
use tenon_tests::cnm::shim::{DRIVER, RECORDS, Shim};
use tenon_tests::network::Network;

/// Where the hostile one listens.
const SOCKET: &str = "/run/docker/plugins/evil.sock";

/// The config's, in seconds; an ADD and its undo may take it both, and a busy machine adds.
const TIMEOUT: u64 = 1;
const BOUND: Duration = Duration::from_secs(6);

/// Address space that a command may have: several times what it needs.
const MEMORY: &str = "--as=268435456";

fn bounded(network: &Network<'_>, command: &str, c1: &Netns) -> Outcome {
    let call = network
        .call_for(command, "c1", c1)
        .through(&["prlimit", MEMORY]);
    let outcome = call.run();
    assert!(outcome.elapsed < BOUND, "{outcome}");
    assert!(
        outcome.stdout.len() < 20_000,
        "it repeats {} bytes",
        outcome.stdout.len()
    );
    outcome
}

/// On machines of their own, several at once: most of the time is spent waiting.
fn each(malices: &[Malice], keys: &Value) {
    require("prlimit");
    for some in malices.chunks(4) {
        std::thread::scope(|scope| {
            let ended: Vec<_> = some
                .iter()
                .map(|malice| scope.spawn(|| endure(*malice, keys)))
                .collect();
            for ended in ended {
                ended
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
}

fn endure(malice: Malice, keys: &Value) {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let before = (world.snapshot(), Snapshot::of(&c1));
    let hostile = Hostile::at(Path::new(SOCKET), malice);
    let conf = conf::plugin("1.1.0", "cnm-shim").with(keys.clone());
    let network = Network::new(&suite, conf.with(json!({"timeout": TIMEOUT})));
    // A driver's error, an unknown container, nobody who answers in time.
    let is_fair = |outcome: &Outcome| matches!(outcome.json()["code"].as_u64(), Some(3 | 11 | 140));
    let add = bounded(&network, "ADD", &c1);
    assert!(add.code != 0 && is_fair(&add), "{malice:?}: {add}");
    let status = network.call("STATUS").run();
    assert!(status.elapsed < BOUND, "{malice:?}: {status}");
    assert!(
        status.code == 0 || status.json()["code"] == 50,
        "{malice:?}: {status}"
    );
    let del = bounded(&network, "DEL", &c1);
    assert!(del.code == 0 || is_fair(&del), "{malice:?}: {del}");
    drop(hostile);
    before.0.assert_unchanged(&world.snapshot());
    before.1.assert_unchanged(&Snapshot::of(&c1));
}

#[test]
fn a_driver_that_answers_without_end_or_sense() {
    each(
        &Malice::ALL,
        &json!({"driver": "evil", "subnet": "10.77.0.0/24"}),
    );
}

#[test]
fn an_ipam_driver_that_answers_without_end_or_sense() {
    let some = [
        Malice::EndlessBody,
        Malice::Drip,
        Malice::DeepJson,
        Malice::HugeNumber,
    ];
    each(
        &some,
        &json!({"ipamDriver": "evil", "subnet": "10.77.0.0/24"}),
    );
}

#[test]
fn an_engine_that_answers_without_end_or_sense() {
    let socket = format!("unix://{SOCKET}");
    each(
        &Malice::ALL,
        &json!({"backend": "engine", "network": "n", "engineSocket": socket}),
    );
}

/// Links that are none, or none of the driver's.
const NAMES: [&str; 8] = [
    "../../etc/passwd",
    "..",
    "a\nb",
    "a\u{0}b",
    "lo",
    "uplink",
    "port9",
    "missing",
];

/// What a driver says in the right place, and must not get.
fn lies() -> Vec<(Method, Value)> {
    let join = |name: &str| {
        (
            Method::Join,
            json!({"InterfaceName": {"SrcName": name, "DstPrefix": "eth"}}),
        )
    };
    let long = "x".repeat(100_000);
    let names = [NAMES.as_slice(), &[&long]].concat();
    let mut lies: Vec<_> = names.into_iter().map(join).collect();
    lies.extend([
        (Method::Join, json!({"Gateway": "nonsense"})),
        (Method::Join, json!({"Gateway": "10.77.0.1/24"})),
        (Method::Join, json!({"GatewayIPv6": "::ffff:1.2.3.4"})),
        (
            Method::Join,
            json!({"StaticRoutes": [{"Destination": "../..", "RouteType": 0}]}),
        ),
        (
            Method::Join,
            json!({"StaticRoutes": [{"Destination": "0.0.0.0/99", "NextHop": "x"}]}),
        ),
        (
            Method::Join,
            json!({"StaticRoutes": vec![json!({"Destination": "10.0.0.0/8"}); 3000]}),
        ),
        (
            Method::CreateEndpoint,
            json!({"Interface": {"Address": "127.0.0.1/8"}}),
        ),
        (
            Method::CreateEndpoint,
            json!({"Interface": {"MacAddress": "ff:ff:ff:ff:ff:ff"}}),
        ),
        (Method::RequestAddress, json!({"Address": "10.99.0.9/24"})),
        (Method::RequestAddress, json!({"Address": "0.0.0.0/0"})),
        (Method::RequestAddress, json!({"Address": "127.0.0.1/8"})),
        (Method::RequestAddress, json!({"Address": "fe80::1/64"})),
        (Method::RequestAddress, json!({"Address": "10.77.0.2"})),
        (
            Method::RequestPool,
            json!({"PoolID": "../../../run/secret", "Pool": "10.77.0.0/24"}),
        ),
        (
            Method::RequestPool,
            json!({"PoolID": "a\nb", "Pool": "0.0.0.0/0"}),
        ),
        (
            Method::RequestPool,
            json!({"PoolID": long, "Pool": "fd00::/8"}),
        ),
    ]);
    lies
}

/// Links that are others': the host's way out, and another container's port.
fn make_others(world: &World) {
    let host = world.host();
    host.ip("link add uplink type veth peer name cable");
    host.ip("addr add 192.0.2.2/24 dev uplink");
    host.ip("link set uplink up");
    host.ip("link set cable up");
    host.ip("route add default via 192.0.2.1");
    host.ip("link add br9 type bridge");
    host.ip("link add port9 type veth peer name peer9");
    host.ip("link set port9 master br9");
    host.ip("link set port9 up");
}

#[test]
fn what_a_driver_says_of_others_is_not_believed() {
    let shim = Shim::new();
    make_others(&shim.world);
    let host = shim.world.host();
    let others = || {
        let of = |name: &str| host.ip(&format!("-4 addr show dev {name}"));
        (
            of("uplink"),
            of("port9"),
            host.ip("route show default"),
            host.link_names().len(),
        )
    };
    let c1 = shim.world.container("c1");
    let network = shim.network(json!({"timeout": TIMEOUT, "subnet": "10.77.0.0/24"}));
    let before = others();
    let mut refused = 0;
    for (method, lie) in lies() {
        let what = format!("{method}: {:.100}", lie.to_string());
        shim.driver.fault(method, Fault::replying(lie));
        let add = bounded(&network, "ADD", &c1);
        shim.driver.clear_faults();
        if add.code == 0 {
            // It is the driver's own that is odd, or was not looked at.
            assert_eq!(others().0, before.0, "{what}");
            bounded(&network, "DEL", &c1).expect_silent_ok();
        } else {
            refused += 1;
            let error = add.expect_any_error();
            assert_ne!(error["code"], 999, "{what}: {error}");
            bounded(&network, "DEL", &c1);
        }
        assert_eq!(others(), before, "{what}");
        assert_eq!(c1.link_names(), ["lo"], "{what}");
        shim.driver.restart_without_memory();
        let _ = std::fs::remove_dir_all(RECORDS);
    }
    assert!(refused >= 15, "{refused}");
    assert!(!Path::new("/run/secret").exists() && DRIVER == "tenon");
}
