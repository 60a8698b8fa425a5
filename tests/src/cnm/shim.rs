//! The shim's side of a test: a machine with a driver, networks of the shim on it, and what is
//! left of them.

use std::path::Path;

use cni_testkit::{Conf, Netns, Snapshot, Suite, World, conf};
use serde_json::{Value, json};

use crate::cnm::driver::{Builder, Driver, Model};
use crate::network::Network;

/// Where the shim keeps its records.
pub const RECORDS: &str = "/var/lib/cni/cnm-shim";

/// Where Docker has the paths of sandboxes, for drivers that take no other.
pub const SANDBOXES: &str = "/var/run/docker/netns";

/// The name of the driver.
pub const DRIVER: &str = "tenon";

/// The version of the configurations, unless a test wants another.
pub const VERSION: &str = "1.0.0";

/// The subnet of [`Shim::network`], whose first address is the gateway's.
pub const SUBNET: &str = "10.77.0.0/24";

/// The IPv6 subnet.
pub const SUBNET6: &str = "fd77::/64";

/// The keys that make [`Shim::network`] one of both families.
pub fn dual_stack() -> Value {
    json!({"subnetV6": SUBNET6})
}

/// A machine with a driver for networks and addresses.
#[derive(Debug)]
pub struct Shim {
    /// The driver.
    pub driver: Driver,
    suite: Suite,
    before: Snapshot,
    /// The machine.
    pub world: World,
}

impl Shim {
    /// With a driver as it comes.
    #[expect(
        clippy::new_without_default,
        reason = "entering a world is not a default value"
    )]
    pub fn new() -> Self {
        Self::with(|driver| driver)
    }

    /// With another driver.
    pub fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(World::new(), change)
    }

    /// With a driver that is like one that people use, on a host that forwards: some need it, and
    /// see to it themselves.
    pub fn like(model: Model) -> Self {
        let world = World::new();
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            world.host().set_sysctl(&format!("net/{key}"), "1");
        }
        Self::on(world, |driver| driver.like(model))
    }

    fn on(world: World, change: impl FnOnce(Builder) -> Builder) -> Self {
        let driver = change(Driver::named(DRIVER)).start();
        Self {
            driver,
            suite: Suite::ours(),
            before: world.snapshot(),
            world,
        }
    }

    /// The plugins.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// A network of the driver and its addresses that goes with its last container, with more keys.
    pub fn network(&self, keys: Value) -> Network<'_> {
        let more = Conf(keys);
        let own = json!({
            "driver": DRIVER,
            "ipamDriver": DRIVER,
            "subnet": SUBNET,
            "removeNetworkWhenUnused": true,
        });
        let conf = conf::plugin(VERSION, "cnm-shim").with(own).with(more.0);
        Network::new(&self.suite, conf)
    }

    /// The same, which stays when its last container goes, and is there already.
    pub fn lasting_network(&self, keys: Value) -> Network<'_> {
        let network = self
            .network(keys)
            .edited(|conf| conf.without("removeNetworkWhenUnused"));
        let first = self.world.container("first");
        network.add("first", &first).del_ok();
        self.driver.clear_requests();
        network
    }

    /// Panics unless driver, host and records are as before the first container came.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.driver.assert_empty();
        self.before.assert_unchanged(&self.world.snapshot());
        assert_eq!(records(), Vec::<String>::new());
        assert_eq!(sandbox_paths(), Vec::<String>::new());
    }

    /// What there is of an attachment, beside the network that it is on.
    pub fn state(&self, container: &Netns) -> State {
        State {
            endpoints: self
                .driver
                .endpoints()
                .into_iter()
                .map(|one| one.id)
                .collect(),
            reserved: self.driver.reserved(),
            records: records(),
            paths: sandbox_paths(),
            host: self.world.snapshot(),
            container: Snapshot::of(container),
        }
    }
}

/// What may have changed by a failed ADD.
#[derive(Debug, Clone)]
pub struct State {
    endpoints: Vec<String>,
    reserved: Vec<String>,
    records: Vec<String>,
    paths: Vec<String>,
    host: Snapshot,
    container: Snapshot,
}

impl State {
    /// Panics with what is different; `what` tells after what.
    #[track_caller]
    pub fn assert_same(&self, after: &Self, what: &str) {
        assert_eq!(self.endpoints, after.endpoints, "after {what}");
        assert_eq!(self.reserved, after.reserved, "after {what}");
        assert_eq!(self.records, after.records, "after {what}");
        assert_eq!(self.paths, after.paths, "after {what}");
        let host = self.host.diff(&after.host);
        assert!(host.is_empty(), "on the host after {what}:\n{host}");
        let inside = self.container.diff(&after.container);
        assert!(
            inside.is_empty(),
            "in the container after {what}:\n{inside}"
        );
    }
}

/// The files among the shim's records, locks too.
pub fn records() -> Vec<String> {
    files_below(Path::new(RECORDS))
}

/// The paths of sandboxes that the shim has made for drivers.
pub fn sandbox_paths() -> Vec<String> {
    files_below(Path::new(SANDBOXES))
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}
