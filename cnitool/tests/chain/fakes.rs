//! Fake plugins: scripts in a directory of their own, that keep every call.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cnitool::{Cache, Invoker, Network, Runtime, Target};
use serde_json::Value;
use tempfile::TempDir;

/// A directory of fake plugins, with a cache beside it.
#[derive(Debug)]
pub(crate) struct Fakes(TempDir);

/// One call of a fake plugin.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) plugin: String,
    pub(crate) command: String,
    pub(crate) request: Value,
    pub(crate) env: BTreeMap<String, String>,
}

/// A namespace that certainly exists, and has no `ct0`.
pub(crate) const NETNS: &str = "/proc/self/ns/net";

impl Fakes {
    pub(crate) fn new() -> Self {
        let fakes = Self(tempfile::tempdir().unwrap());
        for dir in ["bin", "log"] {
            fs::create_dir(fakes.path(dir)).unwrap();
        }
        fakes
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A plugin that runs `script` after its call was kept. `$CNI_COMMAND` tells what for.
    pub(crate) fn plugin(self, name: &str, script: &str) -> Self {
        let log = self.path("log").display().to_string();
        let text = format!(
            r"#!/bin/sh
set -e
count=$(ls {log} | wc -l)
call={log}/$(printf %03d $count).{name}.$CNI_COMMAND
mkdir $call
cat > $call/request
env > $call/env
{script}
"
        );
        let file = self.path("bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// A plugin that answers ADD with `result`, and everything else with success.
    pub(crate) fn answering(self, name: &str, result: &str) -> Self {
        let script = format!("[ $CNI_COMMAND != ADD ] || cat <<'END'\n{result}\nEND\n");
        self.plugin(name, &script)
    }

    /// A plugin that fails `command` with an error of code 42, and answers ADD with `{}`.
    pub(crate) fn failing(self, name: &str, command: &str) -> Self {
        let script = format!(
            r#"if [ $CNI_COMMAND = {command} ]; then
echo '{{"code": 42, "msg": "{name} cannot", "details": "full moon"}}'; exit 1
fi
[ $CNI_COMMAND != ADD ] || echo '{{}}'"#
        );
        self.plugin(name, &script)
    }

    pub(crate) fn runtime(&self) -> Runtime {
        let invoker = Invoker::new([self.path("bin")]).timeout(Duration::from_secs(20));
        Runtime::with(invoker, Cache::at(self.path("cache")))
    }

    /// The calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut names: Vec<_> = fs::read_dir(self.path("log"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.iter().map(|name| self.call(name)).collect()
    }

    fn call(&self, name: &str) -> Call {
        let dir = self.path("log").join(name);
        let mut words = name.split('.').skip(1).map(str::to_owned);
        let request = fs::read(dir.join("request")).unwrap();
        let env = fs::read_to_string(dir.join("env")).unwrap();
        let env = env.lines().filter_map(|line| line.split_once('='));
        Call {
            plugin: words.next().unwrap(),
            command: words.next().unwrap(),
            request: serde_json::from_slice(&request).unwrap(),
            env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    /// The calls so far, as `plugin COMMAND`.
    pub(crate) fn order(&self) -> Vec<String> {
        let calls = self.calls();
        let names = calls.iter().map(|c| format!("{} {}", c.plugin, c.command));
        names.collect()
    }

    /// Forgets the calls so far.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(self.path("log")).unwrap();
        fs::create_dir(self.path("log")).unwrap();
    }

    /// The files of the cache, by name.
    pub(crate) fn cached(&self) -> BTreeMap<String, String> {
        let Ok(files) = fs::read_dir(self.path("cache/results")) else {
            return BTreeMap::new();
        };
        let read = |file: fs::DirEntry| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        };
        files.map(|file| read(file.unwrap())).collect()
    }

    /// Puts `text` where the cached result of [`target`] on [`network`] is.
    pub(crate) fn write_cache(&self, text: &str) {
        fs::create_dir_all(self.path("cache/results")).unwrap();
        fs::write(self.path("cache/results/net-c1-ct0"), text).unwrap();
    }
}

/// Network `net` of these plugins, with no keys of their own.
pub(crate) fn network(version: &str, plugins: &[&str]) -> Network {
    let plugins: Vec<_> = plugins
        .iter()
        .map(|p| format!(r#"{{"type":"{p}"}}"#))
        .collect();
    network_of(version, &plugins.join(","))
}

/// Network `net` of plugins that are written out.
pub(crate) fn network_of(version: &str, plugins: &str) -> Network {
    let text = format!(r#"{{"cniVersion":"{version}","name":"net","plugins":[{plugins}]}}"#);
    Network::parse(text.as_bytes()).unwrap()
}

/// `ct0` of container `c1`.
pub(crate) fn target() -> Target {
    Target {
        container_id: "c1".parse().unwrap(),
        netns: Some(NETNS.into()),
        ifname: "ct0".parse().unwrap(),
        args: Vec::new(),
        capability_args: Vec::new(),
    }
}
