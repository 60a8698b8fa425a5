//! Configs: of each plugin, from the text to the valid config.

use cni_plugin::AttachmentRequest;
use cni_types::{CniError, Json};

use crate::request::request;

/// A refusal has a code and says something, and the same text is always understood in the same way.
fn load(bytes: &[u8], load: impl Fn(&AttachmentRequest) -> Result<String, CniError>) {
    let Some(request) = request(bytes) else {
        return;
    };
    let _deadline = request.request.delegate_deadline();
    let first = load(&request);
    if let Err(error) = &first {
        assert!(error.code.0 > 0 && !error.msg.is_empty(), "{error:?}");
    }
    assert_eq!(first, load(&request));
    let mut written = request.clone();
    written.request.config = Json::parse(request.request.config.to_string().as_bytes())
        .expect("a config that was written");
    assert_eq!(first, load(&written));
}

pub(super) fn bandwidth(bytes: &[u8]) {
    load(bytes, bandwidth_fuzzing::load);
}

pub(super) fn bridge(bytes: &[u8]) {
    load(bytes, bridge_fuzzing::load);
}

pub(super) fn cnm_shim(bytes: &[u8]) {
    load(bytes, cnm_shim_fuzzing::load);
}

pub(super) fn firewall(bytes: &[u8]) {
    load(bytes, firewall_fuzzing::load);
}

pub(super) fn host_local(bytes: &[u8]) {
    load(bytes, host_local::fuzzing::load);
}

pub(super) fn portmap(bytes: &[u8]) {
    load(bytes, portmap_fuzzing::load);
}

pub(super) fn tuning(bytes: &[u8]) {
    load(bytes, tuning_fuzzing::load);
}

/// The file in which tuning keeps what DEL is to restore.
pub(super) fn tuning_state(bytes: &[u8]) {
    if let Ok(text) = tuning_fuzzing::rewrite_state(bytes) {
        let again = tuning_fuzzing::rewrite_state(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&text));
    }
}
