//! Netlink framing: headers, acknowledgements and attributes, as bytes.
//!
//! Replies are read here rather than with netlink-packet-route's parsers, for three reasons: those
//! refuse a whole message for one attribute that a newer kernel made longer, they know nothing of
//! extended acknowledgements, and they link in every kind of link there is.

use std::ffi::CStr;

use nix::libc;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// What netlink messages and attributes are aligned to (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGN: usize = 4;

/// `NLMSG_ERROR`, also the acknowledgement.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;

/// `NLM_F_CAPPED`: the refused request is not repeated behind its header.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes of an extended acknowledgement follow.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words.
const ATTR_MSG: u16 = 1;

/// Bytes that are not netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// One message out of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// `nlmsg_seq`.
    pub(crate) seq: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// Splits a datagram into its messages.
#[derive(Debug)]
pub(crate) struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn split(&mut self) -> Result<Frame<'a>, Malformed> {
        let short = Malformed("shorter than its header");
        let len = u32_at(self.0, 0).ok_or(short)? as usize;
        let frame = Frame {
            kind: u16_at(self.0, 4).ok_or(short)?,
            flags: u16_at(self.0, 6).ok_or(short)?,
            seq: u32_at(self.0, 8).ok_or(short)?,
            payload: self
                .0
                .get(HEADER..len)
                .ok_or(Malformed("its length does not fit"))?,
        };
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Ok(frame)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let frame = self.split();
        if frame.is_err() {
            self.0 = &[];
        }
        Some(frame)
    }
}

/// The outcome of a request: an acknowledgement, a refusal, or the end of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Positive `errno`; 0 is success.
    pub(crate) errno: i32,
    /// The kernel's own words.
    pub(crate) message: Option<String>,
}

impl Outcome {
    /// Reads an [`ERROR`] or [`DONE`] frame.
    pub(crate) fn parse(frame: Frame<'_>) -> Result<Self, Malformed> {
        let Some(code) = u32_at(frame.payload, 0) else {
            // Kernels before 4.16 end a dump with an empty DONE.
            return match frame.kind {
                DONE => Ok(Self {
                    errno: 0,
                    message: None,
                }),
                _ => Err(Malformed("acknowledgement without a code")),
            };
        };
        let message = (frame.flags & ACK_TLVS != 0)
            .then(|| ack_attributes(frame))
            .flatten()
            .and_then(ack_message);
        Ok(Self {
            errno: code.cast_signed().saturating_neg().max(0),
            message,
        })
    }
}

/// Where the attributes of an acknowledgement start: behind the code in a DONE, behind the code
/// and the header of the request in a capped ERROR, behind the whole request in any other.
fn ack_attributes(frame: Frame<'_>) -> Option<&[u8]> {
    if frame.kind == DONE {
        return frame.payload.get(4..);
    }
    let request = match frame.flags & CAPPED {
        0 => u32_at(frame.payload, 4)? as usize,
        _ => HEADER,
    };
    frame.payload.get(4 + aligned(request)..)
}

fn ack_message(attributes: &[u8]) -> Option<String> {
    let (_, text) = Attrs::new(attributes).find(|(kind, _)| *kind == ATTR_MSG)?;
    let text = text_of(text);
    (!text.is_empty()).then_some(text)
}

/// Appends one request to `out`.
///
/// `body` is already aligned: every payload is a fixed header of a multiple of four bytes and
/// padded attributes.
pub(crate) fn push_request(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, body: &[u8]) {
    let len = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(body);
    out.resize(aligned(out.len()), 0);
}

/// Walks attributes. It ends where they stop making sense, as the kernel's `nla_for_each_attr`.
#[derive(Debug, Clone)]
pub(crate) struct Attrs<'a>(&'a [u8]);

impl<'a> Attrs<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attrs<'a> {
    /// The kind without its flag bits, and the value.
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

const fn aligned(len: usize) -> usize {
    len.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

/// A number in host byte order at an offset.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number in host byte order at an offset.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The text up to its terminating zero, if it has one.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
    String::from_utf8_lossy(text).into_owned()
}

/// The IP address in an attribute.
pub(crate) fn ip_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(Into::into)
        .or_else(|_four| <[u8; 16]>::try_from(bytes).map(Into::into))
        .ok()
}

