//! A machine before and after something that has to fail.

use cni_testkit::{Conf, Fakes, Netns, Outcome, Runner, Snapshot, Suite, World, conf};
use serde_json::json;

use crate::network::Network;

/// The pool that [`Machine::conf`] gives addresses from.
pub const V4: &str = "10.87.0.0/24";

/// The version of [`Machine::conf`].
pub const VERSION: &str = "1.0.0";

/// A world with a container, and what both look like.
#[derive(Debug)]
pub struct Machine {
    /// What plays the host.
    pub world: World,
    /// The container that plugins are called for.
    pub c1: Netns,
    host_before: Snapshot,
    container_before: Snapshot,
}

impl Machine {
    /// With an empty host.
    #[expect(
        clippy::new_without_default,
        reason = "entering a world is not a default value"
    )]
    pub fn new() -> Self {
        Self::prepared(|_, _| {})
    }

    /// After `prepare` has done to it what the test needs.
    pub fn prepared(prepare: impl FnOnce(&World, &Netns)) -> Self {
        let world = World::new();
        let c1 = world.container("c1");
        prepare(&world, &c1);
        let host_before = world.snapshot();
        let container_before = Snapshot::of(&c1);
        Self {
            world,
            c1,
            host_before,
            container_before,
        }
    }

    /// A bridge with host-local, masquerading and the spoof check: all that can be left behind.
    pub fn conf(&self) -> Conf {
        let keys = json!({"ipMasq": true, "macspoofchk": true});
        conf::bridge(VERSION)
            .ipam(conf::host_local(&self.world, &[V4]))
            .with(keys)
    }

    /// An ADD of ours.
    pub fn add(&self, conf: &Conf) -> Runner {
        let suite = Suite::ours();
        Network::new(&suite, conf.clone()).call_for("ADD", "c1", &self.c1)
    }

    /// An ADD of ours whose IPAM is the fake `ipam`, which has a second to answer.
    pub fn add_with_fakes(&self, fakes: &Fakes<'_>) -> Runner {
        let conf = self
            .conf()
            .ipam(json!({"type": "ipam"}))
            .with(json!({"delegateTimeout": 1}));
        self.add(&conf).path_first(&fakes.dir())
    }

    /// `code`, all of `words` in message and details, and the machine as before.
    #[track_caller]
    pub fn assert_refused(&self, outcome: &Outcome, code: u32, words: &[&str]) {
        let error = outcome.expect_error(code);
        let text = format!("{} {}", error["msg"], error["details"]);
        for word in words {
            assert!(text.contains(word), "no {word:?} in\n{outcome}");
        }
        self.assert_unchanged();
    }

    /// The host, the leases and the container are as before.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        self.host_before.assert_unchanged(&self.world.snapshot());
        self.container_before
            .assert_unchanged(&Snapshot::of(&self.c1));
    }

    /// As before but for what tells of an attempt and holds nothing: the directory of the leases,
    /// its lock and the indices of last leases.
    #[track_caller]
    pub fn assert_unchanged_but_for_the_attempt(&self) {
        let attempt = |snapshot: &Snapshot| {
            let kept = [
                "/last_reserved_ip.",
                "/lock 0",
                "/networks/ 0",
                "/tenon-net/ 0",
            ];
            kept.into_iter().fold(snapshot.clone(), Snapshot::without)
        };
        attempt(&self.host_before).assert_unchanged(&attempt(&self.world.snapshot()));
        self.container_before
            .assert_unchanged(&Snapshot::of(&self.c1));
    }
}
