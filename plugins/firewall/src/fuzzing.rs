//! What `tests/fuzz` calls of this plugin: how its config is read, and nothing that acts.

mod config;

use cni_plugin::AttachmentRequest;
use cni_types::CniError;

/// The config as it is understood, together with the result of the plugin before, in a form to compare.
///
/// # Errors
/// It is refused.
pub fn load(request: &AttachmentRequest) -> Result<String, CniError> {
    let _for_removal = config::firewalld_of(&request.request.config);
    let config = config::FirewallConfig::load(&request.request)?;
    let result = config::prev_result(request)?;
    let ingress = config.ingress(&result)?;
    let addresses = config::addresses(&result);
    Ok(format!("{config:?} {ingress:?} {addresses:?}"))
}
