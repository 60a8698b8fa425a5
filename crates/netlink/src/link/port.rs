//! The flags of a bridge port.

use netlink_packet_route::link::InfoBridgePort;
use nix::libc;
use rtnetlink::LinkBridgePort;

use super::{BridgePort, LinkId};
use crate::change::Change;
use crate::error::Op;
use crate::frame::Attrs;

const STATE: u16 = 1;
const MODE: u16 = 4;
const ISOLATED: u16 = 33;

/// Flags of a bridge port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortFlags {
    /// Frames may leave through the port they came in by.
    pub hairpin: bool,
    /// The port cannot talk with other isolated ports.
    pub isolated: bool,
}

/// Sets the flags that are given. The link must be a port of a bridge already.
///
/// `None` leaves a flag as it is; kernels before 4.18 have no `isolated`.
#[must_use]
pub fn set_port(link: &LinkId, hairpin: Option<bool>, isolated: Option<bool>) -> Change {
    let mut builder = LinkBridgePort::new(link.index);
    if let Some(on) = hairpin {
        builder = builder.hairpin(on);
    }
    if let Some(on) = isolated {
        builder = builder.append_info_data(InfoBridgePort::Isolated(on));
    }
    // RTM_SETLINK ignores the data of a port; RTM_NEWLINK without NLM_F_CREATE changes it.
    Change::new(
        Op::SetPort,
        link.to_string(),
        libc::RTM_NEWLINK,
        0,
        &builder.build(),
    )
}

pub(super) fn parse(data: &[u8]) -> BridgePort {
    let mut port = BridgePort {
        flags: PortFlags::default(),
        state: 0,
    };
    for (kind, value) in Attrs::new(data) {
        let first = value.first().copied().unwrap_or(0);
        match kind {
            STATE => port.state = first,
            MODE => port.flags.hairpin = first != 0,
            ISOLATED => port.flags.isolated = first != 0,
            _ => {}
        }
    }
    port
}
