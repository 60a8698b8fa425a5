//! Netlink framing: headers in front of bytes, and acknowledgements behind them.

use nix::errno::Errno;
use nix::libc;

use super::attr::{Attributes, Writer};
use crate::error::Cause;

/// `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `struct nfgenmsg`.
pub(crate) const GENERIC: usize = 4;
/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the extended acknowledgement's text.
const ATTR_MESSAGE: u16 = 1;

const fn u16_of(flag: libc::c_int) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "netlink flags and types are 16 bits wide; libc types them as int"
    )]
    {
        flag as u16
    }
}

pub(crate) const REQUEST: u16 = u16_of(libc::NLM_F_REQUEST);
pub(crate) const ACK: u16 = u16_of(libc::NLM_F_ACK);
pub(crate) const DUMP: u16 = u16_of(libc::NLM_F_DUMP);
pub(crate) const CREATE: u16 = u16_of(libc::NLM_F_CREATE);
pub(crate) const EXCLUSIVE: u16 = u16_of(libc::NLM_F_EXCL);
pub(crate) const APPEND: u16 = u16_of(libc::NLM_F_APPEND);
const CAPPED: u16 = u16_of(libc::NLM_F_CAPPED);
const ACK_TLVS: u16 = u16_of(libc::NLM_F_ACK_TLVS);
const DUMP_INTERRUPTED: u16 = u16_of(libc::NLM_F_DUMP_INTR);
const KIND_ERROR: u16 = u16_of(libc::NLMSG_ERROR);
const KIND_DONE: u16 = u16_of(libc::NLMSG_DONE);
const KIND_NOOP: u16 = u16_of(libc::NLMSG_NOOP);

/// Requests one after the other in one buffer, each with its own sequence number.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    /// The sequence number that the next message gets.
    pub(crate) next: u32,
}

impl Outbox {
    pub(crate) fn new(first: u32) -> Self {
        Self {
            bytes: Vec::with_capacity(2048),
            next: first,
        }
    }

    /// Appends one message: header, `struct nfgenmsg`, and the attributes that `body` writes.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        (family, resource): (u8, u16),
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.next.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        body(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.next = self.next.wrapping_add(1);
    }
}

/// One message from the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// Everything after the netlink header.
    pub(crate) payload: &'a [u8],
}

/// What an acknowledgement says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    pub(crate) message: Option<String>,
}

impl Refusal {
    pub(crate) fn of(self, request: String) -> Cause {
        Cause::Kernel {
            request,
            errno: self.errno,
            message: self.message,
        }
    }
}

/// What a message from the kernel is.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// The request was carried out.
    Done,
    /// It was not.
    Refused(Refusal),
    /// An object.
    Object(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// Whether the ruleset changed while the kernel was listing it (`NLM_F_DUMP_INTR`).
    pub(crate) fn interrupted(&self) -> bool {
        self.flags & DUMP_INTERRUPTED != 0
    }

    pub(crate) fn reply(&self) -> Result<Reply<'a>, Cause> {
        match self.kind {
            KIND_NOOP => Ok(Reply::Done),
            KIND_ERROR | KIND_DONE => self.acknowledgement(),
            _ => self
                .payload
                .get(GENERIC..)
                .map(Reply::Object)
                .ok_or(Cause::Decode("an object shorter than its header")),
        }
    }

    /// `struct nlmsgerr`, and at the end of a dump its error number alone.
    fn acknowledgement(&self) -> Result<Reply<'a>, Cause> {
        let errno = match self.payload.first_chunk() {
            Some(code) => i32::from_ne_bytes(*code),
            None if self.kind == KIND_DONE => 0,
            None => return Err(Cause::Decode("an acknowledgement without a code")),
        };
        if errno >= 0 {
            return Ok(Reply::Done);
        }
        Ok(Reply::Refused(Refusal {
            errno: Errno::from_raw(errno.saturating_neg()),
            message: self.kernel_words(),
        }))
    }

    fn kernel_words(&self) -> Option<String> {
        if self.flags & ACK_TLVS == 0 {
            return None;
        }
        let skip = if self.kind == KIND_DONE {
            4
        } else if self.flags & CAPPED != 0 {
            4 + HEADER
        } else {
            let length = u32::from_ne_bytes(*self.payload.get(4..)?.first_chunk()?);
            4 + usize::try_from(length).ok()?.next_multiple_of(4)
        };
        Attributes(self.payload.get(skip..)?).text(ATTR_MESSAGE)
    }
}

/// Cuts what one `recv` returned into messages.
#[derive(Debug)]
pub(crate) struct Frames<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Cause>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let frame = first_frame(self.0);
        let read = frame.as_ref().map_or(self.0.len(), |frame| {
            (frame.payload.len() + HEADER).next_multiple_of(4)
        });
        self.0 = self.0.get(read..).unwrap_or_default();
        Some(frame.ok_or(Cause::Decode(
            "a message longer than the datagram it came in",
        )))
    }
}

fn first_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let field = |at: usize| bytes.get(at..)?.first_chunk::<2>();
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    Some(Frame {
        kind: u16::from_ne_bytes(*field(4)?),
        flags: u16::from_ne_bytes(*field(6)?),
        seq: u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?),
        payload: bytes.get(HEADER..length)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_written() {
        let mut outbox = Outbox::new(7);
        outbox.message(0xa00, ACK, (1, 0), |body| {
            body.text(1, "abcd");
        });
        outbox.message(0xa01, DUMP, (2, 10), |_no_attributes| {});
        let frames: Vec<_> = Frames(&outbox.bytes).map(Result::unwrap).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].kind, frames[0].seq), (0xa00, 7));
        assert_eq!(frames[0].payload, b"\x01\0\0\0\x09\0\x01\0abcd\0\0\0\0");
        assert_eq!((frames[1].kind, frames[1].seq), (0xa01, 8));
        assert_eq!(frames[1].payload, b"\x02\0\0\x0a");
        assert_eq!(outbox.next, 9);
    }

    #[test]
    fn a_refusal_carries_the_kernels_words() {
        let mut payload = (-2_i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        payload.extend([9, 0, 1, 0]);
        payload.extend(b"nope\0\0\0\0");
        let frame = Frame {
            kind: KIND_ERROR,
            flags: CAPPED | ACK_TLVS,
            seq: 1,
            payload: &payload,
        };
        let Ok(Reply::Refused(refusal)) = frame.reply() else {
            panic!("not a refusal");
        };
        assert_eq!(refusal.errno, Errno::ENOENT);
        assert_eq!(refusal.message.as_deref(), Some("nope"));
    }

    #[test]
    fn damaged_datagrams_end_in_an_error_and_not_in_a_loop() {
        for bytes in [
            &[1_u8][..],
            &[0; 16],
            &[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let frames: Vec<_> = Frames(bytes).collect();
            assert_eq!(frames.len(), 1, "{bytes:?}");
            assert!(matches!(frames[0], Err(Cause::Decode(_))), "{bytes:?}");
        }
    }
}
