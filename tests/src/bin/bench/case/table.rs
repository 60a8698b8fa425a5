//! Every case, in the order of the tables.

use super::network::{BRIDGE, MASQUERADE, Network, PODMAN, V4, V6};
use super::{Case, Work};
use crate::leases::Filled;

/// How often, unless it takes long.
const USUAL: u16 = 60;
/// A host that other programs have filled with rules.
const MANY_RULES: u32 = 5000;
/// How many addresses a network has left that is nearly full.
const LEFT: u16 = 8;

const fn case(name: &'static str, title: &'static str, pairs: u16, work: Work) -> Case {
    Case {
        name,
        title,
        pairs,
        work,
    }
}

const fn version(name: &'static str, plugin: &'static str) -> Case {
    case(name, plugin, 200, Work::Version { plugin })
}

const fn leases(name: &'static str, title: &'static str, pairs: u16, filled: Filled) -> Case {
    case(name, title, pairs, Work::Reserve(filled))
}

const fn attach(name: &'static str, title: &'static str, network: Network) -> Case {
    case(name, title, USUAL, Work::Attach(network))
}

const fn crowd(
    name: &'static str,
    title: &'static str,
    pairs: u16,
    (count, network): (u16, Network),
) -> Case {
    case(name, title, pairs, Work::Crowd { count, network })
}

const fn ports(name: &'static str, title: &'static str, pairs: u16, ports: u16) -> Case {
    case(name, title, pairs, Work::Publish { ports })
}

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    version("version", "bridge"),
    version("version-host-local", "host-local"),
    leases("host-local", "host-local", USUAL, Filled::Leases(0)),
    attach("bridge", "bridge + host-local", BRIDGE),
    attach("ipmasq", "bridge + host-local, ipMasq", MASQUERADE),
    attach("ipmasq-rules", "bridge + host-local, ipMasq, 5,000 foreign rules",
        Network { foreign_rules: MANY_RULES, ..MASQUERADE }),
    attach("dual-stack", "bridge + host-local, IPv4 and IPv6", Network { subnets: &[V4, V6], ..BRIDGE }),
    attach("podman", "podman's chain with a port", Network {
        version: PODMAN,
        plugins: &["bridge", "portmap", "firewall", "tuning"],
        ..MASQUERADE
    }),
    ports("ports-1", "portmap, the first port", USUAL, 1),
    ports("ports-100", "portmap, the 100th port", USUAL, 100),
    ports("ports-5000", "portmap, the 5,000th port", 20, 5000),
    crowd("at-once-1", "1 at once", 40, (1, BRIDGE)),
    crowd("at-once-10", "10 at once", 20, (10, BRIDGE)),
    crowd("at-once-50", "50 at once", 15, (50, BRIDGE)),
    crowd("at-once-100", "100 at once", 10, (100, BRIDGE)),
    crowd("at-once-ipmasq-1", "1 at once, ipMasq", 20, (1, MASQUERADE)),
    crowd("at-once-ipmasq-10", "10 at once, ipMasq", 10, (10, MASQUERADE)),
    crowd("at-once-ipmasq-50", "50 at once, ipMasq", 7, (50, MASQUERADE)),
    crowd("at-once-ipmasq-100", "100 at once, ipMasq", 5, (100, MASQUERADE)),
    case("floor", "bridge + host-local", 100, Work::Floor),
    case("cnm", "networks of Docker's model", USUAL, Work::Join),
    // Last: for minutes after so many files were removed, ext4 without a journal takes a millisecond and more
    // to make one, since it steps over inodes that were freed lately (recently_deleted() in fs/ext4/ialloc.c).
    leases("host-local-1000", "host-local, 1,000 leases", USUAL, Filled::Leases(1000)),
    leases("host-local-10000", "host-local, 10,000 leases", 40, Filled::Leases(10_000)),
    leases("host-local-60000", "host-local, 60,000 leases", 15, Filled::Leases(60_000)),
    leases("host-local-full", "host-local, 8 of 65,533 addresses free", 15, Filled::AllBut(LEFT)),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

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
