//! What can go wrong, as the runtime gets to read it.

use std::path::PathBuf;

use cni_types::{Attachment, ErrorCode, IfName, ToCniError};

/// Refusals of our own; those of the kernel come as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TuningError {
    #[error("Required prevResult missing")]
    NoPrevResult,
    #[error("failed to get \"{0}\": Link not found")]
    NoLink(IfName),
    #[error("mac: \"{0}\" has no Ethernet address that could be changed")]
    NoMac(IfName),
    #[error(
        "duplicated sysctl keys are not allowed: {:?} and {:?} are both {name}, with different values",
        keys[0], keys[1]
    )]
    TwoKeys { keys: [String; 2], name: String },
    #[error("sysctl {key}: the kernel has taken {value:?} without an error, but has {found:?}")]
    NotTaken {
        key: String,
        value: String,
        found: String,
    },
    #[error("sysctl {key}: it was set to {value:?} and has {found:?} after the others were set")]
    Contradicted {
        key: String,
        value: String,
        found: String,
    },
    #[error("{} keeps what to restore for {owner}, another attachment", path.display())]
    StateOfAnother { path: PathBuf, owner: Attachment },
    #[error("{} is not a regular file", .0.display())]
    ForeignFile(PathBuf),
    #[error("Cannot find container link {0}")]
    CheckNoLink(IfName),
    #[error("Error: Tuning configured {what} is {wanted}, current value is {found}")]
    Mismatch {
        what: String,
        wanted: String,
        found: String,
    },
}

impl ToCniError for TuningError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoPrevResult | Self::TwoKeys { .. } | Self::Contradicted { .. } => {
                ErrorCode::INVALID_CONFIG
            }
            Self::NoLink(_) | Self::NoMac(_) => ErrorCode::WRONG_LINK,
            Self::NotTaken { .. } => ErrorCode::KERNEL,
            Self::StateOfAnother { .. } | Self::ForeignFile(_) => ErrorCode::IN_USE,
            Self::CheckNoLink(_) | Self::Mismatch { .. } => ErrorCode::CHECK_FAILED,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NoPrevResult => {
                Some("tuning stands in a list of plugins, behind one that makes an interface")
            }
            Self::NoLink(_) => Some("a plugin in front of tuning has to make the interface"),
            Self::Contradicted { .. } => Some("another key of the same config changes it as well"),
            Self::StateOfAnother { .. } => {
                Some("give one of the two a \"dataDir\" of its own, or other names")
            }
            Self::ForeignFile(_) => Some(
                "what DEL is to restore is kept there: remove it, or choose another \"dataDir\"",
            ),
            _ => None,
        }
    }
}
