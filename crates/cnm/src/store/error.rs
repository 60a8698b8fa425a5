//! Why the store could not be used.

use std::io;
use std::path::{Path, PathBuf};

use cni_types::{ErrorCode, ToCniError};

/// The store could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record makes no sense.
    #[error("{} is not a record: {why}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Somebody else held a lock for too long.
    #[error(transparent)]
    Lock(#[from] cni_ipam::StoreError),
}

impl StoreError {
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

impl ToCniError for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } => ErrorCode::IO,
            Self::Broken { .. } => ErrorCode::DECODE,
            Self::Lock(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Io { .. } => None,
            Self::Broken { .. } => Some("move the file away; `cnm-shim gc` tells what is left"),
            Self::Lock(error) => error.hint(),
        }
    }
}
