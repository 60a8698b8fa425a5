//! Traffic control: the queueing disciplines of a link, and the filter that hands what comes in by
//! one link to another.
//!
//! A link has a place for a qdisc in each direction. At the [root](Hook::Root) sits what its own
//! packets wait in; [`Tbf`] gives them a rate. Nothing can wait on the way in, so
//! [ingress](Hook::Ingress) only holds filters, and who wants a rate for what comes in has a filter
//! [redirect](add_redirect) it to an [IFB](crate::CreateIfb), whose root delays it in its stead.
//!
//! Qdiscs are asked for one at a time: a dump is always one of all links.

pub(crate) mod filter;
mod probe;
mod psched;
mod tbf;

use std::fmt;

use netlink_packet_core::Emitable as _;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage, TcOption};
use nix::libc;

#[cfg(test)]
pub(crate) use self::filter::parse as parse_filter;
pub use self::filter::{Filter, add_redirect, delete_filter};
pub use self::probe::Feature;
pub use self::psched::{Psched, PschedError};
pub use self::tbf::Tbf;
use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, text_of, u32_at, wire};
use crate::link::LinkId;
use crate::socket::{Query, Socket};

/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

const TBF: &str = "tbf";
const INGRESS: &str = "ingress";

/// The place is free, or the kernel refuses.
const CREATE: u16 = wire(libc::NLM_F_CREATE | libc::NLM_F_EXCL);

/// Where on a link a qdisc sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// What the link sends.
    Root,
    /// What the link receives.
    Ingress,
}

impl Hook {
    const fn parent(self) -> TcHandle {
        match self {
            Self::Root => TcHandle::ROOT,
            Self::Ingress => TcHandle::INGRESS,
        }
    }

    /// The handle that a qdisc gets there: `1:`, as the reference plugins have it, and `ffff:`, the
    /// only one that the kernel knows.
    const fn handle(self) -> TcHandle {
        let major = match self {
            Self::Root => 1,
            Self::Ingress => u16::MAX,
        };
        TcHandle { major, minor: 0 }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Ingress => "ingress",
        })
    }
}

/// A qdisc that somebody has given to a link. Displays as `tc` names it: `tbf 1:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// `tbf`, `ingress`, `htb`, ...
    pub kind: String,
    /// The major number of its handle.
    pub major: u16,
    /// Set for a token bucket filter.
    pub tbf: Option<Tbf>,
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:x}:", self.kind, self.major)
    }
}

impl Qdisc {
    /// Reads an `RTM_NEWQDISC`; anything else gives `None`.
    pub(crate) fn parse(frame: Frame<'_>) -> Option<Self> {
        if frame.kind != libc::RTM_NEWQDISC {
            return None;
        }
        let mut qdisc = Self {
            kind: String::new(),
            major: TcHandle::from(u32_at(frame.payload, 8)?).major,
            tbf: None,
        };
        // The kernel writes the kind in front of the options.
        for (kind, value) in Attrs::new(frame.payload.get(HEADER..)?) {
            match kind {
                TCA_KIND => qdisc.kind = text_of(value),
                TCA_OPTIONS if qdisc.kind == TBF => qdisc.tbf = Tbf::parse(value),
                _ => {}
            }
        }
        Some(qdisc)
    }

    /// What every link has until it is given another one has no handle.
    fn is_given(&self) -> bool {
        self.major != 0
    }
}

/// Gives a link a token bucket filter: what it sends from now on keeps to a rate.
///
/// Refused ([`is_exists`](NetlinkError::is_exists)) where somebody has given it another qdisc.
#[must_use]
pub fn add_tbf(link: &LinkId, tbf: &Tbf) -> Change {
    add(link, Hook::Root, TBF, tbf.options())
}

/// Takes a link's token bucket filter away; what waits in it is lost. Where there is none, or another
/// qdisc instead, the kernel refuses ([`is_gone`](NetlinkError::is_gone)).
#[must_use]
pub fn delete_tbf(link: &LinkId) -> Change {
    delete(link, Hook::Root, TBF)
}

/// Gives a link the qdisc that filters of what it receives are attached to.
///
/// Refused ([`is_exists`](NetlinkError::is_exists)) where there is one already, or a `clsact`.
#[must_use]
pub fn add_ingress(link: &LinkId) -> Change {
    add(link, Hook::Ingress, INGRESS, Vec::new())
}

/// Takes it away, **with all its filters**. Where there is none, or a `clsact` instead, the kernel
/// refuses ([`is_gone`](NetlinkError::is_gone)).
#[must_use]
pub fn delete_ingress(link: &LinkId) -> Change {
    delete(link, Hook::Ingress, INGRESS)
}

fn add(link: &LinkId, at: Hook, kind: &str, options: Vec<TcOption>) -> Change {
    let mut message = message(link, at.handle(), at.parent(), kind);
    message.attributes.push(TcAttribute::Options(options));
    let subject = format!("{kind} dev {link}");
    Change::new(Op::AddQdisc, subject, libc::RTM_NEWQDISC, CREATE, &message)
}