/// A libc constant as the 16 bits it has on the wire.
pub(crate) const fn wire(value: libc::c_int) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    /// `struct nlattr`, the value and its padding.
    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn refused(flags: u16, behind_code: &[u8]) -> Outcome {
        let payload = [&(-22_i32).to_ne_bytes(), behind_code].concat();
        let frame = Frame {
            kind: ERROR,
            flags,
            seq: 1,
            payload: &payload,
        };
        Outcome::parse(frame).unwrap()
    }

    #[test]
    fn requests_are_read_back_one_by_one() {
        let mut out = Vec::new();
        push_request(&mut out, 16, 5, 7, &[1, 2, 3, 4]);
        push_request(&mut out, 17, 1, 8, &[]);
        let frames: Vec<_> = Frames::new(&out).map(Result::unwrap).collect();
        let [first, second] = frames[..] else {
            panic!("{frames:?}");
        };
        assert_eq!((first.kind, first.flags, first.seq), (16, 5, 7));
        assert_eq!(first.payload, [1, 2, 3, 4]);
        assert_eq!((second.kind, second.seq, second.payload), (17, 8, &[][..]));
        assert_eq!(out.len(), 36);
    }

    #[test]
    fn a_message_that_does_not_fit_ends_the_datagram() {
        let mut out = Vec::new();
        push_request(&mut out, 16, 5, 7, &[1, 2, 3, 4]);
        for bytes in [&out[..19], &out[..15], &[0; 16]] {
            let frames: Vec<_> = Frames::new(bytes).collect();
            assert!(matches!(frames[..], [Err(_)]), "{frames:?}");
        }
    }

    #[test]
    fn the_kernels_words_are_found_behind_a_short_or_a_whole_request() {
        let mut request = Vec::new();
        push_request(&mut request, 16, 5, 7, &[9; 20]);
        let words = [attr(2, &[0; 4]), attr(ATTR_MSG, b"no such thing\0")].concat();
        let capped = [&request[..HEADER], &words].concat();
        let whole = [request.as_slice(), &words].concat();
        for (flags, bytes) in [(ACK_TLVS | CAPPED, &capped), (ACK_TLVS, &whole)] {
            let outcome = refused(flags, bytes);
            assert_eq!(outcome.errno, 22);
            assert_eq!(outcome.message.as_deref(), Some("no such thing"));
        }
        for flags in [CAPPED, 0] {
            assert_eq!(
                refused(flags, &whole).message,
                None,
                "no attributes announced"
            );
        }
        assert_eq!(refused(ACK_TLVS, &request).message, None);
        assert_eq!(refused(ACK_TLVS, &[]).message, None);
    }

    #[test]
    fn dumps_end_with_or_without_a_code() {
        let done = |flags, payload: &[u8]| {
            Outcome::parse(Frame {
                kind: DONE,
                flags,
                seq: 1,
                payload,
            })
            .unwrap()
        };
        assert_eq!(done(0, &[]).errno, 0);
        assert_eq!(done(0, &0_i32.to_ne_bytes()).errno, 0);
        let words = [(-4_i32).to_ne_bytes().to_vec(), attr(ATTR_MSG, b"moved")].concat();
        let outcome = done(ACK_TLVS, &words);
        assert_eq!(
            (outcome.errno, outcome.message.as_deref()),
            (4, Some("moved"))
        );
        let short = Frame {
            kind: ERROR,
            flags: 0,
            seq: 1,
            payload: &[0; 3],
        };
        assert!(Outcome::parse(short).is_err());
    }

    #[test]
    fn attributes_lose_their_flag_bits_and_padding() {
        let bytes = [attr(0x8000 | 5, &[1, 2, 3]), attr(6, &[])].concat();
        let all: Vec<_> = Attrs::new(&bytes).collect();
        assert_eq!(all, [(5, &[1, 2, 3][..]), (6, &[][..])]);
        assert_eq!(
            Attrs::new(&[3, 0, 1, 0]).count(),
            0,
            "shorter than its header"
        );
        assert_eq!(
            Attrs::new(&[9, 0, 1, 0, 7]).count(),
            0,
            "longer than the bytes"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_run_for_ever(bytes in vec(any::<u8>(), 0..200), flags in any::<u16>()) {
            for frame in Frames::new(&bytes).flatten() {
                let _no_panic = Outcome::parse(frame);
            }
            for kind in [ERROR, DONE, libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWROUTE, libc::RTM_NEWQDISC, libc::RTM_NEWTFILTER] {
                let frame = Frame { kind, flags, seq: 1, payload: &bytes };
                let _no_panic = Outcome::parse(frame);
                let _no_panic = crate::link::Link::parse(frame);
                let _no_panic = crate::link::parse_vlans(frame, 1);
                let _no_panic = crate::address::Address::parse(frame);
                let _no_panic = crate::route::parse(frame);
                let _no_panic = crate::qdisc::Qdisc::parse(frame);
                let _no_panic = crate::qdisc::parse_filter(frame);
            }
            assert!(Attrs::new(&bytes).count() <= bytes.len() / 4);
        }
    }
}
