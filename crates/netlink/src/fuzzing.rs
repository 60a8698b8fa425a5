//! What `tests/fuzz` calls: everything that is read out of what the kernel sends.

use nix::libc;

use crate::frame::{Attrs, DONE, ERROR, Frame, Frames, Outcome, push_request};
use crate::{address, link, qdisc, route};

/// A datagram, as one is received.
pub fn datagram(bytes: &[u8]) {
    let mut read = 0;
    for frame in Frames::new(bytes).flatten() {
        read += frame.payload.len();
        message(frame);
    }
    assert!(read <= bytes.len(), "read {read} of {} bytes", bytes.len());
}

/// One message's payload, taken for each kind of message there is.
pub fn payload(flags: u16, payload: &[u8]) {
    const KINDS: [u16; 8] = [
        ERROR,
        DONE,
        libc::RTM_NEWLINK,
        libc::RTM_NEWADDR,
        libc::RTM_NEWROUTE,
        libc::RTM_NEWQDISC,
        libc::RTM_NEWTFILTER,
        libc::RTM_NEWNSID,
    ];
    for kind in KINDS {
        message(Frame {
            kind,
            flags,
            seq: 1,
            payload,
        });
    }
    // What is sent is read back as it was, however long.
    let mut sent = Vec::new();
    push_request(&mut sent, 16, flags, 7, payload);
    let back = Frames::new(&sent).next();
    let back = back.and_then(Result::ok).map(|frame| frame.payload);
    assert_eq!(back, Some(payload));
}

fn message(frame: Frame<'_>) {
    if let Ok(outcome) = Outcome::parse(frame) {
        assert!(outcome.errno >= 0, "{outcome:?}");
    }
    let _no_panic = link::Link::parse(frame);
    let _no_panic = link::vlan::parse(frame, 1);
    let _no_panic = address::Address::parse(frame);
    let _no_panic = route::parse(frame);
    let _no_panic = qdisc::Qdisc::parse(frame);
    let _no_panic = qdisc::filter::parse(frame);
    let attributes = Attrs::new(frame.payload).count();
    assert!(attributes <= frame.payload.len() / 4);
}
