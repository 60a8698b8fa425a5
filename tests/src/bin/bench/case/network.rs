//! A network that containers join and leave.

use std::path::Path;

use serde_json::{Value, json};

/// Both suites know this version of the specification.
pub(crate) const VERSION: &str = "1.0.0";
/// The version of podman's networks.
pub(super) const PODMAN: &str = "0.4.0";
pub(crate) const V4: &str = "10.88.0.0/16";
pub(super) const V6: &str = "fd88::/64";

/// What is configured, and what a host with it has besides.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) version: &'static str,
    /// In the order of ADD.
    pub(crate) plugins: &'static [&'static str],
    pub(crate) subnets: &'static [&'static str],
    pub(crate) masquerade: bool,
    /// How many rules of somebody else the packet filter has.
    pub(crate) foreign_rules: u32,
}

/// Leases and nothing else.
pub(crate) const HOST_LOCAL: Network = Network {
    version: VERSION,
    plugins: &["host-local"],
    subnets: &[V4],
    masquerade: false,
    foreign_rules: 0,
};

/// What most nodes have.
pub(crate) const BRIDGE: Network = Network {
    plugins: &["bridge"],
    ..HOST_LOCAL
};

/// The same, where containers speak to the world with their host's address.
pub(crate) const MASQUERADE: Network = Network {
    masquerade: true,
    ..BRIDGE
};

impl Network {
    /// The configurations that plugins get, in the order of ADD; with leases below `data_dir`, and
    /// for a container with a `port` of the host, if there is a plugin for that.
    pub(crate) fn confs(&self, data_dir: &Path, port: u16) -> Vec<Value> {
        let conf = |&plugin: &&str| {
            let keys = match plugin {
                "bridge" => json!({
                    "bridge": "cni-bench0", "isGateway": true, "ipMasq": self.masquerade,
                    "hairpinMode": self.is_chain(), "ipam": self.ipam(data_dir),
                }),
                "host-local" => json!({"ipam": self.ipam(data_dir)}),
                "portmap" => json!({"runtimeConfig": {"portMappings": [mapping(port)]}}),
                _ => json!({}),
            };
            let list = json!({"cniVersion": self.version, "name": "bench", "type": plugin});
            merged(keys, list)
        };
        self.plugins.iter().map(conf).collect()
    }

    fn ipam(&self, data_dir: &Path) -> Value {
        let ranges: Vec<Value> = self
            .subnets
            .iter()
            .map(|net| json!([{"subnet": net}]))
            .collect();
        json!({"type": "host-local", "dataDir": data_dir, "ranges": ranges})
    }

    /// Whether an attachment has a veth pair, or just leases.
    pub(crate) fn has_links(&self) -> bool {
        self.plugins.contains(&"bridge")
    }

    /// Whether operations change the packet filter's rules.
    pub(crate) fn has_rules(&self) -> bool {
        self.masquerade || self.is_chain()
    }

    /// Whether there are plugins behind the first one.
    pub(crate) fn is_chain(&self) -> bool {
        self.plugins.len() > 1
    }
}

/// A port of the host that leads to port 80.
pub(crate) fn mapping(host_port: u16) -> Value {
    json!({"hostPort": host_port, "containerPort": 80, "protocol": "tcp"})
}

/// The keys of two objects.
pub(crate) fn merged(mut keys: Value, others: Value) -> Value {
    if let (Some(keys), Value::Object(others)) = (keys.as_object_mut(), others) {
        keys.extend(others);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_range_set_for_each_subnet() {
        let both = Network {
            subnets: &[V4, V6],
            ..MASQUERADE
        };
        let [conf] = both.confs(Path::new("/leases"), 1).try_into().unwrap();
        assert_eq!(
            conf["ipam"]["ranges"],
            json!([[{"subnet": V4}], [{"subnet": V6}]])
        );
        assert_eq!(conf["ipMasq"], true);
        let [conf] = HOST_LOCAL
            .confs(Path::new("/leases"), 1)
            .try_into()
            .unwrap();
        assert!(conf.get("bridge").is_none());
    }
}
