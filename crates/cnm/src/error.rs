//! What can go wrong between a controller and a driver.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::http::HttpError;
use cni_types::{CniError, ErrorCode, ToCniError};

/// A call of the protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the protocol's own names")]
pub enum Method {
    Activate,
    GetCapabilities,
    GwAllocCheck,
    CreateNetwork,
    DeleteNetwork,
    AllocateNetwork,
    FreeNetwork,
    CreateEndpoint,
    EndpointOperInfo,
    DeleteEndpoint,
    Join,
    Leave,
    ProgramExternalConnectivity,
    RevokeExternalConnectivity,
    IpamGetCapabilities,
    GetDefaultAddressSpaces,
    RequestPool,
    ReleasePool,
    RequestAddress,
    ReleaseAddress,
}

impl Method {
    /// As it stands in the path of a request, behind its slash.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "Plugin.Activate",
            Self::GetCapabilities => "NetworkDriver.GetCapabilities",
            Self::GwAllocCheck => "NetworkDriver.GwAllocCheck",
            Self::CreateNetwork => "NetworkDriver.CreateNetwork",
            Self::DeleteNetwork => "NetworkDriver.DeleteNetwork",
            Self::AllocateNetwork => "NetworkDriver.AllocateNetwork",
            Self::FreeNetwork => "NetworkDriver.FreeNetwork",
            Self::CreateEndpoint => "NetworkDriver.CreateEndpoint",
            Self::EndpointOperInfo => "NetworkDriver.EndpointOperInfo",
            Self::DeleteEndpoint => "NetworkDriver.DeleteEndpoint",
            Self::Join => "NetworkDriver.Join",
            Self::Leave => "NetworkDriver.Leave",
            Self::ProgramExternalConnectivity => "NetworkDriver.ProgramExternalConnectivity",
            Self::RevokeExternalConnectivity => "NetworkDriver.RevokeExternalConnectivity",
            Self::IpamGetCapabilities => "IpamDriver.GetCapabilities",
            Self::GetDefaultAddressSpaces => "IpamDriver.GetDefaultAddressSpaces",
            Self::RequestPool => "IpamDriver.RequestPool",
            Self::ReleasePool => "IpamDriver.ReleasePool",
            Self::RequestAddress => "IpamDriver.RequestAddress",
            Self::ReleaseAddress => "IpamDriver.ReleaseAddress",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call of a driver that did not succeed.
///
/// Displays as the driver and the call; [`source`](Error::source) has the driver's own words.
#[derive(Debug, thiserror::Error)]
#[error("{driver} failed in {method}")]
pub struct DriverError {
    /// Which driver, as in "network driver weave".
    pub driver: String,
    /// Which call.
    pub method: Method,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// There is no driver of that name.
    NotFound {
        /// Where one was looked for.
        looked: Vec<PathBuf>,
    },
    /// Its address makes no sense, or is not one that can be connected to.
    Address(String),
    /// It cannot be connected to: nothing was sent.
    NoConnection(String),
    /// The connection broke before there was a whole reply.
    Unreachable(String),
    /// It did not answer by the deadline.
    Timeout,
    /// It does not implement the subsystem (`NetworkDriver`, `IpamDriver`).
    NoSubsystem {
        /// What it implements.
        implements: Vec<String>,
    },
    /// It answered that there is no such call (404).
    NotImplemented,
    /// It answered with an error, in its own words.
    Refused(String),
    /// It answered with something that is not a reply.
    Malformed(String),
    /// A driver that is built in could not do it.
    Failed(Box<dyn Error + Send + Sync>),
}

impl From<HttpError> for Cause {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Address(why) => Self::Address(why),
            HttpError::NoConnection(why) => Self::NoConnection(why),
            HttpError::Unreachable(why) => Self::Unreachable(why),
            HttpError::Timeout => Self::Timeout,
            HttpError::Malformed(why) => Self::Malformed(why),
        }
    }
}

