//! What the operations on networks report.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use cni_types::{CniError, ErrorCode, SpecVersion};

use crate::cache::CacheError;
use crate::invoke::{PluginCause, PluginError};

/// An operation on a network that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// One plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// ADD failed.
    #[error("{}; {undo}", chain(failure.as_ref()))]
    Add {
        /// What failed.
        failure: Box<RuntimeError>,
        /// What became of the part that had succeeded.
        undo: Undo,
    },
    /// DEL or GC went on after failures.
    #[error("{0}")]
    Several(ErrorList),
    /// The operation needs the container's namespace.
    #[error("no network namespace is given")]
    NoNetns,
    /// The configuration's version has no such command.
    #[error("configuration version \"{version}\" does not support the CHECK command")]
    NoCheck {
        /// The version that was chosen.
        version: SpecVersion,
    },
    /// CHECK compares with the result of the ADD, and there is none.
    #[error("no result of an earlier add in {}: was the interface added by another tool, or deleted?", file.display())]
    NoResult {
        /// Where it would be.
        file: PathBuf,
    },
}

impl RuntimeError {
    /// As a CNI error document, with the code that the plugin gave, for programs.
    #[must_use]
    pub fn to_cni_error(&self) -> CniError {
        CniError::new(self.code(), chain(self))
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Plugin(error) => match &error.cause {
                PluginCause::Reported(reported) => reported.code,
                PluginCause::NotFound { .. } => ErrorCode::INVALID_CONFIG,
                PluginCause::NoResult | PluginCause::NotJson { .. } | PluginCause::Result(_) => {
                    ErrorCode::DECODE
                }
                PluginCause::Version { .. } => ErrorCode::INCOMPATIBLE_VERSION,
                PluginCause::Exec(_) | PluginCause::Silent { .. } => ErrorCode::DELEGATE,
            },
            Self::Cache(_) | Self::NoResult { .. } => ErrorCode::IO,
            Self::Add { failure, .. } => failure.code(),
            Self::Several(errors) => errors
                .errors()
                .first()
                .map_or(ErrorCode::INTERNAL, Self::code),
            Self::NoNetns => ErrorCode::INVALID_NETNS,
            Self::NoCheck { .. } => ErrorCode::INCOMPATIBLE_VERSION,
        }
    }
}

/// What became of the plugins that had succeeded when a later one failed.
#[derive(Debug)]
pub enum Undo {
    /// No plugin had been called.
    Nothing,
    /// DEL took everything back.
    Done,
    /// DEL was tried, and failed too.
    Failed(ErrorList),
    /// The interface was there before, or the result of an earlier ADD, so a DEL would have
    /// destroyed somebody's work.
    NotTried,
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing was changed"),
            Self::Done => f.write_str("what had been done was undone"),
            Self::Failed(errors) => write!(f, "undoing it also failed: {errors}"),
            Self::NotTried => f.write_str(
                "nothing was undone, because the interface or an earlier add of it existed before: \
                 if it is a left-over, run `cnitool del` first",
            ),
        }
    }
}

/// Several failures, none of which stopped the others' work.
#[derive(Debug, Default)]
pub struct ErrorList(Vec<RuntimeError>);

impl ErrorList {
    /// Each of them, in the order they happened.
    #[must_use]
    pub fn errors(&self) -> &[RuntimeError] {
        &self.0
    }

    pub(crate) fn push(&mut self, error: impl Into<RuntimeError>) {
        match error.into() {
            RuntimeError::Several(list) => self.0.extend(list.0),
            error => self.0.push(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error, if there was any; the only one as itself.
    pub(crate) fn into_result(mut self) -> Result<(), RuntimeError> {
        match self.0.len() {
            0 => Ok(()),
            1 => self.0.pop().map_or(Ok(()), Err),
            _ => Err(RuntimeError::Several(self)),
        }
    }
}

impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; also: ")?;
            }
            f.write_str(&chain(error))?;
        }
        Ok(())
    }
}

/// An error and all of its causes, joined by colons.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
