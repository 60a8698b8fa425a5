//! What `tests/fuzz` calls of this plugin: how its config and its state files are read, and nothing that
//! acts.

#![expect(
    dead_code,
    unused_imports,
    reason = "the rest is for the plugin itself"
)]

mod config;
mod error;
mod plan;
mod state;

use cni_plugin::AttachmentRequest;
use cni_types::{CniError, JsonError};

use state::State;

/// The config as it is understood, in a form to compare. What the host's operator allows is left out.
///
/// # Errors
/// It is refused.
pub fn load(request: &AttachmentRequest) -> Result<String, CniError> {
    let request = &request.request;
    let _for_removal = config::data_dir(&request.config);
    let config = config::TuningConfig::load(&request.config, &request.env.args)?;
    Ok(format!("{config:?}"))
}

/// A state file, read and written again.
///
/// # Errors
/// It is none.
///
/// # Panics
/// What was read cannot be written.
#[expect(clippy::expect_used, reason = "that is what the fuzzer looks for")]
pub fn rewrite_state(text: &[u8]) -> Result<String, JsonError> {
    let state = State::parse(text)?;
    Ok(state
        .to_text()
        .expect("a state that was read can be written"))
}
