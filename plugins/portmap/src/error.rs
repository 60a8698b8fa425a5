//! What can go wrong, as the runtime gets to read it.

use cni_types::{ErrorCode, ToCniError};

/// Refusals of our own; those of the kernel and the packet filter come as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortmapError {
    #[error("must be called as chained plugin")]
    NotChained,
    #[error("Required prevResult missing")]
    NoPrevResult,
    #[error("check {what}: {found}")]
    Mismatch { what: &'static str, found: String },
}

impl ToCniError for PortmapError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotChained | Self::NoPrevResult => ErrorCode::INVALID_CONFIG,
            Self::Mismatch { .. } => ErrorCode::CHECK_FAILED,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NotChained => Some(
                "portmap needs the result of the plugin that made the interface: put it behind that \
                 one in the list",
            ),
            Self::NoPrevResult => Some("the runtime has to pass the result of the ADD"),
            Self::Mismatch { .. } => None,
        }
    }
}
