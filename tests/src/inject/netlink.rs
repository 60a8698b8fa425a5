//! Netlink messages as bytes: which there are in a send, and how one of them comes to be refused.
//!
//! A request is refused by making it one that the kernel only acknowledges (`NLMSG_NOOP`), or by which it gives
//! the whole batch up (the same in a batch of nfnetlink's), and by writing the errno into the
//! acknowledgement: nothing that was asked for is done, and whoever asked hears no difference.

use std::ops::Range;

use nix::errno::Errno;
use nix::libc;

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
const TYPE: usize = 4;
const FLAGS: usize = 6;
const SEQUENCE: usize = 8;

const MULTI: u16 = 0x2;
const ACK: u16 = 0x4;
const DUMP_INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` of `linux/netfilter/nfnetlink.h`: they ask for nothing.
const BATCH: Range<u16> = 0x10..0x12;

/// A request out of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Which message of the send it is.
    pub(super) index: usize,
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// Whether it asks for a list.
    pub(super) is_dump: bool,
}

/// The sequence number of a request that is refused, and the refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    sequence: u32,
    errno: Errno,
}

/// What is asked for in a send of the family `netfilter` or rtnetlink.
pub(super) fn requests(bytes: &[u8], netfilter: bool) -> Vec<Request> {
    let messages = messages(bytes).enumerate();
    let requests = messages.map(|(index, at)| Request {
        index,
        kind: u16_at(bytes, at + TYPE),
        is_dump: u16_at(bytes, at + FLAGS) & DUMP == DUMP,
    });
    requests
        .filter(|one| !(netfilter && BATCH.contains(&one.kind)))
        .collect()
}

/// Whether a datagram is a piece of a list.
pub(super) fn is_of_dump(bytes: &[u8]) -> bool {
    messages(bytes).any(|at| u16_at(bytes, at + FLAGS) & MULTI != 0)
}

/// Whether a list ends here.
pub(super) fn is_end(bytes: &[u8]) -> bool {
    messages(bytes).any(|at| i32::from(u16_at(bytes, at + TYPE)) == libc::NLMSG_DONE)
}

/// Makes the message at `index` of a send one that does nothing.
pub(super) fn refuse(bytes: &mut [u8], index: usize, errno: Errno) -> Refusal {
    let at = messages(bytes).nth(index).unwrap();
    let flags = u16_at(bytes, at + FLAGS);
    // What was a list is none, and what was not to be acknowledged has a refusal all the same.
    let flags = flags & !(if flags & DUMP == DUMP { DUMP } else { 0 }) | ACK;
    put_u16(bytes, at + TYPE, u16::try_from(libc::NLMSG_NOOP).unwrap());
    put_u16(bytes, at + FLAGS, flags);
    let sequence = u32::from_ne_bytes(bytes[at + SEQUENCE..at + SEQUENCE + 4].try_into().unwrap());
    Refusal { sequence, errno }
}

/// Writes the errno into the acknowledgement; whether it is in this datagram.
pub(super) fn answer(bytes: &mut [u8], refusal: Refusal) -> bool {
    let of_request = |at: &usize| {
        let sequence = bytes[at + SEQUENCE..at + SEQUENCE + 4].try_into().unwrap();
        i32::from(u16_at(bytes, at + TYPE)) == libc::NLMSG_ERROR
            && u32::from_ne_bytes(sequence) == refusal.sequence
    };
    let Some(at) = messages(bytes).find(of_request) else {
        return false;
    };
    let code = (-(refusal.errno as i32)).to_ne_bytes();
    bytes[at + HEADER..at + HEADER + 4].copy_from_slice(&code);
    true
}

/// Says of a piece of a list that the list has changed meanwhile.
pub(super) fn interrupt(bytes: &mut [u8]) {
    let all: Vec<usize> = messages(bytes).collect();
    for at in all {
        let flags = u16_at(bytes, at + FLAGS);
        put_u16(bytes, at + FLAGS, flags | DUMP_INTERRUPTED);
    }
}

/// Where each message begins.
fn messages(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        starts.push(at);
        let length = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        at += usize::try_from(length)
            .unwrap()
            .next_multiple_of(4)
            .max(HEADER);
    }
    starts.into_iter()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_batch_has_requests_between_its_ends() {
        let parts = [(0x10, 1), (0xa0c, 5), (0xa0f, 1), (0x11, 1)];
        let batch = parts.map(|(kind, flags)| message(kind, flags, 7, &[1, 2, 3]));
        let batch = batch.concat();
        let kinds = |netfilter| -> Vec<u16> {
            let found = requests(&batch, netfilter);
            found.iter().map(|one| one.kind).collect()
        };
        assert_eq!(kinds(true), [0xa0c, 0xa0f]);
        assert_eq!(kinds(false).len(), 4);
        assert_eq!(requests(&batch, true)[0].index, 1);
    }

    #[test]
    fn a_refused_request_is_one_that_does_nothing() {
        let mut sent = [message(18, 0x301, 3, &[]), message(18, 1, 4, &[])].concat();
        assert!(requests(&sent, false)[0].is_dump);
        let refusal = refuse(&mut sent, 0, Errno::EPERM);
        let found = requests(&sent, false);
        assert_eq!(
            (found[0].kind, found[0].is_dump, found[1].kind),
            (1, false, 18)
        );
        let mut other = message(2, 0, 4, &[0; 4]);
        assert!(!answer(&mut other, refusal));
        let mut reply = message(2, 0, 3, &[0; 4]);
        assert!(answer(&mut reply, refusal));
        assert_eq!(reply[16..20], (-1_i32).to_ne_bytes());
    }

    #[test]
    fn every_message_of_an_interrupted_list_says_so() {
        let mut piece = [message(16, MULTI, 1, &[]), message(3, MULTI, 1, &[0; 4])].concat();
        assert!(is_of_dump(&piece) && is_end(&piece));
        assert!(!is_end(&message(16, MULTI, 1, &[])));
        interrupt(&mut piece);
        assert_eq!(u16_at(&piece, FLAGS), 0x12);
        assert_eq!(u16_at(&piece, HEADER + FLAGS), 0x12);
    }
}
