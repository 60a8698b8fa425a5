//! Netfilter's netlink, whatever the subsystem: attributes, messages, and a socket for them.

mod attr;
mod channel;
mod frame;

pub(crate) use attr::{Attributes, LIST_ENTRY, Writer};
pub(crate) use channel::{Channel, LARGEST_PIECE, Limit, SMALLEST_PIECE};
pub(crate) use frame::{ACK, APPEND, CREATE, DUMP, EXCLUSIVE, Frames, Outbox, Reply};
