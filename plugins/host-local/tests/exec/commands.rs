//! What every command answers, and what it leaves.

use std::fs;
use std::time::Duration;

use cni_testkit::HeldLock;
use serde_json::{Value, json};

use crate::fixture::{Leases, call, ours, run};

fn small() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/29"}]]})
}

fn with(mut conf: Value, key: &str, value: Value) -> Value {
    conf[key] = value;
    conf
}

#[test]
fn results_of_every_version() {
    let dns = json!({"nameservers": ["192.0.2.1"], "domain": "example", "search": ["a"], "options": ["b"]});
    let route = json!({"dst": "0.0.0.0/0", "gw": "10.0.0.9", "mtu": 1400, "advmss": 1360,
        "priority": 7, "table": 0, "scope": 253});
    let resolv = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        &resolv,
        "nameserver 192.0.2.1\ndomain example\nsearch a\noptions b\n",
    )
    .unwrap();
    for version in cni_testkit::ALL_VERSIONS {
        let leases = Leases::new();
        let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]],
            "routes": [route], "resolvConf": resolv.path()});
        let result = run("ADD", "a", &leases.conf(version, &ipam))
            .expect_ok()
            .json();
        let want = match version {
            "0.1.0" | "0.2.0" => json!({
                "cniVersion": version,
                "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1",
                    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.9"}]},
                "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1"},
                "dns": dns,
            }),
            "0.3.0" | "0.3.1" | "0.4.0" => json!({
                "cniVersion": version,
                "ips": [
                    {"version": "4", "address": "10.0.0.2/24", "gateway": "10.0.0.1"},
                    {"version": "6", "address": "fd00::2/64", "gateway": "fd00::1"},
                ],
                "routes": [route],
                "dns": dns,
            }),
            _ => json!({
                "cniVersion": version,
                "ips": [
                    {"address": "10.0.0.2/24", "gateway": "10.0.0.1"},
                    {"address": "fd00::2/64", "gateway": "fd00::1"},
                ],
                "routes": [route],
                "dns": dns,
            }),
        };
        assert_eq!(result, want, "{version}");
    }
}

#[test]
fn a_second_add_names_the_file_and_what_to_do() {
    let leases = Leases::new();
    let conf = leases.conf("1.1.0", &small());
    let _first = run("ADD", "a", &conf).expect_ok();
    let before = leases.files();
    let error = run("ADD", "a", &conf).expect_error(101);
    assert_eq!(
        error["msg"],
        "failed to allocate for range 0: 10.0.0.2 has been allocated to a, duplicate allocation \
         is not allowed"
    );
    let details = error["details"].as_str().unwrap();
    let file = leases.network().join("10.0.0.2");
    assert!(details.contains(file.to_str().unwrap()), "{details}");
    assert!(details.contains("Run DEL for container a"), "{details}");
    assert_eq!(leases.files(), before);
}

#[test]
fn an_exhausted_set_gives_back_what_the_others_gave() {
    let leases = Leases::new();
    leases.write("10.1.0.2", "x\r\neth0");
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "10.1.0.0/30"}]]});
    let error = run("ADD", "a", &leases.conf("1.1.0", &ipam)).expect_error(100);
    assert_eq!(
        error["msg"],
        "failed to allocate for range 1: no IP addresses available in range set: \
         10.1.0.1-10.1.0.2"
    );
    assert_eq!(leases.addresses(), ["10.1.0.2"]);
}

#[test]
fn del_succeeds_on_a_config_that_somebody_broke() {
    let breakers: [(&str, Value); 6] = [
        (
            "ipam",
            json!({"ranges": 5, "routes": "x", "resolvConf": "/nonexistent"}),
        ),
        (
            "ipam",
            json!({"ranges": [[{"subnet": "10.0.0.0/8"}, {"subnet": "10.0.0.0/8"}]]}),
        ),
        ("ipam", json!({})),
        ("prevResult", json!({"ips": "rubbish"})),
        ("runtimeConfig", json!([1, 2])),
        ("args", json!("x")),
    ];
    for (key, value) in breakers {
        let leases = Leases::new();
        let conf = leases.conf("1.1.0", &small());
        let _added = run("ADD", "a", &conf).expect_ok();
        let mut broken = with(conf.clone(), key, value);
        if key == "ipam" {
            broken["ipam"]["dataDir"] = conf["ipam"]["dataDir"].clone();
        }
        let _ok = call(&ours(), "DEL", "a", &broken)
            .args("BAD")
            .run()
            .expect_silent_ok();
        assert_eq!(leases.addresses(), [""; 0], "{broken}");
        // And again, now that it is gone.
        let _ok = run("DEL", "a", &broken).expect_silent_ok();
    }
}

