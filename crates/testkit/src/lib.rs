//! What the suites stand on: a disposable machine for each test, a runner for plugins, snapshots of
//! what a plugin may change, and fakes for what it talks to.
//!
//! Everything here reports by panicking: a test that cannot be set up has failed, and a panic names
//! the line. Nothing outlives a test, even one that is killed: namespaces and mounts are held by the
//! test's own thread, processes by `PR_SET_PDEATHSIG`.
//!
//! ```no_run
//! use cni_testkit::{World, Suite, conf};
//!
//! let world = World::new();
//! let c1 = world.container("c1");
//! let bridge = Suite::ours().plugin("bridge");
//! let conf = conf::bridge("1.0.0").ipam(conf::host_local(&world, &["10.1.0.0/24"]));
//! let added = bridge.command("ADD").attachment("c1", &c1, "eth0").conf(&conf).run().expect_ok();
//! assert!(world.host().ping(added.json()["ips"][0]["address"].as_str().unwrap()));
//! ```
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a test kit reports by panicking, and is called for that too"
)]

pub mod conf;
pub mod fakes;
mod lock;
mod netns;
mod outcome;
mod runner;
mod running;
mod snapshot;
mod suite;
mod tools;
mod world;

pub use conf::{ALL_VERSIONS, Conf};
pub use fakes::Fakes;
pub use lock::HeldLock;
pub use netns::{CommandOutput, Netns};
pub use outcome::Outcome;
pub use runner::Runner;
pub use running::{Running, Weighed};
pub use snapshot::Snapshot;
pub use suite::Suite;
pub use tools::{require, skip, wait_for};
pub use world::World;