/// Handle and kind are compared by the kernel, so that nobody else's is deleted.
fn delete(link: &LinkId, at: Hook, kind: &str) -> Change {
    let message = message(link, at.handle(), at.parent(), kind);
    let subject = format!("{kind} dev {link}");
    Change::new(Op::DeleteQdisc, subject, libc::RTM_DELQDISC, 0, &message)
}

fn message(link: &LinkId, handle: TcHandle, parent: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::from_parts(header(link, handle, parent), Vec::new());
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

fn header(link: &LinkId, handle: TcHandle, parent: TcHandle) -> TcHeader {
    TcHeader {
        index: link.index.cast_signed(),
        handle,
        parent,
        ..TcHeader::default()
    }
}

/// The bytes of a request without attributes.
fn body(header: TcHeader) -> Vec<u8> {
    let message = TcMessage::from_parts(header, Vec::new());
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    body
}

impl Socket {
    /// The qdisc that somebody has given to a link; `None` if it has but what the kernel gives to
    /// every link by itself, or if the link is gone.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn qdisc(&self, link: &LinkId, at: Hook) -> Result<Option<Qdisc>, NetlinkError> {
        let query = Query {
            op: Op::FindQdisc,
            subject: &format_args!("{at} of {link}"),
            kind: libc::RTM_GETQDISC,
            body: &body(header(link, TcHandle::UNSPEC, at.parent())),
        };
        match self.get_echoed(&query, Qdisc::parse) {
            Err(error) if error.is_gone() => Ok(None),
            found => Ok(found?.filter(Qdisc::is_given)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct tcmsg` of link 2 and its attributes, as bytes.
    pub(super) fn frame_bytes(handle: u32, parent: u32, attributes: &[u8]) -> Vec<u8> {
        let numbers = [0, 2, handle, parent, 0];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
        bytes.extend_from_slice(attributes);
        bytes
    }

    /// An attribute with its padding.
    pub(super) fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn vethh() -> LinkId {
        LinkId::new(2, "vethh")
    }

    /// 8 Mbit/s with a burst of a megabyte, as the reference asks for it.
    fn bucket() -> Tbf {
        Tbf {
            rate: 1_000_000,
            limit: 1_025_000,
            buffer: 15_625_000,
        }
    }

    fn parse(payload: &[u8]) -> Option<Qdisc> {
        Qdisc::parse(Frame {
            kind: libc::RTM_NEWQDISC,
            flags: 0,
            seq: 1,
            payload,
        })
    }

    /// Recorded from the reference plugin 1.1.1 with strace.
    #[test]
    fn requests_are_what_the_reference_sends() {
        let mut parms = [0; 36];
        parms[8..12].copy_from_slice(&1_000_000_u32.to_ne_bytes());
        parms[24..28].copy_from_slice(&1_025_000_u32.to_ne_bytes());
        parms[28..32].copy_from_slice(&15_625_000_u32.to_ne_bytes());
        let options = attr(TCA_OPTIONS, &attr(1, &parms));
        let attributes = [attr(TCA_KIND, b"tbf\0"), options].concat();
        let change = add_tbf(&vethh(), &bucket());
        assert_eq!(
            change.body,
            frame_bytes(0x0001_0000, 0xffff_ffff, &attributes)
        );
        assert_eq!(change.to_string(), "create qdisc tbf dev vethh");

        let attributes = [attr(TCA_KIND, b"ingress\0"), attr(TCA_OPTIONS, &[])].concat();
        let change = add_ingress(&vethh());
        assert_eq!(
            change.body,
            frame_bytes(0xffff_0000, 0xffff_fff1, &attributes)
        );
        assert_eq!(
            (change.kind, change.flags),
            (libc::RTM_NEWQDISC, 0x400 | 0x200)
        );
    }

    #[test]
    fn deletions_name_what_they_expect_to_find() {
        let change = delete_ingress(&vethh());
        let kind = attr(TCA_KIND, b"ingress\0");
        assert_eq!(change.body, frame_bytes(0xffff_0000, 0xffff_fff1, &kind));
        assert_eq!(change.kind, libc::RTM_DELQDISC);
        assert_eq!(
            delete_tbf(&vethh()).to_string(),
            "delete qdisc tbf dev vethh"
        );
    }

    #[test]
    fn what_is_sent_is_read_back() {
        let qdisc = parse(&add_tbf(&vethh(), &bucket()).body).unwrap();
        assert_eq!(qdisc.tbf, Some(bucket()));
        assert_eq!(qdisc.to_string(), "tbf 1:");
        assert!(qdisc.is_given());
        let ingress = parse(&add_ingress(&vethh()).body).unwrap();
        assert_eq!(ingress.to_string(), "ingress ffff:");
    }

    #[test]
    fn what_every_link_has_is_not_given_by_anybody() {
        let noqueue = frame_bytes(0, 0xffff_ffff, &attr(TCA_KIND, b"noqueue\0"));
        assert!(!parse(&noqueue).unwrap().is_given());
        assert_eq!(parse(&[0; 7]), None);
    }
}
