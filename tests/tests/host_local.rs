//! host-local by itself: which addresses it gives, and what it keeps on disk.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::PathBuf;

use cni_testkit::{Netns, Outcome, Runner, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, cidrs};

const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    the_files_of_a_lease => |suite| lease_files(suite);
    addresses_go_round => |suite| round_robin(suite);
    two_interfaces_of_one_container_have_leases_of_their_own => |suite| two_interfaces(suite);
    a_second_add_is_refused => |suite| duplicate(suite);
    leases_in_the_old_form_are_released => |suite| old_form(suite);
    whitespace_does_not_matter => |suite| whitespace(suite);
    an_unknown_container_is_deleted => |suite| unknown(suite);
    an_asked_address_is_given => |suite| asked(suite);
    an_asked_address_that_cannot_be_had => |suite| asked_in_vain(suite);
    gateway_network_and_broadcast_are_not_given => |suite| small_subnet(suite);
    explicit_ends_are_given => |suite| explicit_ends(suite);
    a_full_pool_is_told => |suite| full(suite);
    ranges_of_the_runtime_come_first => |suite| runtime_ranges(suite);
    the_old_keys_work => |suite| old_keys(suite);
    routes_are_told_as_they_are_written => |suite| told_routes(suite);
    check_wants_a_lease => |suite| check(suite);
    config_mistakes_are_told => |suite| mistakes(suite);
}

struct Pool<'a> {
    world: World,
    c1: Netns,
    suite: &'a Suite,
    ipam: Value,
}

impl<'a> Pool<'a> {
    fn new(suite: &'a Suite, ipam: Value) -> Self {
        let world = World::new();
        let c1 = world.container("c1");
        let own = json!({"type": "host-local", "dataDir": world.data_dir()});
        let ipam = cni_testkit::Conf(own).with(ipam).0;
        Self {
            world,
            c1,
            suite,
            ipam,
        }
    }

    fn call(&self, command: &str, id: &str, keys: Value) -> Runner {
        let conf = conf::plugin(VERSION, "host-local")
            .ipam(self.ipam.clone())
            .with(keys);
        Network::new(self.suite, conf).call_for(command, id, &self.c1)
    }

    fn try_add(&self, id: &str) -> Outcome {
        self.call("ADD", id, json!({})).run()
    }

    #[track_caller]
    fn add(&self, id: &str) -> String {
        let mut cidrs = cidrs(&self.try_add(id).expect_ok().json());
        assert_eq!(cidrs.len(), 1);
        cidrs.remove(0)
    }

    #[track_caller]
    fn del(&self, id: &str) {
        self.call("DEL", id, json!({})).run().expect_silent_ok();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.data_dir().join("tenon-net").join(name)
    }

    fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.file(name)).ok()
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.file("")).unwrap();
        fs::write(self.file(name), content).unwrap();
    }
}

fn subnet(text: &str) -> Value {
    json!({"ranges": [[{"subnet": text}]]})
}

fn lease_files(suite: &Suite) {
    let ranges = json!({"ranges": [[{"subnet": "10.93.0.0/24"}], [{"subnet": "2001:db8:1::/48"}]]});
    let pool = Pool::new(suite, ranges);
    let outcome = pool.try_add("c1").expect_ok();
    assert_eq!(outcome.stderr, "");
    let result = outcome.json();
    assert_eq!(cidrs(&result), ["10.93.0.2/24", "2001:db8:1::2/48"]);
    assert_eq!(result["ips"][1]["gateway"], "2001:db8:1::1");
    assert_eq!(result["interfaces"], Value::Null);
    for name in ["10.93.0.2", "2001:db8:1::2"] {
        assert_eq!(pool.content(name).as_deref(), Some("c1\r\neth0"));
    }
    assert_eq!(
        pool.content("last_reserved_ip.0").as_deref(),
        Some("10.93.0.2")
    );
    assert_eq!(
        pool.content("last_reserved_ip.1").as_deref(),
        Some("2001:db8:1::2")
    );
    assert!(pool.file("lock").is_file());
    assert_eq!(
        fs::read_dir(pool.file("")).unwrap().count(),
        5,
        "and no file besides"
    );
    pool.del("c1");
    assert_eq!(pool.content("10.93.0.2"), None);
    assert_eq!(
        pool.content("last_reserved_ip.0").as_deref(),
        Some("10.93.0.2")
    );
    assert_eq!(fs::read_dir(pool.file("")).unwrap().count(), 3);
}

/// An address that was just given back is the last to be given again.
fn round_robin(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/29"));
    let given: Vec<_> = ["a", "b", "c"].iter().map(|id| pool.add(id)).collect();
    assert_eq!(given, ["10.93.0.2/29", "10.93.0.3/29", "10.93.0.4/29"]);
    pool.del("a");
    pool.del("b");
    let given: Vec<_> = ["d", "e", "f", "g"].iter().map(|id| pool.add(id)).collect();
    assert_eq!(
        given,
        [
            "10.93.0.5/29",
            "10.93.0.6/29",
            "10.93.0.2/29",
            "10.93.0.3/29"
        ]
    );
    // The last one that was given is tried as well, last of all.
    pool.del("g");
    assert_eq!(pool.add("h"), "10.93.0.3/29");
}

