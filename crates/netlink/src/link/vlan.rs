//! The VLANs of a bridge port.

use std::ops::RangeInclusive;

use netlink_packet_route::link::{BridgeVlanInfoFlags as Flags, LinkMessage};
use nix::libc;
use rtnetlink::LinkBridgeVlan;

use super::{HEADER, LinkId, get_body};
use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, u16_at, u32_at};
use crate::socket::{Query, Socket};

/// `RTEXT_FILTER_BRVLAN_COMPRESSED`: VLANs in a row as one range.
const COMPRESSED: u32 = 1 << 2;
/// `IFLA_BRIDGE_VLAN_INFO`.
const VLAN_INFO: u16 = 2;

/// VLAN ids in a row that a port is a member of, all with the same flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanRange {
    /// The ids, of 1 to 4094.
    pub ids: RangeInclusive<u16>,
    /// Untagged frames that come in belong to it. For one id only.
    pub pvid: bool,
    /// Frames leave without a tag.
    pub untagged: bool,
}

impl VlanRange {
    /// The VLAN of an access port: what comes in untagged belongs to it and leaves untagged.
    #[must_use]
    pub fn access(id: u16) -> Self {
        Self {
            ids: id..=id,
            pvid: true,
            untagged: true,
        }
    }

    /// VLANs whose frames come and leave with their tag.
    #[must_use]
    pub fn tagged(ids: RangeInclusive<u16>) -> Self {
        Self {
            ids,
            pvid: false,
            untagged: false,
        }
    }

    fn flags(&self) -> Flags {
        let mut flags = Flags::empty();
        flags.set(Flags::Pvid, self.pvid);
        flags.set(Flags::Untagged, self.untagged);
        flags
    }

    fn describe(&self) -> String {
        match (self.ids.start(), self.ids.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        }
    }
}

/// Makes a port, or the bridge itself, a member of VLANs.
#[must_use]
pub fn add_vlans(link: &LinkId, vlans: &[VlanRange], on: VlanSide) -> Change {
    change(Op::AddVlan, link, vlans, (libc::RTM_SETLINK, on))
}

/// Ends a port's, or the bridge's own, membership in VLANs.
#[must_use]
pub fn delete_vlans(link: &LinkId, vlans: &[VlanRange], on: VlanSide) -> Change {
    change(Op::DeleteVlan, link, vlans, (libc::RTM_DELLINK, on))
}

/// Whether a VLAN request is about a port or about the bridge as a port of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VlanSide {
    /// The link is a bridge port.
    Port,
    /// The link is the bridge: `bridge vlan add ... self`.
    Bridge,
}

fn change(op: Op, link: &LinkId, vlans: &[VlanRange], (kind, on): (u16, VlanSide)) -> Change {
    let words: Vec<String> = vlans.iter().map(VlanRange::describe).collect();
    let subject = format!("{} dev {link}", words.join(","));
    Change::new(op, subject, kind, 0, &message(link, vlans, on))
}

fn message(link: &LinkId, vlans: &[VlanRange], on: VlanSide) -> LinkMessage {
    let mut builder = LinkBridgeVlan::new(link.index);
    if on == VlanSide::Bridge {
        builder = builder.bridge_self();
    }
    for vlan in vlans {
        let (first, last) = (*vlan.ids.start(), *vlan.ids.end());
        builder = if first == last {
            builder.vlan(first, vlan.flags())
        } else {
            builder
                .vlan_range_start(first, vlan.flags())
                .vlan_range_end(last, vlan.flags())
        };
    }
    builder.build()
}

impl Socket {
    /// The VLANs of a bridge port, or of the bridge itself if `link` is one.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn port_vlans(&self, link: &LinkId) -> Result<Vec<VlanRange>, NetlinkError> {
        let family = u8::try_from(libc::AF_BRIDGE).unwrap_or(0);
        let mask = COMPRESSED.to_ne_bytes();
        let query = Query {
            op: Op::ListVlans,
            subject: link,
            kind: libc::RTM_GETLINK,
            // Strict checking refuses an index here: the dump has all ports.
            body: &get_body(family, 0, &[(libc::IFLA_EXT_MASK, &mask)]),
        };
        self.dump(&query, |frame, all| all.extend(parse(frame, link.index)))
    }
}

