//! The `engine` backend: Docker Engine joins its own container to its own network.

use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Request, Undo};
use cni_types::{CniError, CniResult, ErrorCode};

use crate::config::{EngineConfig, Settings};

fn not_yet() -> CniError {
    CniError::new(ErrorCode::INTERNAL, "not yet")
}

pub(crate) fn add(
    _request: &AttachmentRequest,
    _config: &EngineConfig,
    _settings: &Settings,
    _undo: &mut Undo,
) -> Result<CniResult, CniError> {
    Err(not_yet())
}

pub(crate) fn remove(_request: &DelRequest, _settings: &Settings) -> Result<(), CniError> {
    Ok(())
}

pub(crate) fn check(
    _request: &AttachmentRequest,
    _config: &EngineConfig,
    _settings: &Settings,
) -> Result<(), CniError> {
    Err(not_yet())
}

pub(crate) fn collect(_request: &GcRequest, _settings: &Settings) -> Result<(), CniError> {
    Ok(())
}

pub(crate) fn status(
    _request: &Request,
    _config: &EngineConfig,
    _settings: &Settings,
) -> Result<(), CniError> {
    Err(not_yet())
}
