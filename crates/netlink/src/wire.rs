//! What our errors are on the wire: codes and hints.

use cni_types::{ErrorCode, ToCniError};

use crate::error::NetlinkError;
use crate::ns::{NetNsError, NetNsSocketError};
use crate::qdisc::PschedError;
use crate::sysctl::SysctlError;

impl ToCniError for NetlinkError {
    fn code(&self) -> ErrorCode {
        if self.is_busy() {
            ErrorCode::TRY_AGAIN
        } else {
            ErrorCode::KERNEL
        }
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}

impl ToCniError for NetNsError {
    fn code(&self) -> ErrorCode {
        ErrorCode::INVALID_NETNS
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}

impl ToCniError for NetNsSocketError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NetNs(error) => error.code(),
            Self::Socket(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::NetNs(error) => error.hint(),
            Self::Socket(error) => error.hint(),
        }
    }
}

impl ToCniError for SysctlError {
    fn code(&self) -> ErrorCode {
        ErrorCode::KERNEL
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}

impl ToCniError for PschedError {
    fn code(&self) -> ErrorCode {
        ErrorCode::KERNEL
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}
