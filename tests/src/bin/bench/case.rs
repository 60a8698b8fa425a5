//! What is measured.

use std::path::Path;

use serde_json::{Value, json};

/// Both suites know this version of the specification.
const VERSION: &str = "1.0.0";
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
}

/// A network that containers join and leave.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) plugin: &'static str,
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
            plugin: "host-local",
            subnets: &[V4],
            masquerade: false,
        }),
    },
    Case {
        name: "bridge",
        title: "bridge + host-local",
        work: Work::Attach(Network {
            plugin: "bridge",
            subnets: &[V4],
            masquerade: false,
        }),
    },
    Case {
        name: "ipmasq",
        title: "bridge + host-local, ipMasq",
        work: Work::Attach(Network {
            plugin: "bridge",
            subnets: &[V4],
            masquerade: true,
        }),
    },
    Case {
        name: "dual-stack",
        title: "bridge + host-local, IPv4 and IPv6",
        work: Work::Attach(Network {
            plugin: "bridge",
            subnets: &[V4, V6],
            masquerade: false,
        }),
    },
    Case {
        name: "cnm",
        title: "networks of Docker's model",
        work: Work::Join,
    },
];

impl Case {
    /// What the command line says about it.
    pub(crate) fn help(&self) -> String {
        match self.work {
            Work::Version { plugin } => format!("VERSION of {plugin}: its start, nothing else"),
            Work::Attach(_) => format!("ADD and DEL of {}", self.title),
            Work::Join => format!("{}: cnm-shim against dockerd", self.title),
        }
    }
}

impl Network {
    /// The configuration that plugins get, with leases below `data_dir`.
    pub(crate) fn conf(&self, data_dir: &Path) -> Value {
        let ranges: Vec<Value> = self
            .subnets
            .iter()
            .map(|net| json!([{"subnet": net}]))
            .collect();
        let ipam = json!({"type": "host-local", "dataDir": data_dir, "ranges": ranges});
        let mut conf = json!({
            "cniVersion": VERSION,
            "name": "bench",
            "type": self.plugin,
            "ipam": ipam,
        });
        if let (true, Some(keys)) = (self.has_links(), conf.as_object_mut()) {
            keys.insert("bridge".into(), json!("cni-bench0"));
            keys.insert("isGateway".into(), json!(true));
            keys.insert("ipMasq".into(), json!(self.masquerade));
        }
        conf
    }

    /// Whether an attachment has a veth pair, or just leases.
    pub(crate) fn has_links(&self) -> bool {
        self.plugin == "bridge"
    }
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
            plugin: "bridge",
            subnets: &[V4, V6],
            masquerade: true,
        };
        let conf = both.conf(Path::new("/leases"));
        assert_eq!(
            conf["ipam"]["ranges"],
            json!([[{"subnet": V4}], [{"subnet": V6}]])
        );
        assert_eq!(conf["ipMasq"], true);
        let alone = Network {
            plugin: "host-local",
            subnets: &[V4],
            masquerade: false,
        };
        assert!(alone.conf(Path::new("/leases")).get("bridge").is_none());
    }
}
