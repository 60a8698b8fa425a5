//! What `tests/fuzz` calls of this plugin: how its config is read, and nothing that acts.

#![cfg_attr(
    not(test),
    expect(dead_code, reason = "the rest is for the plugin itself")
)]

mod config;

use cni_plugin::AttachmentRequest;
use cni_types::CniError;

/// The config as it is understood, in a form to compare.
///
/// # Errors
/// It is refused.
pub fn load(request: &AttachmentRequest) -> Result<String, CniError> {
    let _for_removal = config::ipam_type(&request.request.config);
    config::BridgeConfig::load(request).map(|config| format!("{config:?}"))
}
