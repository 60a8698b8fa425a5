//! Whose an address is.

use std::net::IpAddr;

use super::layout::Purpose;
use super::{REGISTRY, TABLE};
use crate::error::Cause;
use crate::matches::octets;
use crate::nft::{Answer, Nft, Question};
use crate::owner::Tag;
use crate::registry::{Place, tag_of};

/// What attachments have that go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Addresses that may be let through by iptables.
    pub open: Vec<IpAddr>,
    /// Addresses that were let through by firewalld.
    pub zoned: Vec<IpAddr>,
    /// The elements of our own table.
    pub(super) places: Vec<Place>,
}

/// Reads the table, once. Of the `known` addresses, those that somebody else owns by now are left
/// alone; so are those in `zoned` and `open` that have been given to somebody else since.
pub(super) fn held(
    nft: &mut Nft,
    condemned: impl Fn(Tag) -> bool,
    known: &[IpAddr],
) -> Result<Held, Cause> {
    let mut held = Held::default();
    held.open.extend(known);
    let sets = match nft.sets(TABLE) {
        Err(cause) if cause.is_unsupported() => return Ok(held),
        other => other?,
    };
    for set in sets {
        for element in nft.elements(TABLE, &set)? {
            if !tag_of(&element).is_some_and(&condemned) {
                continue;
            }
            if let (Some((purpose, _)), Some(address)) =
                (Purpose::of_set(&set), address(&element.key))
            {
                match purpose {
                    Purpose::Open => held.open.push(address),
                    Purpose::Zoned => held.zoned.push(address),
                    Purpose::Policy(..) => {}
                }
            }
            held.places.push(Place {
                set: set.clone(),
                key: element.key,
                data: None,
                name: String::new(),
            });
        }
    }
    for addresses in [&mut held.open, &mut held.zoned] {
        addresses.sort_unstable();
        addresses.dedup();
        let mut kept = Vec::new();
        for address in addresses.drain(..) {
            if !has_other_owner(nft, &condemned, address)? {
                kept.push(address);
            }
        }
        *addresses = kept;
    }
    Ok(held)
}

fn has_other_owner(
    nft: &mut Nft,
    condemned: impl Fn(Tag) -> bool,
    address: IpAddr,
) -> Result<bool, Cause> {
    let key = octets(address);
    let sets = [Purpose::Open, Purpose::Zoned].map(|purpose| purpose.set(address.is_ipv6()));
    let questions = sets.each_ref().map(|set| Question::Element(set, &key));
    let (_generation, answers) = nft.look_up(REGISTRY.table, &questions)?;
    Ok(answers.iter().any(|answer| match answer {
        Answer::Element(element) => !tag_of(element).is_some_and(&condemned),
        Answer::Set | Answer::Absent => false,
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
