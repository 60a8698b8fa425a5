//! Elements with owner tags in the sets of one table: how they get in, and how they and all that
//! served them alone get out again.
//!
//! Nothing here locks. What is read is read with the generation of the ruleset, and what follows
//! from it is committed on condition that the ruleset is still of that generation; the kernel
//! refuses with ERESTART otherwise, and we look again.

use nix::errno::Errno;

use crate::error::Cause;
use crate::nft::{Change, Element, Glance, Nft, Rule, Table, Transaction};
use crate::owner::Tag;

/// One table of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registry {
    pub(crate) table: Table,
    /// The chain that has its rules.
    pub(crate) chain: &'static str,
    /// Whether a set goes, with the rule that looks it up, when its last element goes. Otherwise
    /// the sets go together with the table.
    pub(crate) sets_come_and_go: bool,
}

/// Where an element is, or should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) set: String,
    pub(crate) key: Vec<u8>,
}

/// What an element that goes leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    /// These sets have no element any more.
    pub(crate) sets: Vec<String>,
    /// Nor has any other set of the table.
    pub(crate) table: bool,
}

pub(crate) fn tag_of(element: &Element) -> Option<Tag> {
    element.comment.as_deref().and_then(Tag::parse)
}

/// Whether a transaction failed since the ruleset was not the expected one any more.
pub(crate) fn is_stale(cause: &Cause) -> bool {
    cause.errno() == Some(Errno::ERESTART)
}

/// What makes all `places` be this owner's: elements of others with the same key (nobody else can
/// have the address now, so they were left behind) are replaced.
pub(crate) fn claim(
    table: Table,
    places: &[Place],
    found: &[Option<Element>],
    comment: &str,
) -> Vec<Change> {
    let owner = Tag::parse(comment);
    let mut changes = Vec::new();
    for (place, found) in places.iter().zip(found) {
        if let Some(element) = found {
            if tag_of(element) == owner {
                continue;
            }
            changes.push(place.delete(table));
        }
        changes.push(place.create(table, comment));
    }
    changes
}

impl Place {
    pub(crate) fn create(&self, table: Table, comment: &str) -> Change {
        Change::CreateElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
            comment: comment.to_owned(),
        }
    }

    pub(crate) fn delete(&self, table: Table) -> Change {
        Change::DeleteElement {
            table,
            set: self.set.clone(),
            key: self.key.clone(),
        }
    }
}

impl Registry {
    pub(crate) fn look_up(
        &self,
        nft: &mut Nft,
        places: &[Place],
    ) -> Result<(u32, Vec<Option<Element>>), Cause> {
        let keys: Vec<_> = places
            .iter()
            .map(|place| (self.table, place.set.as_str(), place.key.as_slice()))
            .collect();
        let found = nft.look_up(&keys)?;
        Ok((found.generation, found.elements))
    }

