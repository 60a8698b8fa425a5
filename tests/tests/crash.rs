//! Every plugin is killed at its system calls, in ADD and in DEL; what comes next finds its way, and leaves
//! the machine as it was before.
//!
//! `TENON_CRASH_POINTS` in the environment says at how many of them, for each command of each plugin: `all`, or
//! a number. Unless told it is a few, evenly spread, and each case begins elsewhere.

#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use cni_testkit::{Conf, conf};
use serde_json::{Value, json};
use tenon_tests::crash::{Case, Crashed, NEIGHBOUR, Next};

const V4: &str = "10.87.0.0/24";
const V6: &str = "fd87::/64";

/// Makes a module of tests for each case: what is killed, and what comes next.
macro_rules! crashes {
    ($($name:ident => $case:expr;)+) => { $(
        mod $name {
            use super::*;

            #[test]
            fn an_add_that_is_killed_is_finished_by_a_del() {
                $case.crash(Crashed::Add, Next::Del);
            }
            #[test]
            fn an_add_that_is_killed_is_finished_by_a_gc() {
                $case.crash(Crashed::Add, Next::Gc);
            }
            #[test]
            fn an_add_that_is_killed_is_in_nobodys_way() {
                $case.crash(Crashed::Add, Next::AddOfAnother);
            }
            #[test]
            fn a_del_that_is_killed_is_finished_by_the_next() {
                $case.crash(Crashed::Del, Next::Del);
            }
            #[test]
            fn a_del_that_is_killed_is_finished_by_a_gc() {
                $case.crash(Crashed::Del, Next::Gc);
            }
            #[test]
            fn a_del_that_is_killed_is_in_nobodys_way() {
                $case.crash(Crashed::Del, Next::AddOfAnother);
            }
        }
    )+ };
}

crashes! {
    bridge => bridge(&[V4], json!({}));
    bridge_that_executes_its_ipam => bridge(&[V4], json!({})).fast_paths("off");
    bridge_that_masquerades_both_families => bridge(&[V4, V6], masquerading("nftables")).fast_paths("on");
    bridge_that_masquerades_by_iptables => bridge(&[V4], masquerading("iptables"));
    host_local => Case::of(list(&[host_local_alone()])).fast_paths("on");
    loopback => Case::of(list(&[conf::plugin(VERSION, "loopback")]));
    tuning => chained("tuning", tuning_keys());
    firewall => chained("firewall", json!({"ingressPolicy": "same-bridge"}));
    firewall_by_iptables => chained("firewall", json!({"backend": "iptables"}));
    bandwidth => chained("bandwidth", bandwidth_keys());
    portmap => chained("portmap", json!({"capabilities": {"portMappings": true}}));
    portmap_by_iptables => chained("portmap", json!({
        "capabilities": {"portMappings": true}, "backend": "iptables",
    }));
    containerd => example("10-containerd");
    podman => example("20-podman");
    nerdctl => example("30-nerdctl");
    dual_stack => example("40-dual-stack");
    cnm_bridge => example("70-cnm-bridge");
}

/// A network with one address, of whose container a command is killed.
mod with_one_address {
    use super::*;

    const V4: &str = "10.87.0.0/30";

    #[test]
    fn host_local_gives_it_to_one() {
        for crashed in [Crashed::Add, Crashed::Del] {
            bridge(&[V4], json!({}))
                .times(5)
                .crash(crashed, Next::AddWithItsAddress);
        }
    }

    #[test]
    fn the_shim_gives_it_to_one() {
        let keys = json!({"driver": "bridge", "subnet": V4});
        for crashed in [Crashed::Add, Crashed::Del] {
            let plugin = conf::plugin(VERSION, "cnm-shim").with(keys.clone());
            Case::of(list(&[plugin]))
                .times(5)
                .crash(crashed, Next::AddWithItsAddress);
        }
    }
}

const VERSION: &str = "1.0.0";

/// Where an index of leases is made, unlike below `/var/lib` in these tests: that is an overlay.
const LEASES: &str = "/run/leases";

fn list(plugins: &[Conf]) -> Value {
    conf::list(VERSION, plugins)
}

fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<_> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "dataDir": LEASES, "ranges": ranges})
}

fn host_local_alone() -> Conf {
    conf::plugin(VERSION, "host-local").ipam(host_local(&[V4]))
}

fn bridge_conf(subnets: &[&str], keys: Value) -> Conf {
    conf::bridge(VERSION).ipam(host_local(subnets)).with(keys)
}

fn bridge(subnets: &[&str], keys: Value) -> Case {
    Case::of(list(&[bridge_conf(subnets, keys)]))
}

fn masquerading(backend: &str) -> Value {
    json!({"ipMasq": true, "ipMasqBackend": backend, "macspoofchk": true, "hairpinMode": true})
}

/// A plugin behind a bridge, which alone is killed.
fn chained(plugin_type: &'static str, keys: Value) -> Case {
    let plugin = conf::plugin(VERSION, plugin_type).with(keys);
    let case = Case::of(list(&[bridge_conf(&[V4], json!({})), plugin]));
    case.only(plugin_type).wishes(wishes)
}

fn tuning_keys() -> Value {
    json!({
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.ip_default_ttl": "77"},
        "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 500, "mac": "02:00:00:00:00:77",
    })
}

fn bandwidth_keys() -> Value {
    json!({
        "ingressRate": 80_000_000, "ingressBurst": 8_000_000,
        "egressRate": 90_000_000, "egressBurst": 9_000_000,
    })
}

/// What a runtime asks for on behalf of a container: each gets ports of its own.
fn wishes(id: &str) -> Value {
    let host_port = if id == NEIGHBOUR { 8082 } else { 8081 };
    let ports = ["tcp", "udp"]
        .map(|protocol| json!({"hostPort": host_port, "containerPort": 80, "protocol": protocol}));
    json!({"portMappings": ports, "bandwidth": bandwidth_keys()})
}

/// A file of `conf/`, each plugin of which is killed.
fn example(name: &str) -> Case {
    let path = format!("{}/../conf/{name}.conflist", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    Case::of(serde_json::from_str(&text).unwrap()).wishes(wishes)
}
