//! `vlan`, `vlanTrunk` and `preserveDefaultVlan`: which VLANs a container's port is in.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::Deserialize;

/// The highest VLAN id; 4095 is reserved (IEEE 802.1Q).
const MAX_ID: i64 = 4094;

/// An entry of `vlanTrunk`: a range, one id, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TrunkConf {
    #[serde(rename = "minID")]
    min_id: Option<i64>,
    #[serde(rename = "maxID")]
    max_id: Option<i64>,
    id: Option<i64>,
}

/// The VLANs of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vlans {
    /// The VLAN of untagged frames, if one is configured.
    pub(crate) access: Option<u16>,
    /// The VLANs of tagged frames.
    pub(crate) trunk: BTreeSet<u16>,
    /// Whether the port keeps the VLAN that the bridge gives to new ports.
    pub(crate) keep_default: bool,
}

/// Why VLANs are refused; the words are the reference's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VlanError {
    #[error("vlan: invalid VLAN ID {0} (must be between 0 and 4094)")]
    Access(i64),
    #[error(
        "vlanTrunk[{0}]: minID and maxID should be configured simultaneously, minID is missing"
    )]
    NoMinimum(usize),
    #[error(
        "vlanTrunk[{0}]: minID and maxID should be configured simultaneously, maxID is missing"
    )]
    NoMaximum(usize),
    #[error("vlanTrunk[{0}]: incorrect trunk minID parameter {1} (must be between 1 and 4094)")]
    Minimum(usize, i64),
    #[error("vlanTrunk[{0}]: incorrect trunk maxID parameter {1} (must be between 1 and 4094)")]
    Maximum(usize, i64),
    #[error("vlanTrunk[{0}]: minID is greater than maxID in trunk parameter ({1} > {2})")]
    Order(usize, u16, u16),
    #[error("vlanTrunk[{0}]: incorrect trunk id parameter {1} (must be between 1 and 4094)")]
    Id(usize, i64),
}

impl Vlans {
    pub(super) fn new(
        access: i64,
        trunk: &[TrunkConf],
        keep_default: bool,
    ) -> Result<Self, VlanError> {
        if !(0..=MAX_ID).contains(&access) {
            return Err(VlanError::Access(access));
        }
        let mut ids = BTreeSet::new();
        for (index, entry) in trunk.iter().enumerate() {
            ids.extend(range_of(index, entry)?.into_iter().flatten());
            if let Some(id) = entry.id {
                ids.insert(tagged(id).ok_or(VlanError::Id(index, id))?);
            }
        }
        Ok(Self {
            access: tagged(access),
            trunk: ids,
            keep_default,
        })
    }

    /// Whether the bridge has to sort frames by VLAN.
    pub(crate) fn are_wanted(&self) -> bool {
        self.access.is_some() || !self.trunk.is_empty()
    }

    /// The VLAN of untagged frames: a trunk alone leaves them in VLAN 1.
    pub(crate) fn native(&self) -> Option<u16> {
        self.access.or((!self.trunk.is_empty()).then_some(1))
    }

    /// The trunk as few ranges.
    pub(crate) fn trunk_ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for id in &self.trunk {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == *id => *last = *last.start()..=*id,
                _ => ranges.push(*id..=*id),
            }
        }
        ranges
    }
}

fn tagged(id: i64) -> Option<u16> {
    u16::try_from(id)
        .ok()
        .filter(|_| (1..=MAX_ID).contains(&id))
}

fn range_of(index: usize, entry: &TrunkConf) -> Result<Option<RangeInclusive<u16>>, VlanError> {
    let (min, max) = match (entry.min_id, entry.max_id) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(VlanError::NoMinimum(index)),
        (Some(_), None) => return Err(VlanError::NoMaximum(index)),
        (Some(min), Some(max)) => (min, max),
    };
    let min = tagged(min).ok_or(VlanError::Minimum(index, min))?;
    let max = tagged(max).ok_or(VlanError::Maximum(index, max))?;
    if min > max {
        return Err(VlanError::Order(index, min, max));
    }
    Ok(Some(min..=max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(min_id: Option<i64>, max_id: Option<i64>, id: Option<i64>) -> TrunkConf {
        TrunkConf { min_id, max_id, id }
    }

    #[test]
    fn ids_and_ranges_mix() {
        let trunk = [
            entry(Some(200), Some(202), Some(101)),
            entry(None, None, Some(201)),
            entry(None, None, None),
        ];
        let vlans = Vlans::new(100, &trunk, false).unwrap();
        assert_eq!(vlans.trunk_ranges(), [101..=101, 200..=202]);
        assert_eq!(vlans.native(), Some(100));
        assert!(vlans.are_wanted());
    }

    #[test]
    fn a_trunk_alone_leaves_untagged_frames_in_vlan_1() {
        assert_eq!(
            Vlans::new(0, &[entry(None, None, Some(7))], false)
                .unwrap()
                .native(),
            Some(1)
        );
        let none = Vlans::new(0, &[], true).unwrap();
        assert_eq!((none.native(), none.are_wanted()), (None, false));
    }

    #[test]
    fn refusals_have_the_references_words() {
        for (trunk, words) in [
            (
                entry(None, Some(2), None),
                "minID and maxID should be configured simultaneously, minID is missing",
            ),
            (
                entry(Some(2), None, None),
                "minID and maxID should be configured simultaneously, maxID is missing",
            ),
            (
                entry(Some(0), Some(2), None),
                "incorrect trunk minID parameter",
            ),
            (
                entry(Some(5000), Some(2), None),
                "incorrect trunk minID parameter",
            ),
            (
                entry(Some(1), Some(4095), None),
                "incorrect trunk maxID parameter",
            ),
            (
                entry(Some(1), Some(-1), None),
                "incorrect trunk maxID parameter",
            ),
            (
                entry(Some(9), Some(8), None),
                "minID is greater than maxID in trunk parameter",
            ),
            (entry(None, None, Some(0)), "incorrect trunk id parameter"),
            (
                entry(None, None, Some(4095)),
                "incorrect trunk id parameter",
            ),
        ] {
            let error = Vlans::new(0, &[trunk], false).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for id in [-1, 4095, 1 << 40] {
            assert_eq!(Vlans::new(id, &[], false), Err(VlanError::Access(id)));
        }
    }
}
