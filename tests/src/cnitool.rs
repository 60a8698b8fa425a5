//! The command that adds and deletes as a runtime does, with a runtime's cache of results.

use std::path::PathBuf;
use std::process::{Command, Output};

use cni_testkit::{Netns, Suite, World};
use serde_json::Value;

/// `cnitool` with one network.
#[derive(Debug)]
pub struct Cnitool<'a> {
    suite: &'a Suite,
    networks: PathBuf,
    network: String,
}

impl<'a> Cnitool<'a> {
    /// For the network of a configuration list.
    pub fn new(suite: &'a Suite, world: &World, list: &Value) -> Self {
        let file = world.file("net.d/10-net.conflist", list.to_string());
        Self {
            suite,
            networks: file.parent().unwrap().to_owned(),
            network: list["name"].as_str().unwrap().to_owned(),
        }
    }

    /// One verb, which has to succeed, and what it prints.
    #[track_caller]
    pub fn run(&self, verb: &str, netns: &Netns, capabilities: &Value) -> Vec<u8> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(self.suite.bin_dir().join("cnitool"))
            .args([verb, &self.network, netns.path_str()])
            .env("NETCONFPATH", &self.networks)
            .env("CNI_PATH", self.suite.bin_dir())
            .env("CAP_ARGS", capabilities.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "cnitool {verb}: {status}: {said}");
        stdout
    }
}
