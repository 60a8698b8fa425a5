//! The arrows of docs/ARCHITECTURE.md, held to by a test: who may depend on whom, and how long a
//! file may get.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot read the workspace has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A file is read in one sitting: at most this many lines before its tests.
const LONGEST_FILE: usize = 400;

struct Package {
    name: String,
    folder: PathBuf,
    /// What it links, without what only its tests use.
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

fn package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    Package {
        name: text(&package["name"]),
        folder: Path::new(&text(&package["manifest_path"]))
            .parent()
            .unwrap()
            .to_owned(),
        dependencies: dependencies
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn is_for_tests(package: &Package) -> bool {
    ["tenon-tests", "tenon-fuzz", "cni-testkit"].contains(&package.name.as_str())
}

#[test]
fn arrows_run_one_way() {
    let all = packages();
    let ours: BTreeSet<&str> = all.iter().map(|package| package.name.as_str()).collect();
    for package in all.iter().filter(|package| !is_for_tests(package)) {
        let allowed: &[&str] = match package.name.as_str() {
            "cni-types" | "cni-local" => &[],
            "cnitool" => &["cni-types", "cni-plugin", "cni-netlink"],
            "cni-cnm" => &["cni-types", "cni-netlink", "cni-firewall", "cni-ipam"],
            name if name.starts_with("cni-") => &["cni-types", "cni-local"],
            name => {
                let plugin: &[&str] = &[
                    "cni-types",
                    "cni-local",
                    "cni-plugin",
                    "cni-netlink",
                    "cni-firewall",
                    "cni-ipam",
                ];
                let more: &[&str] = match name {
                    "cnm-shim" => &["cni-cnm"],
                    // It runs this one in its own process: docs/decisions/016.
                    "bridge" => &["host-local"],
                    _ => &[],
                };
                &[plugin, more].concat()
            }
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|name| ours.contains(name.as_str()))
        {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{} depends on {dependency}",
                package.name
            );
        }
    }
}

/// What host-local's digest is made of: `plugins/host-local/build.rs`.
#[test]
fn host_local_digests_all_its_sources() {
    let all = packages();
    let mut linked = BTreeSet::from(["host-local"]);
    let mut count = 0;
    while count < linked.len() {
        count = linked.len();
        let names = linked.clone();
        for package in all.iter().filter(|one| names.contains(one.name.as_str())) {
            let ours = all
                .iter()
                .filter(|one| package.dependencies.contains(&one.name));
            linked.extend(ours.map(|one| one.name.as_str()));
        }
    }
    let script = fs::read_to_string(root().join("plugins/host-local/build.rs")).unwrap();
    for name in linked.iter().filter(|name| **name != "host-local") {
        let package = all.iter().find(|one| one.name == *name).unwrap();
        let folder = package.folder.strip_prefix(root()).unwrap().display();
        assert!(
            script.contains(&format!("\"../../{folder}/src\"")),
            "{folder}"
        );
    }
    assert_eq!(linked.len(), 5, "{linked:?}");
}

#[test]
fn only_the_netlink_crates_speak_netlink() {
    for package in packages() {
        for dependency in &package.dependencies {
            let speakers: &[&str] = match dependency.as_str() {
                "rtnetlink" | "netlink-packet-route" => &["cni-netlink"],
                name if name.starts_with("netlink-") => &["cni-netlink", "cni-firewall"],
                _ => continue,
            };
            assert!(
                speakers.contains(&package.name.as_str()),
                "{} speaks {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn one_crate_speaks_http() {
    for package in packages().iter().filter(|package| !is_for_tests(package)) {
        for dependency in ["hyper", "http-body-util", "tokio", "tokio-rustls"] {
            assert!(
                package.name == "cni-cnm" || !package.dependencies.contains(dependency),
                "{} speaks {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn one_plugin_speaks_dbus() {
    for package in packages() {
        let speaks = package.dependencies.contains("zbus");
        assert_eq!(speaks, package.name == "firewall", "{}", package.name);
    }
}

#[test]
fn the_contract_touches_neither_kernel_nor_files() {
    let all = packages();
    let contract = all
        .iter()
        .find(|package| package.name == "cni-types")
        .unwrap();
    let pure = BTreeSet::from(["ipnetwork", "serde", "serde_json", "thiserror"].map(str::to_owned));
    assert!(
        contract.dependencies.is_subset(&pure),
        "{:?}",
        contract.dependencies
    );
    for file in sources(&contract.folder.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for effect in ["std::fs", "std::process", "std::env", "std::os", "File::"] {
            // A doc comment may name what it is not.
            let used = text
                .lines()
                .any(|line| line.contains(effect) && !line.trim_start().starts_with("//"));
            assert!(!used, "{} uses {effect}", file.display());
        }
    }
}

#[test]
fn plugins_start_no_runtime_and_parse_no_command_line() {
    for package in packages()
        .iter()
        .filter(|package| package.folder.starts_with(root().join("plugins")))
    {
        // cnm-shim is a command for people as well.
        let command_line = package.name == "cnm-shim";
        for heavy in ["tokio", "futures", "clap", "anyhow", "cni-testkit"] {
            let allowed = command_line && ["clap", "anyhow"].contains(&heavy);
            assert!(
                allowed || !package.dependencies.contains(heavy),
                "{} links {heavy}",
                package.name
            );
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for package in packages() {
        for file in sources(&package.folder.join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            if file.ends_with("tests.rs") || file.iter().any(|part| part == "tests") {
                continue;
            }
            let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
            assert!(code <= LONGEST_FILE, "{} has {code} lines", file.display());
        }
    }
}

#[test]
fn each_plugin_has_a_readme() {
    for package in packages()
        .iter()
        .filter(|package| package.folder.starts_with(root().join("plugins")))
    {
        assert!(
            package.folder.join("README.md").exists(),
            "{}",
            package.name
        );
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
