//! Requests as values: what is wanted, for whom, and the message that asks for it.

use std::fmt;

use netlink_packet_core::Emitable;

use crate::error::{Cause, NetlinkError, Op};
use crate::ns::NetNs;

/// One request that changes something, ready to be sent alone or among others.
///
/// Displays as the operation and its subject, so that a plan can be printed.
#[derive(Debug, Clone)]
pub struct Change {
    op: Op,
    subject: String,
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) body: Vec<u8>,
    /// The message names its descriptor, which must stay open until it is sent.
    ns: Option<NetNs>,
}

impl Change {
    /// A request of message type `kind` with flags besides `NLM_F_REQUEST | NLM_F_ACK`.
    pub(crate) fn new(
        op: Op,
        subject: String,
        kind: u16,
        flags: u16,
        message: &impl Emitable,
    ) -> Self {
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        Self {
            op,
            subject,
            kind,
            flags,
            body,
            ns: None,
        }
    }

    pub(crate) fn holding(mut self, ns: Option<NetNs>) -> Self {
        self.ns = ns;
        self
    }

    /// What it does.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// What it does it to.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub(crate) fn failed(&self, cause: Cause) -> NetlinkError {
        NetlinkError {
            op: self.op,
            subject: self.subject.clone(),
            cause,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op, self.subject)
    }
}

/// The first failure among several requests sent together, and what became of the others.
///
/// Displays as that failure, and has its source.
#[derive(Debug)]
pub struct BatchError {
    /// Which request failed first.
    pub index: usize,
    /// For each request, whether the kernel did it. Requests behind the failed one may have been
    /// done as well.
    pub done: Vec<bool>,
    /// Why.
    pub error: NetlinkError,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl From<BatchError> for NetlinkError {
    fn from(batch: BatchError) -> Self {
        batch.error
    }
}
