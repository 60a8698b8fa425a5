//! Directories of plugin binaries: ours, and the reference's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::runner::Runner;
use crate::world::World;

/// A directory of plugin binaries that a test runs over.
#[derive(Debug, Clone)]
pub struct Suite {
    name: &'static str,
    bin_dir: PathBuf,
}

impl Suite {
    /// This workspace's binaries: `TENON_BIN_DIR`, or else where the running test was built.
    #[must_use]
    pub fn ours() -> Self {
        let bin_dir =
            std::env::var_os("TENON_BIN_DIR").map_or_else(built_beside_test, PathBuf::from);
        let bin_dir = bin_dir.canonicalize().unwrap_or(bin_dir);
        assert!(
            bin_dir.join("bridge").is_file(),
            "no plugins in {}: run `cargo build --workspace`, or set TENON_BIN_DIR",
            bin_dir.display()
        );
        Self {
            name: "ours",
            bin_dir,
        }
    }

    /// Debian's build of the Go reference plugins, or what `TENON_REFERENCE_DIR` names.
    #[must_use]
    pub fn reference() -> Self {
        let named = std::env::var_os("TENON_REFERENCE_DIR");
        let bin_dir = named.map_or_else(|| PathBuf::from("/usr/lib/cni"), PathBuf::from);
        assert!(
            bin_dir.join("bridge").is_file(),
            "no plugins in {}: run scripts/deps, or apt-get install containernetworking-plugins",
            bin_dir.display()
        );
        Self {
            name: "reference",
            bin_dir,
        }
    }

    /// Any other directory, e.g. one in which a test mixes both.
    #[must_use]
    pub fn of(name: &'static str, bin_dir: &Path) -> Self {
        Self {
            name,
            bin_dir: bin_dir.to_owned(),
        }
    }

    /// Plugins from several suites in one directory of `world`, as after half an upgrade:
    /// `Suite::mixed(&world, &[("bridge", &ours), ("host-local", &reference)])`.
    #[must_use]
    pub fn mixed(world: &World, plugins: &[(&str, &Self)]) -> Self {
        let bin_dir = world.dir().join("mixed");
        fs::create_dir_all(&bin_dir).unwrap();
        for (plugin_type, suite) in plugins {
            symlink(suite.bin_dir.join(plugin_type), bin_dir.join(plugin_type)).unwrap();
        }
        Self {
            name: "mixed",
            bin_dir,
        }
    }

    /// `ours`, `reference`: for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether these are the reference plugins, where intended differences are expected.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.name == "reference"
    }

    /// The directory.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Takes all plugins of other suites out of `world`: what works then needs nothing of them. For
    /// the reference itself, nothing changes.
    pub fn alone_in(&self, world: &World) {
        if !self.is_reference() {
            for others in ["/usr/lib/cni", "/opt/cni/bin"] {
                world.hide(Path::new(others));
            }
        }
    }

    /// A run of one plugin, with this directory as its `CNI_PATH`.
    #[must_use]
    pub fn plugin(&self, plugin_type: &str) -> Runner {
        Runner::new(&self.bin_dir, plugin_type)
    }
}

/// Makes one test for each suite of binaries out of each function: `ours::name`, `reference::name`.
///
/// ```
/// use cni_testkit::{Suite, suites};
///
/// fn has_plugins(suite: &Suite, plugin_type: &str) {
///     assert!(suite.bin_dir().join(plugin_type).exists());
/// }
///
/// suites! {
///     has_bridge => |suite| has_plugins(suite, "bridge");
///     has_loopback => |suite| has_plugins(suite, "loopback");
/// }
/// ```
#[macro_export]
macro_rules! suites {
    ($($name:ident => |$suite:ident| $call:expr;)+) => {
        mod ours {
            use super::*;
            $(#[test] fn $name() { let $suite = &$crate::Suite::ours(); $call })+
        }
        mod reference {
            use super::*;
            $(#[test] fn $name() { let $suite = &$crate::Suite::reference(); $call })+
        }
    };
}

/// Tests run from `target/<profile>/deps`, binaries are one level up.
fn built_beside_test() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().to_owned()
}
