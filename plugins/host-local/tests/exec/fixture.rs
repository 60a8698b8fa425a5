//! A directory of leases and the plugins that work on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cni_testkit::{Outcome, Runner, Suite};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Our binary, which cargo builds for this test.
pub(crate) fn ours() -> Suite {
    let binary = Path::new(env!("CARGO_BIN_EXE_host-local"));
    Suite::of("ours", binary.parent().unwrap())
}

/// A private directory of leases.
pub(crate) struct Leases {
    dir: TempDir,
}

impl Leases {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of network `net`.
    pub(crate) fn network(&self) -> PathBuf {
        self.data_dir().join("net")
    }

    /// The config of network `net` with these ipam keys.
    pub(crate) fn conf(&self, version: &str, ipam: &Value) -> Value {
        let mut conf = json!({"cniVersion": version, "name": "net", "type": "any", "ipam": ipam});
        conf["ipam"]["type"] = "host-local".into();
        conf["ipam"]["dataDir"] = self.data_dir().to_str().unwrap().into();
        conf
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.network()).unwrap();
        fs::write(self.network().join(name), content).unwrap();
    }

    /// The network's files with their contents, but for the lock.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let Ok(entries) = fs::read_dir(self.network()) else {
            return BTreeMap::new();
        };
        let mut files: BTreeMap<String, String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| {
                let content = fs::read_to_string(self.network().join(&name)).unwrap_or_default();
                (name, content)
            })
            .collect();
        files.remove("lock");
        files
    }

    /// The reserved addresses.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let names = self.files().into_keys();
        names
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .collect()
    }
}

/// A call of a suite's host-local for interface `eth0`.
pub(crate) fn call(suite: &Suite, command: &str, id: &str, conf: &Value) -> Runner {
    suite
        .plugin("host-local")
        .command(command)
        .container_id(id)
        .ifname("eth0")
        .netns("/run/netns/none")
        .stdin(conf.to_string())
}

/// A call of ours.
pub(crate) fn run(command: &str, id: &str, conf: &Value) -> Outcome {
    call(&ours(), command, id, conf).run()
}
