//! Why a config is refused.

use cni_types::config::MacRequestError;
use cni_types::{ErrorCode, JsonError, ToCniError};

/// Each names the key and its value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to load netconf: {0}")]
    Decode(JsonError),
    #[error("{key}: {value:?} is not one of {known}")]
    Unknown {
        key: &'static str,
        value: String,
        known: &'static str,
    },
    #[error("{key}: {value:?} is not {wanted}")]
    Malformed {
        key: String,
        value: String,
        wanted: &'static str,
    },
    #[error("{key}: {value} is not an address of {subnet}")]
    NotInSubnet {
        key: String,
        value: String,
        subnet: String,
    },
    #[error("{key} needs {needs}")]
    Alone {
        key: &'static str,
        needs: &'static str,
    },
    #[error("{one} and {other} cannot be used together")]
    Together {
        one: &'static str,
        other: &'static str,
    },
    #[error(
        "runtimeConfig.ipRanges: {start} to {end} is no subnet, and CNM pools are nothing else"
    )]
    RangeNoSubnet { start: String, end: String },
    #[error("{key}: {reason}")]
    Impossible {
        key: &'static str,
        reason: &'static str,
        hint: &'static str,
    },
    #[error(transparent)]
    Mac(#[from] MacRequestError),
}

impl ConfigError {
    pub(super) fn malformed(key: impl Into<String>, value: &str, wanted: &'static str) -> Self {
        Self::Malformed {
            key: key.into(),
            value: value.to_owned(),
            wanted,
        }
    }
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Decode(_) => ErrorCode::DECODE,
            Self::Mac(error) => error.code(),
            Self::Impossible { .. } => ErrorCode::UNSUPPORTED_FIELD,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::RangeNoSubnet { .. } => {
                Some("give rangeStart and rangeEnd that span a prefix, or only the subnet")
            }
            Self::Impossible { hint, .. } => Some(hint),
            _ => None,
        }
    }
}
