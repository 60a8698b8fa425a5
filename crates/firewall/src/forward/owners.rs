//! Whose an address is.

use std::net::IpAddr;

use super::TABLE;
use super::layout::Purpose;
use crate::error::Cause;
use crate::matches::octets;
use crate::nft::{Answer, Nft, Question};
use crate::owner::Tag;
use crate::registry::{Place, tag_of};

/// What attachments have that go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Addresses on record as let through by `nf_tables` or iptables.
    pub open: Vec<IpAddr>,
    /// Addresses on record as let through by firewalld.
    pub zoned: Vec<IpAddr>,
    /// Addresses that the attachment had, and that nobody is on record for: by whatever means the
    /// reference, or a kernel without `nf_tables`, let them through.
    pub unrecorded: Vec<IpAddr>,
    /// The elements of our own table.
    pub(super) places: Vec<Place>,
}

/// Who is on record for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Nobody,
    Own,
    Other,
}

/// Reads the table, once. Addresses that are on record for somebody else by now are left out.
pub(super) fn held(
    nft: &mut Nft,
    condemned: impl Fn(Tag) -> bool,
    known: &[IpAddr],
) -> Result<Held, Cause> {
    let mut held = Held {
        unrecorded: known.to_vec(),
        ..Held::default()
    };
    let sets = match nft.sets(TABLE) {
        Err(cause) if cause.is_unsupported() => return Ok(held),
        other => other?,
    };
    for set in sets {
        for element in nft.elements(TABLE, &set)? {
            if tag_of(&element).is_some_and(&condemned) {
                held.take(&set, element.key);
            }
        }
    }
    for (addresses, record) in [
        (&mut held.open, Record::Own),
        (&mut held.zoned, Record::Own),
        (&mut held.unrecorded, Record::Nobody),
    ] {
        let all = std::mem::take(addresses);
        for address in all {
            if record_of(nft, &condemned, address)? == record {
                addresses.push(address);
            }
        }
    }
    Ok(held)
}

impl Held {
    fn take(&mut self, set: &str, key: Vec<u8>) {
        let purpose = Purpose::of_set(set).map(|(purpose, _)| purpose);
        match (purpose, address(&key)) {
            (Some(Purpose::Open), Some(address)) => self.open.push(address),
            (Some(Purpose::Zoned), Some(address)) => self.zoned.push(address),
            _ => {}
        }
        self.places.push(Place {
            set: set.to_owned(),
            key,
            data: None,
            name: String::new(),
        });
    }

    /// The addresses that iptables may have rules for.
    pub(super) fn in_iptables(&self) -> Vec<IpAddr> {
        self.open.iter().chain(&self.unrecorded).copied().collect()
    }
}

/// An address may be in both sets: one of them is of an owner whose DEL never came.
fn record_of(
    nft: &mut Nft,
    condemned: impl Fn(Tag) -> bool,
    address: IpAddr,
) -> Result<Record, Cause> {
    let key = octets(address);
    let sets = [Purpose::Open, Purpose::Zoned].map(|purpose| purpose.set(address.is_ipv6()));
    let questions = sets.each_ref().map(|set| Question::Element(set, &key));
    let (_generation, answers) = nft.look_up(TABLE, &questions)?;
    let records = answers.iter().map(|answer| match answer {
        Answer::Element(element) if tag_of(element).is_some_and(&condemned) => Record::Own,
        Answer::Element(_) => Record::Other,
        Answer::Set | Answer::Absent => Record::Nobody,
    });
    Ok(records.fold(Record::Nobody, |all, one| match (all, one) {
        (Record::Other, _) | (_, Record::Other) => Record::Other,
        (Record::Own, _) | (_, Record::Own) => Record::Own,
        (Record::Nobody, Record::Nobody) => Record::Nobody,
    }))
}

/// An address out of a key.
fn address(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => Some(IpAddr::from(*key.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*key.first_chunk::<16>()?)),
        _ => None,
    }
}