fn two_interfaces(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    pool.add("c1");
    let second = pool.call("ADD", "c1", json!({})).ifname("eth1");
    assert_eq!(cidrs(&second.run().expect_ok().json()), ["10.93.0.3/24"]);
    assert_eq!(pool.content("10.93.0.3").as_deref(), Some("c1\r\neth1"));
    pool.del("c1");
    assert_eq!(pool.content("10.93.0.2"), None);
    assert!(pool.content("10.93.0.3").is_some());
}

fn duplicate(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    pool.add("c1");
    let error = pool.try_add("c1").expect_any_error();
    let text = error["msg"].as_str().unwrap();
    let words = "10.93.0.2 has been allocated to c1, duplicate allocation is not allowed";
    assert!(text.contains(words), "{error}");
    assert!(pool.content("10.93.0.2").is_some());
    if !differs(suite, "error-codes") {
        assert_eq!(error["code"], 101);
        let file = pool.file("10.93.0.2");
        assert!(
            error["details"]
                .as_str()
                .unwrap()
                .contains(file.to_str().unwrap()),
            "{error}"
        );
    }
}

fn old_form(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    pool.write("10.93.0.7", "c1");
    pool.write("10.93.0.8", "c12");
    pool.del("c1");
    assert_eq!(pool.content("10.93.0.7"), None);
    assert!(pool.content("10.93.0.8").is_some());
}

fn whitespace(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    pool.write("10.93.0.7", " c1\r\neth0\n\n");
    pool.del("c1");
    assert_eq!(pool.content("10.93.0.7"), None);
}

fn unknown(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    pool.del("c1");
    pool.add("c2");
    pool.del("c1");
    assert!(pool.content("10.93.0.2").is_some());
}

/// By the environment, by the config and by the runtime; with a prefix length or without.
fn asked(suite: &Suite) {
    let ranges = json!({"ranges": [[{"subnet": "10.93.0.0/24"}], [{"subnet": "fd93::/64"}]]});
    for (args, keys, expected) in [
        (
            "IgnoreUnknown=1;IP=10.93.0.9",
            json!({}),
            ["10.93.0.9/24", "fd93::2/64"],
        ),
        (
            "",
            json!({"args": {"cni": {"ips": ["10.93.0.9/24"]}}}),
            ["10.93.0.9/24", "fd93::2/64"],
        ),
        (
            "",
            json!({"runtimeConfig": {"ips": ["fd93::9", "10.93.0.9"]}}),
            ["10.93.0.9/24", "fd93::9/64"],
        ),
    ] {
        let pool = Pool::new(suite, ranges.clone());
        let call = pool.call("ADD", "c1", keys).args(args);
        assert_eq!(cidrs(&call.run().expect_ok().json()), expected);
    }
}

fn asked_in_vain(suite: &Suite) {
    for (address, text) in [
        ("10.93.0.1", "requested ip 10.93.0.1 is subnet's gateway"),
        (
            "10.93.0.8",
            "requested IP address 10.93.0.8 is not available in range set",
        ),
        ("10.99.0.1", "failed to allocate all requested IPs"),
    ] {
        let pool = Pool::new(suite, subnet("10.93.0.0/24"));
        pool.write("10.93.0.8", "other\r\neth0");
        let call = pool
            .call("ADD", "c1", json!({}))
            .args(&format!("IP={address}"));
        let error = call.run().expect_any_error();
        assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
        let files = fs::read_dir(pool.file("")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
        let leases: Vec<_> = names.filter(|name| name.starts_with("10.")).collect();
        assert_eq!(leases, ["10.93.0.8"], "{address}");
    }
}

fn small_subnet(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/30"));
    assert_eq!(pool.add("c1"), "10.93.0.2/30");
    let error = pool.try_add("c2").expect_any_error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("no IP addresses available"),
        "{error}"
    );
}

/// What is named is given, be it the network's own address.
fn explicit_ends(suite: &Suite) {
    let range = json!({"subnet": "10.93.0.0/24", "rangeStart": "10.93.0.0", "rangeEnd": "10.93.0.2", "gateway": "10.93.0.1"});
    let pool = Pool::new(suite, json!({"ranges": [[range]]}));
    assert_eq!(pool.add("a"), "10.93.0.0/24");
    assert_eq!(pool.add("b"), "10.93.0.2/24");
}

