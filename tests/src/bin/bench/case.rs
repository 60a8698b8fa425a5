//! What is measured.

use std::path::Path;

use serde_json::{Value, json};

/// Both suites know this version of the specification.
pub(crate) const VERSION: &str = "1.0.0";
/// The version of podman's networks.
const PODMAN: &str = "0.4.0";
const V4: &str = "10.88.0.0/16";
const V6: &str = "fd88::/64";

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// What the tables call it.
    pub(crate) title: &'static str,
    pub(crate) work: Work,
}

/// What is done, again and again.
#[derive(Debug)]
pub(crate) enum Work {
    /// VERSION of a plugin: nothing but its start.
    Version { plugin: &'static str },
    /// ADD for all containers, then DEL for all.
    Attach(Network),
    /// What Docker does when a container is connected to a network, and `cnm-shim` instead of it.
    Join,
    /// ADD and DEL of portmap for one port more, up to so many, and connections to the last one.
    Publish { ports: u16 },
}

/// A network that containers join and leave.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) version: &'static str,
    /// In the order of ADD.
    pub(crate) plugins: &'static [&'static str],
    pub(crate) subnets: &'static [&'static str],
    pub(crate) masquerade: bool,
}

/// Every case, in the order of the tables.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "version",
        title: "bridge",
        work: Work::Version { plugin: "bridge" },
    },
    Case {
        name: "version-host-local",
        title: "host-local",
        work: Work::Version {
            plugin: "host-local",
        },
    },
    Case {
        name: "host-local",
        title: "host-local",
        work: Work::Attach(Network {
            version: VERSION,
            plugins: &["host-local"],
            subnets: &[V4],
            masquerade: false,
        }),
    },
    Case {
        name: "bridge",
        title: "bridge + host-local",
        work: Work::Attach(Network {
            version: VERSION,
            plugins: &["bridge"],
            subnets: &[V4],
            masquerade: false,
        }),
    },
    Case {
        name: "ipmasq",
        title: "bridge + host-local, ipMasq",
        work: Work::Attach(Network {
            version: VERSION,
            plugins: &["bridge"],
            subnets: &[V4],
            masquerade: true,
        }),
    },
    Case {
        name: "dual-stack",
        title: "bridge + host-local, IPv4 and IPv6",
        work: Work::Attach(Network {
            version: VERSION,
            plugins: &["bridge"],
            subnets: &[V4, V6],
            masquerade: false,
        }),
    },
    Case {
        name: "cnm",
        title: "networks of Docker's model",
        work: Work::Join,
    },
    Case {
        name: "podman",
        title: "podman's chain with a port",
        work: Work::Attach(Network {
            version: PODMAN,
            plugins: &["bridge", "portmap", "firewall", "tuning"],
            subnets: &[V4],
            masquerade: true,
        }),
    },
    Case {
        name: "ports-1",
        title: "portmap, the first port",
        work: Work::Publish { ports: 1 },
    },
    Case {
        name: "ports-100",
        title: "portmap, the 100th port",
        work: Work::Publish { ports: 100 },
    },
    Case {
        name: "ports-5000",
        title: "portmap, the 5,000th port",
        work: Work::Publish { ports: 5000 },
    },
];

impl Case {
    /// What the command line says about it.
    pub(crate) fn help(&self) -> String {
        match self.work {
            Work::Version { plugin } => format!("VERSION of {plugin}: its start, nothing else"),
            Work::Attach(_) => format!("ADD and DEL of {}", self.title),
            Work::Join => format!("{}: cnm-shim against dockerd", self.title),
            Work::Publish { .. } => {
                format!("ADD and DEL of {}, and connections to it", self.title)
            }
        }
    }
}

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
    fn names_of_cases_are_unique() {
        for (index, case) in CASES.iter().enumerate() {
            assert!(
                CASES[index + 1..]
                    .iter()
                    .all(|other| other.name != case.name)
            );
        }
    }

    #[test]
    fn a_network_has_a_range_set_for_each_subnet() {
        let both = Network {
            version: VERSION,
            plugins: &["bridge"],
            subnets: &[V4, V6],
            masquerade: true,
        };
        let [conf] = both.confs(Path::new("/leases"), 1).try_into().unwrap();
        assert_eq!(
            conf["ipam"]["ranges"],
            json!([[{"subnet": V4}], [{"subnet": V6}]])
        );
        assert_eq!(conf["ipMasq"], true);
        let alone = Network {
            version: VERSION,
            plugins: &["host-local"],
            subnets: &[V4],
            masquerade: false,
        };
        let [conf] = alone.confs(Path::new("/leases"), 1).try_into().unwrap();
        assert!(conf.get("bridge").is_none());
    }

    #[test]
    fn a_chain_has_a_conf_for_each_plugin() {
        let case = CASES.iter().find(|case| case.name == "podman").unwrap();
        let Work::Attach(network) = &case.work else {
            panic!("{case:?}")
        };
        let confs = network.confs(Path::new("/leases"), 8080);
        let types: Vec<_> = confs.iter().map(|conf| conf["type"].as_str()).collect();
        let expected = ["bridge", "portmap", "firewall", "tuning"].map(Some);
        assert_eq!(types, expected);
        assert!(confs.iter().all(|conf| conf["cniVersion"] == "0.4.0"));
        assert_eq!(
            confs[1]["runtimeConfig"]["portMappings"][0]["hostPort"],
            8080
        );
    }
}
