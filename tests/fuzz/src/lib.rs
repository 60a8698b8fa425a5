//! What reads other people's bytes, as functions of bytes.
//!
//! A target asserts what must hold whatever the bytes are: no panic, no reading without end, and that
//! what was understood and written again is understood as the same. `scripts/fuzz` looks for bytes that
//! break it, with libFuzzer; what it has found is in `corpus/<target>/` beside real examples, and
//! `tests/corpus.rs` replays all of it with the other tests.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "this is how a target says that something does not hold"
)]

mod request;
mod targets;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use targets::TARGETS;

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Feeds it. Panics if something does not hold.
    pub run: fn(&[u8]),
}

impl Target {
    /// The target of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// Where its examples are.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        corpus.join(self.name)
    }

    /// Its examples: path and content, sorted.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn examples(self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            paths.push(entry?.path());
        }
        paths.sort();
        let read = |path: PathBuf| fs::read(&path).map(|content| (path, content));
        paths.into_iter().map(read).collect()
    }
}