fn full(suite: &Suite) {
    let ranges = json!({"ranges": [[
        {"subnet": "10.93.0.0/24", "rangeStart": "10.93.0.1", "rangeEnd": "10.93.0.2"},
        {"subnet": "10.94.0.0/24", "rangeStart": "10.94.0.5", "rangeEnd": "10.94.0.6"},
    ]]});
    let pool = Pool::new(suite, ranges);
    let given: Vec<_> = ["a", "b", "c"].iter().map(|id| pool.add(id)).collect();
    assert_eq!(given, ["10.93.0.2/24", "10.94.0.5/24", "10.94.0.6/24"]);
    let error = pool.try_add("d").expect_any_error();
    let text = "no IP addresses available in range set: 10.93.0.1-10.93.0.2,10.94.0.5-10.94.0.6";
    assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
    pool.del("b");
    assert_eq!(pool.add("d"), "10.94.0.5/24");
}

fn runtime_ranges(suite: &Suite) {
    let ipam = json!({
        "subnet": "10.94.0.0/24",
        "ranges": [[{"subnet": "10.95.0.0/24"}]],
    });
    let pool = Pool::new(suite, ipam);
    let keys = json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.93.0.0/24"}]]}});
    let result = pool.call("ADD", "c1", keys).run().expect_ok().json();
    assert_eq!(
        cidrs(&result),
        ["10.93.0.2/24", "10.94.0.2/24", "10.95.0.2/24"]
    );
}

fn old_keys(suite: &Suite) {
    let ipam = json!({
        "subnet": "10.93.0.0/24", "rangeStart": "10.93.0.50", "rangeEnd": "10.93.0.60", "gateway": "10.93.0.254",
    });
    let pool = Pool::new(suite, ipam);
    let result = pool.try_add("c1").expect_ok().json();
    assert_eq!(cidrs(&result), ["10.93.0.50/24"]);
    assert_eq!(result["ips"][0]["gateway"], "10.93.0.254");
}

fn told_routes(suite: &Suite) {
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.93.0.9"}]);
    let ipam = json!({"subnet": "10.93.0.0/24", "routes": routes});
    let pool = Pool::new(suite, ipam);
    assert_eq!(pool.try_add("c1").expect_ok().json()["routes"], routes);
}

fn check(suite: &Suite) {
    let pool = Pool::new(suite, subnet("10.93.0.0/24"));
    let result = pool.try_add("c1").expect_ok().json();
    let keys = json!({"prevResult": result});
    pool.call("CHECK", "c1", keys.clone())
        .run()
        .expect_silent_ok();
    fs::remove_file(pool.file("10.93.0.2")).unwrap();
    let error = pool.call("CHECK", "c1", keys).run().expect_any_error();
    let text = "Failed to find address added by container c1";
    assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
}

fn mistakes(suite: &Suite) {
    let range = |subnet: &str| json!({"subnet": subnet});
    for (ranges, text) in [
        (json!([]), "no IP ranges specified"),
        (json!([[]]), "empty range set"),
        (
            json!([[range("10.93.0.0/24"), range("10.93.0.0/25")]]),
            "overlap",
        ),
        (
            json!([[range("10.93.0.0/24")], [range("10.93.0.0/24")]]),
            "overlaps with",
        ),
        (
            json!([[range("10.93.0.0/24"), range("fd93::/64")]]),
            "mixed address families",
        ),
        (json!([[range("10.93.0.9/24")]]), "10.93.0.0"),
        (
            json!([[range("10.93.0.0/32")]]),
            "too small to allocate from",
        ),
        (
            json!([[{"subnet": "10.93.0.0/24", "rangeStart": "10.94.0.1"}]]),
            "RangeStart 10.94.0.1 not in network 10.93.0.0/24",
        ),
        (
            json!([[{"subnet": "10.93.0.0/24", "rangeEnd": "10.94.0.1"}]]),
            "RangeEnd 10.94.0.1 not in network 10.93.0.0/24",
        ),
    ] {
        let pool = Pool::new(suite, json!({"ranges": ranges}));
        let error = pool.try_add("c1").expect_any_error();
        assert!(
            error["msg"].as_str().unwrap().contains(text),
            "{text}: {error}"
        );
        assert!(!pool.world.data_dir().exists());
    }
}

/// A crash of the reference between making a file and writing to it.
#[test]
fn an_empty_lease_is_given_again() {
    let suite = Suite::ours();
    let pool = Pool::new(&suite, json!({"ranges": [[{"subnet": "10.93.0.0/30"}]]}));
    pool.write("10.93.0.2", "");
    assert_eq!(pool.add("c1"), "10.93.0.2/30");
    assert_eq!(pool.content("10.93.0.2").as_deref(), Some("c1\r\neth0"));
}

/// Files of others in the directory are neither read as leases nor removed.
#[test]
fn foreign_files_stay() {
    let suite = Suite::ours();
    let pool = Pool::new(&suite, subnet("10.93.0.0/24"));
    pool.write("README", "c1\r\neth0");
    pool.write("10.93.0.300", "c1\r\neth0");
    fs::create_dir_all(pool.file("10.93.0.44")).unwrap();
    assert_eq!(pool.add("c1"), "10.93.0.2/24");
    pool.del("c1");
    assert!(pool.content("README").is_some() && pool.content("10.93.0.300").is_some());
    assert!(pool.file("10.93.0.44").is_dir());
}
