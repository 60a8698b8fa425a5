//! What `tests/fuzz` calls of this plugin: how its config is read, and nothing that acts.

#![expect(dead_code, reason = "the rest is for the plugin itself")]

mod config;

use cni_plugin::AttachmentRequest;
use cni_types::CniError;

/// The config as it is understood, in a form to compare.
///
/// # Errors
/// It is refused.
pub fn load(request: &AttachmentRequest) -> Result<String, CniError> {
    config::BandwidthConfig::load(&request.request).map(|config| format!("{config:?}"))
}
