//! Pure: what is to be changed, given what is there, and what the result tells of it.

use std::path::Path;

use cni_netlink::{
    Change, Link, LinkId, set_all_multicast, set_mac, set_mtu, set_promiscuous, set_tx_queue_len,
};
use cni_types::{CniResult, IfName, Interface, MacAddr, SpecVersion};

use crate::config::{Source, SysctlConf, SysctlName};
use crate::error::TuningError;

/// Properties of an interface, each of them if it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkValues {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) promisc: Option<bool>,
    /// In bytes.
    pub(crate) mtu: Option<u32>,
    pub(crate) all_multicast: Option<bool>,
    /// In packets.
    pub(crate) tx_queue_len: Option<u32>,
}

impl LinkValues {
    /// All that a link has.
    pub(crate) fn of(link: &Link) -> Self {
        Self {
            mac: link.mac,
            promisc: Some(link.is_promiscuous()),
            mtu: Some(link.mtu),
            all_multicast: Some(link.is_all_multicast()),
            tx_queue_len: Some(link.tx_queue_len),
        }
    }

    /// Whether none matters.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of ours that are not as in `there`.
    pub(crate) fn differing_from(&self, there: &Self) -> Self {
        fn differing<T: PartialEq + Copy>(wanted: Option<T>, there: Option<T>) -> Option<T> {
            wanted.filter(|_| wanted != there)
        }
        Self {
            mac: differing(self.mac, there.mac),
            promisc: differing(self.promisc, there.promisc),
            mtu: differing(self.mtu, there.mtu),
            all_multicast: differing(self.all_multicast, there.all_multicast),
            tx_queue_len: differing(self.tx_queue_len, there.tx_queue_len),
        }
    }

    /// Those of ours that matter in `others`.
    pub(crate) fn where_set_in(&self, others: &Self) -> Self {
        Self {
            mac: self.mac.filter(|_| others.mac.is_some()),
            promisc: self.promisc.filter(|_| others.promisc.is_some()),
            mtu: self.mtu.filter(|_| others.mtu.is_some()),
            all_multicast: self
                .all_multicast
                .filter(|_| others.all_multicast.is_some()),
            tx_queue_len: self.tx_queue_len.filter(|_| others.tx_queue_len.is_some()),
        }
    }

    /// Ours, and those of `others` that do not matter in ours.
    pub(crate) fn or(&self, others: &Self) -> Self {
        Self {
            mac: self.mac.or(others.mac),
            promisc: self.promisc.or(others.promisc),
            mtu: self.mtu.or(others.mtu),
            all_multicast: self.all_multicast.or(others.all_multicast),
            tx_queue_len: self.tx_queue_len.or(others.tx_queue_len),
        }
    }

    /// The requests that give them to a link.
    pub(crate) fn changes(&self, link: &LinkId) -> Vec<Change> {
        [
            self.mac.map(|mac| set_mac(link, mac)),
            self.promisc.map(|on| set_promiscuous(link, on)),
            self.mtu.map(|mtu| set_mtu(link, mtu)),
            self.all_multicast.map(|on| set_all_multicast(link, on)),
            self.tx_queue_len.map(|len| set_tx_queue_len(link, len)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A sysctl of the config, found below `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sysctl {
    pub(crate) conf: SysctlConf,
    pub(crate) name: SysctlName,
    /// What it has; `None` where that cannot be read.
    pub(crate) there: Option<String>,
}

/// Puts sysctls into the order in which they are written, and keeps one of those that are several
/// keys for the same setting: `args.cni` beats the config, and equal values are no contradiction.
pub(crate) fn arrange(found: Vec<Sysctl>) -> Result<Vec<Sysctl>, TuningError> {
    let mut kept: Vec<Sysctl> = Vec::with_capacity(found.len());
    for sysctl in found {
        let Some(same) = kept.iter_mut().find(|kept| kept.name == sysctl.name) else {
            kept.push(sysctl);
            continue;
        };
        let beats = same.conf.source == Source::Config && sysctl.conf.source == Source::Args;
        if !beats && !is_same_value(&same.conf.value, &sysctl.conf.value) {
            return Err(TuningError::TwoKeys {
                keys: [same.conf.key.clone(), sysctl.conf.key],
                name: sysctl.name.path(),
            });
        }
        *same = sysctl;
    }
    kept.sort_by_key(|sysctl| sysctl.name.rank());
    Ok(kept)
}

/// Whether two texts are the same value to the kernel, which shows `1 2` as `1\t2` and `0x10` as
/// `16`.
pub(crate) fn is_same_value(one: &str, other: &str) -> bool {
    let same_word = |one: &str, other: &str| {
        one == other
            || number(one).is_some_and(|number_of_one| number(other) == Some(number_of_one))
    };
    let (mut ones, mut others) = (one.split_ascii_whitespace(), other.split_ascii_whitespace());
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if same_word(one, other) => {}
            _ => return false,
        }
    }
}

/// Whether a value is nothing but numbers, which the kernel shows as it has got them: a list of
/// ports, for one, it shows in ranges.
pub(crate) fn is_numeric(value: &str) -> bool {
    value
        .split_ascii_whitespace()
        .all(|word| number(word).is_some())
}

/// Whether what the kernel shows can be what it was given. It rounds times to its clock's ticks;
/// of too many numbers it takes the first ones and says nothing.
pub(crate) fn is_taken(value: &str, shown: &str) -> bool {
    let words = |text: &str| text.split_ascii_whitespace().count();
    !is_numeric(value) || !is_numeric(shown) || words(value) == words(shown)
}

/// A number as the kernel's `strtoul` with base 0 reads it.
fn number(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    let (base, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    let unsigned = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let value = i128::from(
        u64::from_str_radix(digits, base)
            .ok()
            .filter(|_| unsigned)?,
    );
    Some(sign * value)
}

/// Tells of the interface what it has been given. The key `mtu` exists since 1.1.0.
pub(crate) fn report(
    mut result: CniResult,
    (ifname, netns): (&IfName, &Path),
    given: &LinkValues,
    version: SpecVersion,
) -> CniResult {
    for interface in containers_interfaces(&mut result.interfaces, ifname, netns) {
        if let Some(mac) = given.mac {
            interface.mac = mac.to_string();
        }
        if let Some(mtu) = given.mtu.filter(|_| version >= SpecVersion::V1_1_0) {
            interface.mtu = mtu;
        }
    }
    result
}

/// The entries of the container's interface. An interface of the host can have the same name; it
/// has no sandbox. Some plugins tell no sandbox at all, or another path of the same one.
fn containers_interfaces<'a>(
    interfaces: &'a mut [Interface],
    ifname: &IfName,
    netns: &Path,
) -> Vec<&'a mut Interface> {
    let mut named: Vec<&mut Interface> = interfaces
        .iter_mut()
        .filter(|interface| interface.name == ifname.as_str())
        .collect();
    let surely = |interface: &Interface| Path::new(&interface.sandbox) == netns;
    let likely = |interface: &Interface| !interface.sandbox.is_empty();
    if named.iter().any(|interface| surely(interface)) {
        named.retain(|interface| surely(interface));
    } else if named.iter().any(|interface| likely(interface)) {
        named.retain(|interface| likely(interface));
    }
    named
}

#[cfg(test)]
mod tests;
