//! The targets.

mod cnitool;
mod cnm;
mod config;
mod contract;
mod firewall;
mod ipam;
mod netlink;
mod skeleton;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    target("json", contract::json),
    target("names", contract::names),
    target("result", contract::result),
    target("cni_args", contract::cni_args),
    target("skeleton", skeleton::skeleton),
    target("config_bandwidth", config::bandwidth),
    target("config_bridge", config::bridge),
    target("config_cnm_shim", config::cnm_shim),
    target("config_firewall", config::firewall),
    target("config_host_local", config::host_local),
    target("config_portmap", config::portmap),
    target("config_tuning", config::tuning),
    target("tuning_state", config::tuning_state),
    target("netlink_datagram", netlink::datagram),
    target("netlink_payload", netlink::payload),
    target("nf_datagram", firewall::datagram),
    target("nf_object", firewall::object),
    target("iptables_saved", firewall::saved),
    target("lease_file", ipam::lease_file),
    target("lease_index", ipam::lease_index),
    target("cnm_reply", cnm::reply),
    target("cnm_http", cnm::http),
    target("cnm_record", cnm::record),
    target("network_file", cnitool::network_file),
    target("cache_file", cnitool::cache_file),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
