//! Whether ports are free.

use std::collections::BTreeMap;

use super::layout::map_name;
use super::rules::Key;
use super::{Publication, TABLE};
use crate::error::Cause;
use crate::matches::octets;
use crate::nft::{Answer, Element, Nft, Question};
use crate::owner::Tag;
use crate::registry::{Place, tag_of};

/// Bytes of protocol and port at the end of every key.
const PORT_KEY: usize = 8;

/// Refuses what another attachment publishes already, at the same address of the host, at all of
/// them, or at one of them.
///
/// An element that leads to this container's own address was left behind: nobody else can have the
/// address now. Mappings under other conditions are not compared: it is for the conditions to tell
/// them apart.
pub(super) fn admit(
    nft: &mut Nft,
    owner: Tag,
    publication: &Publication,
    (places, found): (&[Place], &[Option<Element>]),
) -> Result<(), Cause> {
    let applicant = Applicant { owner, publication };
    for (place, found) in places.iter().zip(found) {
        if let (Some(_), Some(element)) = (&place.data, found) {
            applicant.compare(&place.name, element)?;
        }
    }
    for v6 in [false, true] {
        let condition = publication.condition(v6);
        let any = map_name(v6, Key::Port, condition);
        let at = map_name(v6, Key::AddressAndPort, condition);
        applicant.compare_with_any(nft, places, (&at, &any))?;
        applicant.compare_with_each(nft, places, (&at, &any))?;
    }
    Ok(())
}

struct Applicant<'a> {
    owner: Tag,
    publication: &'a Publication,
}

impl Applicant<'_> {
    fn compare(&self, port: &str, element: &Element) -> Result<(), Cause> {
        if tag_of(element) == Some(self.owner) || self.is_stale(element) {
            return Ok(());
        }
        let owner = element.comment.as_deref().map(names);
        Err(Cause::PortTaken {
            port: port.to_owned(),
            owner: owner.unwrap_or("somebody who left no name").to_owned(),
        })
    }

    fn is_stale(&self, element: &Element) -> bool {
        let data = element.data.as_deref().unwrap_or_default();
        [false, true]
            .into_iter()
            .filter_map(|v6| self.publication.address(v6))
            .any(|own| {
                let own = octets(own.addr());
                // Behind the address is the port.
                data.len() == own.len() + 4 && data.starts_with(&own)
            })
    }

    /// Ports of single addresses with those that are mapped at all addresses.
    fn compare_with_any(
        &self,
        nft: &mut Nft,
        places: &[Place],
        (at, any): (&str, &str),
    ) -> Result<(), Cause> {
        let single: Vec<&Place> = places.iter().filter(|place| place.set == at).collect();
        let keys = single.iter().filter_map(|place| port_of(&place.key));
        let questions: Vec<_> = keys.map(|key| Question::Element(any, key)).collect();
        if questions.is_empty() {
            return Ok(());
        }
        let (_generation, answers) = nft.look_up(TABLE, &questions)?;
        for (place, answer) in single.iter().zip(answers) {
            if let Answer::Element(element) = answer {
                self.compare(&place.name, &element)?;
            }
        }
        Ok(())
    }

    /// Ports of all addresses with those that are mapped at single ones, all of which are read.
    fn compare_with_each(
        &self,
        nft: &mut Nft,
        places: &[Place],
        (at, any): (&str, &str),
    ) -> Result<(), Cause> {
        let all: BTreeMap<&[u8], &str> = places
            .iter()
            .filter(|place| place.set == any)
            .map(|place| (place.key.as_slice(), place.name.as_str()))
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        for element in nft.elements(TABLE, at)? {
            if let Some(name) = port_of(&element.key).and_then(|key| all.get(key)) {
                self.compare(name, &element)?;
            }
        }
        Ok(())
    }
}

/// What a comment says besides the tag.
fn names(comment: &str) -> &str {
    match comment.split_once(", ") {
        Some((tag, names)) if Tag::parse(tag).is_some() => names,
        _ => comment,
    }
}

fn port_of(key: &[u8]) -> Option<&[u8]> {
    key.get(key.len().checked_sub(PORT_KEY)?..)
}
