//! What our errors are on the wire: codes and hints.

use cni_types::{ErrorCode, ToCniError};

use crate::error::{Cause, FirewallError};

impl ToCniError for FirewallError {
    fn code(&self) -> ErrorCode {
        match &*self.cause {
            Cause::Timeout(_) | Cause::Contended(_) | Cause::ProgramTimeout { .. } => {
                ErrorCode::TRY_AGAIN
            }
            _ => ErrorCode::FIREWALL,
        }
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}
