//! Network configurations, typical ones to start from.

use std::fmt;

use serde_json::{Value, json};

use crate::netns::Netns;
use crate::world::World;

/// Every version of the specification.
pub const ALL_VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// The versions that know CHECK.
pub const CHECK_VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// The name of every network made here.
pub const NETWORK: &str = "tenon-net";

/// A network configuration, as a plugin gets it on stdin.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf(pub Value);

/// Network [`NETWORK`] through plugin `plugin_type`, with no further key.
#[must_use]
pub fn plugin(version: &str, plugin_type: &str) -> Conf {
    Conf(json!({"cniVersion": version, "name": NETWORK, "type": plugin_type}))
}

/// Network [`NETWORK`] on the bridge `tenon0`, a gateway, without IPAM (add [`Conf::ipam`]).
#[must_use]
pub fn bridge(version: &str) -> Conf {
    plugin(version, "bridge").with(json!({"bridge": "tenon0", "isDefaultGateway": true}))
}

/// The `ipam` section for host-local with one range set for each subnet, leases in
/// [`World::data_dir`].
#[must_use]
pub fn host_local(world: &World, subnets: &[&str]) -> Value {
    let ranges: Vec<_> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "dataDir": world.data_dir(), "ranges": ranges})
}

/// A network configuration list of these plugins, as it lies in `/etc/cni/net.d`.
#[must_use]
pub fn list(version: &str, plugins: &[Conf]) -> Value {
    let mut plugins: Vec<Value> = plugins.iter().map(|conf| conf.0.clone()).collect();
    for plugin in plugins.iter_mut().filter_map(Value::as_object_mut) {
        plugin.remove("cniVersion");
        plugin.remove("name");
    }
    json!({"cniVersion": version, "name": NETWORK, "plugins": plugins})
}

impl Conf {
    /// Sets the keys of an object, replacing what they had.
    #[must_use]
    pub fn with(mut self, keys: Value) -> Self {
        let Value::Object(keys) = keys else {
            panic!("not an object: {keys}")
        };
        self.0.as_object_mut().unwrap().extend(keys);
        self
    }

    /// Takes a key away.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.as_object_mut().unwrap().remove(key);
        self
    }

    /// Sets the `ipam` section.
    #[must_use]
    pub fn ipam(mut self, ipam: Value) -> Self {
        self.0["ipam"] = ipam;
        self
    }

    /// Sets keys of the `ipam` section.
    #[must_use]
    pub fn with_ipam(mut self, keys: Value) -> Self {
        let ipam = Conf(self.0["ipam"].take()).with(keys);
        self.ipam(ipam.0)
    }

    /// Sets `prevResult`, as CHECK and DEL get it.
    #[must_use]
    pub fn prev_result(self, result: &Value) -> Self {
        self.with(json!({"prevResult": result}))
    }

    /// Sets `cni.dev/valid-attachments`, as GC gets it.
    #[must_use]
    pub fn valid_attachments(self, valid: &[(&str, &str)]) -> Self {
        let valid: Vec<_> = valid
            .iter()
            .map(|(id, ifname)| json!({"containerID": id, "ifname": ifname}))
            .collect();
        self.with(json!({"cni.dev/valid-attachments": valid}))
    }
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 1.x result that tells of one interface in `netns` with `address`, for a `prevResult`.
#[must_use]
pub fn result(version: &str, netns: &Netns, ifname: &str, address: &str) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [{"name": ifname, "sandbox": netns.path_str()}],
        "ips": [{"address": address, "interface": 0}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_name_and_version_once() {
        let list = list("1.0.0", &[bridge("1.0.0"), plugin("1.0.0", "tuning")]);
        assert_eq!(list["name"], NETWORK);
        assert_eq!(list["plugins"][1], json!({"type": "tuning"}));
    }

    #[test]
    fn keys_of_the_ipam_section_are_added() {
        let conf = bridge("1.0.0")
            .ipam(json!({"type": "x", "a": 1}))
            .with_ipam(json!({"a": 2}));
        assert_eq!(conf.0["ipam"], json!({"type": "x", "a": 2}));
    }
}
