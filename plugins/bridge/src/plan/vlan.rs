//! The VLANs of a port: which to leave, which to join, and which it then has.

use std::collections::BTreeMap;

use cni_netlink::VlanRange;

use crate::config::Vlans;

/// What makes a new port one of the wanted VLANs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct VlanChanges {
    pub(crate) leave: Option<u16>,
    pub(crate) join: Vec<VlanRange>,
}

/// How a port is in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Untagged frames that come in belong to this VLAN.
    pub(crate) pvid: bool,
    /// Frames of this VLAN go out untagged.
    pub(crate) untagged: bool,
}

/// `default` is the VLAN that the bridge gave the port when it joined; 0 is none.
pub(crate) fn vlan_changes(vlans: &Vlans, default: Option<u16>) -> VlanChanges {
    if !vlans.are_wanted() {
        return VlanChanges::default();
    }
    let native = vlans.native().map(VlanRange::access);
    let trunk = vlans.trunk_ranges().into_iter().map(VlanRange::tagged);
    VlanChanges {
        leave: default.filter(|default| *default != 0 && !vlans.keep_default),
        join: trunk.chain(native).collect(),
    }
}

/// All VLANs that the port then has.
pub(crate) fn expected_vlans(vlans: &Vlans, default: Option<u16>) -> BTreeMap<u16, Membership> {
    let changes = vlan_changes(vlans, default);
    let kept = default.filter(|default| *default != 0 && changes.leave.is_none());
    // There is one PVID: the native VLAN takes it from the default one.
    let pvid = vlans.native().is_none();
    let kept = kept.map(|id| {
        (
            id,
            Membership {
                pvid,
                untagged: true,
            },
        )
    });
    kept.into_iter().chain(memberships(&changes.join)).collect()
}

/// Ranges, id by id.
pub(crate) fn memberships(ranges: &[VlanRange]) -> BTreeMap<u16, Membership> {
    let each = |range: &VlanRange| {
        let membership = Membership {
            pvid: range.pvid,
            untagged: range.untagged,
        };
        range.ids.clone().map(move |id| (id, membership))
    };
    ranges.iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlans(access: Option<u16>, trunk: &[u16], keep_default: bool) -> Vlans {
        Vlans {
            access,
            trunk: trunk.iter().copied().collect(),
            keep_default,
        }
    }

    #[test]
    fn vlans_are_left_and_joined() {
        assert_eq!(
            vlan_changes(&vlans(None, &[], false), Some(1)),
            VlanChanges::default()
        );
        let access = vlan_changes(&vlans(Some(100), &[], false), Some(1));
        assert_eq!(
            (access.leave, access.join),
            (Some(1), vec![VlanRange::access(100)])
        );
        assert_eq!(
            vlan_changes(&vlans(Some(100), &[], true), Some(1)).leave,
            None
        );
        assert_eq!(
            vlan_changes(&vlans(Some(100), &[], false), Some(0)).leave,
            None
        );
        let trunk = vlan_changes(&vlans(None, &[101, 102, 200], false), Some(1));
        let joined = [
            VlanRange::tagged(101..=102),
            VlanRange::tagged(200..=200),
            VlanRange::access(1),
        ];
        assert_eq!(trunk.join, joined);
    }

    #[test]
    fn a_port_has_what_it_kept_and_what_it_joined() {
        let access = Membership {
            pvid: true,
            untagged: true,
        };
        let tagged = Membership {
            pvid: false,
            untagged: false,
        };
        let kept = Membership {
            pvid: false,
            untagged: true,
        };
        let expected = |vlans: &Vlans, default| Vec::from_iter(expected_vlans(vlans, default));
        assert_eq!(
            expected(&vlans(Some(100), &[7], false), Some(1)),
            [(7, tagged), (100, access)]
        );
        assert_eq!(
            expected(&vlans(Some(100), &[], true), Some(1)),
            [(1, kept), (100, access)]
        );
        assert_eq!(expected(&vlans(Some(1), &[], true), Some(1)), [(1, access)]);
        assert_eq!(
            expected(&vlans(Some(100), &[], true), Some(0)),
            [(100, access)]
        );
        assert_eq!(expected(&vlans(None, &[], false), Some(1)), [(1, access)]);
    }
}
