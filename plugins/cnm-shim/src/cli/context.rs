//! What every verb works with.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use cni_cnm::controller::Controller;
use cni_cnm::controller::spec::Limits;
use cni_cnm::store::Store;

use super::Options;
use crate::config::Settings;
use crate::drivers::{Waiting, controller};

/// The records, and whoever works on them.
pub(super) struct Context {
    pub(super) controller: Controller,
    /// What the `engine` backend goes by.
    pub(super) settings: Settings,
}

impl Context {
    /// Nothing is opened yet. A person sees that a driver is not there, and need not wait for it.
    pub(super) fn new(options: &Options) -> Self {
        Self {
            controller: controller(&options.data_dir, Waiting::No),
            settings: Settings::by_hand(
                &options.data_dir,
                Duration::from_secs(u64::from(options.timeout)),
            ),
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.controller.store()
    }

    /// The limits of a piece of work that begins now.
    pub(super) fn limits(&self) -> Limits {
        self.settings.limits()
    }
}

/// Lets a person decide. Whoever cannot answer has not agreed.
pub(super) fn confirm(about: &str) -> anyhow::Result<()> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{about}Go on? [y/N] ").context("ask")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("read the answer")?;
    if is_yes(&answer) {
        return Ok(());
    }
    if answer.is_empty() {
        // Nobody has typed a newline after the question.
        writeln!(stderr).context("ask")?;
    }
    bail!("nothing was changed: it was not confirmed, and --yes was not given")
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(
            ["y\n", "YES\n", " yes "]
                .iter()
                .all(|answer| is_yes(answer))
        );
        assert!(
            !["", "\n", "n\n", "yess\n"]
                .iter()
                .any(|answer| is_yes(answer))
        );
    }
}
