//! What can go wrong in the shim itself, as the runtime gets to read it.

use cni_types::{Attachment, CniError, ErrorCode, ToCniError};

/// Refusals of our own; those of drivers, of Docker Engine and of the kernel come as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// What is still there, because nobody could be asked to take it away.
    #[error("the next DEL of the attachment, or GC, tries again")]
    Owed(#[source] CniError),
    #[error("{0} has no endpoint")]
    NoEndpoint(Attachment),
    #[error("the network that {0} is attached to is lost or half removed")]
    NoNetwork(Attachment),
    #[error("the endpoint of {0} is half made or half removed")]
    HalfDone(Attachment),
    #[error("Required prevResult missing")]
    NoPrevResult,
    #[error("check {what}: {found}")]
    Mismatch { what: String, found: String },
    #[error("not everything of {attachment} could be taken back")]
    Refused {
        attachment: Attachment,
        notes: String,
    },
}

impl ShimError {
    pub(crate) fn mismatch(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Mismatch {
            what: what.into(),
            found: found.into(),
        }
    }
}

impl ToCniError for ShimError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Owed(error) => error.code,
            Self::NoEndpoint(_)
            | Self::NoNetwork(_)
            | Self::HalfDone(_)
            | Self::Mismatch { .. } => ErrorCode::CHECK_FAILED,
            Self::NoPrevResult => ErrorCode::INVALID_CONFIG,
            Self::Refused { .. } => ErrorCode::DRIVER,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NoPrevResult => Some("the runtime has to pass the result of the ADD"),
            Self::Refused { notes, .. } => Some(notes),
            _ => None,
        }
    }
}