    /// Deletes the elements at `places` that are still this owner's. Answers how many were.
    pub(crate) fn remove(
        &self,
        nft: &mut Nft,
        owner: Tag,
        places: &[Place],
    ) -> Result<usize, Cause> {
        let limit = nft.limit();
        loop {
            let (generation, found) = match self.look_up(nft, places) {
                Err(cause) if cause.is_unsupported() => return Ok(0),
                other => other?,
            };
            let condemned: Vec<Place> = places
                .iter()
                .zip(&found)
                .filter(|(_, found)| found.as_ref().and_then(tag_of) == Some(owner))
                .map(|(place, _)| place.clone())
                .collect();
            if condemned.is_empty() {
                return Ok(0);
            }
            let emptied = self.find_emptied(nft, &condemned)?;
            let rules = self.rules_if(nft, !emptied.sets.is_empty() && !emptied.table)?;
            let removal = self.removal(generation, &condemned, &emptied, &rules);
            match nft.commit(&removal) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                Err(cause) => return Err(cause),
                Ok(()) => return Ok(condemned.len()),
            }
        }
    }

    /// Deletes every element whose tag is `condemned`, reading the whole table. Answers how many
    /// there were.
    pub(crate) fn sweep(
        &self,
        nft: &mut Nft,
        condemned: impl Fn(Tag) -> bool,
    ) -> Result<usize, Cause> {
        let limit = nft.limit();
        loop {
            let generation = match nft.generation() {
                Err(cause) if cause.is_unsupported() => return Ok(0),
                other => other?,
            };
            let mut places = Vec::new();
            let mut emptied = Emptied {
                table: true,
                ..Emptied::default()
            };
            let sets = nft.sets(self.table)?;
            for set in &sets {
                let elements = nft.elements(self.table, set)?;
                let (go, stay): (Vec<_>, Vec<_>) = elements
                    .into_iter()
                    .partition(|element| tag_of(element).is_some_and(&condemned));
                if stay.is_empty() {
                    emptied.sets.push(set.clone());
                } else {
                    emptied.table = false;
                }
                places.extend(go.into_iter().map(|element| Place {
                    set: set.clone(),
                    key: element.key,
                }));
            }
            if sets.is_empty() || (places.is_empty() && !self.removes(&emptied)) {
                return Ok(0);
            }
            let rules = self.rules_if(nft, !emptied.sets.is_empty() && !emptied.table)?;
            match nft.commit(&self.removal(generation, &places, &emptied, &rules)) {
                Err(cause) if is_stale(&cause) => limit.retry()?,
                Err(cause) => return Err(cause),
                Ok(()) => return Ok(places.len()),
            }
        }
    }

    fn removes(&self, emptied: &Emptied) -> bool {
        emptied.table || (self.sets_come_and_go && !emptied.sets.is_empty())
    }

    fn rules_if(&self, nft: &mut Nft, wanted: bool) -> Result<Vec<Rule>, Cause> {
        if wanted && self.sets_come_and_go {
            nft.rules(self.table, self.chain)
        } else {
            Ok(Vec::new())
        }
    }

    /// Which sets will have no element any more, found out without reading a large set.
    fn find_emptied(&self, nft: &mut Nft, condemned: &[Place]) -> Result<Emptied, Cause> {
        let mut emptied = Emptied::default();
        let mut affected: Vec<&str> = Vec::new();
        for place in condemned {
            if !affected.contains(&place.set.as_str()) {
                affected.push(&place.set);
            }
        }
        for set in affected {
            if !self.will_be_empty(nft, set, condemned)? {
                return Ok(emptied);
            }
            emptied.sets.push(set.to_owned());
        }
        for set in nft.sets(self.table)? {
            if emptied.sets.contains(&set) {
                continue;
            }
            if !self.will_be_empty(nft, &set, condemned)? {
                return Ok(emptied);
            }
            emptied.sets.push(set);
        }
        emptied.table = true;
        Ok(emptied)
    }

    fn will_be_empty(&self, nft: &mut Nft, set: &str, condemned: &[Place]) -> Result<bool, Cause> {
        let elements = match nft.glance(self.table, set)? {
            Glance::All(elements) => elements,
            Glance::Many => return Ok(false),
            // Only on a second attempt, after others got in the way of the first one.
            Glance::Spent => nft.elements(self.table, set)?,
        };
        Ok(elements.iter().all(|element| {
            condemned
                .iter()
                .any(|place| place.set == set && place.key == element.key)
        }))
    }

    /// The transaction that deletes `condemned` and what is of no use without it.
    pub(crate) fn removal(
        &self,
        generation: u32,
        condemned: &[Place],
        emptied: &Emptied,
        rules: &[Rule],
    ) -> Transaction {
        let table = self.table;
        if emptied.table {
            return Transaction {
                generation: Some(generation),
                changes: vec![Change::DeleteTable(table)],
            };
        }
        let goes = |set: &str| self.sets_come_and_go && emptied.sets.iter().any(|gone| gone == set);
        let mut changes: Vec<Change> = condemned
            .iter()
            .filter(|place| !goes(&place.set))
            .map(|place| place.delete(table))
            .collect();
        changes.extend(
            rules
                .iter()
                .filter(|rule| rule.looks_up().is_some_and(goes))
                .map(|rule| Change::DeleteRule {
                    table,
                    chain: rule.chain.clone(),
                    handle: rule.handle,
                }),
        );
        changes.extend(
            emptied
                .sets
                .iter()
                .filter(|set| goes(set))
                .map(|set| Change::DeleteSet {
                    table,
                    set: set.clone(),
                }),
        );
        Transaction {
            generation: Some(generation),
            changes,
        }
    }
}
