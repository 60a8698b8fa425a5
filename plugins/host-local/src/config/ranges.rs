//! The range sets of a config, from three places.

use cni_ipam::{RangeField, RangeSet, RangeSetError, RangeSpec};
use cni_types::{IpCidr, SpecVersion};

use super::error::{ConfigError, Place};
use super::{IpamConf, RangeConf};

/// A range set as written, and where.
pub(super) struct SetSource {
    path: String,
    /// The legacy block's keys stand in `ipam` itself.
    is_legacy: bool,
    ranges: Vec<RangeConf>,
}

impl SetSource {
    fn range_path(&self, index: usize) -> String {
        if self.is_legacy {
            self.path.clone()
        } else {
            format!("{}[{index}]", self.path)
        }
    }
}

/// In the reference's order: what the runtime gives, the legacy block if it has a subnet, `ranges`.
pub(super) fn range_sets(ipam: IpamConf, runtime: Vec<Vec<RangeConf>>) -> Vec<SetSource> {
    let listed = |list: &'static str| {
        move |(index, ranges)| SetSource {
            path: format!("{list}[{index}]"),
            is_legacy: false,
            ranges,
        }
    };
    let legacy = ipam.subnet.map(|subnet| SetSource {
        path: "ipam".to_owned(),
        is_legacy: true,
        ranges: vec![RangeConf {
            subnet,
            range_start: ipam.range_start,
            range_end: ipam.range_end,
            gateway: ipam.gateway,
        }],
    });
    let runtime = runtime
        .into_iter()
        .enumerate()
        .map(listed("runtimeConfig.ipRanges"));
    let ranges = ipam
        .ranges
        .into_iter()
        .enumerate()
        .map(listed("ipam.ranges"));
    runtime.chain(legacy).chain(ranges).collect()
}

pub(super) fn validate_sets(
    sources: &[SetSource],
    version: SpecVersion,
) -> Result<Vec<RangeSet>, ConfigError> {
    if sources.is_empty() {
        return Err(ConfigError::NoRanges);
    }
    let specs = sources
        .iter()
        .map(parse_set)
        .collect::<Result<Vec<_>, _>>()?;
    let sets = sources
        .iter()
        .zip(&specs)
        .enumerate()
        .map(|(index, (source, specs))| {
            RangeSet::new(specs).map_err(|error| ConfigError::Set {
                index,
                place: place_of(source, &error),
                error,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let v6 = sets.iter().filter(|set| set.is_ipv6()).count();
    if !version.lists_interfaces() && (v6 > 1 || sets.len() - v6 > 1) {
        return Err(ConfigError::TooManySets(version));
    }
    check_disjoint(&sets, sources)?;
    Ok(sets)
}

fn check_disjoint(sets: &[RangeSet], sources: &[SetSource]) -> Result<(), ConfigError> {
    for (first, set) in sets.iter().enumerate() {
        let mut later = sets.iter().zip(sources).enumerate().skip(first + 1);
        if let Some((second, (_, source))) = later.find(|(_, (other, _))| set.overlaps(other)) {
            let (path, value) = (source.path.clone(), None);
            let place = Place { path, value };
            return Err(ConfigError::Overlap {
                first,
                second,
                place,
            });
        }
    }
    Ok(())
}

fn parse_set(source: &SetSource) -> Result<Vec<RangeSpec>, ConfigError> {
    let ranges = source.ranges.iter().enumerate();
    ranges
        .map(|(index, range)| parse_range(range, &source.range_path(index)))
        .collect()
}

fn parse_range(range: &RangeConf, path: &str) -> Result<RangeSpec, ConfigError> {
    let place = |key: &str, text: &str| Place {
        path: format!("{path}.{key}"),
        value: Some(text.to_owned()),
    };
    let ip = |key: &str, text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_not_an_address| ConfigError::Ip {
                text: text.to_owned(),
                place: place(key, text),
            })
    };
    let subnet: Result<IpCidr, _> = range.subnet.parse();
    Ok(RangeSpec {
        subnet: subnet.map_err(|_not_a_cidr| ConfigError::Cidr {
            text: range.subnet.clone(),
            place: place("subnet", &range.subnet),
        })?,
        start: ip("rangeStart", &range.range_start)?,
        end: ip("rangeEnd", &range.range_end)?,
        gateway: ip("gateway", &range.gateway)?,
    })
}

/// The key that a set's error is about, with its value.
fn place_of(source: &SetSource, error: &RangeSetError) -> Place {
    let range = error.place().and_then(|(index, key)| {
        let range = source.ranges.get(index)?;
        let value = match key {
            RangeField::Subnet => &range.subnet,
            RangeField::Start => &range.range_start,
            RangeField::End => &range.range_end,
        };
        let path = format!("{}.{}", source.range_path(index), key.as_str());
        let value = Some(value.clone());
        Some(Place { path, value })
    });
    range.unwrap_or_else(|| Place {
        path: source.path.clone(),
        value: None,
    })
}
