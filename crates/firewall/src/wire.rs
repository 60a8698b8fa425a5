//! What our errors are on the wire: codes and hints.

use cni_types::{ErrorCode, ToCniError};

use crate::error::{Cause, FirewallError};

impl ToCniError for FirewallError {
    fn code(&self) -> ErrorCode {
        match &*self.cause {
            Cause::Timeout(_) | Cause::Contended(_) | Cause::ProgramTimeout { .. } => {
                ErrorCode::TRY_AGAIN
            }
            Cause::PortTaken { .. } => ErrorCode::IN_USE,
            Cause::PortTwice(_) => ErrorCode::INVALID_CONFIG,
            _ => ErrorCode::FIREWALL,
        }
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}