impl Cause {
    /// The same cause of a call that was to follow, and so was never sent.
    pub(crate) fn of_call_before(self, before: Method) -> Self {
        match self {
            Self::Timeout => Self::NoConnection(format!("it did not answer {before} in time")),
            Self::Unreachable(why) => Self::NoConnection(why),
            other => other,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { looked } => {
                let looked: Vec<_> = looked
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(
                    f,
                    "there is no plugin of that name: looked for {}",
                    looked.join(", ")
                )
            }
            Self::Address(why) => f.write_str(why),
            Self::NoConnection(why) => write!(f, "it cannot be reached: {why}"),
            Self::Unreachable(why) => write!(f, "the connection broke: {why}"),
            Self::Timeout => f.write_str("it did not answer in time"),
            Self::NoSubsystem { implements } => write!(
                f,
                "the plugin does not implement the requested driver, only [{}]",
                implements.join(" ")
            ),
            Self::NotImplemented => f.write_str("it does not implement this call"),
            Self::Refused(text) => f.write_str(text),
            Self::Malformed(why) => write!(f, "its answer makes no sense: {why}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl Cause {
    /// A driver that is built in waited for something, a lock or the kernel, until time was up.
    fn is_waited_in_vain(&self) -> bool {
        match self {
            Self::Failed(error) => error
                .downcast_ref::<CniError>()
                .is_some_and(|error| error.code == ErrorCode::TRY_AGAIN),
            _ => false,
        }
    }
}

impl DriverError {
    /// An error of a driver that is built in.
    pub fn failed(
        driver: impl Into<String>,
        method: Method,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            driver: driver.into(),
            method,
            cause: Cause::Failed(error.into()),
        }
    }

    /// Nobody answered; the same call may succeed later.
    #[must_use]
    pub fn is_down(&self) -> bool {
        match &self.cause {
            Cause::NotFound { .. }
            | Cause::NoConnection(_)
            | Cause::Unreachable(_)
            | Cause::Timeout => true,
            cause => cause.is_waited_in_vain(),
        }
    }

    /// There is no answer, or none that can be understood, and so nobody knows whether the call was
    /// executed.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(
            self.cause,
            Cause::Unreachable(_) | Cause::Timeout | Cause::Malformed(_)
        ) || self.cause.is_waited_in_vain()
    }

    /// The call never reached the driver.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        self.is_down() && !self.is_unknown()
    }

    /// The driver has no such call.
    #[must_use]
    pub fn is_not_implemented(&self) -> bool {
        matches!(self.cause, Cause::NotImplemented)
    }

    /// The driver says that what it was to remove is not there, as far as that can be told from its
    /// words: the protocol has no code for it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        const WORDS: [&str; 10] = [
            "not found",
            "no such",
            "unknown",
            "not exist",
            "n't exist",
            "no endpoint",
            "no network",
            "no pool",
            "not reserved",
            "not allocated",
        ];
        match &self.cause {
            Cause::Refused(text) => {
                let text = text.to_ascii_lowercase();
                WORDS.iter().any(|word| text.contains(word))
            }
            _ => false,
        }
    }

    /// The driver says that what it was to make is there already, as far as that can be told.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        matches!(&self.cause, Cause::Refused(text) if text.to_ascii_lowercase().contains("exist") && !self.is_gone())
    }

    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.cause {
            Cause::NotFound { .. } => {
                Some("is the driver running? driverURL names its socket where it has no such file")
            }
            Cause::NoConnection(_) | Cause::Unreachable(_) | Cause::Timeout => {
                Some("is the driver running? `cnm-shim ping DRIVER` tells how it answers")
            }
            _ => None,
        }
    }
}

impl ToCniError for DriverError {
    fn code(&self) -> ErrorCode {
        match &self.cause {
            Cause::Failed(error) => error
                .downcast_ref::<CniError>()
                .map_or(ErrorCode::DRIVER, |error| error.code),
            _ if self.is_down() => ErrorCode::TRY_AGAIN,
            Cause::Address(_) => ErrorCode::INVALID_CONFIG,
            _ => ErrorCode::DRIVER,
        }
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause) -> DriverError {
        DriverError {
            driver: "network driver weave".into(),
            method: Method::Join,
            cause,
        }
    }

    #[test]
    fn it_says_who_failed_in_what_and_why() {
        let error = error(Cause::Refused("no such network".into()));
        assert_eq!(
            error.to_string(),
            "network driver weave failed in NetworkDriver.Join"
        );
        assert_eq!(error.source().unwrap().to_string(), "no such network");
    }

    #[test]
    fn words_tell_what_codes_do_not() {
        for text in [
            "endpoint e1 Not Found",
            "unknown endpoint e1",
            "network does not exist",
        ] {
            let error = error(Cause::Refused(text.into()));
            assert!(error.is_gone() && !error.is_exists(), "{text}");
        }
        let there = error(Cause::Refused(
            "ls-add: red: a switch named red already exists".into(),
        ));
        assert!(there.is_exists() && !there.is_gone());
        assert!(!error(Cause::Timeout).is_gone());
        assert!(error(Cause::Timeout).is_down() && error(Cause::Timeout).is_unknown());
        let refused = error(Cause::NoConnection("Connection refused".into()));
        assert!(refused.is_down() && !refused.is_unknown());
        assert!(!error(Cause::Refused(String::new())).is_down());
        let built_in = |code| error(Cause::Failed(Box::new(CniError::new(code, "locked"))));
        let late = built_in(ErrorCode::TRY_AGAIN);
        assert!(late.is_down() && late.is_unknown());
        let nonsense = error(Cause::Malformed("it is empty".into()));
        assert!(!nonsense.is_down() && nonsense.is_unknown());
        assert!(!built_in(ErrorCode::IN_USE).is_down());
    }
}
