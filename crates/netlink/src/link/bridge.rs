//! What a bridge has.

use crate::frame::{Attrs, u16_at};

const VLAN_FILTERING: u16 = 7;
const VLAN_DEFAULT_PVID: u16 = 39;

/// What a bridge has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Whether it sorts frames by VLAN. False also where the kernel cannot.
    pub vlan_filtering: bool,
    /// The VLAN that a new port gets; `None` where the kernel has no VLAN filtering.
    pub default_pvid: Option<u16>,
}

pub(super) fn parse(data: &[u8]) -> BridgeInfo {
    let mut bridge = BridgeInfo::default();
    for (kind, value) in Attrs::new(data) {
        match kind {
            VLAN_FILTERING => bridge.vlan_filtering = value.first().is_some_and(|on| *on != 0),
            VLAN_DEFAULT_PVID => bridge.default_pvid = u16_at(value, 0),
            _ => {}
        }
    }
    bridge
}

#[cfg(test)]
mod tests {
    use super::super::{HEADER, get_body};
    use super::*;

    #[test]
    fn a_bridge_shows_its_vlan_filtering() {
        let data = get_body(
            0,
            0,
            &[
                (VLAN_FILTERING, &[1]),
                (VLAN_DEFAULT_PVID, &1_u16.to_ne_bytes()),
            ],
        );
        let bridge = parse(&data[HEADER..]);
        assert_eq!(
            (bridge.vlan_filtering, bridge.default_pvid),
            (true, Some(1))
        );
        assert_eq!(parse(&[]), BridgeInfo::default());
    }
}
