//! Why the controller did not do it.

use std::net::IpAddr;

use cni_types::{Attachment, ErrorCode, ToCniError};

use crate::error::DriverError;
use crate::sandbox::SandboxError;
use crate::store::StoreError;

/// Something the controller was asked for did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// A driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A record could not be read, written or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox did not get what it was to get.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The network was made with another configuration, and is in use.
    #[error("network {0} was made with another configuration and has endpoints")]
    NetworkChanged(String),
    /// The network cannot be removed.
    #[error("network {name} still has endpoints: {endpoints}")]
    NetworkInUse {
        /// Its name.
        name: String,
        /// How many.
        endpoints: usize,
    },
    /// The network that was left half made, or half removed, cannot be cleaned up.
    #[error("network {name} was left half done, and cannot be cleaned up yet: {why}")]
    NetworkHalfDone {
        /// Its name.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// The attachment has an endpoint.
    #[error("{0} is attached already")]
    AlreadyAttached(Attachment),
    /// An earlier endpoint of the attachment cannot be removed.
    #[error("an earlier endpoint of {0} is not removed yet")]
    StillThere(Attachment),
    /// An address was asked for that cannot be had.
    #[error("the address {0} cannot be requested: the network has no pool of its family")]
    NoPool(IpAddr),
}

impl ControllerError {
    /// The same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code() == ErrorCode::TRY_AGAIN
    }
}

impl ToCniError for ControllerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Driver(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::NetworkChanged(_) | Self::NetworkInUse { .. } | Self::AlreadyAttached(_) => {
                ErrorCode::IN_USE
            }
            Self::NetworkHalfDone { .. } | Self::StillThere(_) => ErrorCode::TRY_AGAIN,
            Self::NoPool(_) => ErrorCode::INVALID_CONFIG,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Driver(error) => error.hint(),
            Self::Store(error) => ToCniError::hint(error),
            Self::Sandbox(error) => ToCniError::hint(error),
            Self::NetworkChanged(_) => Some(
                "undo the change, or give the network another name, or remove its containers and then \
                 `cnm-shim rm network NAME`",
            ),
            Self::NetworkInUse { .. } => {
                Some("remove their containers first; `cnm-shim endpoints NETWORK` lists them")
            }
            Self::NetworkHalfDone { .. } => {
                Some("`cnm-shim networks` tells what is left, `cnm-shim gc` tries again")
            }
            Self::AlreadyAttached(_) => Some("a runtime has to call DEL before it calls ADD again"),
            Self::StillThere(_) => {
                Some("`cnm-shim endpoints` tells what is left, `cnm-shim gc` tries again")
            }
            _ => None,
        }
    }
}
