//! Errors as they go over the wire.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// A CNI error code. Below 100 they are the [specification's]; from 100 on they are this suite's
/// and documented in the plugins' READMEs.
///
/// [specification's]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#error
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The config's version, or the command at that version, is not supported.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A field's value cannot be had here; the message names key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container does not exist; no cleanup is needed.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A `CNI_*` variable is missing or invalid.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO: Self = Self(5);
    /// A document could not be decoded.
    pub const DECODE: Self = Self(6);
    /// The config does not make sense.
    pub const INVALID_CONFIG: Self = Self(7);
    /// `CNI_NETNS` is not a network namespace, or is the plugin's own.
    pub const INVALID_NETNS: Self = Self(8);
    /// Something is busy; the same call may succeed later.
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: ADD would not succeed.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: ADD would not succeed, and existing containers are impaired too.
    pub const LIMITED: Self = Self(51);
    /// No address is left in a range set.
    pub const POOL_EXHAUSTED: Self = Self(100);
    /// The address or interface name belongs to somebody else.
    pub const IN_USE: Self = Self(101);
    /// The link exists and is not what the config needs it to be.
    pub const WRONG_LINK: Self = Self(102);
    /// CHECK: what ADD made is missing or different.
    pub const CHECK_FAILED: Self = Self(103);
    /// The kernel refused a request.
    pub const KERNEL: Self = Self(110);
    /// The packet filter refused a request.
    pub const FIREWALL: Self = Self(120);
    /// A delegated plugin failed without an error of its own.
    pub const DELEGATE: Self = Self(130);
    /// A driver of the Container Network Model, or Docker Engine, refused a request.
    pub const DRIVER: Self = Self(140);
    /// A mistake in this suite.
    pub const INTERNAL: Self = Self(999);
}

/// The error document that a plugin prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What failed, on which object.
    pub msg: String,
    /// The chain of causes, and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error without details.
    #[must_use]
    pub fn new(code: ErrorCode, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with `details`.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The same error with one more line of details.
    #[must_use]
    pub fn and(mut self, more: impl fmt::Display) -> Self {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        // Writing to a String does not fail.
        let _infallible = write!(self.details, "{more}");
        self
    }

    /// The same error, told from one level further out: "`context`: `msg`".
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.msg = format!("{context}: {}", self.msg);
        self
    }

    /// The error that STATUS answers when `cause` would keep an ADD from working: the same one, with
    /// [`ErrorCode::NOT_AVAILABLE`] for its code (spec, section "STATUS").
    #[must_use]
    pub fn not_available(cause: impl Into<Self>) -> Self {
        Self {
            code: ErrorCode::NOT_AVAILABLE,
            ..cause.into()
        }
    }

    /// Success if there is no error, and one error out of several otherwise, for the commands that go
    /// on after a failure (DEL, GC). The first gives code and message.
    ///
    /// # Errors
    /// There are any.
    pub fn collect(errors: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let mut errors = errors.into_iter();
        let Some(first) = errors.next() else {
            return Ok(());
        };
        Err(errors.fold(first, |all, next| all.and(format_args!("also: {next}"))))
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl Error for CniError {}

/// What a plugin's own error type says so that it can become a [`CniError`]: `msg` is its
/// `Display`, `details` the chain of its sources and the hint.
pub trait ToCniError: Error {
    /// The code on the wire.
    fn code(&self) -> ErrorCode;

    /// What a person can do about it.
    fn hint(&self) -> Option<&str> {
        None
    }
}

impl<E: ToCniError> From<E> for CniError {
    fn from(error: E) -> Self {
        let mut cni = Self::new(error.code(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            // Two rings that say the same thing say it once.
            let text = cause.to_string();
            if !cni.details.ends_with(&text) && cni.msg != text {
                let separator = if cni.details.is_empty() { "" } else { ": " };
                cni.details.push_str(separator);
                cni.details.push_str(&text);
            }
            source = cause.source();
        }
        match error.hint() {
            Some(hint) => cni.and(format_args!("hint: {hint}")),
            None => cni,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("create bridge cni0")]
    struct Outer(#[source] std::io::Error);

    impl ToCniError for Outer {
        fn code(&self) -> ErrorCode {
            ErrorCode::KERNEL
        }
        fn hint(&self) -> Option<&str> {
            Some("needs CAP_NET_ADMIN")
        }
    }

    #[test]
    fn causes_and_hint_become_details() {
        let error = CniError::from(Outer(std::io::Error::other("Operation not permitted")));
        assert_eq!(error.msg, "create bridge cni0");
        assert_eq!(
            error.details,
            "Operation not permitted; hint: needs CAP_NET_ADMIN"
        );
    }

    #[test]
    fn the_first_of_several_leads() {
        let all = CniError::collect([
            CniError::new(ErrorCode::IO, "a"),
            CniError::new(ErrorCode::KERNEL, "b").with_details("c"),
        ])
        .unwrap_err();
        assert_eq!((all.code, all.msg.as_str()), (ErrorCode::IO, "a"));
        assert_eq!(all.details, "also: b; c");
        assert_eq!(CniError::collect([]), Ok(()));
    }

    #[test]
    fn the_wire_form_has_code_msg_and_details() {
        let json = serde_json::to_value(CniError::new(ErrorCode(7), "m")).unwrap();
        assert_eq!(json, serde_json::json!({"code": 7, "msg": "m"}));
    }
}
