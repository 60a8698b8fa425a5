//! Links that get another name in their sandbox, and links that are left in one.

use cni_cnm::sandbox::{Kernel, LeftInside, Sandboxes, rename};
use cni_cnm::store::record::LinkRecord;
use cni_netlink::{Link, NetNs, NetlinkError, Socket};
use cni_testkit::{Netns, Snapshot, World};
use cni_types::IfName;

/// A sandbox with `eth1`, up, with addresses and routes of all kinds.
struct Made {
    sandbox: Netns,
    inside: Socket,
    world: World,
}

impl Made {
    fn new() -> Self {
        let world = World::new();
        let sandbox = world.container("c1");
        let host = world.host();
        host.ip("link add port0 type veth peer name eth1 netns c1");
        host.ip("link set port0 up");
        for words in [
            "link set eth1 address 02:42:0a:4d:00:02 up",
            "addr add 10.77.0.2/24 dev eth1",
            "addr add fd77::2/64 dev eth1 nodad",
            "route add 169.254.1.1/32 dev eth1",
            "route add default via 169.254.1.1",
            "route add 10.8.0.0/16 via 10.77.0.9 metric 50 mtu 1400",
            "-6 route add default via fd77::1",
            "-6 route add fd78::/64 dev eth1",
        ] {
            sandbox.ip(words);
        }
        let inside = NetNs::open(sandbox.path()).unwrap().socket().unwrap();
        Self {
            sandbox,
            inside,
            world,
        }
    }

    fn link(&self, name: &str) -> Link {
        self.inside.find_link(&ifname(name)).unwrap().unwrap()
    }

    /// What the sandbox looks like with `name` for the link.
    fn snapshot(&self, name: &str) -> Vec<String> {
        let snapshot = Snapshot::of(&self.sandbox);
        let mut lines: Vec<String> = snapshot
            .lines()
            .iter()
            .map(|line| line.replace(name, "LINK"))
            .collect();
        lines.sort();
        lines
    }

    fn record(&self, name: &str) -> LinkRecord {
        let link = self.link(name);
        LinkRecord {
            src_name: "eth1".into(),
            name: name.into(),
            index: link.index,
            mac: link.mac.unwrap().to_string(),
        }
    }
}

fn ifname(name: &str) -> IfName {
    name.parse().unwrap()
}

type Rename = fn(&Socket, &Link, &IfName) -> Result<(), NetlinkError>;

#[test]
fn a_renamed_link_has_all_that_it_had() {
    for rename in [rename::rename as Rename, rename::rename_down] {
        let made = Made::new();
        let before = made.snapshot("eth1");
        assert!(before.iter().any(|line| line.contains("169.254.1.1")));
        rename(&made.inside, &made.link("eth1"), &ifname("net1")).unwrap();
        assert_eq!(made.snapshot("net1"), before);
        assert!(made.link("net1").is_up());
    }
}

#[test]
fn a_link_that_is_down_stays_down() {
    let made = Made::new();
    made.sandbox.ip("link set eth1 down");
    rename::rename(&made.inside, &made.link("eth1"), &ifname("net1")).unwrap();
    assert!(!made.link("net1").is_up());
}

#[test]
fn a_name_that_is_taken_changes_nothing() {
    for rename in [rename::rename as Rename, rename::rename_down] {
        let made = Made::new();
        made.sandbox.ip("link add net1 type veth peer name end");
        let before = made.snapshot("eth1");
        let error = rename(&made.inside, &made.link("eth1"), &ifname("net1")).unwrap_err();
        assert!(error.is_exists(), "{error:?}");
        assert_eq!(error.to_string(), "failed to rename link eth1 to net1");
        assert_eq!(made.snapshot("eth1"), before);
    }
}

#[test]
fn the_old_name_leads_to_the_link() {
    let made = Made::new();
    let link = made.link("eth1");
    rename::rename(&made.inside, &link, &ifname("net1")).unwrap();
    assert!(rename::keep_old_name(&made.inside, &link.id(), &ifname("eth1")).unwrap());
    let found = made.inside.find_link_by_any_name(&ifname("eth1")).unwrap();
    assert_eq!(found.unwrap().name, "net1");
    let again = rename::keep_old_name(&made.inside, &link.id(), &ifname("eth1"));
    assert!(again.unwrap_err().is_exists());
}

#[test]
fn only_the_very_link_is_discarded() {
    let made = Made::new();
    let sandbox = Kernel.identify(made.sandbox.path()).unwrap();
    let record = made.record("eth1");
    let elsewhere = Kernel.identify(made.world.host().path()).unwrap();
    let other_index = LinkRecord {
        index: record.index + 100,
        ..record.clone()
    };
    let other_mac = LinkRecord {
        mac: "02:00:00:00:00:99".into(),
        ..record.clone()
    };
    for (sandbox, record) in [
        (&sandbox, &other_index),
        (&sandbox, &other_mac),
        (&elsewhere, &record),
    ] {
        let left = Kernel.discard_inside(sandbox, record).unwrap();
        assert_eq!(left, LeftInside::Nothing, "{record:?}");
    }
    made.link("eth1");
    // A path that leads to another namespace by now.
    let mut moved = sandbox.clone();
    moved.inode += 1;
    let left = Kernel.discard_inside(&moved, &record).unwrap();
    assert_eq!(left, LeftInside::Nothing);
    // Somebody may have renamed it.
    made.sandbox.ip("link set eth1 down");
    made.sandbox.ip("link set eth1 name other");
    for expected in [LeftInside::Deleted, LeftInside::Nothing] {
        assert_eq!(Kernel.discard_inside(&sandbox, &record).unwrap(), expected);
    }
    assert_eq!(made.sandbox.link_names(), ["lo"]);
}

/// What no driver has made stays: hardware, and what cannot be told from it. A bridge stands in.
#[test]
fn hardware_is_not_discarded() {
    let made = Made::new();
    made.sandbox.ip("link del eth1");
    made.sandbox
        .ip("link add eth1 address 02:42:0a:4d:00:02 type bridge");
    let sandbox = Kernel.identify(made.sandbox.path()).unwrap();
    let left = Kernel.discard_inside(&sandbox, &made.record("eth1"));
    assert_eq!(left.unwrap(), LeftInside::Kept("eth1".into()));
    made.link("eth1");
}
