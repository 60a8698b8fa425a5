//! Why there is no reply.

/// Why a request has no reply. A reply with an unwelcome status is a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address makes no sense, or not on this machine.
    #[error("{0}")]
    Address(String),
    /// There is no connecting to it: nothing was sent.
    #[error("it cannot be reached: {0}")]
    NoConnection(String),
    /// It broke off before there was a whole reply.
    #[error("the connection broke: {0}")]
    Unreachable(String),
    /// It did not answer by the deadline.
    #[error("it did not answer in time")]
    Timeout,
    /// It answered with something that is not HTTP, or too long.
    #[error("its answer makes no sense: {0}")]
    Malformed(String),
}

impl HttpError {
    /// There was no reply at all.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::NoConnection(_) | Self::Unreachable(_) | Self::Timeout
        )
    }

    /// What went wrong in a conversation, with all that its causes have to say.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let text = chain(error);
        if error.is_parse() || is_bad_framing(error) {
            Self::Malformed(text)
        } else {
            Self::Unreachable(text)
        }
    }
}

/// Whether a body's chunks cannot be made out: hyper has no question of its own for that.
fn is_bad_framing(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidInput)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