/// The VLANs in a frame about the link of that index.
pub(crate) fn parse(frame: Frame<'_>, index: u32) -> Vec<VlanRange> {
    if frame.kind != libc::RTM_NEWLINK || u32_at(frame.payload, 4) != Some(index) {
        return Vec::new();
    }
    let entries = Attrs::new(frame.payload.get(HEADER..).unwrap_or_default())
        .filter(|(kind, _)| *kind == libc::IFLA_AF_SPEC)
        .flat_map(|(_, spec)| Attrs::new(spec))
        .filter(|(kind, _)| *kind == VLAN_INFO)
        .filter_map(|(_, info)| {
            Some((Flags::from_bits_retain(u16_at(info, 0)?), u16_at(info, 2)?))
        });
    join(entries)
}

/// Makes ranges of entries that are marked as beginning and end of one.
fn join(entries: impl Iterator<Item = (Flags, u16)>) -> Vec<VlanRange> {
    let mut first = None;
    let mut ranges = Vec::new();
    for (flags, id) in entries {
        if flags.contains(Flags::RangeBegin) {
            first = Some(id);
            continue;
        }
        ranges.push(VlanRange {
            ids: first.take().unwrap_or(id)..=id,
            pvid: flags.contains(Flags::Pvid),
            untagged: flags.contains(Flags::Untagged),
        });
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct ifinfomsg` of a port with index 5, and `IFLA_AF_SPEC` of these attributes.
    fn message_of(parts: &[(u16, &[u16])]) -> Vec<u8> {
        let spec: Vec<u8> = parts
            .iter()
            .flat_map(|(kind, words)| {
                let words: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                get_body(0, 0, &[(*kind, &words)]).split_off(HEADER)
            })
            .collect();
        get_body(7, 5, &[(libc::IFLA_AF_SPEC, &spec)])
    }

    const PVID: u16 = 2;
    const UNTAGGED: u16 = 4;
    const BEGIN: u16 = 8;
    const END: u16 = 16;

    /// The messages are those that iproute2's `bridge` sends, recorded with strace.
    #[test]
    fn requests_are_what_iproute2_sends() {
        let link = LinkId::new(5, "veth0");
        let access = add_vlans(&link, &[VlanRange::access(100)], VlanSide::Port);
        assert_eq!(access.body, message_of(&[(2, &[PVID | UNTAGGED, 100])]));
        assert_eq!(access.kind, libc::RTM_SETLINK);

        let trunk = [VlanRange::tagged(10..=20), VlanRange::tagged(30..=30)];
        let trunk = add_vlans(&link, &trunk, VlanSide::Port);
        let parts: [(u16, &[u16]); 3] = [(2, &[BEGIN, 10]), (2, &[END, 20]), (2, &[0, 30])];
        assert_eq!(trunk.body, message_of(&parts));
        assert_eq!(trunk.to_string(), "add VLAN 10-20,30 dev veth0");

        let on_bridge = add_vlans(&link, &[VlanRange::tagged(100..=100)], VlanSide::Bridge);
        assert_eq!(on_bridge.body, message_of(&[(0, &[2]), (2, &[0, 100])]));

        let delete = delete_vlans(&link, &[VlanRange::tagged(1..=1)], VlanSide::Port);
        assert_eq!(delete.body, message_of(&[(2, &[0, 1])]));
        assert_eq!(delete.kind, libc::RTM_DELLINK);
    }

    #[test]
    fn vlans_are_read_back_as_ranges() {
        let parts: [(u16, &[u16]); 4] = [
            (2, &[PVID | UNTAGGED, 1]),
            (2, &[BEGIN, 10]),
            (2, &[END, 20]),
            (2, &[UNTAGGED, 30]),
        ];
        let payload = message_of(&parts);
        let frame = Frame {
            kind: libc::RTM_NEWLINK,
            flags: 0,
            seq: 1,
            payload: &payload,
        };
        let untagged = VlanRange {
            untagged: true,
            ..VlanRange::tagged(30..=30)
        };
        let expected = [VlanRange::access(1), VlanRange::tagged(10..=20), untagged];
        assert_eq!(parse(frame, 5), expected);
        assert_eq!(parse(frame, 6), [], "another port");
    }
}