#[test]
fn del_of_what_never_was_makes_nothing() {
    let leases = Leases::new();
    let _ok = run("DEL", "a", &leases.conf("1.1.0", &small())).expect_silent_ok();
    assert!(!leases.network().exists());
}

#[test]
fn check_wants_the_leases_of_the_told_addresses() {
    let leases = Leases::new();
    let conf = leases.conf(
        "1.1.0",
        &json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]}),
    );
    let error = run("CHECK", "a", &conf).expect_error(103);
    assert_eq!(
        error["msg"],
        "host-local: Failed to find address added by container a"
    );
    let result = run("ADD", "a", &conf).expect_ok().json();
    let told = with(conf.clone(), "prevResult", result);
    for conf in [&conf, &told] {
        let _ok = run("CHECK", "a", conf).expect_silent_ok();
        let _error = run("CHECK", "b", conf).expect_error(103);
    }
    // One of the two leases is gone: the reference does not notice, we do.
    fs::remove_file(leases.network().join("fd00::2")).unwrap();
    let _ok = run("CHECK", "a", &conf).expect_silent_ok();
    let error = run("CHECK", "a", &told).expect_error(103);
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .starts_with("fd00::2 is not reserved")
    );
    leases.write("fd00::2", "b\r\neth0");
    let error = run("CHECK", "a", &told).expect_error(103);
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .starts_with("fd00::2 is reserved for somebody else")
    );
    // The old form counts, and so do addresses that other plugins added.
    leases.write("fd00::2", "a");
    let mut told = told;
    told["prevResult"]["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({"address": "172.16.0.9/24"}));
    let _ok = run("CHECK", "a", &told).expect_silent_ok();
}

#[test]
fn gc_keeps_what_is_valid_and_what_is_foreign() {
    let leases = Leases::new();
    for (name, content) in [
        ("10.0.0.2", "a\r\neth0"),
        ("10.0.0.3", "a\r\neth1"),
        ("10.0.0.4", "b\r\neth0"),
        ("10.0.0.5", "c"),
        ("10.0.0.6", "d"),
        ("10.0.0.7", ""),
        ("last_reserved_ip.0", "10.0.0.6"),
        ("notes.txt", "mine"),
    ] {
        leases.write(name, content);
    }
    let valid = json!([
        {"containerID": "a", "ifname": "eth0"},
        {"containerID": "c", "ifname": "eth9"},
        {"containerID": "not reserved", "ifname": "eth0"},
    ]);
    let conf = leases.conf("1.1.0", &json!({"ranges": "edited"}));
    let conf = with(conf, "cni.dev/valid-attachments", valid);
    let _ok = run("GC", "a", &conf).expect_silent_ok();
    let left: Vec<String> = leases.files().into_keys().collect();
    assert_eq!(
        left,
        ["10.0.0.2", "10.0.0.5", "last_reserved_ip.0", "notes.txt"]
    );
    // Without the list nobody knows what is valid: nothing is touched.
    let _error = run("GC", "a", &leases.conf("1.1.0", &small())).expect_error(7);
    assert_eq!(leases.addresses().len(), 2);
}

