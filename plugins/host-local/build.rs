//! Digests the sources that the plugin is built from, down to the versions of its dependencies: see
//! `cni_plugin::linked`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest as _, Sha256};

/// This package, the packages of the workspace that it links, and what all of them share, as seen from
/// here. `tests/tests/architecture.rs` holds the list to what is true.
const SOURCES: [&str; 8] = [
    "src",
    "build.rs",
    "../../cni-types/src",
    "../../crates/ipam/src",
    "../../crates/local/src",
    "../../crates/plugin/src",
    "../../Cargo.toml",
    "../../Cargo.lock",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut digest = Sha256::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        for file in files(Path::new(source))? {
            let bytes = fs::read(&file)?;
            // With the lengths nothing can move from one file to the next unnoticed.
            digest.update(file.as_os_str().len().to_le_bytes());
            digest.update(file.as_os_str().as_encoded_bytes());
            digest.update(bytes.len().to_le_bytes());
            digest.update(bytes);
        }
    }
    let out = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::write(Path::new(&out).join("build"), digest.finalize())?;
    Ok(())
}

/// All files at or below a path, in an order that does not depend on the filesystem.
fn files(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        all.extend(files(&entry)?);
    }
    Ok(all)
}
