//! The power is lost while leases or records are written: whatever is on the disk then, the next container is
//! attached, what was attached is detached, and nothing is left over.
//!
//! The writes are those that the plugins really make; each may be lost unless it was synced by then. Of the
//! names of records, only the last may: a DEL counts on a journal for their order.
//! `TENON_CRASH_POINTS=all` in the environment tries all that can be left, see `crash.rs`.

use cni_testkit::{Conf, conf};
use serde_json::{Value, json};
use tenon_tests::crash::{Case, Crashed, Names};

/// Where leases are by default; an overlay in these tests, which cannot link files that have no name.
const LEASES: &str = "/var/lib/cni/networks";
/// The same on a filesystem that can.
const LEASES_LIKE_EXT4: &str = "/run/leases";
const RECORDS: &str = "/var/lib/cni/cnm-shim";

fn host_local(data_dir: &str) -> Case {
    let subnets = ["10.87.0.0/24", "fd87::/64"];
    let ranges = subnets.map(|subnet| json!([{"subnet": subnet}]));
    let ipam = json!({"type": "host-local", "dataDir": data_dir, "ranges": ranges});
    list(conf::plugin("1.0.0", "host-local").ipam(ipam))
}

fn cnm_shim(keys: Value) -> Case {
    let own = json!({"driver": "bridge", "subnet": "10.91.0.0/24"});
    list(conf::plugin("1.1.0", "cnm-shim").with(own).with(keys))
}

fn list(plugin: Conf) -> Case {
    Case::of(conf::list("1.1.0", &[plugin]))
}

#[test]
fn an_add_that_loses_its_lease() {
    host_local(LEASES).lose_power(Crashed::Add, &[LEASES], Names::InNoOrder);
    host_local(LEASES_LIKE_EXT4).lose_power(Crashed::Add, &[LEASES_LIKE_EXT4], Names::InNoOrder);
}

#[test]
fn a_del_that_does_not_lose_its_lease() {
    host_local(LEASES).lose_power(Crashed::Del, &[LEASES], Names::InNoOrder);
    host_local(LEASES_LIKE_EXT4).lose_power(Crashed::Del, &[LEASES_LIKE_EXT4], Names::InNoOrder);
}

#[test]
fn an_add_that_loses_its_records() {
    cnm_shim(json!({})).lose_power(Crashed::Add, &[RECORDS], Names::InOrder);
}

#[test]
fn a_del_that_does_not_lose_its_records() {
    cnm_shim(json!({})).lose_power(Crashed::Del, &[RECORDS], Names::InOrder);
}

#[test]
fn a_del_that_does_not_lose_its_network() {
    cnm_shim(json!({"removeNetworkWhenUnused": true})).lose_power(
        Crashed::Del,
        &[RECORDS],
        Names::InOrder,
    );
}