#[test]
fn status_tells_of_full_sets_and_of_directories_that_cannot_be_used() {
    let leases = Leases::new();
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/30"}]]});
    let conf = leases.conf("1.1.0", &ipam);
    let _ok = run("STATUS", "a", &conf).expect_silent_ok();
    assert!(!leases.network().exists(), "STATUS only looks");
    let _added = run("ADD", "a", &conf).expect_ok();
    let error = run("STATUS", "a", &conf).expect_error(50);
    assert_eq!(
        error["msg"],
        "no IP addresses available in range set: 10.1.0.1-10.1.0.2"
    );
    // A file that a crash left empty counts as free, since the next ADD takes it.
    leases.write("10.1.0.2", "");
    let _ok = run("STATUS", "a", &conf).expect_silent_ok();
    // A stuck lock does not hang it.
    let _held = HeldLock::take(&leases.network().join("lock"));
    let _ok = run("STATUS", "a", &conf).expect_silent_ok();

    let blocked = Leases::new();
    fs::write(blocked.network(), "a file in the way").unwrap();
    let error = run("STATUS", "a", &blocked.conf("1.1.0", &small())).expect_error(50);
    assert!(
        error["msg"].as_str().unwrap().starts_with("write to "),
        "{error}"
    );
}

#[test]
fn a_lock_held_for_ever_is_told_in_time() {
    let leases = Leases::new();
    let conf = leases.conf(
        "1.1.0",
        &json!({"ranges": [[{"subnet": "10.0.0.0/29"}]], "lockTimeout": 1}),
    );
    let _added = run("ADD", "a", &conf).expect_ok();
    let held = HeldLock::take(&leases.network().join("lock"));
    let holder = format!("process {} (", std::process::id());
    let conf = with(conf, "cni.dev/valid-attachments", json!([]));
    for command in ["ADD", "DEL", "GC"] {
        let outcome = run(command, "b", &conf);
        let error = outcome.expect_error(11);
        let msg = error["msg"].as_str().unwrap();
        assert!(
            msg.contains(leases.network().join("lock").to_str().unwrap()),
            "{msg}"
        );
        assert!(msg.contains(&holder), "{msg}");
        assert!(outcome.elapsed < Duration::from_secs(5), "{outcome}");
    }
    let _ok = run("CHECK", "a", &conf).expect_silent_ok();
    drop(held);
    assert_eq!(leases.addresses(), ["10.0.0.2"]);
    let _ok = run("DEL", "a", &conf).expect_silent_ok();
}

#[test]
fn a_missing_resolv_conf_reserves_nothing() {
    let leases = Leases::new();
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/29"}]], "resolvConf": "/nonexistent"});
    let error = run("ADD", "a", &leases.conf("1.0.0", &ipam)).expect_error(5);
    assert_eq!(error["msg"], "read ipam.resolvConf /nonexistent");
    assert!(!leases.network().exists());
}

#[test]
fn point_to_point_subnets() {
    for (subnet, address, gateway) in [
        ("10.0.0.0/31", "10.0.0.0/31", "10.0.0.1"),
        ("fd00::/127", "fd00::/127", "fd00::1"),
    ] {
        let leases = Leases::new();
        let conf = leases.conf("1.0.0", &json!({"ranges": [[{"subnet": subnet}]]}));
        let result = run("ADD", "a", &conf).expect_ok().json();
        assert_eq!(
            result["ips"],
            json!([{"address": address, "gateway": gateway}])
        );
        let _full = run("ADD", "b", &conf).expect_error(100);
        let _ok = run("DEL", "a", &conf).expect_silent_ok();
        let _added = run("ADD", "b", &conf).expect_ok();
    }
    let leases = Leases::new();
    let ranges = json!({"ranges": [[{"subnet": "10.0.0.0/31", "gateway": "10.9.0.1"}]]});
    let conf = leases.conf("1.0.0", &ranges);
    for (id, address) in [("a", "10.0.0.0/31"), ("b", "10.0.0.1/31")] {
        assert_eq!(
            run("ADD", id, &conf).expect_ok().json()["ips"][0]["address"],
            address
        );
    }
}

#[test]
fn a_reply_that_cannot_be_written_leaves_no_lease() {
    let leases = Leases::new();
    // Before 0.3.0 a result cannot have two addresses of a family; and here the pipe is closed.
    let conf = leases.conf("1.0.0", &small());
    let wrapper = ["sh", "-c", "exec \"$0\" >/dev/full"];
    let outcome = call(&ours(), "ADD", "a", &conf).through(&wrapper).run();
    assert_ne!(outcome.code, 0, "{outcome}");
    assert_eq!(leases.addresses(), [""; 0]);
}
