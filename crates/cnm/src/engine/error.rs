//! What can go wrong between us and Docker Engine.

use std::fmt;

use cni_types::{ErrorCode, ToCniError};

use crate::http::HttpError;

/// What was being done. Its Display is a verb phrase that the subject completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the Display text says it")]
pub enum Operation {
    Locate,
    Reach,
    AskVersion,
    InspectContainer,
    InspectNetwork,
    ListNetworks,
    ListLabelled,
    ListContainers,
    CreateNetwork,
    RemoveNetwork,
    Connect,
    Disconnect,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locate => "find Docker at",
            Self::Reach => "reach Docker at",
            Self::AskVersion => "ask for the version of Docker at",
            Self::InspectContainer => "inspect container",
            Self::InspectNetwork => "inspect network",
            Self::ListNetworks => "list networks called",
            Self::ListLabelled => "list networks labelled",
            Self::ListContainers => "list containers of network",
            Self::CreateNetwork => "create network",
            Self::RemoveNetwork => "remove network",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
        })
    }
}

/// Something that Docker Engine was asked for and did not do.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {subject}")]
pub struct EngineError {
    /// What was being done.
    pub operation: Operation,
    /// To what: a container, a network.
    pub subject: String,
    /// Why not.
    #[source]
    pub cause: EngineCause,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineCause {
    /// There is no reply.
    #[error("Docker: {0}")]
    Http(HttpError),
    /// It answered with an error, in its own words.
    #[error("Docker says: {message} (HTTP status {status})")]
    Refused {
        /// The status code.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It has nothing of that name, and took it for the beginning of another one's id.
    #[error("there is none of that name (Docker takes it for {found})")]
    Mistaken {
        /// What it found instead.
        found: String,
    },
    /// It answered with something else than was asked for.
    #[error("Docker's answer makes no sense: {0}")]
    Malformed(String),
}

impl EngineCause {
    pub(super) fn during(self, operation: Operation, subject: String) -> EngineError {
        EngineError {
            operation,
            subject,
            cause: self,
        }
    }
}

impl EngineError {
    /// The same of connecting and disconnecting, with container and network as people know them:
    /// Engine is asked with ids.
    #[must_use]
    pub fn between(self, container: &str, network: &str) -> Self {
        match self.operation {
            Operation::Connect | Operation::Disconnect => Self {
                subject: super::join(container, network),
                ..self
            },
            _ => self,
        }
    }

    /// Engine's words, if it answered with an error.
    fn message(&self) -> Option<&str> {
        match &self.cause {
            EngineCause::Refused { message, .. } => Some(message),
            _ => None,
        }
    }

    fn says(&self, words: &str) -> bool {
        self.message()
            .is_some_and(|message| message.contains(words))
    }

    /// The status code, if it answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.cause {
            EngineCause::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// There is no such container, network or endpoint.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) || matches!(self.cause, EngineCause::Mistaken { .. })
    }

    /// There is a network of that name (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// The container is not on the network. Engine has no code for it: it answers 500.
    #[must_use]
    pub fn is_not_connected(&self) -> bool {
        self.says("is not connected to")
    }

    /// The container is on the network already (403).
    #[must_use]
    pub fn is_already_connected(&self) -> bool {
        self.says("endpoint with name") && self.says("already exists in network")
    }

    /// The container is on network `none`, beside which there can be no other (400).
    #[must_use]
    pub fn is_none_mode(&self) -> bool {
        self.says("private (none) mode")
    }

    /// The container has an interface of the name that the endpoint's was to get, which Engine does not
    /// know. Engine has no code for it: it answers 500.
    #[must_use]
    pub fn is_interface_taken(&self) -> bool {
        self.says("error renaming interface") && self.says("file exists")
    }

    /// Several networks have that name (400). An id tells them apart.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.says("is ambiguous")
    }

    /// The network has endpoints (403).
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.says("has active endpoints")
    }

    /// Nobody answered: the call may or may not have been executed, and may succeed later.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(&self.cause, EngineCause::Http(error) if error.is_silence())
    }

    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match &self.cause {
            EngineCause::Http(error) if error.is_silence() => {
                Some("is Docker running? `docker info` tells")
            }
            EngineCause::Http(HttpError::Malformed(_)) | EngineCause::Malformed(_) => {
                Some("is this Docker Engine's socket?")
            }
            EngineCause::Refused { .. } if self.is_ambiguous() => Some(
                "Docker has several networks of this name: `docker network ls` tells their ids, one \
                 of which can stand in place of the name",
            ),
            EngineCause::Refused { .. } if self.says("API version") => {
                Some("this Docker Engine is too old or too new for this program")
            }
            _ => None,
        }
    }
}

impl ToCniError for EngineError {
    fn code(&self) -> ErrorCode {
        match &self.cause {
            _ if self.is_down() => ErrorCode::TRY_AGAIN,
            EngineCause::Http(HttpError::Address(_)) => ErrorCode::INVALID_CONFIG,
            EngineCause::Refused { .. } if self.is_ambiguous() => ErrorCode::INVALID_CONFIG,
            _ => ErrorCode::DRIVER,
        }
    }

    fn hint(&self) -> Option<&str> {
        Self::hint(self)
    }
}
