//! Why a config is refused, and where in it.

use std::fmt;

use cni_ipam::RangeSetError;
use cni_types::{ArgsError, ErrorCode, SpecVersion, ToCniError};

/// A place in the config and what stands there, as the cause of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) path: String,
    pub(super) value: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value:?}", self.path),
            None => write!(f, "see {}", self.path),
        }
    }
}

impl std::error::Error for Place {}

/// Why a config is refused. The texts are the reference's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("IPAM config missing 'ipam' key")]
    MissingIpam,
    #[error("no IP ranges specified")]
    NoRanges,
    #[error("invalid CIDR address: {text}")]
    Cidr {
        text: String,
        #[source]
        place: Place,
    },
    #[error("invalid IP address: {text}")]
    Ip {
        text: String,
        #[source]
        place: Place,
    },
    #[error("invalid range set {index}: {error}")]
    Set {
        index: usize,
        error: RangeSetError,
        #[source]
        place: Place,
    },
    #[error("CNI version {0} does not support more than 1 address per family")]
    TooManySets(SpecVersion),
    #[error("range set {first} overlaps with {second}")]
    Overlap {
        first: usize,
        second: usize,
        #[source]
        place: Place,
    },
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error("CNI_ARGS: IP: invalid IP address {0}")]
    ArgsIp(String),
    #[error("ipam.{key}: {expected} is expected")]
    WrongType {
        key: &'static str,
        expected: &'static str,
    },
}

impl ToCniError for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Args(_) | Self::ArgsIp(_) => ErrorCode::INVALID_ENVIRONMENT,
            Self::WrongType { .. } => ErrorCode::DECODE,
            _ => ErrorCode::INVALID_CONFIG,
        }
    }
}
